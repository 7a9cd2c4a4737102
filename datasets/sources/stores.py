"""Listing one folder of a disk, an object store or a web server.

Owns the differences between them: what a listing costs, what it returns, and which errors mean an
outage. The walk through the folders of a pattern is `squall.datasets.sources.find`.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote

import fsspec
import fsspec.core

from squall.datasets.addresses import HTTP, S3, canonical_path, protocol_of, without_protocol
from squall.datasets.errors import ConfigError
from squall.datasets.sources.access import (
    Options,
    SourceFile,
    SourceUnavailable,
    filesystem,
    http_status,
    is_missing,
    unavailable,
    version_of,
)
from squall.datasets.sources.patterns import FolderNames

_FEW_NAMES = 8  # up to this number, files are asked for one by one instead of listing a folder
_URL_CHARACTERS = "!$&'()*+,;=:@%?#/~"


class Entry(NamedTuple):
    """One line of a listing; ``info`` is None if the listing does not describe the file."""

    name: str
    path: str
    is_folder: bool
    is_link: bool = False
    info: Mapping[str, Any] | None = None


class Store(Protocol):
    """What the walk through a pattern's folders needs; folders end in ``/`` or are empty."""

    @property
    def protocol(self) -> str | None:
        """The ``s3`` of ``s3://``."""

    @property
    def workers(self) -> int:
        """Number of threads that may send requests at the same time."""

    def entries(self, folder: str, names: FolderNames) -> list[Entry]:
        """At least all entries that match ``names``; none if the folder does not exist."""

    def describe(self, entry: Entry) -> SourceFile | None:
        """The file of an entry; None if it does not exist or is no regular file."""

    def identity(self, folder: str) -> object:
        """Equal for two paths of the same folder."""

    def check_folder(self, folder: str) -> None:
        """Raise SourceUnavailable if ``folder`` itself does not exist."""


def store_for(address: str, options: Options) -> Store:
    """The store of an address that is neither local nor in a container."""
    remote = filesystem(address, options)
    if protocol_of(address) in S3:
        return S3Store(remote, address, options)
    return RemoteStore(remote, address, options)


class LocalStore:
    """Folders of this machine; one system call reads many entries."""

    protocol = None
    workers = 1

    def entries(self, folder: str, names: FolderNames) -> list[Entry]:
        entries = [Entry(name, folder + name, False) for name in names.file_names]
        if not names.needs_listing:
            return entries
        try:
            with os.scandir(folder or ".") as listing:
                for entry in listing:
                    path, is_link = folder + entry.name, entry.is_symlink()
                    # for a link to itself `is_dir` raises, `isdir` returns False
                    is_folder = os.path.isdir(path) if is_link else entry.is_dir()  # noqa: PTH112
                    entries.append(Entry(entry.name, path, is_folder, is_link))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise unavailable(folder or ".", error, {}) from error
        return entries

    def describe(self, entry: Entry) -> SourceFile | None:
        try:
            status = os.stat(entry.path)  # noqa: PTH116 (100,000s of Path objects are slow)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise unavailable(entry.path, error, {}) from error
        if not stat.S_ISREG(status.st_mode):
            return None
        version = f"{status.st_size}-{status.st_mtime_ns}"
        return SourceFile(entry.path, version, status.st_size, canonical_path(entry.path))

    def identity(self, folder: str) -> object:
        try:
            status = Path(folder or ".").stat()
        except OSError:
            return folder
        return status.st_dev, status.st_ino

    def check_folder(self, folder: str) -> None:
        try:
            Path(folder or ".").stat()
        except OSError as error:
            raise SourceUnavailable(
                f"{folder}: cannot be listed: {error.strerror}; check the path, its permissions "
                f"and that the disk is mounted (the current folder is {Path.cwd()})"
            ) from error


