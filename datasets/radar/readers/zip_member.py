"""A member of a zip file, read forwards.

ISA-L inflates it several times faster than Python's zipfile, which uses zlib. A member is read from
its start for each group of its scans, so this decides how long a file with many scans takes.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from isal import isal_zlib

from squall.datasets.errors import DataError

_HEAD = 30  # bytes before the name
_BLOCK = 2**20
_ENCRYPTED = 1
_WITHOUT_HEADER = -15


class ZipMember:
    """An open member; ``position`` is that of the next byte.

    Raises
    ------
    DataError
        If the member is encrypted, or packed neither with deflate nor not at all, as NumPy does.
    """

    def __init__(self, path: str, info: zipfile.ZipInfo) -> None:
        is_known = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if not is_known or info.flag_bits & _ENCRYPTED or info.header_offset < 0:
            raise DataError(
                f"'{info.filename}' is encrypted or packed with method {info.compress_type}, "
                "expected deflate; save it anew with numpy.savez_compressed"
            )
        self.position = 0
        self._info, self._crc, self._left, self._packed = info, 0, info.compress_size, b""
        self._inflate = (
            isal_zlib.decompressobj(_WITHOUT_HEADER)
            if info.compress_type == zipfile.ZIP_DEFLATED
            else None
        )
        self._file = Path(path).open("rb")  # noqa: SIM115 (`close` closes it)
        self._file.seek(info.header_offset)
        head = self._file.read(_HEAD)
        name, extra = (int.from_bytes(head[i : i + 2], "little") for i in (26, 28))
        self._file.seek(info.header_offset + _HEAD + name + extra)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, size: int = _BLOCK) -> bytes:
        """Read bytes; fewer at the end of the member, or where it is cut off.

        Raises
        ------
        DataError
            If the member is damaged.
        """
        size = min(size, self._info.file_size - self.position)
        data = bytearray()
        while len(data) < size:
            part = self._next(size - len(data))
            if not part:
                break
            data += part
        self._crc = isal_zlib.crc32(data, self._crc)
        self.position += len(data)
        if self.position == self._info.file_size and self._crc != self._info.CRC:
            raise DataError(f"'{self._info.filename}' is damaged: its checksum differs")
        return bytes(data)

    def _next(self, size: int) -> bytes:
        """Up to ``size`` further bytes, at least one if there are any."""
        if self._inflate is None:
            return self._packed_bytes(size)
        try:
            while True:
                packed = self._packed or self._packed_bytes(_BLOCK)
                data: bytes = self._inflate.decompress(packed, size)
                self._packed = self._inflate.unconsumed_tail
                if data or not packed:
                    return data
        except isal_zlib.error as error:  # type: ignore[misc]
            raise DataError(f"'{self._info.filename}' is damaged: {error}") from error

    def _packed_bytes(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data
