"""Where runs are published, on this machine or on object storage; no reader sees half a run.

Public: `Store`, `open_store`, `run_id`, `reference_of`, `content_type`.

The layout is ``runs/ID/…`` with ``manifest.json`` as the last file, and beside it ``latest.json``,
``runs.json``, ``status.json``, ``metrics.prom``, ``alerts.json``, ``alerts/`` and the page. A run
is written whole and never changed; ``latest.json`` names it afterwards.
"""

from __future__ import annotations

import mimetypes
import re
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import fsspec
import pandas as pd

from squall.datasets.addresses import S3, is_remote, protocol_of, unreachable
from squall.datasets.errors import DataError
from squall.pipeline.provenance import atomic_path

RUNS, MANIFEST = "runs", "manifest.json"
BASE_MAP = "map.json"  # what lies under the rain
_INCOMING = ".incoming"  # runs that are being written
FOR_EVER, NEVER = "public, max-age=31536000, immutable", "no-cache"  # Cache-Control
MESSAGES = "alerts"  # folder of the messages of alerts
_KINDS = {
    ".covjson": "application/prs.coverage+json",
    ".geojson": "application/geo+json",
    ".nc": "application/x-netcdf",
    ".prom": "text/plain; version=0.0.4",
    ".tif": "image/tiff; application=geotiff",
}
UPLOADS = 10  # files of a run that are uploaded at once
_ID = re.compile(r"(\d{8}T\d{4}(?:\d{2})?Z)-[0-9a-f]{8}")


def run_id(reference: pd.Timestamp) -> str:
    """A new name for a run."""
    seconds = "%S" if reference.second else ""
    return f"{reference:%Y%m%dT%H%M{seconds}}Z-{secrets.token_hex(4)}"


def reference_of(run: str) -> pd.Timestamp | None:
    """The reference time of a run, from its name; None if it is no name of a run."""
    matched = _ID.fullmatch(run)
    return pd.Timestamp(matched[1]).tz_localize(None) if matched else None


def content_type(name: str) -> str:
    """The media type of a published file, by its name like ``alerts/a.xml``."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".xml" and name.startswith(f"{MESSAGES}/"):
        return "application/cap+xml"  # CAP 1.2
    return _KINDS.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


class Store(Protocol):
    """Where a live service publishes."""

    def new_run(self, run: str) -> Any:
        """A context with an empty folder on this machine. The run is published when it ends."""
        ...

    def write(self, name: str, content: str | bytes) -> None:
        """Replace a small file at once."""
        ...

    def read(self, name: str) -> str | None:
        """A small file; None if there is none."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the small files in a folder, like ``alerts/a.xml``."""
        ...

    def remove_file(self, name: str) -> None:
        """Delete a small file, if it is there."""
        ...

    def read_bytes(self, name: str, start: int = 0, end: int | None = None) -> bytes | None:
        """The content of a file, or of its bytes from ``start`` to before ``end``; None if there
        is none.
        """
        ...

    def size(self, name: str) -> int | None:
        """Length of a file in bytes; None if there is none."""
        ...

    def runs(self) -> list[str]:
        """Names of the runs, also of those that are not complete; oldest first."""
        ...

    def remove(self, run: str) -> None:
        """Delete a run."""
        ...


def open_store(address: str) -> Store:
    """The store at an address."""
    return _ObjectStore(address) if is_remote(address) else _Folder(Path(address))


