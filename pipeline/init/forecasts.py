"""Forecasts beside observations, as in DWD's RADVOR tars: observations alone are ingested.

Owns the pattern of the observations among the given files. A reader decides what a forecast is; the
names decide which pattern leaves the forecasts out.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase

from squall.datasets.addresses import base_name, protocol_of, split_chain
from squall.datasets.errors import ConfigError, DataError, ForecastError
from squall.datasets.sources.access import SourceFile
from squall.datasets.sources.patterns import has_glob, has_time
from squall.pipeline.init.copies import Copies
from squall.pipeline.init.files import MOST_NAMES, Given, LeftOut
from squall.pipeline.init.looks import opened
from squall.pipeline.init.names import glob_of_all, kind_of, pattern_of
from squall.pipeline.init.trial import content_of

MOST_KINDS = 60  # of names, of each of which two files are opened


def without_forecasts(given: Given, copies: Copies) -> Given:
    """Leave out the forecasts, where the names of the observations have a pattern of their own.

    Files of one kind have names that differ in their time only. If one of the files to look at is a
    forecast, the first and the last file of each kind are opened, without their pixels.
    """
    kinds: dict[str, list[SourceFile]] = {}
    for file in given.files:
        kinds.setdefault(kind_of(file.name), []).append(file)
    if len(kinds) < 2 or not any(_is_forecast(file, copies) for file in given.looked_at):
        return given
    verdicts = {
        kind: {_is_forecast(file, copies) for file in (kinds[kind][0], kinds[kind][-1])}
        for kind in list(kinds)[:MOST_KINDS]
    }
    observed, forecasts = (
        [file for kind, verdict in verdicts.items() if verdict == {wanted} for file in kinds[kind]]
        for wanted in (False, True)
    )
    is_mixed = any(verdict == {False, True} for verdict in verdicts.values())
    if not (observed and forecasts):
        return given
    glob = glob_of_all([file.name for file in observed][:MOST_NAMES])
    has_dates = any(has_time(_last_part(pattern)) for pattern in given.patterns)
    matches_forecast = any(fnmatchcase(file.name, glob) for file in forecasts)
    is_apart = not (is_mixed or has_dates or matches_forecast)
    left_out = LeftOut(
        len(forecasts), len(given.files) - len(forecasts) - len(observed), forecasts[0].name
    )
    if not is_apart:
        return replace(given, files=tuple(observed), left_out=replace(left_out, pattern=False))
    patterns = [_narrowed(pattern, glob, observed) for pattern in given.patterns]
    kept = tuple(dict.fromkeys(pattern for pattern in patterns if pattern))
    return replace(given, patterns=kept, files=tuple(observed), left_out=left_out)


def _is_forecast(file: SourceFile, copies: Copies) -> bool | None:
    """Whether a file holds forecasts alone; None if it cannot be read."""
    try:
        path = copies.path(file)
        opened(path, content_of(str(path)), pattern_of([file.name], [None]), most_px=0)
    except ForecastError:
        return True
    except (ConfigError, DataError):
        return None
    return False


def _last_part(pattern: str) -> str:
    """The names in a pattern: behind its folders, in a chain those of the members."""
    chain = split_chain(pattern)
    return (pattern if chain is None else chain[1]).rpartition("/")[2]


def _narrowed(pattern: str, glob: str, observed: list[SourceFile]) -> str:
    """A pattern that matches names like ``glob`` only; empty for a file that is a forecast."""
    chain = split_chain(pattern)
    if chain is not None:
        kind, members, container = chain
        paths = [(split_chain(file.address) or chain)[1] for file in observed]
        is_flat = members == "**" and not any("/" in path for path in paths)
        return f"{kind}://{glob if is_flat else _with_name(members, glob)}::{container}"
    if has_glob(pattern, protocol_of(pattern)):
        return _with_name(pattern, glob)
    return pattern if base_name(pattern) in {file.name for file in observed} else ""


def _with_name(pattern: str, glob: str) -> str:
    folders, slash, last = pattern.rpartition("/")
    spanning = "**/" if last == "**" else ""
    return f"{folders}{slash}{spanning}{glob}"
