"""Real HDF5 files of several producers: read_file against h5py with arithmetic of its own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pyproj
import pytest
import yaml

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import FileReport, read_file

ROOT = Path(__file__).parents[2]
FORMATS, DATA = ROOT.parent / "shared" / "formats", ROOT.parent / "shared" / "data"
FIELD = "dataset1/data1/data"
KNMI_FIELD = "image1/image_data"
Rate = Callable[[np.ndarray], np.ndarray]

pytestmark = pytest.mark.skipif(not FORMATS.is_dir(), reason=f"no real files at {FORMATS}")


def packed(scale: float, offset: float, missing: float, per_hour: float = 1.0) -> Rate:
    """Rates of numbers in which 0 and what is at most 0 mm is dry, and ``missing`` not observed."""

    def rate(numbers: np.ndarray) -> np.ndarray:
        mm_h = np.maximum(numbers * scale + offset, 0) * per_hour
        return np.where(numbers == missing, np.nan, mm_h)

    return rate


def reflectivity(scale: float, offset: float, missing: float) -> Rate:
    """Rates by Marshall and Palmer of numbers in which 0 is no echo."""

    def rate(numbers: np.ndarray) -> np.ndarray:
        mm_h = (10 ** ((numbers * scale + offset) / 10) / 200) ** (1 / 1.6)
        return np.where(numbers == missing, np.nan, np.where(numbers == 0, 0.0, mm_h))

    return rate


def opera(numbers: np.ndarray) -> np.ndarray:
    """-9999000 is not observed, -8888000 no echo, and above 5,000 mm/h no pixel can be."""
    mm_h = np.where((numbers == -9999000) | (numbers > 5000), np.nan, numbers)
    return np.where(numbers == -8888000, 0.0, mm_h)


def opera_dbz(numbers: np.ndarray) -> np.ndarray:
    mm_h = (10 ** (np.maximum(numbers, -100) / 10) / 200) ** (1 / 1.6)
    return np.where(numbers == -9999000, np.nan, mm_h)


def swiss(numbers: np.ndarray) -> np.ndarray:
    """NaN is not observed, infinity would be no echo; sums of an hour."""
    return np.where(np.isinf(numbers), 0.0, numbers)


@dataclass(frozen=True)
class Case:
    """A file, how it is read, and what must come out."""

    pattern: str
    variable: str
    time: str
    rate: Rate
    path: str = FIELD
    keys: dict[str, Any] = field(default_factory=dict)


# two files of RAVE say that their upper and right corners lie one pixel further out than they do
SWEDISH_RADARS: dict[str, Any] = {
    "crs": "+proj=merc +R=6378137", "nx": 1022, "ny": 1916,
    "x0": 971337.729, "y0": 11028461.179, "dx": 2000, "dy": -2000,
}  # fmt: skip
SWEDEN: dict[str, Any] = {
    "crs": "+proj=merc +lon_0=0 +x_0=1335833 +y_0=-11000715 +ellps=WGS84",
    "x0": -3117.835, "y0": 3215.412, "dx": 6223, "dy": -6223, "nx": 800, "ny": 1090,
}  # fmt: skip
RMI = packed(1.0, 0.0, np.nan)
OVER_AN_HOUR = {"accumulation": "1h"}
CASES = [
    Case("odim/T_PAAH21*", "RATE", "2018-08-24T22:15", opera),
    Case("odim/T_PAAH22*", "RATE", "2024-11-26T01:00", opera),
    Case("odim/T_PABV21*", "DBZH", "2024-11-26T01:00", opera_dbz),
    Case("odim/T_PASH22*", "ACRR", "2024-11-26T01:00", opera, keys=OVER_AN_HOUR),
    Case("odim/belgium*", "ACRR", "2019-06-06T00:00", RMI, keys=OVER_AN_HOUR),
    Case("odim/example*", "ACRR", "2020-03-03T23:55", packed(1.0, 0.0, np.nan, 12)),
    Case("odim/comp4*", "dataset1", "2014-03-25T09:00", reflectivity(0.4, -30, 255),
         keys={"grid": SWEDISH_RADARS}),
    Case("odim/comp4*", "dataset2/data1", "2014-03-25T09:00", reflectivity(0.4, -30, 255),
         "dataset2/data1/data", {"grid": SWEDISH_RADARS}),
    Case("odim/composite_swe*", "DBZH", "2009-05-01T12:00", reflectivity(0.4, -30, 255),
         keys={"grid": SWEDEN}),
    Case("mch/CPC*", "ACRR", "2023-12-21T13:30", swiss, keys=OVER_AN_HOUR),
    Case("dwd/composite_rs*", "ACRR", "2026-07-03T07:50", packed(0.001, -0.001, 2**32 - 1),
         keys=OVER_AN_HOUR),
    Case("knmi/RAD_NL25_PCP_CM*", "image1", "2021-06-22T20:00", reflectivity(0.5, -32, 255),
         KNMI_FIELD),
    Case("knmi/RAD_NL25_PCP_NA*", "image1", "2021-02-02T21:50", reflectivity(0.5, -32, 255),
         KNMI_FIELD),
    Case("knmi/RAD_NL25_RAP*", "image1", "2010-08-26T00:00", packed(0.01, 0, 65535, 12),
         KNMI_FIELD),
    Case("knmi/RAD_NL25_RAC_FM*", "image1", "2024-09-04T13:55", packed(0.01, 0, 65535, 12),
         KNMI_FIELD, {"accumulation": "5min"}),
]  # fmt: skip


def read(pattern: str, settings: dict[str, Any]) -> FileReport:
    (path,) = FORMATS.glob(pattern)
    return read_file(str(path), RadarNetworkConfig(**{"name": "a", "step": "5min", **settings}))


def assert_equal(codes: np.ndarray | None, expected: np.ndarray) -> None:
    """All pixels: observed or not, dry or wet, and the rate within the code's resolution."""
    assert codes is not None
    rate = RAIN_CODE.decode(codes)
    np.testing.assert_array_equal(np.isnan(rate), np.isnan(expected))
    # in single precision, a rate at the limit may be dry or wet
    assert (rate[expected < 0.08 * (1 - 1e-6)] == 0).all()
    wet = expected > 0.08 * (1 + 1e-6)
    assert wet.any()
    np.testing.assert_allclose(rate[wet], np.minimum(expected[wet], 205), rtol=0.016)


