"""A small map and functions to read it, shared by the tests of the radar room.

The files come from the fixture `write_radar` of the top conftest.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file

Write = Callable[..., str]
NOON = pd.Timestamp("2024-06-01T12:00")
CLASSIC = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")
# a file name with the time noon, and its pattern
NAMED = {"time_in_name": "%Y%m%d_%H%M"}
NAME = "radar_20240601_1200.nc"

# all rows and columns differ, so that a flip or transposition changes the map
RATE = np.array([[0.0, 0.5, 1.0], [2.0, 10.0, 50.0]], dtype=np.float32)


def config(**changes: Any) -> RadarNetworkConfig:
    return RadarNetworkConfig(**{"name": "radar", "step": "5min", "variable": "rain", **changes})


def scan_of(path: str, settings: RadarNetworkConfig | None = None) -> np.ndarray:
    """Read a file that must hold exactly one scan, at noon; returns its rain rate (y, x)."""
    report = read_file(path, settings or config())
    assert report.rejected == []
    assert [scan.time for scan in report.scans] == [NOON]
    return RAIN_CODE.decode(report.scans[0].codes)


def rejection_of(path: str, settings: RadarNetworkConfig | None = None) -> str:
    """Read a file that must give one rejection and no scan; returns the reason."""
    report = read_file(path, settings or config())
    assert report.scans == []
    (rejected,) = report.rejected
    return rejected.reason


def assert_rate(rate: np.ndarray, expected: Any) -> None:
    expected = np.minimum(expected, 205)
    np.testing.assert_allclose(rate, np.where(expected < 0.08, 0.0, expected), rtol=0.016)
