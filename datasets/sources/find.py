"""Finding the radar files that patterns stand for.

Owns the walk down the folders of a pattern, on any store and inside archives. An outage is an
error here, never an empty list: "nothing new" is what a scheduled run trusts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pandas as pd

from squall.datasets.addresses import (
    local_path,
    protocol_of,
    refuse_credentials,
    split_chain,
    without_query,
)
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.sources.access import Options, SourceFile, unavailable
from squall.datasets.sources.containers import BROKEN, ContainerStore, opened_container
from squall.datasets.sources.patterns import (
    FolderNames,
    Tail,
    expand_times,
    fixed_folder,
    has_glob,
    has_time,
    pattern_tail,
)
from squall.datasets.sources.stores import Entry, LocalStore, RemoteStore, Store, store_for

Span = tuple[pd.Timestamp | None, pd.Timestamp | None]
Given = TypeVar("Given", contravariant=True)
Made = TypeVar("Made")


class _Map(Protocol):
    def __call__(self, do: Callable[[Given], Made], items: Iterable[Given], /) -> Iterator[Made]:
        """As the built-in `map`."""


def find_files(
    patterns: Sequence[str],
    options: Mapping[str, Any] | None = None,
    *,
    since: pd.Timestamp | None = None,
    until: pd.Timestamp | None = None,
) -> list[SourceFile]:
    """List the files of all patterns, each once, by name and then address.

    Parameters
    ----------
    patterns : local paths or fsspec addresses, with globs (``**`` spans folders; hidden names have
        to be written out), ``{time:%Y/%m/%d}`` parts, and ``zip://`` or ``tar://`` chains. A local
        path that exists is that file, whatever characters it has.
    options : for the file systems, by protocol (``s3: {anon: true}``) or for all of them.
    since, until : naive UTC, both inclusive, for the time parts; see `expand_times`.

    Returns
    -------
    list of SourceFile, empty if the sources are there and hold none. An archive that cannot be
    read is listed as itself (``zip://::/data/x.zip``); `local_copy` then says why.

    Raises
    ------
    ConfigError
        Patterns or options that cannot work.
    DataError
        A pattern without glob and time that names nothing.
    SourceUnavailable
        A source cannot be listed: no such folder or bucket, no permission, no answer.
    """
    found: dict[str, SourceFile] = {}
    for pattern in patterns:
        for file in _find(pattern, options or {}, (since, until)):
            key = file.address
            if len(patterns) > 1 and local_path(key) is not None:
                key = str(Path(key).absolute())
            found.setdefault(key, file)
    return sorted(found.values(), key=lambda file: (file.name, file.address))


def _find(pattern: str, options: Options, span: Span) -> list[SourceFile]:
    if not pattern or "\0" in pattern:
        raise ConfigError(f"{pattern!r}: is no path or address of radar files")
    refuse_credentials(pattern)
    chain = split_chain(pattern)
    if chain is not None:
        return _find_in_archives(*chain, options, span)
    path, protocol = local_path(pattern), protocol_of(pattern)
    plain = not (has_glob(pattern, protocol) or has_time(pattern))
    store: Store
    if path is None:
        expanded = expand_times(pattern, *span)
        store = store_for(pattern, options)
    else:
        pattern, store = path, LocalStore()
        file = store.describe(Entry(path, path, False))
        if file is not None:
            return [file]
        if Path(path).exists():
            return []
        expanded = expand_times(path, *span)
        if plain:
            raise DataError(
                f"{path}: there is no such file (the current folder is {Path.cwd()}); check the "
                "path, or write a glob such as 'radar/**/*.nc'"
            )
    folder = fixed_folder(pattern, store.protocol)
    tails = {pattern_tail(address[len(folder) :]) for address in expanded}
    files = _walk(store, folder, tails)
    if not files and plain:
        raise DataError(f"{without_query(pattern)}: there is no such file; check the address")
    # a web server may hide the page of a folder whose files it gives away
    if not files and tails and (path is not None or has_glob(pattern, store.protocol)):
        store.check_folder(folder)
    return files


def _find_in_archives(
    kind: str, inner: str, container: str, options: Options, span: Span
) -> list[SourceFile]:
    tails = {pattern_tail(path) for path in expand_times(inner or "**", *span)}

    def listed(archive_file: SourceFile) -> list[SourceFile]:
        address = archive_file.address
        try:
            with opened_container(kind, address, options) as archive:
                store = ContainerStore(archive.info, kind, address)
        except BROKEN:
            # one bad archive must not hide the others; who copies it learns what is wrong
            return [SourceFile(f"{kind}://::{address}", archive_file.version, archive_file.size)]
        except FileNotFoundError:
            return []
        except Exception as error:  # each file system raises its own
            raise unavailable(address, error, options) from error
        return _walk(store, "", tails)

    containers = _find(container, options, span)
    workers = 1 if local_path(container) is not None else RemoteStore.workers
    with _mapping(workers) as mapped:
        return [file for files in mapped(listed, containers) for file in files]


def _walk(store: Store, start: str, tails: Iterable[Tail]) -> list[SourceFile]:
    """Go down level by level, so that all folders of a level are listed at once.

    Links to folders under ``**`` wait until nothing else is left, and are not followed to where
    the walk has been: loops end, and a file is found under its own path first.
    """
    found: list[Entry] = []
    level: dict[str, set[Tail]] = {start: set(tails)}
    links: dict[str, set[Tail]] = {}
    visited: set[tuple[object, Tail]] = set()

    def names_in(item: tuple[str, set[Tail]]) -> tuple[str, FolderNames, list[Entry]]:
        names = FolderNames(item[1], store.protocol)
        return item[0], names, store.entries(item[0], names)

    with _mapping(store.workers) as mapped:
        while level or links:
            if not level:
                path = min(links)
                level = {path: links.pop(path)}
            for folder, left in level.items():
                for tail in [tail for tail in left if tail[0] == "**"]:
                    place = store.identity(folder), tail
                    if place in visited:
                        left.discard(tail)
                    visited.add(place)
            below: dict[str, set[Tail]] = {}
            for folder, names, entries in mapped(names_in, level.items()):
                for name, tail in names.folders():
                    below.setdefault(f"{folder}{name}/", set()).add(tail)
                for entry in entries:
                    for tail in names.below(entry.name):
                        if not (tail or entry.is_folder):
                            found.append(entry)
                        elif not (tail and entry.is_folder):
                            continue
                        elif entry.is_link and tail in names.spanning:
                            links.setdefault(entry.path + "/", set()).add(tail)
                        else:
                            below.setdefault(entry.path + "/", set()).add(tail)
            level = below
        unique = {entry.path: entry for entry in found}
        described = mapped(store.describe, unique.values())
        return [file for file in described if file is not None]


@contextmanager
def _mapping(workers: int) -> Iterator[_Map]:
    if workers == 1:
        yield map
    else:
        with ThreadPoolExecutor(workers) as pool:
            yield pool.map
