"""Checks before a netCDF file is read: it is complete, and reading it needs no absurd memory.

A small broken file may claim any size; the netCDF library would allocate memory for it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np

from squall.datasets.errors import DataError
from squall.datasets.radar.product import MAX_SCANS
from squall.datasets.radar.readers.classic_netcdf import expected_size
from squall.datasets.radar.readers.hdf5 import MAX_ATTRIBUTE_BYTES, check_self_contained, open_hdf5


@contextmanager
def checked_file(path: str) -> Iterator[h5py.File | None]:
    """Reject a file that the netCDF library would read wrongly or from elsewhere.

    From a classic file that is cut off it reads zeros; a netCDF-4 file may point to other files.
    Yields a netCDF-4 file as the HDF5 file that it is; None for a classic file.
    """
    try:
        expected = expected_size(path)
    except (EOFError, KeyError, IndexError) as error:
        raise DataError("is cut off or broken in its netCDF header") from error
    if expected is not None:
        size = Path(path).stat().st_size
        if size < expected:
            raise DataError(f"is cut off: it has {size} of at least {expected} bytes")
        yield None
        return
    if not h5py.is_hdf5(path):
        raise DataError(
            "cannot be read as netCDF: is no netCDF file, or damaged at its start; set 'format' "
            "in the network configuration if it has another format that is read (odim, knmi, "
            "grib), else convert it to CF netCDF first, for example with GDAL or wradlib"
        )
    with open_hdf5(path, "netCDF") as file:
        check_self_contained(file)
        yield file


def check_attributes(variable: str, attributes: list[tuple[str, Any]]) -> None:
    """Reject an absurdly long attribute: libraries need minutes for a unit of a million letters."""
    for name, value in attributes:
        size = len(value) if isinstance(value, str | list) else np.size(value)
        if size > MAX_ATTRIBUTE_BYTES:
            raise DataError(
                f"variable '{variable}' has an attribute '{name}' of {size:,} characters or "
                f"numbers, at most {MAX_ATTRIBUTE_BYTES:,} are read; shorten or delete it in the "
                "file"
            )


def check_values(variable: netCDF4.Variable, max_values: int | None = None) -> None:
    """Reject a coordinate or time variable that would need much memory to read."""
    if variable.size > (max_values or 2 * MAX_SCANS):
        raise DataError(f"variable '{variable.name}' has {variable.size} values, too many")
    check_chunks(variable, max_values or MAX_SCANS)


def check_chunks(variable: netCDF4.Variable, max_values: int) -> None:
    """Reject a variable with more values in a chunk: the library reads whole chunks."""
    chunks = variable.chunking()
    if isinstance(chunks, list) and prod(chunks) > max_values:
        raise DataError(f"variable '{variable.name}' is stored in chunks of {chunks}, too large")
