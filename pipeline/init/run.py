"""The init stage: radar files become a configuration that says what was found and what is a guess.

Public: `InitResult`, `init`.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.init.config import InitConfig
from squall.pipeline.init.describe import Description, describe
from squall.pipeline.init.files import Given, given_files
from squall.pipeline.init.lines import document
from squall.pipeline.init.looks import Look, look_at
from squall.pipeline.init.summary import Scan, read_scan, summary_of
from squall.pipeline.init.timing import timing_of
from squall.pipeline.outputs import check_output_file
from squall.pipeline.provenance import atomic_path

PLOT_SUFFIXES = (".png",)
OUT_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class InitResult:
    """What was found.

    Parameters
    ----------
    text : the configuration, YAML with comments.
    summary : of one scan that was read with it, and what is wrong with other files.
    missing : keys that the user has to fill in.
    problems : what could not be read.
    """

    text: str
    summary: str
    missing: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether the configuration can be used as it is."""
        return not (self.missing or self.problems)


def init(config: InitConfig) -> InitResult:
    """Look at radar files, write a configuration for them, and read one scan with it.

    Raises
    ------
    ConfigError
        If the output cannot be written, or exists.
    DataError
        If no file is found, or the first one cannot be used.
    """
    _check_outputs(config)
    given = given_files(config.files, anonymous=config.anonymous)
    with ExitStack() as stack:
        look = look_at(given, stack)
        timing = timing_of(given, look)
        name = config.out.stem if config.out is not None else ""
        description = describe(given, look, timing, name)
        text = document(_header(given, description, config), description.lines)
        summary, problems = _first_scan(config, given, look, description)
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(config.out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return InitResult(text, summary, description.missing, (*problems, *look.problems))


def _check_outputs(config: InitConfig) -> None:
    if config.plot is not None:
        check_output_file(config.plot, "--plot", PLOT_SUFFIXES)
    if config.out is not None:
        check_output_file(config.out, "--out", OUT_SUFFIXES)
        if config.out.exists() and not config.force:
            raise ConfigError(
                f"{config.out}: exists; add --force to replace it, or choose another --out"
            )


def _header(given: Given, description: Description, config: InitConfig) -> list[str]:
    count = len(given.files)
    first = f"{given.files[0].name}{' …' if count > 1 else ''}"
    use = config.out or "NETWORK.yaml"
    lines = [
        f"Written by 'squall init' from {count} file{'s' if count > 1 else ''}: {first}",
        "Each line says what was found. Check each guess, and look at a map (--plot).",
    ]
    if description.missing:
        lines.append("Replace each ??? before you use this configuration.")
    return [*lines, f"Then: squall ingest {use} --archive archives/NAME.icechunk"]


def _read(look: Look, description: Description) -> Scan:
    """A scan; without a known unit its numbers are taken for a rate, else for reflectivity."""
    keys, missing = description.readable, description.missing
    try:
        return read_scan(look.path, keys, missing)
    except DataError:
        if "units" not in missing:
            raise
        return read_scan(look.path, {**keys, "units": "dBZ"}, missing)


def _first_scan(
    config: InitConfig, given: Given, look: Look, description: Description
) -> tuple[str, list[str]]:
    """Summary of a scan and, if asked for, its map; what is wrong if it cannot be read."""
    name = next(iter(look.facts))
    try:
        scan = _read(look, description)
        summary = f"{name}, read with this configuration:\n{summary_of(scan)}"
        if config.plot is not None and scan.unplaced:
            summary += (
                f"\n  map         not drawn: where the pixels lie is not known; fill in "
                f"{', '.join(scan.unplaced)} first"
            )
        elif config.plot is not None:
            from squall.pipeline.init.picture import draw_scan

            title = str(description.readable.get("name", "radar"))
            draw_scan(scan, title, name, config.plot)
            summary += f"\n  map         {config.plot}"
    except (ConfigError, DataError) as error:
        return f"{name} is not read: {error}", [str(error)]
    return summary, []
