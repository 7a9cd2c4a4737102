"""Observed scans to show beside a forecast.

Public: `observed_at_valid_times`, `scans_by_time`.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from pyproj.exceptions import CRSError

from squall.datasets.archive.records import OK
from squall.datasets.errors import DataError
from squall.datasets.grid import grid_from_attributes
from squall.datasets.open_archive import open_archive
from squall.pipeline.forecast.forecast_file import open_forecast, timestamp


def observed_at_valid_times(forecast_file: Path, address: str | Path) -> xr.DataArray:
    """Read the scans of an archive at the valid times of a forecast.

    Returns
    -------
    (time, y, x), mm h-1, NaN = not observed, read scan by scan when they are used. Valid times
    without a good scan are left out.

    Raises
    ------
    DataError
        If the file or the archive cannot be read, or they are on different grids.
    """
    with open_forecast(forecast_file) as forecast:
        x, y = forecast["x"].values, forecast["y"].values
        crs_wkt = forecast["spatial_ref"].attrs["crs_wkt"]
        valid_times = forecast["forecast_reference_time"].values + forecast["lead_time"].values
    archive = open_archive(address)
    try:
        difference = archive.grid.difference(grid_from_attributes(x, y, crs_wkt))
    except (ValueError, CRSError) as error:
        raise DataError(f"{forecast_file}: has no grid to compare scans on: {error}") from error
    if difference:
        raise DataError(
            f"{forecast_file}: is not on the grid of {address} ({difference}); "
            "give the archive that the forecast was made from"
        )
    status = archive.status
    indices = archive.times.get_indexer(pd.DatetimeIndex(valid_times))
    good = [int(index) for index in indices if index >= 0 and status[index] == OK]
    first, end = (min(good), max(good) + 1) if good else (0, 0)
    observed = archive.read(first, end - first, lazy=bool(good))
    observed = observed.isel(time=[index - first for index in good])
    return observed.assign_coords(x=x, y=y)


def scans_by_time(
    observed: xr.DataArray,
    forecast: xr.Dataset,
    as_drawn: Callable[[NDArray], NDArray] = lambda scan: scan,
) -> dict[pd.Timestamp, NDArray]:
    """Observed scans by their time.

    Parameters
    ----------
    as_drawn : what is kept of a scan (y, x).

    Raises
    ------
    DataError
        If the scans are not on the forecast's grid.
    """
    observed = observed.transpose("time", "y", "x").sortby("x").sortby("y", ascending=False)
    for axis in ("x", "y"):
        actual, expected = observed[axis].values, forecast[axis].values
        pixel = abs(expected[1] - expected[0])
        if actual.shape != expected.shape or np.abs(actual - expected).max() > 0.02 * pixel:
            raise DataError(
                f"observed scans have {actual.size} {axis} from {actual[0]:g} to {actual[-1]:g}, "
                f"the forecast {expected.size} from {expected[0]:g} to {expected[-1]:g}; "
                "give scans on its grid."
            )
    return {timestamp(scan["time"].values): as_drawn(scan.values) for scan in observed}
