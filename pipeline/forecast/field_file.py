"""Fields of one lead time after the other in a temporary file, where they do not fill the memory.

Public: `FieldFile`.
"""

from __future__ import annotations

import math
import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import dask.array
import numpy as np
import numpy.typing as npt
from dask import delayed

Fields = npt.NDArray[Any]


class _Place(NamedTuple):
    """Where an array lies in the file, and what it is."""

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class FieldFile:
    """A sequence of arrays that can be read again and again, from several threads.

    The file goes with the object.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed below)
        weakref.finalize(self, self._file.close)
        self._places: list[_Place] = []

    def append(self, fields: Fields) -> None:
        """Write the fields of the next lead time."""
        fields = np.ascontiguousarray(fields)
        start = self._file.seek(0, os.SEEK_END)
        self._places.append(_Place(start, fields.dtype, fields.shape))
        rest = _bytes_of(fields)
        while rest:
            rest = rest[self._file.write(rest) :]

    @property
    def shape(self) -> tuple[int, ...]:
        """That of all fields stacked, as far as they have the shape of the first one."""
        return (len(self._places), *self._places[0].shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the first fields."""
        return self._places[0].dtype

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> Fields:
        return self._part(number, None)

    def __iter__(self) -> Iterator[Fields]:
        return (self[number] for number in range(len(self)))

    def stacked(self, axis: int) -> dask.array.Array:
        """All fields, with a new axis, read when they are needed; they hold on to the file.

        Arrays (threshold, y, x) are read threshold by threshold: all of them would need much
        memory where one is wanted.
        """
        read = delayed(self._part, pure=False)

        def block(number: int, part: int | None) -> dask.array.Array:
            shape = self._places[number].shape[0 if part is None else 1 :]
            return dask.array.from_delayed(read(number, part), shape, dtype=self.dtype)

        numbers = range(len(self))
        if len(self.shape) < 4:
            return dask.array.stack([block(number, None) for number in numbers], axis=axis)
        fields = [
            dask.array.stack([block(number, part) for part in range(self.shape[1])])
            for number in numbers
        ]
        return dask.array.stack(fields, axis=axis)

    def _part(self, number: int, part: int | None) -> Fields:
        """Fields of one number; only one of their first axis, if a part is wanted."""
        start, dtype, shape = self._places[number]
        if part is not None:
            shape = shape[1:]
            start += part * math.prod(shape) * dtype.itemsize
        fields = np.empty(shape, dtype)
        rest = _bytes_of(fields)
        while rest:
            count = os.preadv(self._file.fileno(), [rest], start)
            if not count:
                raise OSError("a temporary file with fields of a forecast became shorter")
            rest, start = rest[count:], start + count
        return fields


def _bytes_of(fields: Fields) -> memoryview:
    """The memory of a contiguous array."""
    return memoryview(fields.reshape(-1).view(np.uint8)).cast("B")  # type: ignore[arg-type]
