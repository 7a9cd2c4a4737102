"""Where archives lie: Icechunk repositories in folders and on object storage.

Owns addresses, opening, creating and the lock for writing; what is inside is
`datasets.archive.archive`.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import fsspec
import icechunk

from squall.datasets.addresses import is_remote, unreachable
from squall.datasets.errors import BusyError, ConfigError, DataError

BRANCH = "main"
UNFINISHED_S = 600  # after that a repository on object storage without a branch is nobody's
INITIAL_SNAPSHOT = "1CECHNKREP0F1RSTCMT0"  # that of every new Icechunk repository, empty


# Icechunk warns of concurrent local commits each time; `write_lock` prevents them.
icechunk.set_logs_filter("error")


def create_repository(
    address: str, splitting: icechunk.ManifestSplittingConfig
) -> icechunk.Repository:
    """Make a repository, its manifests split as given for good.

    Raises
    ------
    DataError
        If the place is taken by something else, is full, or cannot be reached.
    BusyError
        If another process made one at the same moment.
    """
    config = icechunk.RepositoryConfig(manifest=icechunk.ManifestConfig(splitting=splitting))
    _clear_unfinished(address)
    try:
        return icechunk.Repository.create(storage_of(address), config=config)
    except icechunk.IcechunkError as error:
        same_moment = "updated by other session" in str(error)
        if not same_moment and "clean prefixes" not in str(error):
            raise unwritable(address, error) from error
        if same_moment or _begun(address) or repository_exists(address):
            raise BusyError(
                f"{address}: another process is making this archive at this moment; run again. One "
                f"that was killed meanwhile is cleared away after {UNFINISHED_S // 60} minutes"
            ) from error
        raise DataError(
            f"{address}: an archive needs a folder of its own, and this one is not empty"
        ) from error


def _begun(address: str) -> list[str]:
    """The objects at an address if they are the beginning of a repository and nothing else."""
    if urlsplit(address).scheme != "s3":
        return []
    store, path = fsspec.url_to_fs(address, use_listings_cache=False)
    there = store.find(path)
    names = {name.rpartition("/")[2] for name in there}
    return there if names <= {INITIAL_SNAPSHOT, "config.yaml"} else []


def _clear_unfinished(address: str) -> None:
    """Remove what a process left that was killed while it made a repository.

    The caller has the lock for a folder; on object storage what is young may be at work.
    """
    if repository_exists(address):
        return
    if is_remote(address):
        begun = _begun(address)
        if begun:
            store, _ = fsspec.url_to_fs(address)
            youngest = max(store.modified(name) for name in begun)
            if youngest.timestamp() < time.time() - UNFINISHED_S:
                store.rm(begun)
        return
    there = [path for path in Path(address).rglob("*") if not path.is_dir()]
    if all(_of_a_new_repository(path) for path in there):
        for path in there:
            path.unlink()


def _of_a_new_repository(path: Path) -> bool:
    # a name with # is a file that was not written to its end
    if path.name.startswith((INITIAL_SNAPSHOT, "ref.json#", "config.yaml#")):
        return True
    return path.name == "config.yaml" and b"inline_chunk_threshold_bytes" in path.read_bytes()


def storage_of(address: str) -> icechunk.Storage:
    """Where Icechunk keeps an archive; credentials come from the environment.

    Raises
    ------
    ConfigError
        If the address is of a kind that holds no archives.
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
    raise ConfigError(
        f"{address}: an archive lies in a folder, at s3://bucket/prefix or at gs://bucket/prefix"
    )


def repository_exists(address: str) -> bool:
    """Whether an Icechunk repository lies at the address.

    Raises
    ------
    DataError
        If the object store cannot be reached.
    """
    if not is_remote(address):
        return Path(address).is_dir() and icechunk.Repository.exists(storage_of(address))
    try:
        return icechunk.Repository.exists(storage_of(address))
    except icechunk.IcechunkError as error:
        raise unreachable(address, error) from error


def open_repository(address: str) -> icechunk.Repository:
    """The Icechunk repository of an archive.

    Raises
    ------
    DataError
        If there is none, or it cannot be opened or reached.
    """
    if not repository_exists(address):
        raise DataError(f"{address}: there is no archive; make one with `squall ingest`")
    try:
        return icechunk.Repository.open(storage_of(address))
    except icechunk.IcechunkError as error:
        raise DataError(f"{address}: cannot be opened as an archive: {error}") from error


def unwritable(address: str, error: Exception) -> DataError:
    """An error of the storage below Icechunk, said in one line."""
    text = str(error)
    if "No space left" in text or "os error 28" in text or "os error 122" in text:
        return DataError(
            f"{address}: the disk is full; what was committed before is whole, free some space "
            "and run again"
        )
    for reason, number in (("Permission denied", 13), ("Read-only file system", 30)):
        if reason in text or f"os error {number}" in text:
            return DataError(f"{address}: may not be written ({reason[0].lower()}{reason[1:]})")
    return unreachable(address, error)


@contextmanager
def write_lock(address: str | Path, timeout_s: float = 60.0) -> Iterator[None]:
    """Hold an archive's file lock: on a local disk Icechunk allows one committer at a time.

    Object storage has none: there the second of two commits fails with a conflict by itself.

    Raises
    ------
    BusyError
        If another process keeps the lock longer than the time-out.
    """
    address = os.fspath(address)
    if is_remote(address):
        yield
        return
    path = lock_path(address)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path).acquire(timeout=timeout_s)
    except filelock.Timeout as error:
        raise BusyError(
            f"{address}: another process has been writing for {timeout_s:g} s (lock {path}); it "
            "will do its work, run again when it is done"
        ) from error
    except OSError as error:
        raise DataError(f"{address}: may not be written: {path}: {error.strerror}") from error
    with lock:
        yield


@contextmanager
def crash_mark(address: str) -> Iterator[bool]:
    """Whether the process that was in this block last died in it; only known on a local disk.

    A file whose reader crashes takes down a pass that reads by itself, and would take down every
    pass after it: who finds the mark should read in processes of their own.
    """
    if is_remote(address):
        yield False
        return
    mark = Path(address).with_name(Path(address).name + ".reading")
    died = mark.exists()
    mark.touch()
    try:
        yield died
    finally:
        mark.unlink(missing_ok=True)


def lock_path(address: str | Path) -> Path:
    """Where the file lock of an archive lies: beside it, for Icechunk wants its folder alone."""
    path = Path(address)
    return path.with_name(path.name + ".lock")
