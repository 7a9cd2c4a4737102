"""A forecast file for the tests of maps."""

from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr

from squall.pipeline.maps.config import MapsConfig


@pytest.fixture
def write(tmp_path: Path) -> Callable[[xr.Dataset], MapsConfig]:
    def to_config(forecast: xr.Dataset) -> MapsConfig:
        path = tmp_path / "forecast.nc"
        forecast.to_netcdf(path)
        return MapsConfig(forecast=path, out=tmp_path / "new" / "out", dpi=40)

    return to_config