class RemoteStore:
    """Any storage that fsspec lists, also index pages of web servers."""

    workers = 8

    def __init__(self, remote: fsspec.AbstractFileSystem, address: str, options: Options) -> None:
        self.protocol = protocol_of(address)
        self.remote = remote
        self.options = options

    def entries(self, folder: str, names: FolderNames) -> list[Entry]:
        literals = names.file_names
        one_by_one = self.protocol in HTTP or len(literals) <= _FEW_NAMES
        quoted: Callable[[str], str]
        quoted = partial(quote, safe=_URL_CHARACTERS) if self.protocol in HTTP else str
        entries = [Entry(name, folder + quoted(name), False) for name in literals if one_by_one]
        if names.needs_listing or not one_by_one:
            entries += self._listed(folder)
        return entries

    def _listed(self, folder: str) -> list[Entry]:
        if self.protocol in HTTP and not without_protocol(folder):
            raise ConfigError(f"{folder}*: does not name a host; expected {folder}HOST/…")
        try:
            listing = self.remote.ls(folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:  # each file system raises its own
            raise unavailable(folder, error, self.options) from error
        folder_path = fsspec.core.strip_protocol(folder)
        entries = []
        for info in listing:
            path = info["name"]
            if self.protocol in HTTP:
                path = path.partition("?")[0].partition("#")[0].replace("/./", "/")
            parent, _, name = path.rstrip("/").rpartition("/")
            if not name or parent.strip("/") != folder_path.strip("/"):
                continue  # the folder itself; on index pages also links for sorting and elsewhere
            is_folder = info["type"] == "directory"
            if self.protocol in HTTP:  # an index page gives names only
                entries.append(Entry(unquote(name), folder + name, is_folder))
            else:
                entries.append(Entry(name, folder + name, is_folder, info=info))
        return entries

    def describe(self, entry: Entry) -> SourceFile | None:
        info = entry.info
        if info is None:
            try:
                info = self.remote.info(entry.path)
            except Exception as error:  # each file system raises its own
                if is_missing(error):
                    return None
                raise unavailable(entry.path, error, self.options) from error
        if info.get("type", "file") != "file":
            return None
        return SourceFile(entry.path, version_of(info), info.get("size"))

    def identity(self, folder: str) -> object:
        return folder

    def check_folder(self, folder: str) -> None:
        try:
            self.remote.ls(folder, detail=False)
        except Exception as error:  # each file system raises its own
            if http_status(error) in ("401", "403", "405"):
                return  # the server answers, but does not list this folder
            raise unavailable(folder, error, self.options) from error


class S3Store(RemoteStore):
    """Buckets: one request lists 1,000 names below a prefix, with checksums."""

    def entries(self, folder: str, names: FolderNames) -> list[Entry]:
        if not (names.needs_listing or names.file_names):
            return []
        bucket, slash, key = without_protocol(folder).partition("/")
        if not slash:
            raise ConfigError(f"{folder}*: does not name a bucket; expected s3://BUCKET/…")
        entries = []
        for stem in names.stems():
            for page in self._pages(folder, bucket, key + stem):
                for common in page.get("CommonPrefixes", ()):
                    name = common["Prefix"][len(key) : -1]
                    entries.append(Entry(name, folder + name, True))
                for item in page.get("Contents", ()):
                    name = item["Key"][len(key) :]
                    if name:
                        info = {"type": "file", "size": item["Size"], **item}
                        entries.append(Entry(name, folder + name, False, False, info))
        return entries

    def _pages(self, folder: str, bucket: str, prefix: str) -> Iterator[Mapping[str, Any]]:
        # not `ls`: if it finds nothing it lists the parent folder, and it does not tell whether the
        # bucket or the folder is missing
        continuation: dict[str, str] = {}
        while True:
            try:
                page = self.remote.call_s3(
                    "list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", **continuation
                )
            except Exception as error:  # botocore, aiohttp and s3fs raise their own
                raise unavailable(folder, error, self.options) from error
            yield page
            if not page.get("IsTruncated"):
                return
            continuation = {"ContinuationToken": page["NextContinuationToken"]}

    def check_folder(self, folder: str) -> None:
        """Nothing to check: the listing has raised an error if the bucket does not exist."""
