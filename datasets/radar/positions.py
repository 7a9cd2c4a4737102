"""Two-dimensional longitude and latitude that are a regular grid in a known projection.

Owns the fit of the grid and the check that every position lies on it.
"""

import numpy as np
import numpy.typing as npt
import pyproj

from squall.datasets.errors import DataError
from squall.datasets.grid import is_rotated, lonlat_crs

MAX_AWAY_PX = 0.1
MAX_POSITIONS = 2**24  # of two arrays in memory; larger grids need the key 'grid'
Floats = npt.NDArray[np.float64]


def fitted_axes(lon: Floats, lat: Floats, crs: pyproj.CRS, names: str) -> tuple[Floats, Floats]:
    """Columns and rows of the regular grid that positions lie on, by least squares.

    Parameters
    ----------
    lon, lat : (H, W), degrees, of the pixels' centres; not finite where there are none, as off the
        disc of a satellite.
    names : of both variables, for messages.

    Returns
    -------
    x (W,) and y (H,), in the unit of the CRS; in either direction.

    Raises
    ------
    DataError
        If a position lies more than `MAX_AWAY_PX` from its pixel on the grid, with the distance.
    """
    x, y = _on_map(lon, lat, crs)
    is_known = np.isfinite(x) & np.isfinite(y)
    if (
        min(lon.shape) < 2
        or np.count_nonzero(is_known.any(axis=0)) < 2
        or (np.count_nonzero(is_known.any(axis=1)) < 2)
    ):
        raise DataError(f"{names} have positions in fewer than 2 rows and columns")
    rows, columns = np.nonzero(is_known)
    xs, dx, x_away = _line(columns, x[is_known], lon.shape[1])
    ys, dy, y_away = _line(rows, y[is_known], lon.shape[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        away = np.maximum(x_away / abs(dx), y_away / abs(dy))
    worst = int(np.argmax(away))
    if not away[worst] <= MAX_AWAY_PX:
        unit = "degrees" if crs.is_geographic else "m"
        distance = float(np.hypot(x_away[worst], y_away[worst]))
        raise DataError(
            f"{names} are no regular grid in '{crs.name}': row {rows[worst]}, column "
            f"{columns[worst]} lies {away[worst]:.3g} pixels ({distance:.4g} {unit}) from where a "
            f"regular grid has it, at most {MAX_AWAY_PX:g}; set 'crs' in the network configuration "
            "to the projection in which the pixels are regular, or put the files on a regular grid "
            "first"
        )
    return xs, ys


def _on_map(lon: Floats, lat: Floats, crs: pyproj.CRS) -> tuple[Floats, Floats]:
    """Positions in the CRS, without a shift of the datum."""
    lon = np.where((np.abs(lon) <= 540) & (np.abs(lat) <= 90.001), lon, np.nan)
    if crs.is_geographic and not is_rotated(crs):
        if np.isfinite(lon).all():  # the grid may cross 180 or 360 degrees
            lon = np.unwrap(np.unwrap(lon, period=360.0, axis=1), period=360.0, axis=0)
        return lon, np.where(np.isfinite(lon), lat, np.nan)
    to_map = pyproj.Transformer.from_crs(lonlat_crs(crs), crs, always_xy=True)
    x, y = to_map.transform(lon, lat)
    return np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)


def _line(places: npt.NDArray[np.int64], values: Floats, size: int) -> tuple[Floats, float, Floats]:
    """The line through values at places 0 to size - 1, its step, and how far off each value is."""
    middle, mean = places.mean(), values.mean()
    offsets = places - middle
    step = float(offsets @ (values - mean) / (offsets @ offsets))
    line = mean + (np.arange(size) - middle) * step
    return line, step, np.abs(values - line[places])
