"""Fast and bounded reading of a scan that lies in deflated chunks of an HDF5 or netCDF-4 file.

Nearly all radar files are written that way. ISA-L inflates such a chunk several times faster than
the HDF5 library's zlib, does not hold that library's lock, and stops at the size of a chunk: the
library would inflate a hostile one to a thousand times its size. The library reads all other scans.
"""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from numcodecs import Shuffle
from numcodecs.fletcher32 import Fletcher32

from squall.datasets.errors import DataError

DEFLATE, SHUFFLE = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE
FLETCHER32 = h5py.h5z.FILTER_FLETCHER32


def read_scan(dataset: h5py.Dataset, leading: tuple[int, ...] = ()) -> npt.NDArray[Any]:
    """Read a scan as stored, (y, x).

    Parameters
    ----------
    dataset : its last two dimensions are the rows and columns of a scan.
    leading : index of the scan along the other dimensions.

    Raises
    ------
    DataError
        If a deflated chunk does not inflate to its size.
    """
    scan = _inflated(dataset, leading)
    return np.asarray(dataset[(*leading, slice(None), slice(None))]) if scan is None else scan


def filters_of(dataset: h5py.Dataset) -> list[int]:
    """Numbers of the HDF5 filters of a dataset, in the order in which they were applied."""
    filters = dataset.id.get_create_plist()
    return [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]


def _inflated(dataset: h5py.Dataset, leading: tuple[int, ...]) -> npt.NDArray[Any] | None:
    """The scan; None if it is not stored in deflated chunks."""
    shape, chunks = dataset.shape, dataset.chunks
    if chunks is None or len(shape) != len(leading) + 2:
        return None
    codes = filters_of(dataset)
    if DEFLATE not in codes or not set(codes) <= {DEFLATE, SHUFFLE, FLETCHER32}:
        return None
    first = tuple(i // size * size for i, size in zip(leading, chunks[:-2], strict=True))
    inside = tuple(i - start for i, start in zip(leading, first, strict=True))
    (height, width), (rows, columns) = shape[-2:], chunks[-2:]
    scan: npt.NDArray[Any] | None = None
    for top, left in product(range(0, height, rows), range(0, width, columns)):
        chunk = _chunk(dataset, (*first, top, left), codes)
        if chunk is None:
            return None
        chunk = chunk[(*inside, slice(height - top), slice(width - left))]
        if chunk.shape == (height, width):
            return chunk
        if scan is None:
            scan = np.empty((height, width), dataset.dtype)
        scan[top : top + rows, left : left + columns] = chunk
    return scan


def _chunk(
    dataset: h5py.Dataset, offset: tuple[int, ...], codes: list[int]
) -> npt.NDArray[Any] | None:
    """A chunk by its first index; None if it was not written, or not packed as the others."""
    if dataset.id.get_chunk_info_by_coord(offset).byte_offset is None:
        return None  # the library returns the fill value
    skipped_filters, content = dataset.id.read_direct_chunk(offset)
    if skipped_filters:
        return None
    return unpacked_chunk(content, codes, dataset.dtype, dataset.chunks)


def unpacked_chunk(
    content: bytes, filters: Sequence[int], dtype: np.dtype[Any], shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """The numbers of a chunk.

    Parameters
    ----------
    content : of the chunk in the file.
    filters : their numbers, in the order in which they were applied: `DEFLATE`, `SHUFFLE`,
        `FLETCHER32`.
    shape : of the chunk.

    Raises
    ------
    DataError
        If the content does not inflate to the chunk's size.
    """
    size = prod(shape) * dtype.itemsize
    try:
        for position, code in reversed(list(enumerate(filters))):
            if code == DEFLATE:
                checksums = 4 * filters[:position].count(FLETCHER32)
                stream = isal_zlib.decompressobj()
                content = stream.decompress(content, max_length=size + checksums + 1)
            elif code == SHUFFLE:
                content = _unshuffled(content, dtype.itemsize)
            else:
                content = Fletcher32().decode(content)
    except (isal_zlib.error, RuntimeError, ValueError) as error:  # type: ignore[misc]
        raise DataError(f"its data are damaged: {error}") from error
    numbers = np.frombuffer(content, dtype=np.uint8)
    if numbers.size != size:
        raise DataError(f"its data are damaged: {numbers.size} bytes or more instead of {size}")
    return numbers.view(dtype).reshape(shape)


def _unshuffled(content: Any, itemsize: int) -> Any:
    if itemsize != 2 or len(content) % 2:
        return Shuffle(itemsize).decode(content)
    # arithmetic on whole numbers takes a third of the time, and nearly all products have two bytes
    low, high = np.frombuffer(content, dtype=np.uint8).reshape(2, -1)
    numbers = high.astype("<u2")
    numbers <<= 8
    numbers |= low
    return numbers
