"""Fields of one lead time after the other in a temporary file, where they do not fill the memory.

Public: `FieldFile`.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from typing import IO

import numpy as np
import numpy.typing as npt

Fields = npt.NDArray[np.float32]


class FieldFile:
    """A sequence of arrays that can be read again and again. The file goes with the object."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
        weakref.finalize(self, self._file.close)
        self._starts: list[int] = []

    def append(self, fields: Fields) -> None:
        """Write the fields of the next lead time."""
        self._starts.append(self._file.seek(0, 2))
        np.save(self._file, fields)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Fields]:
        for start in self._starts:
            self._file.seek(start)
            yield np.load(self._file)
