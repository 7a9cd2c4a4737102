"""Files inside zip and tar containers, which may lie on any storage and inside each other.

Owns opening a container and reading its members. A local container and a remote zip file are read
in place; a remote tar file is copied first. "Container" is a zip or tar file; "archive" is always a
Squall archive.
"""

import gzip
import lzma
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import fsspec.core

from squall.datasets.addresses import local_path, split_chain
from squall.datasets.sources.access import Options, SourceFile, filesystem, version_of
from squall.datasets.sources.patterns import FolderNames
from squall.datasets.sources.stores import Entry
from squall.datasets.unpacking import check_member, check_total

# what the libraries raise for a file that is no container, or a truncated, damaged or encrypted one
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
_LONGEST_HEADER = 2**20
_BLOCK_SIZE = 2**22  # s3fs would fetch 50 MB to read the few bytes of a zip file's directory


class _TarMember(tarfile.TarInfo):
    """A header of a tar file; `tarfile` would read a long name of any length into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_TarMember":
        member = super().frombuf(buf, encoding, errors)
        if not member.isreg() and member.size > _LONGEST_HEADER:
            raise tarfile.StreamError(f"it has a header of {member.size:,} bytes")
        return member


class Container:
    """An open zip or tar file: its members by name.

    Names have no leading ``./`` or ``/``. Of several members with the same name, the last counts.

    Attributes
    ----------
    info : size and checksum or time of each member, by name.
    """

    def __init__(self, kind: str, stream: IO[bytes], address: str, packed: int) -> None:
        self._address, self._packed, self._unpacked = address, packed, 0
        self.info: dict[str, Mapping[str, Any]] = {}
        self._members: dict[str, Any] = {}
        self._file: zipfile.ZipFile | tarfile.TarFile
        if kind == "zip":
            self._file = zipfile.ZipFile(stream)
            for zip_member in self._file.infolist():
                if not zip_member.is_dir():
                    info = {"size": zip_member.file_size, "CRC": f"{zip_member.CRC:08x}"}
                    self._add(zip_member.filename, zip_member, info)
        else:
            self._file = tarfile.open(  # noqa: SIM115 (closed below)
                fileobj=stream, mode="r:*", tarinfo=_TarMember
            )
            for tar_member in self._file:
                if tar_member.isreg():
                    info = {"size": tar_member.size, "mtime": tar_member.mtime}
                    self._add(tar_member.name, tar_member, info)

    def _add(self, name: str, member: Any, info: Mapping[str, Any]) -> None:
        while name.startswith(("./", "/")):
            name = name.partition("/")[2]
        self.info[name], self._members[name] = info, member
        self._unpacked += info["size"]
        check_total(self._address, self._packed, self._unpacked, len(self._members))

    def open(self, name: str, *, is_container: bool = False) -> IO[bytes]:
        """Stream of one member.

        Raises
        ------
        KeyError
            If the container has no member of this name.
        UnpacksTooMuch
            If it is absurdly large.
        """
        member = self._members[name]
        check_member(self._address, name, self.info[name]["size"], is_container)
        if isinstance(self._file, zipfile.ZipFile):
            return self._file.open(member)
        return cast(IO[bytes], self._file.extractfile(member))

    def close(self) -> None:
        self._file.close()


@contextmanager
def opened_container(kind: str, address: str, options: Options) -> Iterator[Container]:
    """Open the container at an address; raises what the libraries raise."""
    with ExitStack() as stack:
        # a zip file has its directory in one place; of a tar file, everything has to be read
        stream, size = stack.enter_context(_opened(address, options, at_random=kind == "zip"))
        container = Container(kind, stream, address, size)
        stack.callback(container.close)
        yield container


@contextmanager
def _opened(address: str, options: Options, at_random: bool) -> Iterator[tuple[IO[bytes], int]]:
    """Stream of a container, and its size in bytes."""
    chain, path = split_chain(address), local_path(address)
    with ExitStack() as stack:
        if chain is not None:
            kind, member, outer_address = chain
            outer = stack.enter_context(opened_container(kind, outer_address, options))
            stream = stack.enter_context(outer.open(member, is_container=True))
            yield stream, outer.info[member]["size"]
        elif path is not None:
            yield stack.enter_context(Path(path).open("rb")), Path(path).stat().st_size
        else:
            remote = filesystem(address, options)
            path = fsspec.core.strip_protocol(address)
            if at_random:
                stream = stack.enter_context(remote.open(path, "rb", block_size=_BLOCK_SIZE))
                size = _size_if_it_seeks(stream)
                if size is not None:
                    yield stream, size
                    return
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="squall-"))
            copy = Path(folder) / "container"
            remote.get_file(path, str(copy))
            yield stack.enter_context(copy.open("rb")), copy.stat().st_size


def _size_if_it_seeks(stream: IO[bytes]) -> int | None:
    try:
        size = stream.seek(-1, os.SEEK_END) + 1
        stream.read(1)
        stream.seek(0)
    except ValueError:  # the web server sends files only from their beginning
        return None
    return size


class OpenContainers:
    """Keeps the last container open, for files of one container that are read in a row.

    A context manager for one thread. When another container is asked for, the last one is closed.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._stack = ExitStack()
        self._last: tuple[tuple[str, str], Container] | None = None

    def __enter__(self) -> "OpenContainers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the container; the next call opens it again."""
        self._last = None
        self._stack.close()

    def get(self, kind: str, address: str) -> Container:
        """The container at an address."""
        if self._last is None or self._last[0] != (kind, address):
            self.close()
            container = self._stack.enter_context(opened_container(kind, address, self._options))
            self._last = (kind, address), container
        return self._last[1]


class ContainerStore:
    """The members of a container as a `Store`: folders follow from the members' names."""

    protocol = None
    workers = 1

    def __init__(self, info: Mapping[str, Mapping[str, Any]], kind: str, address: str) -> None:
        self._address_template = f"{kind}://{{}}::{address}"
        self._folders: dict[str, dict[tuple[str, bool], Entry]] = {}
        for path, member_info in info.items():
            folder = ""
            *parents, name = path.split("/")
            for parent in parents:
                entry = Entry(parent, folder + parent, True)
                self._folders.setdefault(folder, {})[parent, True] = entry
                folder += parent + "/"
            entry = Entry(name, path, False, False, member_info)
            self._folders.setdefault(folder, {})[name, False] = entry

    def entries(self, folder: str, names: FolderNames) -> list[Entry]:
        return list(self._folders.get(folder, {}).values())

    def describe(self, entry: Entry) -> SourceFile | None:
        assert entry.info is not None
        address = self._address_template.replace("{}", entry.path, 1)
        return SourceFile(address, version_of(entry.info), entry.info["size"])

    def identity(self, folder: str) -> object:
        return folder

    def check_folder(self, folder: str) -> None:
        """Nothing to check: a folder that no member's name contains does not exist."""
