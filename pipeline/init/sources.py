"""The key ``source``: patterns that match the given files, and others of the same kind.

Owns the patterns, and which files match them that look like those of another product.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path

import pandas as pd

from squall.datasets.addresses import base_name, local_path, protocol_of, split_chain
from squall.datasets.errors import ConfigError, DataError, ForecastError
from squall.datasets.radar.formats import named_format, recognised_format
from squall.datasets.sources.access import SourceFile
from squall.datasets.sources.find import find_files
from squall.datasets.sources.patterns import has_glob, has_time
from squall.pipeline.init.copies import Copies
from squall.pipeline.init.files import MOST_NAMES, Given
from squall.pipeline.init.looks import Look
from squall.pipeline.init.names import (
    NamePatternFound,
    glob_of_all,
    kind_of,
    numbered_glob,
    pattern_of,
    time_like,
)
from squall.pipeline.init.trial import facts_of

MOST_COMPARED = 6  # files that match a guessed pattern, which are opened
_LONGEST_TEXT = 80
_DATE_FOLDER = re.compile(r"\d{2,4}|\d{6}|\d{8}|\d{4}[-_]\d{2}([-_]\d{2})?|\d{2}-\d{2}", re.ASCII)
_FOLDER_TIMES = ("%Y%m%d", "%Y-%m-%d", "%Y_%m_%d", "%Y%m", "%Y-%m", "%Y", "%m", "%d", "%H", "%j")


@dataclass(frozen=True)
class Source:
    """Patterns of a network's files.

    Parameters
    ----------
    is_typed : whether they are those of the command line.
    count : of the files that match now, of zip or tar files where the pattern names some; None if
        they were not listed.
    different : files that match, of another format, variable or grid, each with what differs; of a
        few that were opened.
    """

    patterns: tuple[str, ...]
    is_typed: bool
    count: int | None
    different: tuple[str, ...] = ()


def source_of(given: Given, named: NamePatternFound | None, look: Look, copies: Copies) -> Source:
    """Find patterns that match the files, and compare some other files that match."""
    typed = [p for p in given.patterns if has_glob(p, protocol_of(p)) or has_time(p)]
    chains = [split_chain(pattern) for pattern in given.patterns]
    if len(chains) == 1 and chains[0] is not None:
        return _in_containers(given, *chains[0])
    if typed or any(chains) or given.is_zarr:
        return Source(given.patterns, True, len(given.files))
    if not all(local_path(pattern) is not None for pattern in given.patterns):
        return Source(_remote(given, named), False, None)
    pattern = _local(given, named)
    matching = find_files([pattern])
    if {file.identity for file in given.files} <= {file.identity for file in matching}:
        different = _different(matching, given, look, copies)
        return Source((pattern,), False, len(matching), different)
    return Source(given.patterns, True, len(given.files))


def _in_containers(given: Given, kind: str, members: str, container: str) -> Source:
    """Files in a zip or tar file: other containers named alike hold others of them."""
    path = local_path(container)
    name = base_name(container)
    named = pattern_of([name], [None])
    if path is None or split_chain(container) or named is None or not Path(path).is_file():
        return Source(given.patterns, True, len(given.files))
    folders, slash, _ = container.rpartition("/")
    pattern = f"{folders}{slash}{named.glob}"
    return Source((f"{kind}://{members}::{pattern}",), False, len(find_files([pattern])))


def _remote(given: Given, named: NamePatternFound | None) -> tuple[str, ...]:
    first = given.patterns[0]
    time = time_like(named, base_name(first)) if named else None
    return (f"{_dated(first.rpartition('/')[0], time)}/{_names(given, named)}",)


def _local(given: Given, named: NamePatternFound | None) -> str:
    """Files on this machine; folders whose names are dates become ``**``."""
    folders = [pattern.rpartition("/")[0] for pattern in given.patterns]
    folder = folders[0] if len(set(folders)) == 1 else commonpath([f or "." for f in folders])
    kept, has_dates = folder, len(set(folders)) > 1
    while kept and _DATE_FOLDER.fullmatch(kept.rpartition("/")[2]):
        kept, has_dates = kept.rpartition("/")[0], True
    start = "" if not kept and not folder.startswith("/") else f"{kept}/"
    return f"{start}{'**/' if has_dates else ''}{_names(given, named)}"


def _names(given: Given, named: NamePatternFound | None) -> str:
    if named is not None:
        return named.glob
    names = [file.name for file in given.files]
    return numbered_glob(names[0]) if len(names) == 1 else glob_of_all(names)


def _different(
    matching: Sequence[SourceFile], given: Given, look: Look, copies: Copies
) -> tuple[str, ...]:
    """What differs in files that match and were not given: one of each kind of name, then others.

    They are opened, and no pixels are read.
    """
    seen = {file.identity for file in given.files}
    others = [file for file in matching if file.identity not in seen]
    others = others[:: len(others) // MOST_NAMES + 1]
    of_kinds = {kind_of(file.name): file for file in reversed(others)}.values()
    own = {kind_of(file.name) for file in given.files}
    by_kind = sorted(of_kinds, key=lambda file: kind_of(file.name) in own)
    chosen = list(dict.fromkeys([*by_kind, *others[:1], *others[-1:]]))[:MOST_COMPARED]
    texts = ((file.name, _difference(file, look, copies)) for file in chosen)
    return tuple(f"{name} ({text})" for name, text in texts if text)


def _difference(file: SourceFile, look: Look, copies: Copies) -> str:
    """How a file differs from the one that the configuration describes; empty if it does not."""
    try:
        path = str(copies.path(file))
        format_name = recognised_format(path)
        if format_name != look.content.format and not look.content.keys:
            return named_format(format_name).title if format_name else "unknown format"
        facts = facts_of(path, look.keys, most_px=0)
    except ForecastError:
        return "a forecast"
    except (ConfigError, DataError, OSError) as error:
        return re.split("[;,:]", str(error).removeprefix(f"{file.identity}: "))[0][:_LONGEST_TEXT]
    return "another grid" if facts.grid.difference(look.first.grid) is not None else ""


def _dated(folder: str, time: pd.Timestamp | None) -> str:
    """Folders of an address with ``{time:…}`` in place of the date of a file."""
    if time is None:
        return folder
    parts = folder.split("/")
    dated = [_directive(part, time) for part in parts]
    first = next((i for i, text in enumerate(dated) if text and "Y" in text), None)
    if first is None:
        return folder
    last = first
    while last + 1 < len(parts) and dated[last + 1]:
        last += 1
    directives = "/".join(str(text) for text in dated[first : last + 1])
    return "/".join([*parts[:first], f"{{time:{directives}}}", *parts[last + 1 :]])


def _directive(part: str, time: pd.Timestamp) -> str | None:
    return next((f for f in _FOLDER_TIMES if time.strftime(f) == part), None)
