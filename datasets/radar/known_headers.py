"""Headers of netCDF-4 files that were read before: a file with the same one needs no library.

A file of one scan mostly begins with a header of some 30 kB, which the HDF5 and netCDF libraries
need 4 ms to read, and ends with the scan's chunk. The files of one network have the same header
but for a few numbers: the times, the chunk's size, the file's length and the checksum of the
latter. If these numbers are right and all other bytes of the header are equal, the libraries would
find the same in both files. Every other file is left to its reader.

Owns the comparison. `squall.datasets.radar.readers.same_header` finds the numbers.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from numcodecs.checksum32 import JenkinsLookup3

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Product
from squall.datasets.radar.signatures import HDF5

MAX_HEADERS = 8  # that are kept; the files of one network have a few at most


@dataclass(frozen=True)
class Superblock:
    """Where the start of an HDF5 file has the file's length, and the checksum from version 2 on."""

    length_at: int
    checksum_at: int | None

    @classmethod
    def of(cls, start: bytes, file_bytes: int) -> Superblock | None:
        """None if it has another version, numbers that are not of 8 bytes, or a user block."""
        if not start.startswith(HDF5):
            return None
        version = start[8]
        superblock = {0: cls(40, None), 2: cls(28, 44), 3: cls(28, 44)}.get(version)
        if superblock is None or start[13 if version == 0 else 9] != 8:
            return None
        return superblock if superblock.fits(start, file_bytes) else None

    @property
    def places(self) -> list[slice]:
        """Places of the length and of the checksum."""
        places = [slice(self.length_at, self.length_at + 8)]
        if self.checksum_at is not None:
            places.append(slice(self.checksum_at, self.checksum_at + 4))
        return places

    def fits(self, start: bytes, file_bytes: int) -> bool:
        """Whether length and checksum are right."""
        if struct.unpack_from("<Q", start, self.length_at) != (file_bytes,):
            return False
        if self.checksum_at is None:
            return True
        try:
            JenkinsLookup3().decode(start[: self.checksum_at + 4])
        except RuntimeError:
            return False
        return True


@dataclass(frozen=True)
class KnownHeader:
    """The bytes before the chunk of a file, and what may differ in files with the same header.

    Parameters
    ----------
    reading_key : of the configuration.
    content : the bytes; those that may differ are 0.
    chunk_size_at : place of the chunk's size, 4 bytes.
    times : places of the times.
    most_chunk_bytes : a chunk cannot be larger.
    product : function of the bytes before a file's chunk and of the chunk.
    """

    reading_key: str
    content: bytes
    superblock: Superblock
    chunk_size_at: int
    times: tuple[slice, ...]
    most_chunk_bytes: int
    product: Callable[[bytes, bytes], Product]

    def is_of(self, start: bytes, file_bytes: int) -> bool:
        """Whether a file begins so; ``start`` has the bytes before its chunk."""
        chunk_bytes = file_bytes - len(self.content)
        return (
            len(start) == len(self.content)
            and 0 < chunk_bytes <= self.most_chunk_bytes
            and struct.unpack_from("<I", start, self.chunk_size_at) == (chunk_bytes,)
            and self.masked(start) == self.content
            and self.superblock.fits(start, file_bytes)
        )

    def masked(self, start: bytes) -> bytes:
        """The bytes before a file's chunk; those that may differ are 0."""
        result = bytearray(start)
        size = slice(self.chunk_size_at, self.chunk_size_at + 4)
        for place in (*self.superblock.places, size, *self.times):
            result[place] = bytes(place.stop - place.start)
        return bytes(result)


_known: deque[KnownHeader] = deque(maxlen=MAX_HEADERS)


def keep(header: KnownHeader) -> None:
    """Keep a header; the oldest is dropped."""
    _known.append(header)


def forget_all() -> None:
    """Drop all headers."""
    _known.clear()


def open_known(path: str, config: RadarNetworkConfig) -> Product | None:
    """The scan of a netCDF-4 file with a known header; None if its reader has to open the file.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    candidates = [header for header in tuple(_known) if header.reading_key == config.reading_key]
    if not candidates:
        return None
    file_bytes = Path(path).stat().st_size
    with Path(path).open("rb") as stream:
        for header in candidates:
            stream.seek(0)
            start = stream.read(len(header.content))
            if header.is_of(start, file_bytes):
                try:
                    return header.product(start, stream.read())
                except Exception:  # a broken time may raise any; the reader says what is wrong
                    return None
    return None
