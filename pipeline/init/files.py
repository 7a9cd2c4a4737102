"""The files that `squall init` looks at, and the pattern that matches them.

Owns how the words of the command line become files, and the key ``source``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path
from typing import Any

import pandas as pd

from squall.datasets.addresses import base_name, local_path, protocol_of, split_chain
from squall.datasets.errors import DataError
from squall.datasets.sources.access import SourceFile
from squall.datasets.sources.find import find_files
from squall.datasets.sources.patterns import has_glob, has_time
from squall.datasets.times import now
from squall.pipeline.init.names import NamePatternFound, common_start, glob_of, time_like

MOST_LOOKED_AT = 4
MOST_NAMES = 2000
_RECENT = pd.Timedelta("2D")  # how far back addresses with {time:…} are looked for
_CONTAINERS = {".zip": "zip", ".tar": "tar", ".tgz": "tar", ".tbz2": "tar", ".txz": "tar"}
_DATE_FOLDER = re.compile(r"\d{2,4}|\d{6}|\d{8}|\d{4}[-_]\d{2}([-_]\d{2})?|\d{2}-\d{2}", re.ASCII)
_FOLDER_TIMES = ("%Y%m%d", "%Y-%m-%d", "%Y_%m_%d", "%Y%m", "%Y-%m", "%Y", "%m", "%d", "%H", "%j")


@dataclass(frozen=True)
class Given:
    """The files of a command line.

    Parameters
    ----------
    patterns : as typed; a folder or a zip or tar file as the pattern of the files in it.
    files : that match, sorted.
    options : for the file systems.
    """

    patterns: tuple[str, ...]
    files: tuple[SourceFile, ...]
    options: dict[str, Any]

    @property
    def looked_at(self) -> list[SourceFile]:
        """The files to open: the first, the largest, one in the middle and the last."""
        files = self.files
        largest = max(files, key=lambda file: file.size or 0)
        chosen = [largest, files[0], files[len(files) // 2], files[-1]]
        return list(dict.fromkeys(chosen))[:MOST_LOOKED_AT]


def given_files(words: Sequence[str], *, anonymous: bool) -> Given:
    """Find the files that the user names.

    Raises
    ------
    ConfigError, DataError
        As `find_files`, and if there is no file.
    """
    patterns = tuple(_as_pattern(word) for word in words)
    options: dict[str, Any] = {"anon": True} if anonymous else {}
    files = find_files(patterns, options, since=now() - _RECENT)
    if not files:
        recent = " of the last two days" if any(has_time(pattern) for pattern in patterns) else ""
        raise DataError(f"no file{recent} matches {', '.join(patterns)}")
    return Given(patterns, tuple(files), options)


def _as_pattern(word: str) -> str:
    """The pattern of the files in a folder or in a zip or tar file; other words as they are."""
    path = local_path(word) if protocol_of(word) is None else None
    if path is not None and Path(path).is_dir():
        return f"{path.rstrip('/')}/**/*"
    suffixes = Path(word).suffixes
    is_tar = ".tar" in suffixes[-2:]
    kind = "tar" if is_tar else _CONTAINERS.get(suffixes[-1].lower() if suffixes else "")
    if kind and split_chain(word) is None:
        return f"{kind}://**::{word}"
    return word


def names_beside(given: Given) -> list[str]:
    """Names of the files in the folder of a single local file, which may tell the step."""
    path = local_path(given.patterns[0]) if protocol_of(given.patterns[0]) is None else None
    if len(given.files) > 1 or path is None or not Path(path).is_file():
        return []
    own = Path(path)
    names = sorted(other.name for other in own.parent.iterdir() if other.suffix == own.suffix)
    return names[:MOST_NAMES]


def source_of(given: Given, found: NamePatternFound | None) -> tuple[str, ...]:
    """Patterns that match the files, and others of the same kind."""
    typed = [p for p in given.patterns if has_glob(p, protocol_of(p)) or has_time(p)]
    if typed or any(split_chain(pattern) for pattern in given.patterns):
        return given.patterns
    name = found.glob if found is not None else _glob_without_time(given)
    folders = [pattern.rpartition("/")[0] for pattern in given.patterns]
    is_local = all(local_path(pattern) is not None for pattern in given.patterns)
    if not is_local:
        time = time_like(found, base_name(given.patterns[0])) if found else None
        return (f"{_dated(folders[0], time)}/{name}",)
    folder = folders[0] if len(set(folders)) == 1 else commonpath([f or "." for f in folders])
    kept, has_dates = folder, len(set(folders)) > 1
    while kept and _DATE_FOLDER.fullmatch(kept.rpartition("/")[2]):
        kept, has_dates = kept.rpartition("/")[0], True
    start = "" if not kept and not folder.startswith("/") else f"{kept}/"
    source = f"{start}{'**/' if has_dates else ''}{name}"
    matched = {file.identity for file in find_files([source])}
    if {file.identity for file in given.files} <= matched:
        return (source,)
    return given.patterns


def _glob_without_time(given: Given) -> str:
    names = [file.name for file in given.files]
    if len(names) == 1:
        return f"*{''.join(Path(names[0]).suffixes[-2:])}"
    start = len(common_start(names))
    return glob_of(names, [(start, start)] * len(names))


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
