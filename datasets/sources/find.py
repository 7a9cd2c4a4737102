"""Finding the radar files that match patterns.

Owns the walk through the folders of a pattern, on any store and inside zip and tar containers. An
outage raises an error and never gives an empty list, because a scheduled run relies on "nothing
new".
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pandas as pd

from squall.datasets.addresses import (
    local_path,
    precedence_of_canonical,
    real_folder,
    refuse_credentials,
    split_chain,
    without_protocol,
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
    is_excluded,
    pattern_tail,
)
from squall.datasets.sources.stores import Entry, LocalStore, RemoteStore, Store, store_for
from squall.datasets.sources.zarr_stores import (
    ZarrKeys,
    check_no_archive,
    find_scans,
    find_stores,
    is_zarr,
)
from squall.datasets.unpacking import UnpacksTooMuch

Span = tuple[pd.Timestamp | None, pd.Timestamp | None]
Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result")


class _Map(Protocol):
    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterator[Result]:
        """As the built-in `map`."""


def find_files(
    patterns: Sequence[str],
    options: Mapping[str, Any] | None = None,
    *,
    since: pd.Timestamp | None = None,
    until: pd.Timestamp | None = None,
    exclude: Sequence[str] = (),
    zarr: ZarrKeys | None = None,
) -> list[SourceFile]:
    """List the files that match the patterns, each file once, sorted by `precedence`.

    Parameters
    ----------
    patterns : local paths or fsspec addresses, with globs (``**`` spans folders; the dot of a
        hidden name must be written), ``{time:%Y/%m/%d}`` parts, and ``zip://`` or ``tar://``
        chains. A local path that exists means that file, whatever characters it contains.
    options : for the file systems, by protocol (``s3: {anon: true}``) or for all of them.
    since, until : naive UTC, both inclusive, for the time parts; see `expand_times`.
    exclude : globs of files that are left out; see `is_excluded`.
    zarr : what to list of Zarr stores (``….zarr``).

    Returns
    -------
    list of SourceFile, empty if the sources exist but hold no such file. A zip or tar file that
    cannot be read is listed itself (``zip://::/data/x.zip``); `local_copy` then gives the reason.

    Raises
    ------
    ConfigError
        If a pattern or an option cannot work.
    DataError
        If a pattern without glob and time part matches no file.
    SourceUnavailable
        If a source cannot be listed: no such folder or bucket, no permission, no answer.
    """
    real_folder.cache_clear()  # links may lead elsewhere than at the last call
    files: dict[str, SourceFile] = {}
    for pattern in patterns:
        check_no_archive(pattern)
        if is_zarr(pattern):
            found = _find_in_stores(pattern, options or {}, (since, until), zarr)
            files |= {file.identity: file for file in found}
            continue
        for file in _find(pattern, options or {}, (since, until)):
            files.setdefault(file.identity, file)
    if exclude:
        files = {name: file for name, file in files.items() if not is_excluded(name, exclude)}
    return sorted(files.values(), key=lambda file: precedence_of_canonical(file.identity))


def _find_in_stores(
    pattern: str, options: Options, span: Span, keys: ZarrKeys | None
) -> list[SourceFile]:
    if keys is None or not keys.variable:
        raise ConfigError(f"{pattern}: set 'variable' in the network configuration, which to read")
    refuse_credentials(pattern)
    stores = find_stores(local_path(pattern) or pattern, options, *span)
    return [file for store in stores for file in find_scans(store, keys, options)]


def _find(pattern: str, options: Options, span: Span) -> list[SourceFile]:
    if not pattern or "\0" in pattern:
        raise ConfigError(f"{pattern!r}: is no path or address of radar files")
    refuse_credentials(pattern)
    chain = split_chain(pattern)
    if chain is not None:
        return _find_in_containers(*chain, options, span)
    path = local_path(pattern)
    if path is not None:
        return _find_local(path, span)
    return _find_remote(pattern, options, span)


def _find_local(pattern: str, span: Span) -> list[SourceFile]:
    store = LocalStore()
    file = store.describe(Entry(pattern, pattern, False))
    if file is not None:
        return [file]
    if Path(pattern).exists():  # a folder, a pipe or the like
        return []
    expanded = expand_times(pattern, *span)
    if not (has_glob(pattern, store.protocol) or has_time(pattern)):
        raise DataError(
            f"{pattern}: there is no such file (the current folder is {Path.cwd()}); check the "
            "path, or write a glob such as 'radar/**/*.nc'"
        )
    files = _find_below(store, pattern, expanded)
    if not files and expanded:
        store.check_folder(fixed_folder(pattern, store.protocol))
    return files


def _find_remote(pattern: str, options: Options, span: Span) -> list[SourceFile]:
    expanded = expand_times(pattern, *span)
    store = store_for(pattern, options)
    files = _find_below(store, pattern, expanded)
    if files:
        return files
    if "//" in without_protocol(pattern):  # names of S3 may hold //, but mostly it is a slip
        scheme, _, rest = pattern.partition("://")
        return _find_remote(f"{scheme}://{re.sub('/{2,}', '/', rest)}", options, span)
    with_glob = has_glob(pattern, store.protocol)
    if not (with_glob or has_time(pattern)):
        raise DataError(f"{pattern}: there is no such file; check the address")
    # without a glob no folder was listed: a web server may refuse to list a folder whose files
    # it serves
    if expanded and with_glob:
        store.check_folder(fixed_folder(pattern, store.protocol))
    return files


def _find_below(store: Store, pattern: str, expanded: Sequence[str]) -> list[SourceFile]:
    folder = fixed_folder(pattern, store.protocol)
    return _walk(store, folder, {pattern_tail(address[len(folder) :]) for address in expanded})


def _find_in_containers(
    kind: str, members: str, container_pattern: str, options: Options, span: Span
) -> list[SourceFile]:
    tails = {pattern_tail(path) for path in expand_times(members or "**", *span)}

    def members_of(container_file: SourceFile) -> list[SourceFile]:
        address = container_file.address
        try:
            with opened_container(kind, address, options) as container:
                store = ContainerStore(container.info, kind, address)
        except (*BROKEN, UnpacksTooMuch):
            # one broken container must not hide the others; `local_copy` will say what is wrong
            version, size = container_file.version, container_file.size
            return [SourceFile(f"{kind}://::{address}", version, size)]
        except FileNotFoundError:
            return []
        except Exception as error:  # each file system raises its own
            raise unavailable(address, error, options) from error
        return _walk(store, "", tails)

    container_files = _find(container_pattern, options, span)
    workers = 1 if local_path(container_pattern) is not None else RemoteStore.workers
    with _mapping(workers) as mapped:
        return [file for files in mapped(members_of, container_files) for file in files]


def _walk(store: Store, start: str, tails: Iterable[Tail]) -> list[SourceFile]:
    """Go down level by level, so that all folders of a level are listed at the same time.

    Links to folders under ``**`` are followed last, and not if they lead to a folder that the walk
    has visited. So loops end, and a file is found under its own path first.
    """
    entries_found: list[Entry] = []
    level: dict[str, set[Tail]] = {start: set(tails)}
    links: dict[str, set[Tail]] = {}
    visited: set[tuple[object, Tail]] = set()

    def listing_of(item: tuple[str, set[Tail]]) -> tuple[str, FolderNames, list[Entry]]:
        folder, tails = item
        names = FolderNames(tails, store.protocol)
        return folder, names, store.entries(folder, names)

    with _mapping(store.workers) as mapped:
        while level or links:
            if not level:
                path = min(links)
                level = {path: links.pop(path)}
            _drop_visited(level, visited, store)
            next_level: dict[str, set[Tail]] = {}
            for folder, names, entries in mapped(listing_of, level.items()):
                for name, tail in names.folders():
                    next_level.setdefault(f"{folder}{name}/", set()).add(tail)
                entries_found += _sort_entries(names, entries, next_level, links)
            level = next_level
        unique = {entry.path: entry for entry in entries_found}
        described = mapped(store.describe, unique.values())
        return [file for file in described if file is not None]


def _drop_visited(
    level: dict[str, set[Tail]], visited: set[tuple[object, Tail]], store: Store
) -> None:
    """Drop each ``**`` tail that was already followed from the same folder."""
    for folder, tails in level.items():
        for tail in [tail for tail in tails if tail[0] == "**"]:
            visit = store.identity(folder), tail
            if visit in visited:
                tails.discard(tail)
            visited.add(visit)


def _sort_entries(
    names: FolderNames,
    entries: Sequence[Entry],
    next_level: dict[str, set[Tail]],
    links: dict[str, set[Tail]],
) -> Iterator[Entry]:
    """Yield the wanted files; add the folders to walk to ``next_level`` and ``links``."""
    for entry in entries:
        for tail in names.below(entry.name):
            if not (tail or entry.is_folder):
                yield entry
            elif not (tail and entry.is_folder):
                continue
            elif entry.is_link and tail in names.spanning:
                links.setdefault(entry.path + "/", set()).add(tail)
            else:
                next_level.setdefault(entry.path + "/", set()).add(tail)


@contextmanager
def _mapping(workers: int) -> Iterator[_Map]:
    if workers == 1:
        yield map
    else:
        with ThreadPoolExecutor(workers) as pool:
            yield pool.map
