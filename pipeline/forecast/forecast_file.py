"""Reading a forecast file, netCDF or Zarr, with the checks that its maps need.

Public: `open_forecast`, `read_forecast`, `timestamp`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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
_ADVICE = "expected a forecast file as `squall forecast` writes it"
RAIN_UNITS = {"mm h-1", "mm/h", "mm h**-1", "mm h^-1"}


def read_forecast(path: Path) -> xr.Dataset:
    """Read the rain of a forecast into memory; of an ensemble, that is the mean of the members.

    Raises
    ------
    DataError
        As `open_forecast`.
    """
    with open_forecast(path) as opened:
        rain = [name for name in ("rain_rate", "observed_rain_rate") if name in opened]
        return opened[rain].load()


@contextmanager
def open_forecast(path: Path) -> Iterator[xr.Dataset]:
    """Open a forecast, with rows from north to south and columns from west to east.

    Variables are read when they are used.

    Raises
    ------
    DataError
        If the file cannot be read, or is not a forecast.
    """
    engine = "zarr" if path.is_dir() else "netcdf4"
    try:
        opened = xr.open_dataset(path, engine=engine, decode_timedelta=True)
    except FileNotFoundError:
        words = "is a folder and no forecast in Zarr" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {words}; {_ADVICE}.") from None
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        kind = "Zarr" if path.is_dir() else "netCDF"
        raise DataError(f"{path}: cannot be read as {kind} ({error}); {_ADVICE}.") from error
    with opened:
        _check(path, opened)
        yield opened.sortby("x").sortby("y", ascending=False)


def _check(path: Path, forecast: xr.Dataset) -> None:
    """Raise DataError if a dataset is no forecast."""
    if "reference_time" in forecast.dims:
        times = forecast["reference_time"].values.astype("datetime64[m]")
        raise DataError(
            f"{path}: holds {times.size} forecasts"
            + (f", from {times[0]} to {times[-1]} UTC" if times.size else "")
            + "; maps and places are of one, which `squall forecast --at TIME` makes"
        )
    for name, (dims, kinds, kind_name) in _FORECAST_LAYOUT.items():
        if name not in forecast.variables:
            raise DataError(f"{path}: has no variable {name!r}; {_ADVICE}.")
        array = forecast[name]
        if array.dims != dims or array.dtype.kind not in kinds or not array.size:
            raise DataError(
                f"{path}: {name!r} is {array.dtype} with sizes {dict(array.sizes)}, expected "
                f"{kind_name} with dimensions {dims}, none empty; {_ADVICE}."
            )
        if len(dims) == 3 and array.attrs.get("units") not in RAIN_UNITS:
            raise DataError(
                f"{path}: {name!r} has units {array.attrs.get('units')!r}, expected 'mm h-1'; "
                "convert it to a rain rate first."
            )
    if "crs_wkt" not in getattr(forecast.get("spatial_ref"), "attrs", {}):
        raise DataError(f"{path}: has no 'spatial_ref' with an attribute 'crs_wkt'; {_ADVICE}.")


def timestamp(value: object) -> pd.Timestamp:
    """A scalar time of xarray or numpy as a timestamp."""
    return pd.Timestamp(str(np.asarray(value).astype("datetime64[ns]")))
