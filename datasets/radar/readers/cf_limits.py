"""Checks before a netCDF file is read: it is complete, and reading it needs no absurd memory.

A small broken file may claim any size; the netCDF library would allocate memory for it.
"""

from math import prod
from pathlib import Path

import h5py
import netCDF4

from squall.datasets.errors import DataError
from squall.datasets.radar.product import MAX_SCANS
from squall.datasets.radar.readers.classic_netcdf import expected_size
from squall.datasets.radar.readers.hdf5 import check_self_contained, open_hdf5


def check_file(path: str) -> None:
    """Reject a file that the netCDF library would read wrongly or from elsewhere.

    From a classic file that is cut off it reads zeros; a netCDF-4 file may point to other files.
    """
    try:
        expected = expected_size(path)
    except (EOFError, KeyError, IndexError) as error:
        raise DataError("is cut off or broken in its netCDF header") from error
    size = Path(path).stat().st_size
    if expected is not None and size < expected:
        raise DataError(f"is cut off: it has {size} of at least {expected} bytes")
    if h5py.is_hdf5(path):
        with open_hdf5(path, "netCDF") as file:
            check_self_contained(file)


def check_values(variable: netCDF4.Variable) -> None:
    """Reject a coordinate or time variable that would need much memory to read."""
    if variable.size > 2 * MAX_SCANS:
        raise DataError(f"variable '{variable.name}' has {variable.size} values, too many")
    check_chunks(variable, MAX_SCANS)


def check_chunks(variable: netCDF4.Variable, max_values: int) -> None:
    """Reject a variable with more values in a chunk: the library reads whole chunks."""
    chunks = variable.chunking()
    if isinstance(chunks, list) and prod(chunks) > max_values:
        raise DataError(f"variable '{variable.name}' is stored in chunks of {chunks}, too large")
