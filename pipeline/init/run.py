"""The init stage: radar files become a configuration that says what was found and what is a guess.

`init` writes a configuration, `try_configuration` reads a scan with one that is complete.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.sources.fetch import local_copy
from squall.pipeline.config import load_config
from squall.pipeline.init.config import InitConfig
from squall.pipeline.init.copies import Copies
from squall.pipeline.init.describe import Description, describe
from squall.pipeline.init.files import Given, given_files
from squall.pipeline.init.forecasts import without_forecasts
from squall.pipeline.init.lines import document
from squall.pipeline.init.looks import Look, look_at
from squall.pipeline.init.sources import source_of
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
    given = given_files(config.files, {"anon": True} if config.anonymous else {})
    with ExitStack() as stack:
        copies = Copies(given.options, stack)
        given = without_forecasts(given, copies)
        look = look_at(given, copies)
        timing = timing_of(given, look)
        source = source_of(given, timing.named, look, copies)
        name = config.out.stem if config.out is not None else ""
        description = describe(given, look, timing, source, name)
        text = document(_header(given, description, config), description.lines)
        summary, problems = _first_scan(config, look, description)
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
        "Each line says what was found. Check each guess, and look at a map.",
    ]
    if description.missing:
        lines.append("Replace each ??? before you use this configuration.")
    lines.append(f"See a scan: squall init --config {use} --plot scan.png")
    return [*lines, f"Then: squall ingest {use} --archive archives/NAME.icechunk"]


def _first_scan(config: InitConfig, look: Look, description: Description) -> tuple[str, list[str]]:
    """Summary of a scan and, if asked for, its map; what is wrong if it cannot be read."""
    name = next(iter(look.facts))
    try:
        scan = _read(look, description)
        summary = f"{name}, read with this configuration:\n{summary_of(scan)}"
        title = str(description.readable.get("name", "radar"))
        return summary + _drawn(scan, title, name, config.plot), []
    except (ConfigError, DataError) as error:
        return f"{name} is not read: {error}", [str(error)]


def _read(look: Look, description: Description) -> Scan:
    """A scan; without a known unit its numbers are taken for a rate, else for reflectivity."""
    keys, missing = {"name": "init", **description.readable}, description.missing
    try:
        return read_scan(look.path, RadarNetworkConfig(**keys), missing)
    except DataError:
        if "units" not in missing:
            raise
        keys["units"] = "dBZ"
        return read_scan(look.path, RadarNetworkConfig(**keys), missing)


def _drawn(scan: Scan, title: str, source: str, plot: Path | None) -> str:
    """Draw a map of a scan if ``plot`` names a file; a line that says where it is."""
    if plot is None:
        return ""
    if scan.unplaced:
        return (
            f"\n  map         not drawn: where the pixels lie is not known; fill in "
            f"{', '.join(scan.unplaced)} first"
        )
    from squall.pipeline.init.picture import draw_scan

    draw_scan(scan, title, source, plot)
    return f"\n  map         {plot}"


def try_configuration(config: InitConfig) -> str:
    """Read a scan with ``config.config``, as ingestion would; its summary and, if asked for, a map.

    Of several files the largest one is read, which has more rain than others, as a rule.

    Raises
    ------
    ConfigError
        If the configuration cannot work, or the map cannot be written.
    DataError
        If there is no file, or its scan is rejected.
    """
    assert config.config is not None
    network = load_config(config.config, RadarNetworkConfig)
    _check_outputs(config)
    words = config.files or network.source
    if not words:
        raise ConfigError(f"{config.config}: has no 'source'; name radar files before --config")
    options = {**network.source_options, **({"anon": True} if config.anonymous else {})}
    given = given_files(words, options, network)
    file = given.looked_at[0]
    with local_copy(file, given.options) as path:
        scan = read_scan(path, network)
    summary = f"{file.name}, read with {config.config}:\n{summary_of(scan)}"
    return summary + _drawn(scan, network.title or network.name, file.name, config.plot)
