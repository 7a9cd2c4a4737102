"""Damage to any byte of files without CF coordinates: a product, or a reason why not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.datasets.radar.readers.cf_netcdf import open_netcdf
from tests.datasets.radar.radar_files import NAME, NAMED, config

SETTINGS = config(**NAMED, variable="level/rain", crs="EPSG:3035")


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """A file with a GeoTransform and one with positions, both with a group and lead times."""
    crs = pyproj.CRS.from_epsg(3035)
    x, y = np.meshgrid(4.1e6 + 1000.0 * np.arange(6), 3.2e6 - 1000.0 * np.arange(5))
    lon, lat = pyproj.Proj(crs)(x, y, inverse=True)
    made = []
    for kind in ("transform", "positions"):
        path = tmp_path_factory.mktemp(kind) / NAME
        with netCDF4.Dataset(path, "w") as file:
            for dim, size in (("rows", 5), ("columns", 6)):
                file.createDimension(dim, size)
            rain = file.createGroup("level").createVariable("rain", "f4", ("rows", "columns"))
            rain[:] = np.arange(30).reshape(5, 6)
            rain.setncatts({"units": "mm h-1", "grid_mapping": "crs"})
            mapping = file.createVariable("crs", "i4")
            if kind == "transform":
                mapping.GeoTransform = "4099500 1000 0 3200500 0 -1000"
            else:
                file.createVariable("lat", "f8", ("rows", "columns"))[:] = lat
                file.createVariable("lon", "f8", ("rows", "columns"))[:] = lon
            lead = file.createVariable("lead", "f8")
            lead[...] = 0
            lead.standard_name = "forecast_period"
        made.append(path.read_bytes())
    return made


def test_the_whole_files_are_read(contents: list[bytes], tmp_path: Path) -> None:
    for content in contents:
        path = tmp_path / NAME
        path.write_bytes(content)
        with open_netcdf(str(path), SETTINGS) as product:
            assert product.grid.x[0] == pytest.approx(4.1e6, abs=1)
            assert product.read_stored(0)[0, 1] == 1


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_give_a_product_or_an_exception(
    contents: list[bytes], survives: Callable[..., None], damages: Any, data: st.DataObject
) -> None:
    damaged = data.draw(damages)(contents[data.draw(st.integers(0, 1))])
    survives(open_netcdf, SETTINGS, NAME, damaged)
