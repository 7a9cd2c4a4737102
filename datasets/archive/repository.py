"""Icechunk repositories of archives, in folders and on object storage.

Owns opening and creating them, the lock for writing and the mark of a crash. Knows nothing of what
is in a repository: that is `squall.datasets.archive.layout`.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import filelock
import fsspec
import icechunk

from squall.datasets.addresses import HTTP, archive_address, is_remote, protocol_of, unreachable
from squall.datasets.archive.icechunk_errors import (
    in_words,
    is_created_meanwhile,
    is_folder_not_empty,
    is_of_icechunk,
    unwritable,
)
from squall.datasets.archive.records import CODES
from squall.datasets.errors import BusyError, ConfigError, DataError

BRANCH = "main"
# Icechunk would read hundreds of manifests at each opening, of chunks that nobody asks for
_NO_PRELOAD = icechunk.RepositoryConfig(
    manifest=icechunk.ManifestConfig(
        preload=icechunk.ManifestPreloadConfig(
            max_total_refs=0, preload_if=icechunk.ManifestPreloadCondition.false()
        )
    )
)
LISTED_PAGES = 15  # requests for a size or a number of snapshots on object storage
UNFINISHED_S = 600  # older unfinished repositories on object storage are removed
INITIAL_SNAPSHOT = "1CECHNKREP0F1RSTCMT0"  # the empty first snapshot of every repository

# What Icechunk writes before the branch, which completes a repository. On a disk it writes to a
# name with # and renames the file when it is complete.
_NEW_REPOSITORY = re.compile(
    rf"(config\.yaml|snapshots/{INITIAL_SNAPSHOT})(#\d+)?|refs/branch\.{BRANCH}/ref\.json#\d+"
)
_ICECHUNK = "ICE🧊CHUNK".encode()  # the first bytes of a snapshot


# Icechunk warns of concurrent local commits each time; `write_lock` prevents them.
icechunk.set_logs_filter("error")


def create_repository(
    address: str, splitting: icechunk.ManifestSplittingConfig
) -> icechunk.Repository:
    """Create a repository; how its manifests are split is stored in it and stays.

    Raises
    ------
    DataError
        If something else lies at the address, the disk is full, or the address cannot be reached.
    BusyError
        If another process created one at the same moment.
    """
    if not is_remote(address) and Path(address).exists() and not Path(address).is_dir():
        raise DataError(f"{address}: is a file, and an archive needs a folder; give another place")
    config = icechunk.RepositoryConfig(manifest=icechunk.ManifestConfig(splitting=splitting))
    _remove_unfinished(address)
    try:
        with _marked_as_ours(address):
            return icechunk.Repository.create(storage_of(address), config=config)
    except BaseException as error:
        if not is_of_icechunk(error):
            raise
        created_meanwhile = is_created_meanwhile(error)
        if not created_meanwhile and not is_folder_not_empty(error):
            raise unwritable(address, error) from error
        store, names = _objects(address)
        is_unfinished = store is not None and _is_unfinished_archive(names, store.cat_file)
        if created_meanwhile or is_unfinished or repository_exists(address):
            raise BusyError(
                f"{address}: another process is making this archive at this moment; run again. If "
                f"it was killed, what it left is removed after {UNFINISHED_S // 60} minutes"
            ) from error
        raise DataError(
            f"{address}: an archive needs a folder of its own, and this one is not empty. If a run "
            "was killed while it made the archive, remove what it left and run again"
        ) from error


@contextmanager
def _marked_as_ours(address: str) -> Iterator[None]:
    """Leave an empty file beside a folder if the creation of an archive in it is cut off.

    It proves that all of the folder is Squall's, also before the configuration is written.
    """
    mark = _beside(address, ".creating")
    if (
        is_remote(address)
        or any(not path.is_dir() for path in Path(address).rglob("*"))
        or (mark.exists() and not _is_own_mark(mark))
    ):
        yield
        return
    with suppress(OSError):  # a disk that cannot be written to is reported by the creation
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    yield
    with suppress(OSError):
        mark.unlink()


def _remove_unfinished(address: str) -> None:
    """Remove what is left of a process that was killed while it created an archive.

    Nothing is removed unless `_is_unfinished_archive` or the mark beside the folder proves that all
    of it is Squall's. In a folder the caller holds the lock. Object storage has no lock, so young
    objects are kept: another process may be creating them.
    """
    if repository_exists(address):
        return
    if is_remote(address):
        store, names = _objects(address)
        if store is not None and _is_unfinished_archive(names, store.cat_file):
            youngest = max(store.modified(name) for name in names.values())
            if youngest.timestamp() < time.time() - UNFINISHED_S:
                store.rm(list(names.values()))
        return
    paths = [path for path in Path(address).rglob("*") if path.is_symlink() or not path.is_dir()]
    files = {path.relative_to(address).as_posix(): path for path in paths}
    is_marked = _is_own_mark(_beside(address, ".creating"))
    if (is_marked and all(_NEW_REPOSITORY.fullmatch(name) for name in files)) or (
        _is_unfinished_archive(files, _content_of)
    ):
        for path in paths:
            path.unlink()


def _objects(address: str) -> tuple[Any, dict[str, str]]:
    """File system of an S3 address, and the objects below it by name; None on other storage."""
    if protocol_of(address) != "s3":
        return None, {}
    store, root = fsspec.url_to_fs(address, use_listings_cache=False)
    root = root.rstrip("/")
    return store, {name.removeprefix(f"{root}/"): name for name in store.find(root)}


def _content_of(path: Path) -> bytes:
    """Content of a regular file; nothing of a link, which belongs to somebody else."""
    return b"" if path.is_symlink() else path.read_bytes()


def _is_unfinished_archive(names: Mapping[str, Any], content_of: Callable[[Any], bytes]) -> bool:
    """Whether a place holds what the creation of an archive leaves, and nothing else.

    The proof is the configuration, because only Squall names `CODES` in it. A repository of another
    program, or a file that is only called the same, is never an unfinished archive.
    """
    if not names or not all(_NEW_REPOSITORY.fullmatch(name) for name in names):
        return False
    configurations = [name for name in names if name.startswith("config.yaml")]
    snapshots = [name for name in names if name.startswith("snapshots/")]
    return (
        bool(configurations)
        and all(_is_own_configuration(content_of(names[name])) for name in configurations)
        and all(content_of(names[name]).startswith(_ICECHUNK) for name in snapshots)
    )


def _is_own_configuration(content: bytes) -> bool:
    return content.startswith(b"inline_chunk_threshold_bytes") and CODES.encode() in content


def listed_sizes(address: str, folder: str = "") -> list[int] | None:
    """Sizes of the objects of an archive at ``s3://``, or of one of its folders, bytes.

    Returns
    -------
    None if there are more than `LISTED_PAGES` thousand, or on other storage.

    Raises
    ------
    DataError
        If the object store does not answer.
    """
    if protocol_of(address) != "s3":
        return None
    sizes: list[int] = []
    further: dict[str, str] = {}
    try:
        store, root = fsspec.url_to_fs(address)
        bucket, _, prefix = f"{root.rstrip('/')}/{folder}".partition("/")
        for _ in range(LISTED_PAGES):
            page = store.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **further)
            sizes += [entry["Size"] for entry in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return sizes
            further = {"ContinuationToken": page["NextContinuationToken"]}
    except Exception as error:  # the store has errors of its own
        raise unreachable(address, error) from error
    return None


def storage_of(address: str) -> icechunk.Storage:
    """Icechunk's storage for an address; credentials come from the environment.

    Raises
    ------
    ConfigError
        If an archive cannot lie at such an address.
    """
    if not is_remote(address):
        return icechunk.local_filesystem_storage(address)
    parts = urlsplit(address)
    bucket, prefix = parts.netloc, parts.path.strip("/")
    if parts.scheme == "s3" and bucket and prefix:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return icechunk.s3_storage(
            bucket=bucket,
            prefix=prefix,
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
            endpoint_url=endpoint,
            allow_http=endpoint is not None and endpoint.startswith("http://"),
            force_path_style=endpoint is not None,
            from_env=True,
        )
    if parts.scheme == "gs" and bucket and prefix:
        return icechunk.gcs_storage(bucket=bucket, prefix=prefix, from_env=True)
    if protocol_of(address) in HTTP:
        raise ConfigError(
            f"{address}: an archive cannot be read or written over http; copy it to a folder, or "
            "make it readable at s3:// or gs:// (plain Zarr stores can be read over http)"
        )
    raise ConfigError(
        f"{address}: an archive lies in a folder, at s3://bucket/prefix or at gs://bucket/prefix"
    )


def repository_exists(address: str) -> bool:
    """Whether an Icechunk repository lies at the address.

    Raises
    ------
    DataError
        If its branch cannot be read, or the object store cannot be reached.
    """
    address = archive_address(address)
    if not is_remote(address) and not Path(address).is_dir():
        return False
    with in_words(address):
        return icechunk.Repository.exists(storage_of(address))


def open_repository(address: str) -> icechunk.Repository:
    """The Icechunk repository of an archive.

    Raises
    ------
    DataError
        If there is none, or it cannot be opened or reached.
    """
    if not repository_exists(address):
        raise DataError(f"{address}: there is no archive; make one with `squall ingest`")
    with in_words(address):
        return icechunk.Repository.open(storage_of(address), config=_NO_PRELOAD)


@contextmanager
def write_lock(address: str | Path, timeout_s: float = 60.0) -> Iterator[None]:
    """Hold an archive's file lock: on a local disk Icechunk allows one committer at a time.

    Object storage needs no lock: the second of two concurrent commits fails with a conflict.

    Raises
    ------
    BusyError
        If another process holds the lock longer than the time-out.
    DataError
        If the lock cannot be written.
    """
    address = os.fspath(address)
    if is_remote(address):
        yield
        return
    path = lock_path(address)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_other_file(address, path)
        # filelock waits for a file that cannot be made, as if another process held it
        path.open("ab").close()
        lock = filelock.FileLock(path).acquire(timeout=timeout_s)
    except filelock.Timeout as error:
        raise BusyError(
            f"{address}: another process has been writing for {timeout_s:g} s (lock {path}); run "
            "again when it has finished"
        ) from error
    except OSError as error:
        raise _may_not_be_written(address, path, error) from error
    with lock:
        yield


def _may_not_be_written(address: str, path: Path, error: OSError) -> DataError:
    """Why a file beside an archive cannot be written, and what to do."""
    in_the_way = [folder for folder in path.parents if folder.exists() and not folder.is_dir()]
    if in_the_way:
        return DataError(
            f"{address}: may not be written: {in_the_way[0]} is a file, and a folder is needed; "
            "move it away, or choose another place for the archive"
        )
    return DataError(
        f"{address}: may not be written: {path}: {error.strerror}; give this user the right to "
        f"write in {path.parent}, or choose another place for the archive"
    )


def _refuse_other_file(address: str, lock: Path) -> None:
    """Raise if the lock's place is taken: making a lock would empty the file."""
    if lock.exists() and (not lock.is_file() or lock.stat().st_size):
        raise DataError(
            f"{address}: {lock} is no lock of Squall, because it is not empty; move it away, "
            "or choose another name for the archive"
        )


