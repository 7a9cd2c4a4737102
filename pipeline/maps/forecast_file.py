"""Reading a forecast file, with the checks that its maps need.

Public: `read_forecast`, `timestamp`.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from squall.datasets.errors import DataError

# Variables of a forecast file: dimensions, kinds of number (numpy's letters), name of the kind.
_FORECAST_LAYOUT: dict[str, tuple[tuple[str, ...], str, str]] = {
    "rain_rate": (("lead_time", "y", "x"), "f", "float"),
    "observed_rain_rate": (("context_time", "y", "x"), "f", "float"),
    "lead_time": (("lead_time",), "m", "duration"),
    "context_time": (("context_time",), "M", "date and time"),
    "forecast_reference_time": ((), "M", "date and time"),
    "x": (("x",), "fiu", "number"),
    "y": (("y",), "fiu", "number"),
}
_RAIN_UNITS = {"mm h-1", "mm/h", "mm h**-1", "mm h^-1"}


def read_forecast(path: Path) -> xr.Dataset:
    """Read a forecast into memory, with rows from north to south and columns from west to east.

    Raises
    ------
    DataError
        If the file cannot be read, or is not a forecast.
    """
    advice = "expected a forecast file as `squall forecast` writes it"
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_timedelta=True) as opened:
            forecast = opened.load()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {advice}.") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be read as netCDF ({error}); {advice}.") from error
    for name, (dims, kinds, kind_name) in _FORECAST_LAYOUT.items():
        if name not in forecast.variables:
            raise DataError(f"{path}: has no variable {name!r}; {advice}.")
        array = forecast[name]
        if array.dims != dims or array.dtype.kind not in kinds or not array.size:
            raise DataError(
                f"{path}: {name!r} is {array.dtype} with sizes {dict(array.sizes)}, expected "
                f"{kind_name} with dimensions {dims}, none empty; {advice}."
            )
        if len(dims) == 3 and array.attrs.get("units") not in _RAIN_UNITS:
            raise DataError(
                f"{path}: {name!r} has units {array.attrs.get('units')!r}, expected 'mm h-1'; "
                "convert it to a rain rate first."
            )
    if "crs_wkt" not in getattr(forecast.get("spatial_ref"), "attrs", {}):
        raise DataError(f"{path}: has no 'spatial_ref' with an attribute 'crs_wkt'; {advice}.")
    return forecast.sortby("x").sortby("y", ascending=False)


def timestamp(value: object) -> pd.Timestamp:
    """A scalar time of xarray or numpy as a timestamp."""
    return pd.Timestamp(str(np.asarray(value).astype("datetime64[ns]")))
