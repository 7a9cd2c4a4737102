"""What the lines about the source say: which files match, and which ones are left out."""

from __future__ import annotations

from squall.datasets.addresses import split_chain
from squall.datasets.sources.patterns import has_glob
from squall.pipeline.init.files import Given, LeftOut
from squall.pipeline.init.lines import Line
from squall.pipeline.init.sources import Source
from squall.pipeline.init.timing import Timing


def source_lines(given: Given, timing: Timing, source: Source) -> list[Line]:
    """The line ``source``, and ``source_options`` and ``begins`` where they are needed."""
    value = source.patterns[0] if len(source.patterns) == 1 else list(source.patterns)
    comment = _matching(given, source) + _left_out(given.left_out)
    lines = [Line("source", value, comment, "found" if source.is_typed else "guess")]
    if given.options:
        lines.append(Line("source_options", given.options, "read without credentials"))
    if any("{time:" in pattern for pattern in source.patterns) and timing.valid_times:
        begins = f"{min(timing.valid_times):%Y-%m-%d}"
        lines.append(
            Line(
                "begins", begins, "the first given file; earlier if there are earlier ones", "guess"
            )
        )
    return lines


def _matching(given: Given, source: Source) -> str:
    """What the patterns match now."""
    is_recent = any("{time:" in pattern for pattern in given.patterns)
    now = "of the last two days" if is_recent else "now"
    if source.count is None:
        return "matches the given files, and others named alike"
    if given.is_zarr:
        return "as given"
    if source.is_typed and not (given.left_out and given.left_out.pattern):
        return f"as given: {_files(source.count)} {now}"
    if source.is_typed:
        return f"matches {_files(source.count)} {now}"
    if not any(has_glob(pattern, None) for pattern in source.patterns):
        return "this file alone: no number in its name tells other files"
    in_containers = any(split_chain(pattern) for pattern in source.patterns)
    what = "zip or tar files" if in_containers else "files"
    alike = f"matches {_files(source.count, what)} {now}"
    if not source.different:
        return f"{alike}, and later ones with names alike"
    return (
        f"{alike}; these look different, and an 'exclude' would leave them out: "
        f"{', '.join(source.different)}"
    )


def _files(count: int, what: str = "files") -> str:
    return f"{count:,} {what}" if count != 1 else f"1 {what.replace('files', 'file')}"


def _left_out(left_out: LeftOut | None) -> str:
    """Which of the given files are not ingested."""
    if left_out is None:
        return ""
    forecasts = _files(left_out.forecasts, "files with forecasts")
    if not left_out.pattern:
        return (
            f"; {forecasts}, like {left_out.example}, match too and are rejected: no pattern tells "
            "them from the observations by their names"
        )
    others = f", and {_files(left_out.others, 'other files')}" if left_out.others else ""
    return f"; the pattern leaves out {forecasts}, like {left_out.example}{others}"
