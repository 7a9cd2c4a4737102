"""Listing one folder of a disk, an object store or a web server.

Owns the differences between them: what a listing costs and gives, and how an outage looks. Walking
down the folders of a pattern is `squall.datasets.sources.find`.
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

from squall.datasets.addresses import HTTP, protocol_of
from squall.datasets.errors import ConfigError
from squall.datasets.sources.access import (
    S3,
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

_FEW_NAMES = 8  # as many are looked at one by one before a whole folder is listed
_URL_CHARACTERS = "!$&'()*+,;=:@%?#/~"


class Entry(NamedTuple):
    """One line of a listing; ``info`` is None where a file was not asked about yet."""

    name: str
    path: str
    is_folder: bool
    is_link: bool = False
    info: Mapping[str, Any] | None = None


class Store(Protocol):
    """What walking down a pattern needs; folders end in ``/`` or are empty."""

    @property
    def protocol(self) -> str | None:
        """The ``s3`` of ``s3://``."""

    @property
    def workers(self) -> int:
        """How many threads may ask at once."""

    def entries(self, folder: str, names: FolderNames) -> list[Entry]:
        """At least all entries that ``names`` wants; none for a folder that is not there."""

    def describe(self, entry: Entry) -> SourceFile | None:
        """The file behind an entry; None if there is none."""

    def identity(self, folder: str) -> object:
        """Equal for folders that are one and the same."""

    def check_folder(self, folder: str) -> None:
        """Raise SourceUnavailable if ``folder`` itself is not there."""


def store_for(address: str, options: Options) -> Store:
    """The store of an address that is neither local nor in an archive."""
    made = filesystem(address, options)
    if protocol_of(address) in S3:
        return S3Store(made, address, options)
    return RemoteStore(made, address, options)


class LocalStore:
    """Folders of this machine, read with one system call for many entries."""

    protocol = None
    workers = 1

    def entries(self, folder: str, names: FolderNames) -> list[Entry]:
        found = [Entry(name, folder + name, False) for name in names.file_names]
        if not names.needs_listing:
            return found
        try:
            with os.scandir(folder or ".") as listing:
                for entry in listing:
                    path, link = folder + entry.name, entry.is_symlink()
                    # of a link to itself only `isdir` says no, without an error
                    is_folder = os.path.isdir(path) if link else entry.is_dir()  # noqa: PTH112
                    found.append(Entry(entry.name, path, is_folder, link))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise unavailable(folder or ".", error, {}) from error
        return found

    def describe(self, entry: Entry) -> SourceFile | None:
        try:
            status = os.stat(entry.path)  # noqa: PTH116 (a Path for each of 100,000s is slow)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise unavailable(entry.path, error, {}) from error
        if not stat.S_ISREG(status.st_mode):
            return None
        return SourceFile(entry.path, f"{status.st_size}-{status.st_mtime_ns}", status.st_size)

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
    """Anything that fsspec lists; index pages of web servers too."""

    workers = 8

    def __init__(self, made: fsspec.AbstractFileSystem, address: str, options: Options) -> None:
        self.protocol = protocol_of(address)
        self.made = made
        self.options = options
        self._prefix = address[: address.index("://") + 3]

    def entries(self, folder: str, names: FolderNames) -> list[Entry]:
        literals = names.file_names
        few = self.protocol in HTTP or len(literals) <= _FEW_NAMES
        written: Callable[[str], str]
        written = partial(quote, safe=_URL_CHARACTERS) if self.protocol in HTTP else str
        found = [Entry(name, folder + written(name), False) for name in literals if few]
        if names.needs_listing or not few:
            found += self._listed(folder)
        return found

    def _listed(self, folder: str) -> list[Entry]:
        if self.protocol in HTTP and folder == self._prefix:
            raise ConfigError(f"{folder}*: does not name a host; expected {folder}HOST/…")
        try:
            listing = self.made.ls(folder, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:  # each file system raises its own
            raise unavailable(folder, error, self.options) from error
        own = self.made._strip_protocol(folder).rstrip("/")
        entries = []
        for info in listing:
            path = info["name"]
            if self.protocol in HTTP:
                path = path.partition("?")[0].partition("#")[0]
            parent, _, name = path.rstrip("/").rpartition("/")
            if not name or parent.strip("/") != own.strip("/"):
                continue  # itself, and on index pages links to sort it and to elsewhere
            shown = unquote(name) if self.protocol in HTTP else name
            # a listing of a web server says nothing about a file but its name
            known = None if self.protocol in HTTP else info
            entries.append(Entry(shown, folder + name, info["type"] == "directory", False, known))
        return entries

    def describe(self, entry: Entry) -> SourceFile | None:
        info = entry.info
        if info is None:
            try:
                info = self.made.info(entry.path)
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
            self.made.ls(folder, detail=False)
        except Exception as error:  # each file system raises its own
            if http_status(error) in ("401", "403", "405"):
                return  # the server is there, it does not show this page
            raise unavailable(folder, error, self.options) from error


class S3Store(RemoteStore):
    """Buckets: one request for 1,000 names below a prefix, checksums in the listing."""

    def entries(self, folder: str, names: FolderNames) -> list[Entry]:
        if not (names.needs_listing or names.file_names):
            return []
        bucket, slash, key = folder[len(self._prefix) :].partition("/")
        if not slash:
            raise ConfigError(f"{folder}*: does not name a bucket; expected s3://BUCKET/…")
        found = []
        for stem in names.stems():
            for page in self._pages(folder, bucket, key + stem):
                for common in page.get("CommonPrefixes", ()):
                    name = common["Prefix"][len(key) : -1]
                    found.append(Entry(name, folder + name, True))
                for item in page.get("Contents", ()):
                    name = item["Key"][len(key) :]
                    if name:
                        info = {"type": "file", "size": item["Size"], **item}
                        found.append(Entry(name, folder + name, False, False, info))
        return found

    def _pages(self, folder: str, bucket: str, prefix: str) -> Iterator[Mapping[str, Any]]:
        # not `ls`: it looks into the parent folder when it finds nothing, and hides which of
        # bucket and folder is missing
        more: dict[str, str] = {}
        while True:
            try:
                page = self.made.call_s3(
                    "list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", **more
                )
            except Exception as error:  # botocore, aiohttp and s3fs raise their own
                raise unavailable(folder, error, self.options) from error
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def check_folder(self, folder: str) -> None:
        """Nothing to do: a listing tells a bucket that is missing from an empty folder."""
