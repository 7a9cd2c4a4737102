"""Files inside zip and tar archives, which may lie anywhere and in one another.

Owns opening archives and what is in them. Local archives and remote zips are not copied.
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

from squall.datasets.addresses import local_path, split_chain
from squall.datasets.sources.access import Options, SourceFile, filesystem, version_of
from squall.datasets.sources.patterns import FolderNames
from squall.datasets.sources.stores import Entry

# what the archive libraries raise for bytes that are no archive, cut off, damaged or encrypted
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
_BLOCK_SIZE = 2**22  # s3fs would fetch 50 MB for the few bytes of a zip's directory


class Archive:
    """An open archive: files by name without ``./`` or ``/`` in front, the last of equal names."""

    def __init__(self, kind: str, stream: IO[bytes]) -> None:
        self.info: dict[str, Mapping[str, Any]] = {}
        self._member: dict[str, Any] = {}
        self._archive: zipfile.ZipFile | tarfile.TarFile
        if kind == "zip":
            self._archive = zipfile.ZipFile(stream)
            for zipped in self._archive.infolist():
                if not zipped.is_dir():
                    info = {"size": zipped.file_size, "CRC": f"{zipped.CRC:08x}"}
                    self._add(zipped.filename, zipped, info)
        else:
            self._archive = tarfile.open(fileobj=stream, mode="r:*")  # noqa: SIM115 (closed below)
            for taken in self._archive:
                if taken.isreg():
                    self._add(taken.name, taken, {"size": taken.size, "mtime": taken.mtime})

    def _add(self, name: str, member: Any, info: Mapping[str, Any]) -> None:
        while name.startswith(("./", "/")):
            name = name.partition("/")[2]
        self.info[name], self._member[name] = info, member

    def open(self, name: str) -> IO[bytes]:
        """Stream of one file; KeyError if the archive has none of that name."""
        member = self._member[name]
        if isinstance(self._archive, zipfile.ZipFile):
            return self._archive.open(member)
        return cast(IO[bytes], self._archive.extractfile(member))

    def close(self) -> None:
        self._archive.close()


@contextmanager
def opened_container(kind: str, container: str, options: Options) -> Iterator[Archive]:
    """Open the archive at an address; raises what the libraries raise."""
    with ExitStack() as stack:
        # a zip has its directory at one place, for that of a tar the whole file has to be read
        stream = stack.enter_context(_opened(container, options, at_random=kind == "zip"))
        archive = Archive(kind, stream)
        stack.callback(archive.close)
        yield archive


@contextmanager
def _opened(address: str, options: Options, at_random: bool) -> Iterator[IO[bytes]]:
    chain, path = split_chain(address), local_path(address)
    with ExitStack() as stack:
        if chain is not None:
            kind, member, container = chain
            archive = stack.enter_context(opened_container(kind, container, options))
            yield stack.enter_context(archive.open(member))
        elif path is not None:
            yield stack.enter_context(Path(path).open("rb"))
        else:
            made = filesystem(address, options)
            path = made._strip_protocol(address)
            if at_random:
                stream = stack.enter_context(made.open(path, "rb", block_size=_BLOCK_SIZE))
                if _seeks(stream):
                    yield stream
                    return
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="squall-"))
            copy = Path(folder) / "archive"
            made.get_file(path, str(copy))
            yield stack.enter_context(copy.open("rb"))


def _seeks(stream: IO[bytes]) -> bool:
    try:
        stream.seek(-1, os.SEEK_END)
        stream.read(1)
        stream.seek(0)
    except ValueError:  # a web server that sends files from their beginning only
        return False
    return True


class OpenContainers:
    """Keeps the archive of the last file open, for files of one archive that follow each other.

    A context manager for one thread; the archive is opened again when another one is asked for.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._stack = ExitStack()
        self._held: tuple[tuple[str, str], Archive] | None = None

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
        """Let go of the archive, which the next call opens anew."""
        self._held = None
        self._stack.close()

    def get(self, kind: str, container: str) -> Archive:
        """The archive at an address."""
        if self._held is None or self._held[0] != (kind, container):
            self.close()
            archive = self._stack.enter_context(opened_container(kind, container, self._options))
            self._held = (kind, container), archive
        return self._held[1]


class ContainerStore:
    """The folders that the names in an archive make up."""

    protocol = None
    workers = 1

    def __init__(self, info: Mapping[str, Mapping[str, Any]], kind: str, container: str) -> None:
        self._address = f"{kind}://{{}}::{container}"
        self._folders: dict[str, dict[tuple[str, bool], Entry]] = {}
        for path, about in info.items():
            folder = ""
            *parents, name = path.split("/")
            for parent in parents:
                entry = Entry(parent, folder + parent, True)
                self._folders.setdefault(folder, {})[parent, True] = entry
                folder += parent + "/"
            entry = Entry(name, path, False, False, about)
            self._folders.setdefault(folder, {})[name, False] = entry

    def entries(self, folder: str, names: FolderNames) -> list[Entry]:
        return list(self._folders.get(folder, {}).values())

    def describe(self, entry: Entry) -> SourceFile | None:
        assert entry.info is not None
        address = self._address.replace("{}", entry.path, 1)
        return SourceFile(address, version_of(entry.info), entry.info["size"])

    def identity(self, folder: str) -> object:
        return folder

    def check_folder(self, folder: str) -> None:
        """Nothing to do: what an archive does not name is not there."""
