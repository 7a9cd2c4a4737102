"""Fast reading of a scan that is one deflated chunk of an HDF5 or netCDF-4 file.

Nearly all radar files are written that way. ISA-L inflates such a chunk several times faster than
the HDF5 library's zlib, and does not hold that library's lock. The library reads all other scans.
"""

from math import prod
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from numcodecs import Shuffle

from squall.datasets.errors import DataError

DEFLATE, SHUFFLE = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE


def read_scan(dataset: h5py.Dataset, leading: tuple[int, ...] = ()) -> npt.NDArray[Any]:
    """Read a scan as stored, (y, x).

    Parameters
    ----------
    dataset : its last two dimensions are the rows and columns of a scan.
    leading : index of the scan along the other dimensions.

    Raises
    ------
    DataError
        If a deflated chunk does not inflate to a scan.
    """
    scan = _inflated(dataset, leading)
    return np.asarray(dataset[(*leading, slice(None), slice(None))]) if scan is None else scan


def _inflated(dataset: h5py.Dataset, leading: tuple[int, ...]) -> npt.NDArray[Any] | None:
    """The scan; None if it is not stored as one deflated chunk."""
    shape, chunks = dataset.shape, dataset.chunks
    if chunks != (1,) * len(leading) + shape[len(leading) :] or len(shape) != len(leading) + 2:
        return None
    filters = dataset.id.get_create_plist()
    codes = [filters.get_filter(i)[0] for i in range(filters.get_nfilters())]
    if codes not in ([DEFLATE], [SHUFFLE, DEFLATE]):
        return None
    offset = (*leading, 0, 0)
    if dataset.id.get_chunk_info_by_coord(offset).byte_offset is None:
        return None  # the chunk was not written: the library returns the fill value
    skipped_filters, packed = dataset.id.read_direct_chunk(offset)
    if skipped_filters:
        return None
    size = prod(shape[-2:]) * dataset.dtype.itemsize
    try:
        content = isal_zlib.decompressobj().decompress(packed, max_length=size + 1)
    except isal_zlib.error as error:  # type: ignore[misc]
        raise DataError(f"its data are damaged: {error}") from error
    if len(content) != size:
        raise DataError(f"its data are damaged: {len(content)} bytes instead of {size}")
    if SHUFFLE in codes:
        content = Shuffle(dataset.dtype.itemsize).decode(content)
    return np.frombuffer(content, dtype=dataset.dtype).reshape(shape[-2:])