@pytest.mark.parametrize("case", CASES, ids=[f"{c.pattern[:-1]} {c.variable}" for c in CASES])
def test_each_pixel_is_that_of_the_file(case: Case) -> None:
    report = read(case.pattern, {"variable": case.variable, **case.keys})
    assert report.rejected == []
    (scan,) = report.scans
    assert scan.time == pd.Timestamp(case.time)
    with h5py.File(next(FORMATS.glob(case.pattern))) as file:
        numbers = file[case.path][()].astype(np.float64)
    assert_equal(scan.codes, case.rate(numbers))


@pytest.mark.parametrize(
    "pattern", ["odim/T_PAAH21*", "odim/belgium*", "mch/CPC*", "dwd/composite_rs*"]
)
def test_the_corners_are_those_of_the_file(pattern: str) -> None:
    report = read(pattern, {"variable": "RATE" if "T_PAAH21" in pattern else "ACRR"})
    grid = report.grid
    assert grid is not None
    height, width = grid.pixel_size
    edges = {
        "LL": (grid.x[0] - width / 2, grid.y[-1] - height / 2),
        "UR": (grid.x[-1] + width / 2, grid.y[0] + height / 2),
    }
    with h5py.File(next(FORMATS.glob(pattern))) as file:
        where = dict(file["where"].attrs)
    project = pyproj.Proj(grid.crs)
    for corner, (x, y) in edges.items():
        expected = project(where[f"{corner}_lon"], where[f"{corner}_lat"])
        # the corners of MeteoSwiss disagree with each other by 0.14 pixels
        assert np.hypot(x - expected[0], y - expected[1]) < (150 if "mch" in pattern else 0.5)


def test_what_a_user_has_to_decide_is_asked_for() -> None:
    for pattern, variable, message in (
        ("odim/comp4*", "DBZH", "'variable: dataset2/data1'"),
        ("odim/composite_swe*", "DBZH", "give the grid under 'grid'"),
        ("knmi/RAD_NL25_RAC_FM*", "image2", "image2 is a forecast"),
        ("knmi/RAD_NL25_RAC_FM*", "image1", "'accumulation: 10min'"),
        ("dpc/VMI_*.h5", "radar_data", "does not tell its grid"),
    ):
        (rejected,) = read(pattern, {"variable": variable}).rejected
        assert message in rejected.reason


def test_the_italian_composite_is_that_of_the_netcdf_file() -> None:
    """DPC's HDF5 file, which tells nothing, against the same scan as netCDF."""
    text = (ROOT / "configs" / "archives" / "dpc_hdf5.yaml").read_text(encoding="utf-8")
    (path,) = FORMATS.glob("dpc/VMI_*.h5")
    report = read_file(str(path), RadarNetworkConfig(**yaml.safe_load(text)))
    assert report.rejected == []
    (scan,) = report.scans
    assert scan.time == pd.Timestamp("2025-04-16T17:30")
    with netCDF4.Dataset(DATA / "dpc/2025/04/16/dpc_vmi_202504161730.nc") as file:
        file.set_auto_maskandscale(False)
        numbers = file["dbz"][0].astype(np.float64)
        x, y = file["x"][:], file["y"][:]
        crs = pyproj.CRS.from_wkt(file["crs"].crs_wkt)
    assert report.grid is not None
    np.testing.assert_allclose(report.grid.x, x)
    np.testing.assert_allclose(report.grid.y, y)
    place = pyproj.Transformer.from_crs(crs, report.grid.crs).transform(x[100], y[100])
    assert np.hypot(place[0] - x[100], place[1] - y[100]) < 0.01
    mm_h = (10 ** (numbers * 0.1 / 10) / 200) ** (1 / 1.6)
    expected = np.where(numbers == -32768, np.nan, np.where(numbers == -320, 0.0, mm_h))
    assert_equal(scan.codes, expected)