@contextmanager
def crash_mark(address: str) -> Iterator[bool]:
    """Mark that this process reads radar files; yields whether an earlier one crashed doing so.

    The mark is an empty file beside the archive, removed when the block ends; a crash leaves it.
    If it exists, read files in worker processes: the file that crashed the reader would crash
    every later pass, too. On object storage there is no mark.
    """
    if is_remote(address):
        yield False
        return
    mark = _beside(address, ".reading")
    crashed = mark.exists()
    if crashed and not _is_own_mark(mark):
        yield False
        return
    try:
        mark.touch()
    except OSError as error:
        raise _may_not_be_written(address, mark, error) from error
    try:
        yield crashed
    finally:
        mark.unlink(missing_ok=True)


def lock_path(address: str | Path) -> Path:
    """Path of an archive's file lock: beside the folder, in which Icechunk allows no other file."""
    return _beside(address, ".lock")


def _is_own_mark(mark: Path) -> bool:
    """Whether a file beside an archive is a mark of ours, which is empty."""
    return mark.is_file() and mark.stat().st_size == 0


def _beside(address: str | Path, suffix: str) -> Path:
    """A file beside an archive's folder; one file, also if links lead to the folder."""
    path = Path(os.path.realpath(address))
    return path.with_name(path.name + suffix)
