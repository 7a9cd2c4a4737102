"""The size that a classic netCDF file must have by its header.

If a classic file (CDF-1, CDF-2, CDF-5) is cut off, the netCDF library reads zeros without an error,
so a half-copied scan would count as dry. A netCDF-4 file that is cut off cannot be opened.
Format: https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html
"""

from math import prod
from pathlib import Path
from typing import BinaryIO

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}


def expected_size(path: str) -> int | None:
    """Compute the bytes up to the end of the last value; None if the file is not classic netCDF.

    Raises
    ------
    EOFError
        If the header is cut off.
    """
    with Path(path).open("rb") as stream:
        magic = stream.read(4)
        if magic not in (b"CDF\x01", b"CDF\x02", b"CDF\x05"):
            return None
        return _Header(stream, magic[3], Path(path).stat().st_size).expected_size()


class _Header:
    """Reads the header of a classic file from behind its magic number."""

    def __init__(self, stream: BinaryIO, version: int, size: int) -> None:
        self._stream, self._size = stream, size
        self._count_bytes = 8 if version == 5 else 4
        self._offset_bytes = 4 if version == 1 else 8

    def expected_size(self) -> int:
        records = self._integer(self._count_bytes)
        if records == 2 ** (8 * self._count_bytes) - 1:
            records = 0  # the number of records is unknown while a file is written
        lengths = [self._dimension() for _ in range(self._list_length())]
        self._skip_attributes()
        fixed, recorded = [self._stream.tell()], []
        for _ in range(self._list_length()):
            is_record, begin, size = self._variable(lengths)
            if is_record:
                recorded.append((begin, size))
            else:
                fixed.append(begin + size)
        if records and recorded:
            # records are padded to 4 bytes, unless there is only one record variable
            padded = [_padded(size) for _, size in recorded]
            stride = sum(padded) if len(recorded) > 1 else recorded[0][1]
            fixed += [begin + (records - 1) * stride + size for begin, size in recorded]
        return max(fixed)

    def _variable(self, lengths: list[int]) -> tuple[bool, int, int]:
        """Whether a variable has the record dimension, its offset, and its bytes (per record)."""
        self._skip_name()
        dims = [self._integer(self._count_bytes) for _ in range(self._integer(self._count_bytes))]
        self._skip_attributes()
        type_bytes = _TYPE_BYTES[self._integer(4)]
        self._integer(self._count_bytes)  # vsize: overflows in large CDF-1 and CDF-2 variables
        begin = self._integer(self._offset_bytes)
        shape = [lengths[dim] for dim in dims]
        is_record = bool(shape) and shape[0] == 0
        return is_record, begin, type_bytes * prod(shape[1:] if is_record else shape)

    def _dimension(self) -> int:
        self._skip_name()
        return self._integer(self._count_bytes)

    def _skip_attributes(self) -> None:
        for _ in range(self._list_length()):
            self._skip_name()
            type_bytes = _TYPE_BYTES[self._integer(4)]
            self._bytes(_padded(type_bytes * self._integer(self._count_bytes)))

    def _skip_name(self) -> None:
        self._bytes(_padded(self._integer(self._count_bytes)))

    def _list_length(self) -> int:
        self._integer(4)  # the list's tag; an absent list has length 0
        return self._integer(self._count_bytes)

    def _integer(self, count: int) -> int:
        return int.from_bytes(self._bytes(count), "big")

    def _bytes(self, count: int) -> bytes:
        if count > self._size - self._stream.tell():  # before memory is allocated for it
            raise EOFError("cut off in its header")
        return self._stream.read(count)


def _padded(size: int) -> int:
    return -(-size // 4) * 4
