"""The point stage: what a forecast says about one place.

Public: `point`.
"""

from __future__ import annotations

from pyproj import Transformer

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.grid import Grid, grid_from_attributes, lonlat_crs
from squall.pipeline.forecast.forecast_file import open_forecast
from squall.pipeline.outputs import check_output_file
from squall.pipeline.point.config import PointConfig
from squall.pipeline.point.figure import SUFFIXES, draw
from squall.pipeline.point.outlook import Outlook, outlook_of


def point(config: PointConfig) -> Outlook:
    """Read a forecast at a place and, if asked for, draw it.

    Raises
    ------
    ConfigError
        If the place is outside the grid, the file lacks the threshold, or the plot cannot be
        written.
    DataError
        If the file is not a forecast.
    """
    if config.plot is not None:
        check_output_file(config.plot, "--plot", SUFFIXES)
    lat, lon = config.at
    with open_forecast(config.forecast) as forecast:
        x, y = (forecast[axis].values for axis in ("x", "y"))
        try:
            grid = grid_from_attributes(x, y, forecast["spatial_ref"].attrs["crs_wkt"])
            lonlat_crs(grid.crs)
        except (ValueError, RuntimeError) as error:
            raise DataError(
                f"{config.forecast}: has no grid to find a place on: {error}"
            ) from error
        pixel = grid.pixel_at(lat, lon)
        if pixel is None:
            raise ConfigError(
                f"--at {lat:g},{lon:g}: lies outside the grid of {config.forecast} ({_reach(grid)})"
            )
        outlook = outlook_of(forecast, *pixel, config.threshold_mm_h)
    if config.plot is not None:
        draw(outlook, lat, lon, config.plot)
    return outlook


def _reach(grid: Grid) -> str:
    """The corners of a grid, for a message."""
    to_lonlat = Transformer.from_crs(grid.crs, lonlat_crs(grid.crs), always_xy=True)
    x, y = grid.x[[0, -1, 0, -1]], grid.y[[0, 0, -1, -1]]
    lon, lat = to_lonlat.transform(x, y)
    corners = ", ".join(f"{b:.1f},{a:.1f}" for a, b in zip(lon, lat, strict=True))
    return f"corners {corners}"
