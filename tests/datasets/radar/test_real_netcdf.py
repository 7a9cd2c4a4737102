"""Real netCDF files of many producers, compared with netCDF4 and arithmetic of its own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pyproj
import pytest
import yaml

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file

ROOT = Path(__file__).parents[3]
FILES = ROOT.parent / "shared" / "formats"

pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason=f"no real files at {FILES}")


def metres_per_second(stored: np.ndarray) -> np.ndarray:
    """The fill value is that of netCDF: nothing is declared."""
    return np.where(stored > 9e36, np.nan, stored.astype(float) * 3.6e6)


def tenths(stored: np.ndarray) -> np.ndarray:
    return np.where(stored == 65535, np.nan, stored.astype(float) / 10)


def hundredths_in_5_minutes(stored: np.ndarray) -> np.ndarray:
    return np.where(stored == 65535, np.nan, stored.astype(float) / 100 * 12)


@dataclass(frozen=True)
class Case:
    """A file, its configuration, and what it holds by a second reading."""

    network: str
    rain_mm_h: Callable[[np.ndarray], np.ndarray]
    times: tuple[str, str, int]  # first, last and how many
    corners: dict[str, tuple[float, float]]  # x and y of the first and last stored pixel
    changes: dict[str, Any] = field(default_factory=dict)
    rows_up: bool = False


CASES = {
    "ukmo/20190101T0630Z-u1096_ng_radar_precip_ratecomposite_2km.nc": Case(
        "ukmo", metres_per_second, ("2019-01-01T06:30",) * 2 + (1,),
        {"first": (-258000, 164000), "last": (-60000, 362000)}, rows_up=True,
    ),
    "ukmo/201811031530_radar_rainrate_composite_UK_regridded.nc": Case(
        "ukmo", metres_per_second, ("2018-11-03T15:30",) * 2 + (1,),
        {"first": (-458000, -396000), "last": (-60000, 2000)}, rows_up=True,
    ),
    "saf/S_NWC_CRR_MSG4_Europe-VISIR_20180601T070000Z.nc": Case(
        "nwcsaf", tenths, ("2018-06-01T07:00",) * 2 + (1,),
        # gdal_geotransform_table: outer corner -3301500, 5569500, pixels of 3000
        {"first": (-3300000, 5568000), "last": (3297000, 2514000)},
    ),
    "opensense/mergeplg_openmrg_rad.nc": Case(
        "openmrg", lambda mm: mm * 12, ("2015-07-25T12:30", "2015-07-25T15:00", 31),
        {"first": (-154199.3229, -3412560.833), "last": (-82199.3229, -3506560.833)},
        {"variable": "rainfall_amount", "units": "mm", "accumulation": "5min",
         "missing_values": ()},
    ),
    "opensense/openrainer_RAD.nc": Case(
        "openrainer", lambda mm: mm * 4, ("2022-09-17T08:00", "2022-09-17T10:30", 11),
        {"first": (8.5, 43.40000153), "last": (13.20580006, 46.00099945)}, rows_up=True,
    ),
    "knmi/RAD_NL25_RAC_MFBS_5min_201109102000.nc": Case(
        "knmi_mfbs", hundredths_in_5_minutes, ("2011-09-10T20:00",) * 2 + (1,),
        {"first": (500, -3650500), "last": (699500, -4414500)},
    ),
}  # fmt: skip


def config_of(case: Case) -> RadarNetworkConfig:
    text = (ROOT / "configs" / "archives" / f"{case.network}.yaml").read_text(encoding="utf-8")
    return RadarNetworkConfig(**yaml.safe_load(text) | case.changes)


@pytest.mark.parametrize("name", CASES)
def test_all_pixels_and_times_agree_with_netcdf4(name: str) -> None:
    case = CASES[name]
    settings = config_of(case)
    report = read_file(str(FILES / name), settings)
    assert report.rejected == []
    first, last, count = case.times
    assert len(report.scans) == count
    times = [report.scans[0].time, report.scans[-1].time]
    assert times == [pd.Timestamp(first), pd.Timestamp(last)]
    with netCDF4.Dataset(FILES / name) as file:
        file.set_auto_maskandscale(False)
        stored = np.asarray(file[settings.variable][...])
    stored = stored if stored.ndim == 3 else stored[None]
    for scan, numbers in zip(report.scans, stored, strict=True):
        expected = case.rain_mm_h(numbers[::-1] if case.rows_up else numbers)
        assert scan.codes is not None
        rate = RAIN_CODE.decode(scan.codes)
        np.testing.assert_array_equal(np.isnan(rate), np.isnan(expected))
        dry, wet = expected < 0.08 * (1 - 1e-6), expected > 0.08 * (1 + 1e-6)
        assert (rate[dry] == 0).all()
        assert np.abs(rate[wet] / expected[wet] - 1).max() < 0.016


@pytest.mark.parametrize("name", CASES)
def test_the_first_and_last_stored_pixels_lie_where_the_file_says(name: str) -> None:
    case = CASES[name]
    grid = read_file(str(FILES / name), config_of(case)).grid
    assert grid is not None
    rows = grid.y[::-1] if case.rows_up else grid.y
    height, width = grid.pixel_size
    for (x, y), index in ((case.corners["first"], 0), (case.corners["last"], -1)):
        assert grid.x[index] == pytest.approx(x, abs=0.001 * width)
        assert rows[index] == pytest.approx(y, abs=0.001 * height)


def test_knmis_corners_are_those_of_the_file() -> None:
    name = "knmi/RAD_NL25_RAC_MFBS_5min_201109102000.nc"
    grid = read_file(str(FILES / name), config_of(CASES[name])).grid
    with netCDF4.Dataset(FILES / name) as file:
        written = np.asarray(file["geographic"].geo_product_corners).reshape(4, 2)
    height, width = grid.pixel_size
    west, east = grid.x[0] - width / 2, grid.x[-1] + width / 2
    north, south = grid.y[0] + height / 2, grid.y[-1] - height / 2
    back = pyproj.Proj(grid.crs)
    corners = [(west, south), (west, north), (east, north), (east, south)]
    for (x, y), expected in zip(corners, written, strict=True):
        np.testing.assert_allclose(back(x, y, inverse=True), expected, atol=2e-3)


def test_the_pixels_of_openmrg_lie_where_its_longitudes_say() -> None:
    """Its latitudes run against its y and its longitudes, so that they alone are turned."""
    name = "opensense/mergeplg_openmrg_rad.nc"
    grid = read_file(str(FILES / name), config_of(CASES[name])).grid
    with netCDF4.Dataset(FILES / name) as file:
        lon, lat = np.asarray(file["longitudes"][:]), np.asarray(file["latitudes"][:])[::-1]
    found = pyproj.Proj(grid.crs)(*np.meshgrid(grid.x, grid.y), inverse=True)
    np.testing.assert_allclose(found[0], lon, atol=2e-5)
    np.testing.assert_allclose(found[1], lat, atol=2e-5)
    bare = config_of(CASES[name]).model_copy(update={"coordinate_units": None})
    reason = read_file(str(FILES / name), bare).rejected[0].reason
    assert "no regular grid" in reason
    assert "if the coordinates are right, set 'coordinate_units'" in reason


def test_pixels_off_the_disc_are_not_observed() -> None:
    name = "saf/S_NWC_CRR_MSG4_Europe-VISIR_20180601T070000Z.nc"
    report = read_file(str(FILES / name), config_of(CASES[name]))
    grid, codes = report.grid, report.scans[0].codes
    lon, lat = pyproj.Proj(grid.crs)(*np.meshgrid(grid.x, grid.y), inverse=True)
    is_off = ~np.isfinite(lon)
    assert 0.16 < is_off.mean() < 0.17
    assert (codes[is_off] == RAIN_CODE.NOT_OBSERVED).all()
    with netCDF4.Dataset(FILES / name) as file:
        # the file's limits are those of pixels that it sees just off PROJ's ellipsoid
        assert np.abs(lat[~is_off]).max() == pytest.approx(file.geospatial_lat_max, abs=0.2)
        assert lat[~is_off].min() == pytest.approx(file.geospatial_lat_min, abs=0.02)
