"""The time in files' names: which digits it is, and the text around them."""

import pandas as pd
import pytest

from squall.datasets.radar.file_times import time_from_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.init.names import pattern_of, times_in

NAMES = {
    "knmi_201008260000.nc": ("knmi_%Y%m%d%H%M", "2010-08-26T00:00", "knmi_*.nc"),
    "66_20201031_000500.prcp-c10.nc": (
        "66_%Y%m%d_%H%M%S", "2020-10-31T00:05", "66_*.prcp-c10.nc",
    ),
    "PrecipRate_00.00_20190610-000200.grib2": (
        "PrecipRate_00.00_%Y%m%d-%H%M%S", "2019-06-10T00:02", "PrecipRate_00.00_*.grib2",
    ),
    "OPERA@20240801T1200@0@RATE.h5": ("OPERA@%Y%m%dT%H%M", "2024-08-01T12:00", "OPERA@*@0@RATE.h5"),
    "2023-01-01-00-05_ROMA_SRI.tif": ("%Y-%m-%d-%H-%M", "2023-01-01T00:05", "*_ROMA_SRI.tif"),
    "raa01-rw_10000-1408102050-dwd---bin.gz": (
        "raa01-rw_10000-%y%m%d%H%M", "2014-08-10T20:50", "raa01-rw_10000-*-dwd---bin.gz",
    ),
    "RQ2210180700_000.gz": ("RQ%y%m%d%H%M", "2022-10-18T07:00", "RQ*_000.gz"),
    "AQC151351545F_00005.801.gif": ("AQC%y%j%H%M", "2015-05-15T15:45", "AQC*F_00005.801.gif"),
    "CPC2335513304_00060.001.h5": ("CPC%y%j%H%M", "2023-12-21T13:30", "CPC*_00060.001.h5"),
    "LOT_N1P_2021_01_31_11_06_30": (
        "LOT_N1P_%Y_%m_%d_%H_%M_%S", "2021-01-31T11:06:30", "LOT_N1P_*",
    ),
    "vmi_20250201.nc": ("vmi_%Y%m%d", "2025-02-01", "vmi_*.nc"),
    "VMI_1744824600000.h5": ("VMI_%s", "2025-04-16T17:30", "VMI_*.h5"),
    "20190101T0630Z-u1096_ng_2km.nc": ("%Y%m%dT%H%M", "2019-01-01T06:30", "*Z-u1096_ng_2km.nc"),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_time_in_a_name(name: str) -> None:
    pattern, time, glob = NAMES[name]
    found = pattern_of([name], [None])
    assert found is not None
    assert (found.pattern, found.times, found.glob) == (pattern, (pd.Timestamp(time),), glob)
    read = RadarNetworkConfig(name="a", step="1s", snap_tolerance="0s", time_in_name=pattern)
    assert time_from_name(name, read) == pd.Timestamp(time)


@pytest.mark.parametrize(
    "name",
    [
        "belgium.comp.hdf",
        "radar_99991231.nc",
        "u1096_ng_bmr04_precip_2km",
        "radar_20241301.nc",
        "scan_12345678901234567890.nc",
    ],
)
def test_names_without_a_time(name: str) -> None:
    assert times_in(name) == []
    assert pattern_of([name], [None]) is None


def test_the_time_in_the_file_decides_which_number_is_the_time() -> None:
    name = "made_202401020304_valid_202401020000.nc"
    valid, made = pd.Timestamp("2024-01-02"), pd.Timestamp("2024-01-02T03:04")
    later = pattern_of([name], [valid])
    assert later is not None
    assert later.times == (valid,)
    assert later.pattern == "made_202401020304_valid_%Y%m%d%H%M"
    first = pattern_of([name], [made])
    assert first is not None
    assert first.times == (made,)
    assert pattern_of([name], [pd.Timestamp("2023-01-02")]) is None


def test_a_pattern_fits_all_names_and_has_their_common_text() -> None:
    names = ["a1_rain_202401020000_x.nc", "a2_rain_202401020005_x.nc"]
    found = pattern_of(names, [None, None])
    assert found is not None
    assert found.pattern == "_rain_%Y%m%d%H%M"
    assert found.glob == "a*_x.nc"
    assert pattern_of([*names, "readme.txt"], [None] * 3) is None
