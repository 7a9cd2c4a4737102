"""Arrays in temporary files, where they would fill the memory.

Public: `zeros`, `release`, `IN_MEMORY_BYTES`.
"""

import mmap
import os
import tempfile
from math import prod
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

IN_MEMORY_BYTES = 2**28  # arrays that are no larger are kept in memory

_FILES: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()  # by the address of the array


def zeros(
    shape: tuple[int, ...], dtype: npt.DTypeLike, of_bytes: int | None = None
) -> npt.NDArray[Any]:
    """An array of zeros; a large one lies in a temporary file, which goes with the array.

    Parameters
    ----------
    of_bytes : of what the array is a part of; if that is large, the array lies in a file (default:
        the array itself).

    Raises
    ------
    OSError
        If the folder of temporary files has too little space.
    """
    kind = np.dtype(dtype)
    size = prod(shape) * kind.itemsize
    if not size or (of_bytes or size) <= IN_MEMORY_BYTES:
        values = np.empty(shape, kind)  # it asks for large pages, as `numpy.zeros` does not
        values.fill(0)
        return values
    with tempfile.TemporaryFile(buffering=0) as file:
        # without its space, a full disk would kill the process when it writes
        os.posix_fallocate(file.fileno(), 0, size)
        memory = mmap.mmap(file.fileno(), size)
    values = np.frombuffer(memory, kind).reshape(shape)
    _FILES[values.ctypes.data] = memory
    return values


def release(*arrays: npt.NDArray[Any]) -> None:
    """Take the pages of arrays out of the memory of the process, if they lie in files.

    The values stay in the files. The kernel does that, too, where memory is short. Until then the
    pages count as memory that the process uses.

    Parameters
    ----------
    arrays : each from its first value on; others than those of `zeros` stay as they are.
    """
    for array in arrays:
        memory = _FILES.get(array.ctypes.data)
        if memory is not None:
            memory.madvise(mmap.MADV_DONTNEED)
