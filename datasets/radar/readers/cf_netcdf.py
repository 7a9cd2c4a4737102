"""Reader of CF netCDF files, netCDF-4 and classic, with one scan or many.

Owns how a file is opened and a scan read. `cf_layout` finds grid, packing and variables, which
differ between networks; `cf_times` reads the times, which differ between files.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import h5py
import netCDF4
import numpy as np
import numpy.typing as npt

from squall.datasets.errors import DataError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Product
from squall.datasets.radar.readers.cf_forecasts import observed_scans
from squall.datasets.radar.readers.cf_layout import Layout, layout_of
from squall.datasets.radar.readers.cf_limits import checked_file
from squall.datasets.radar.readers.cf_scope import path_of
from squall.datasets.radar.readers.cf_times import read_times, stored_times, times_of
from squall.datasets.radar.readers.chunks import read_scan
from squall.datasets.radar.readers.same_header import keep_header

_LIBRARY = threading.RLock()  # netCDF4 and the HDF5 library below it are not thread-safe


@contextmanager
def open_netcdf(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open a CF netCDF file; see `squall.datasets.radar.product`.

    Raises
    ------
    DataError
        If the file is cut off, or lacks the variable, its grid or its times.
    """
    with _LIBRARY, checked_file(path) as hdf5, netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        layout = layout_of(file, config)
        times, intervals = times_of(file, layout, path, config)
        scans: Sequence[int] = range(len(times))
        if layout.forecast is not None:
            scans = observed_scans(file, layout.forecast, times, partial(read_times, file))
        if len(times) == 1:
            _keep_header(path, hdf5, file, layout, config)
        variable = file[config.variable]
        yield Product(
            layout.grid,
            tuple(times[i] for i in scans),
            tuple(intervals[i] for i in scans),
            layout.packing,
            lambda scan: _read_stored(variable, hdf5, layout, scans[scan]),
        )


def _read_stored(
    variable: netCDF4.Variable, hdf5: h5py.File | None, layout: Layout, index: int
) -> npt.NDArray[Any]:
    """One scan as stored, (y, x), by its position among all scans of the file."""
    dims = variable.dimensions
    scan_sizes = [
        size for dim, size in zip(dims, variable.shape, strict=True) if dim not in layout.map_dims
    ]
    leading = tuple(int(i) for i in np.unravel_index(index, scan_sizes)) if scan_sizes else ()
    if dims[-2:] == layout.map_dims and hdf5 is not None:
        field = read_scan(hdf5[path_of(variable)], leading)
    else:
        indices = iter(leading)
        selected = tuple(slice(None) if dim in layout.map_dims else next(indices) for dim in dims)
        field = np.asarray(variable[selected])
    if dims.index(layout.y_dim) > dims.index(layout.x_dim):
        field = field.T
    return layout.on_grid(field)


def _keep_header(
    path: str,
    hdf5: h5py.File | None,
    file: netCDF4.Dataset,
    layout: Layout,
    config: RadarNetworkConfig,
) -> None:
    """Let the next file with the same header be read without a library, if that is possible."""
    variable = file[config.variable]
    # a product of ADAGUC has its time in attributes
    is_plain = (
        layout.time is not None and layout.forecast is None and "product" not in file.variables
    )
    if hdf5 is None or not is_plain or variable.dimensions[-2:] != layout.map_dims:
        return
    names = [(layout.time, None), (layout.bounds, layout.time), (layout.start, None)]
    try:
        times = [stored_times(file, name, bounded) for name, bounded in names if name is not None]
    except DataError:  # with `time_from: name` a broken time is no obstacle
        return
    keep_header(path, hdf5[path_of(variable)], times, layout, config)
