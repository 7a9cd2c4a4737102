"""HDF5 files of no convention: they hold numbers, and the configuration says the rest.

How the reader interprets the files, such as those of the Italian radar composite (DPC):

- ``variable`` is the path of a dataset with rows and columns. ``grid`` of the configuration places
  it on the map, ``time_in_name`` gives its time, and ``units`` its unit.
- Attributes ``units``, ``scale_factor``, ``add_offset``, ``_FillValue`` and ``missing_value`` of
  the dataset count as in CF netCDF. Most files have none of them. ``scale`` and ``offset`` of the
  configuration precede them.
- NaN and ``missing_values`` are not observed, ``dry_values`` are dry. If the file and the
  configuration name no missing value, a scan needs NaN: otherwise the pixels beyond the radars
  could not be told from dry ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from squall.datasets.errors import DataError
from squall.datasets.radar.file_times import time_from_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing, Product, north_up
from squall.datasets.radar.readers.chunks import read_scan
from squall.datasets.radar.readers.hdf5 import (
    MAX_DEPTH,
    MAX_MEMBERS,
    finite,
    image,
    member,
    number,
    open_hdf5,
    subgroup,
    text,
)
from squall.datasets.radar.readers.markers import (
    any_held,
    check_has_nan,
    held_by,
    list_missing,
    scale_in_use,
)
from squall.datasets.radar.units import parse_unit

_EXAMPLE = "{crs: EPSG:3035, x0: 0, y0: 0, dx: 1000, dy: -1000, nx: 1200, ny: 1400}"
_SHOWN = 10  # datasets that a message names


@contextmanager
def open_plain_hdf5(path: str, config: RadarNetworkConfig) -> Iterator[Product]:
    """Open an HDF5 file of no convention and yield the scan in the dataset ``config.variable``.

    Raises
    ------
    DataError
        If the file is broken or has no such dataset, or the configuration lacks what it does not
        say: grid, time, unit or missing values.
    """
    with open_hdf5(path) as root:
        yield _product(root, path, config)


def _product(root: h5py.File, path: str, config: RadarNetworkConfig) -> Product:
    pixels = _chosen(root, config.variable)
    if config.grid is None:
        raise DataError(
            "is an HDF5 file that does not tell its grid; set 'grid' in the network configuration, "
            f"like {_EXAMPLE}"
        )
    grid, flip_rows, flip_columns = config.grid.harmonised(pixels.shape)
    time = time_from_name(path, config)
    if time is None:
        raise DataError(
            "is an HDF5 file that does not tell its time, and its name has none by 'time_in_name' "
            "of the network configuration; set it, for example 'time_in_name: VMI_%Y%m%d%H%M'"
        )
    units = config.units or text(pixels, "units")
    if not units:
        raise DataError(
            f"{pixels.name} does not tell its unit; set 'units' in the network configuration, for "
            "example 'units: dBZ'"
        )
    is_accumulation = parse_unit(units)[0] == "accumulation"
    packing = _packing(pixels, units, config)
    may_lack_markers = not packing.missing and not config.missing_values

    def read_stored(scan: int) -> npt.NDArray[Any]:
        stored = read_scan(pixels)
        if may_lack_markers:
            check_has_nan(stored, f"{pixels.name} has no missing value and no NaN")
        return north_up(stored, flip_rows, flip_columns)

    interval = config.accumulation if is_accumulation else None
    return Product(grid, (time,), (interval,), packing, read_stored)


def _chosen(root: h5py.File, variable: str) -> h5py.Dataset:
    *groups, name = variable.strip("/").split("/")
    group: h5py.Group | None = root
    for part in groups:
        group = None if group is None else subgroup(group, part)
    if group is None or not isinstance(member(group, name), h5py.Dataset):
        paths = ", ".join(dataset_paths(root)) or "none at all"
        raise DataError(
            f"has no dataset '{variable}', only: {paths}; set 'variable' in the network "
            "configuration"
        )
    return image(group, name)


def dataset_paths(root: h5py.File) -> list[str]:
    """Paths of the first datasets with rows and columns, without following links."""
    fields: list[str] = []
    groups: list[tuple[h5py.Group, int]] = [(root, 0)]
    visited = 0
    while groups and len(fields) < _SHOWN and visited < MAX_MEMBERS:
        group, depth = groups.pop(0)
        for name in group:
            visited += 1
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink) or visited > MAX_MEMBERS:
                continue
            child = member(group, name)
            if isinstance(child, h5py.Dataset) and len(child.shape or ()) == 2:
                fields.append(str(child.name).strip("/"))
            elif isinstance(child, h5py.Group) and depth < MAX_DEPTH:
                groups.append((child, depth + 1))
    return fields[:_SHOWN]


def _packing(pixels: h5py.Dataset, units: str, config: RadarNetworkConfig) -> Packing:
    dtype: np.dtype[Any] = pixels.dtype
    own_scale, own_offset = finite(pixels, "scale_factor"), finite(pixels, "add_offset")
    scale, offset = scale_in_use(config, 1.0 if own_scale is None else own_scale, own_offset or 0.0)
    if scale == 0:
        raise DataError(f"{pixels.name} has scale_factor 0: all its values are the same")
    missing: dict[float, None] = {}
    for name in ("_FillValue", "missing_value"):
        missing |= dict.fromkeys(held_by(dtype, number(pixels, name)))
    is_listed = any_held(dtype, config.missing_values, scale, offset)
    if not missing and not is_listed and dtype.kind != "f":
        raise DataError(
            f"{pixels.name} has no missing value, so pixels outside radar coverage cannot be told "
            "from dry or wet ones; " + list_missing(dtype, scale, offset)
        )
    return Packing(units, scale, offset, missing=tuple(missing))
