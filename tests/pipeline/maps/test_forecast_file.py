"""Files that are not forecasts, or cannot be read, are refused by the maps stage."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from squall.datasets.errors import DataError
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.run import maps
from tests.pipeline.maps.map_examples import (
    forecast_dataset,
)

pytestmark = pytest.mark.usefixtures("gshhg_only")


def without_crs(forecast: xr.Dataset) -> xr.Dataset:
    forecast["spatial_ref"].attrs.clear()
    return forecast


def in_dbz(forecast: xr.Dataset) -> xr.Dataset:
    forecast["rain_rate"].attrs["units"] = "dBZ"
    return forecast


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.drop_vars("rain_rate"), "no variable 'rain_rate'"),
        (lambda f: f.drop_vars("observed_rain_rate"), "no variable 'observed_rain_rate'"),
        (lambda f: f.drop_vars("forecast_reference_time"), "'forecast_reference_time'"),
        (lambda f: f.drop_vars("x"), "no variable 'x'"),
        (lambda f: f.expand_dims(member=2), "expected float with dimensions"),
        (lambda f: f.assign_coords(lead_time=[1.0, 2.0, 3.0]), "expected duration"),
        (lambda f: f.isel(lead_time=slice(0)), "none empty"),
        (in_dbz, "units 'dBZ', expected 'mm h-1'"),
        (without_crs, "no 'spatial_ref'"),
        (lambda f: f.assign_coords(x=np.arange(64.0) ** 2), "x is not evenly spaced"),
    ],
)
def test_a_file_that_is_not_a_forecast_is_refused(
    write: Callable[[xr.Dataset], MapsConfig],
    spoil: Callable[[xr.Dataset], xr.Dataset],
    message: str,
) -> None:
    config = write(spoil(forecast_dataset()))
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        maps(config)
    assert str(config.forecast) in str(raised.value)
    assert not config.out.exists()


@pytest.mark.parametrize("content", [None, b"", b"this is not netCDF" * 100])
def test_the_error_for_an_unreadable_file_names_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.nc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.nc.*expected a forecast"):
        maps(MapsConfig(forecast=path, out=tmp_path / "out"))
