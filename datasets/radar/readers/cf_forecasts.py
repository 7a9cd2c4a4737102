"""Which scans of a netCDF file are forecasts: a forecast is no observation, and is not ingested.

Owns how CF, pysteps and Squall itself mark forecasts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import netCDF4
import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import DataError, ForecastError
from squall.datasets.radar.readers.cf_limits import check_values
from squall.datasets.radar.readers.cf_scope import Scope, path_of

Kind = Literal["period", "reference", "named"]
ForecastMark = tuple[Kind, str]
_STANDARD_NAMES: dict[Kind, str] = {
    "period": "forecast_period", "reference": "forecast_reference_time",
}  # fmt: skip


def forecast_mark(scope: Scope, map_dims: set[str], time: str | None) -> ForecastMark | None:
    """What tells forecasts from observations, and the path of its variable; None if nothing does.

    A forecast period counts before a reference time, and this before the name that pysteps gives
    its times ("forecast time").

    Parameters
    ----------
    time : name of the time variable.
    """
    scan_dims = set(scope.rain.dimensions) - map_dims
    for kind, standard_name in _STANDARD_NAMES.items():
        for variable in scope.variables.values():
            is_marked = getattr(variable, "standard_name", None) == standard_name
            if is_marked and set(variable.dimensions) <= scan_dims:
                return kind, path_of(variable)
    if time is not None:
        variable = scope.variables[time]
        if "forecast" in str(getattr(variable, "long_name", "")).lower():
            return "named", path_of(variable)
    return None


def observed_scans(
    file: netCDF4.Dataset,
    mark: ForecastMark,
    times: Sequence[pd.Timestamp],
    read_times: Callable[[str], npt.NDArray[Any]],
) -> list[int]:
    """Positions of the scans that are no forecasts.

    Parameters
    ----------
    times : valid time of each scan of the file.
    read_times : function of a variable's path that reads its times.

    Raises
    ------
    ForecastError
        If all scans are forecasts.
    DataError
        If their number differs from that of the marks.
    """
    kind, path = mark
    if kind == "named":
        raise _is_forecast(f"its times are named '{file[path].long_name}'")
    check_values(file[path])
    if kind == "period":
        marks = np.atleast_1d(np.ma.filled(np.ma.masked_invalid(file[path][...]), 0)).ravel()
        is_forecast = marks != 0
        said = f"its forecast period '{path}' is not 0"
    else:
        marks = read_times(path).ravel()
        if marks.size not in (1, len(times)):
            raise _other_number(path, marks.size, len(times))
        is_forecast = pd.DatetimeIndex(list(times)).to_numpy() > marks
        said = f"its times are after its reference time '{path}'"
    if is_forecast.size not in (1, len(times)):
        raise _other_number(path, is_forecast.size, len(times))
    observed = np.flatnonzero(~np.broadcast_to(is_forecast, len(times))).tolist()
    if not observed:
        raise _is_forecast(said)
    return observed


def _other_number(path: str, marks: int, scans: int) -> DataError:
    return DataError(f"has {scans} scans but {marks} values of '{path}'")


def _is_forecast(said: str) -> ForecastError:
    return ForecastError(f"is a forecast: {said}; only observations are ingested, give other files")