class _Folder:
    """A folder on this machine: a run is renamed into its place."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def new_run(self, run: str) -> Iterator[Path]:
        shutil.rmtree(self.root / _INCOMING, ignore_errors=True)  # of a process that was killed
        folder = self.root / _INCOMING / run
        with self._written():
            folder.mkdir(parents=True)
        try:
            yield folder
            with self._written():
                (self.root / RUNS).mkdir(exist_ok=True)
                folder.rename(self.root / RUNS / run)
        finally:
            shutil.rmtree(self.root / _INCOMING, ignore_errors=True)

    def write(self, name: str, content: str | bytes) -> None:
        with self._written(), atomic_path(self.root / name) as temporary:
            temporary.write_bytes(_bytes(content))

    def read(self, name: str) -> str | None:
        content = self.read_bytes(name)
        return None if content is None else content.decode()

    def read_bytes(self, name: str, start: int = 0, end: int | None = None) -> bytes | None:
        try:
            with (self.root / name).open("rb") as file:
                file.seek(start)
                return file.read(-1 if end is None else max(0, end - start))
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        inside = self.root / folder
        paths = inside.iterdir() if inside.is_dir() else ()
        return sorted(f"{folder}/{path.name}" for path in paths if not path.name.startswith("."))

    def remove_file(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def runs(self) -> list[str]:
        folder = self.root / RUNS
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(name for name in names if _ID.fullmatch(name))

    def remove(self, run: str) -> None:
        # a reader that still has the manifest must not find a part of the run
        hidden = self.root / _INCOMING / f"{run}.old"
        hidden.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            (self.root / RUNS / run).rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"{self.root}: cannot be written ({error.strerror}); publish_to must be a folder "
                "with free space, in which this user may write"
            ) from error


class _ObjectStore:
    """Object storage: single objects are atomic, and the manifest of a run comes last."""

    def __init__(self, address: str) -> None:
        self.address = address
        # listings of other processes' writes must not be old
        self._files, self._root = fsspec.core.url_to_fs(
            address, use_listings_cache=False, skip_instance_cache=True
        )
        self._is_s3 = protocol_of(address) in S3

    @contextmanager
    def new_run(self, run: str) -> Iterator[Path]:
        with TemporaryDirectory(prefix="squall-live-") as name:
            folder = Path(name)
            yield folder
            files = [path for path in folder.rglob("*") if path.is_file()]
            names = [path.relative_to(folder).as_posix() for path in files]

            def upload(name: str) -> None:
                target = f"{self._root}/{RUNS}/{run}/{name}"
                headers = self._headers(name, FOR_EVER)
                self._files.put_file(str(folder / name), target, **headers)

            with self._reached(), ThreadPoolExecutor(UPLOADS) as threads:
                # the first failure is raised here, and what has not begun is left out
                list(threads.map(upload, [name for name in names if name != MANIFEST]))
                if MANIFEST in names:
                    upload(MANIFEST)

    def write(self, name: str, content: str | bytes) -> None:
        with self._reached():
            headers = self._headers(name, NEVER)
            self._files.pipe_file(f"{self._root}/{name}", _bytes(content), **headers)

    def read(self, name: str) -> str | None:
        content = self.read_bytes(name)
        return None if content is None else content.decode()

    def read_bytes(self, name: str, start: int = 0, end: int | None = None) -> bytes | None:
        part = {} if (start, end) == (0, None) else {"start": start, "end": end}
        with self._reached():
            try:
                return bytes(self._files.cat_file(f"{self._root}/{name}", **part))
            except (FileNotFoundError, IsADirectoryError):
                return None

    def size(self, name: str) -> int | None:
        with self._reached():
            try:
                entry = self._files.info(f"{self._root}/{name}")
            except FileNotFoundError:
                return None
        return int(entry["size"]) if entry["type"] == "file" else None

    def names(self, folder: str) -> list[str]:
        return [f"{folder}/{name}" for name in self._listed(folder)]

    def remove_file(self, name: str) -> None:
        with self._reached(), suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{name}")

    def runs(self) -> list[str]:
        return [name for name in self._listed(RUNS) if _ID.fullmatch(name)]

    def _listed(self, folder: str) -> list[str]:
        with self._reached():
            try:
                paths = self._files.ls(f"{self._root}/{folder}", detail=False)
            except FileNotFoundError:
                return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def remove(self, run: str) -> None:
        with self._reached():
            with suppress(FileNotFoundError):  # the manifest goes first
                self._files.rm_file(f"{self._root}/{RUNS}/{run}/{MANIFEST}")
            with suppress(FileNotFoundError):
                self._files.rm(f"{self._root}/{RUNS}/{run}", recursive=True)

    def _headers(self, name: str, cache: str) -> dict[str, str]:
        if not self._is_s3:
            return {}
        return {"CacheControl": cache, "ContentType": content_type(name)}

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # the libraries of object stores have their own exceptions
            raise unreachable(self.address, error) from error


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
