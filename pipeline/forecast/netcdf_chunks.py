"""Gridded variables of a netCDF file, written chunk by chunk.

Public: `create_gridded`, `write_gridded`, `is_gridded`.

The netCDF library compresses one chunk after the other with zlib. Here a faster library (ISA-L)
makes chunks of the same format, in several threads, and HDF5 only stores them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from os import cpu_count
from typing import Any

import dask.array
import h5py
import netCDF4
import numpy as np
import numpy.typing as npt
import xarray as xr
from isal import isal_zlib
from numcodecs import Shuffle

Array = npt.NDArray[Any] | dask.array.Array

LEVEL = 1  # of the compression; higher ones take longer for files of the same size
CHUNK_SIDE = 1024  # largest side of a chunk [px]


def is_gridded(variable: xr.DataArray) -> bool:
    """Whether a variable has values for each pixel."""
    return variable.dims[-2:] == ("y", "x")


def create_gridded(
    file: netCDF4.Dataset,
    name: str,
    dims: dict[str, int],
    dtype: np.dtype[Any],
    attributes: dict[str, Any],
    *,
    shuffle: bool,
) -> None:
    """Create a variable without values, and its dimensions where the file lacks them.

    A chunk is a part of the field of one time, of at most `CHUNK_SIDE` pixels on each side.

    Parameters
    ----------
    dims : name and size, the last two are those of the grid.
    attributes : with ``_FillValue``, if there is one.
    shuffle : whether the bytes of the numbers are put in another order before compression.
    """
    for dim, size in dims.items():
        if dim not in file.dimensions:
            file.createDimension(dim, size)
    fill_value = attributes.get("_FillValue")
    sizes = list(dims.values())
    variable = file.createVariable(  # type: ignore[call-overload]
        name,
        dtype,
        tuple(dims),
        zlib=True,
        complevel=LEVEL,
        shuffle=shuffle,
        chunksizes=[1] * (len(sizes) - 2) + [min(side, CHUNK_SIDE) for side in sizes[-2:]],
        fill_value=fill_value,
    )
    variable.setncatts({k: v for k, v in attributes.items() if k != "_FillValue"})


def write_gridded(
    variable: h5py.Dataset, values: Array, start: Sequence[int] | None = None
) -> None:
    """Write fields of a variable that `create_gridded` made, whose chunks have no values yet.

    Parameters
    ----------
    values : of whole fields (…, y, x). A Dask array is computed block by block.
    start : index of the first value in the variable (default: 0).
    """
    first = np.array(start or [0] * values.ndim)
    with ThreadPoolExecutor(cpu_count() or 1) as threads:
        for offset, block in _blocks(values):
            places = list(_chunk_places(block.shape, variable.chunks))
            contents = threads.map(lambda place, of=block: _packed(of, place, variable), places)
            for place, content in zip(places, contents, strict=True):
                variable.id.write_direct_chunk(tuple(first + offset + place), content)


def _blocks(values: Array) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
    """Parts with whole fields, and the index of the first value of each."""
    if isinstance(values, np.ndarray):
        yield np.zeros(values.ndim, np.int64), values
        return
    fields: Any = values.rechunk({-2: -1, -1: -1})
    starts = [np.cumsum((0, *sizes[:-1])) for sizes in fields.chunks]
    for number in product(*map(range, fields.numblocks)):
        offset = np.array([start[k] for start, k in zip(starts, number, strict=True)])
        yield offset, fields.blocks[number].compute()


def _chunk_places(
    shape: tuple[int, ...], chunks: tuple[int, ...]
) -> Iterator[npt.NDArray[np.int64]]:
    steps = (range(0, size, step) for size, step in zip(shape, chunks, strict=True))
    return (np.array(place) for place in product(*steps))


def _packed(
    values: npt.NDArray[Any], place: npt.NDArray[np.int64], variable: h5py.Dataset
) -> bytes:
    """The chunk that begins at a place, as HDF5 stores it; it is full also at the grid's edge."""
    part = values[tuple(slice(i, i + n) for i, n in zip(place, variable.chunks, strict=True))]
    if part.shape != variable.chunks:
        missing = [(0, n - m) for n, m in zip(variable.chunks, part.shape, strict=True)]
        part = np.pad(part, missing, constant_values=variable.fillvalue)
    part = np.ascontiguousarray(part, variable.dtype)
    content = Shuffle(part.itemsize).encode(part) if variable.shuffle else part
    return bytes(isal_zlib.compress(content, LEVEL))
