"""Nearest-pixel regridding: puts scans of an era with another grid on the archive's grid."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj

from squall.datasets.coding import RAIN_CODE
from squall.datasets.grid import Grid


def nearest(field: npt.NDArray[Any], source: Grid, target: Grid) -> npt.NDArray[Any]:
    """Give each target pixel the value of the source pixel that its centre lies in.

    Parameters
    ----------
    field : (y, x) on the source grid: codes, or floats with NaN = not observed.

    Returns
    -------
    (y, x) on the target grid; not observed outside the source grid.
    """
    index = _source_index(_HashableGrid(source), _HashableGrid(target))
    outside = np.nan if field.dtype.kind == "f" else RAIN_CODE.NOT_OBSERVED
    return np.asarray(np.append(field.ravel(), field.dtype.type(outside))[index])


class _HashableGrid:
    """A grid as a key of a cache, compared by its content."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._content = grid.crs_wkt, grid.x.tobytes(), grid.y.tobytes()

    def __hash__(self) -> int:
        return hash(self._content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _HashableGrid) and self._content == other._content


@lru_cache(maxsize=4)
def _source_index(source_key: _HashableGrid, target_key: _HashableGrid) -> npt.NDArray[np.int32]:
    """Flat index of the source pixel of each target pixel, (y, x); the source's size if none."""
    source, target = source_key.grid, target_key.grid
    to_source = pyproj.Transformer.from_crs(target.crs, source.crs, always_xy=True)
    x, y = to_source.transform(*np.meshgrid(target.x, target.y))
    height, width = source.pixel_size
    if source.crs.is_geographic:  # longitudes may count from 0 to 360
        west = source.x[0] - width / 2
        x = west + (x - west) % 360
    with np.errstate(invalid="ignore"):  # PROJ returns inf for points outside a projection
        column = np.floor((x - source.x[0]) / width + 0.5)
        row = np.floor((source.y[0] - y) / height + 0.5)
        rows, columns = source.shape
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        flat = np.where(inside, row * columns + column, rows * columns)
    return flat.astype(np.int32)  # a scan has at most 2**27 pixels
