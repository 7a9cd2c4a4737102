"""A radar file that is packed with gzip, bzip2 or xz, unpacked while it is read.

Owns the temporary copy, and how much a file may unpack to. zip and tar files hold several files and
belong to `squall.datasets.sources`.
"""

import bz2
import gzip
import lzma
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from squall.datasets.errors import DataError
from squall.datasets.radar.signatures import BZIP2, GZIP, XZ
from squall.datasets.unpacking import MAX_FILE_BYTES, MAX_RATIO

LEAST_LIMIT = 2**28  # small files may unpack to so many bytes
_BLOCK = 2**20
_TITLES = {GZIP: "gzip", BZIP2: "bzip2", XZ: "xz"}  # by the first bytes of a file


@contextmanager
def unpacked(path: str) -> Iterator[str]:
    """Path of a file's content without gzip, bzip2 or xz around it: its own path if it has none.

    The copy has the file's name without ``.gz`` and the like, and is deleted afterwards.

    Raises
    ------
    DataError
        If the file is cut off or damaged, or unpacks to more than any radar file.
    OSError
        If the file cannot be opened, or there is no room for the copy.
    """
    with Path(path).open("rb") as stream:
        start = stream.read(8)
    title = next((found for magic, found in _TITLES.items() if start.startswith(magic)), None)
    if title is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="squall-") as folder:
        name = Path(path).name
        suffix = Path(path).suffix.lower()
        copy = Path(folder) / (Path(path).stem if suffix in (".gz", ".bz2", ".xz") else name)
        with _opened(path, title) as source, copy.open("wb") as target:
            for block in _blocks(source, title, Path(path).stat().st_size):
                target.write(block)
        yield str(copy)


def _opened(path: str, title: str) -> BinaryIO:
    module: Any = {"gzip": gzip, "bzip2": bz2, "xz": lzma}[title]
    return cast(BinaryIO, module.open(path, "rb"))


def _blocks(source: BinaryIO, title: str, packed: int) -> Iterator[bytes]:
    limit, size = min(MAX_FILE_BYTES, LEAST_LIMIT + MAX_RATIO * packed), 0
    while True:
        try:
            block = source.read(_BLOCK)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise DataError(
                f"cannot be unpacked as {title}: {error}; it is cut off or damaged: fetch it again"
            ) from error
        if not block:
            return
        size += len(block)
        if size > limit:
            raise DataError(
                f"unpacks to more than {limit:,} bytes; no radar file of {packed:,} bytes does"
            )
        yield block
