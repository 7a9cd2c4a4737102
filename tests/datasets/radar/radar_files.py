"""What the tests of reading radar files share: one small map, and how a file is read.

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
# a name that tells noon, and how
NAMED = {"time_in_name": "%Y%m%d_%H%M"}
NAME = "radar_20240601_1200.nc"

# two rows, three columns, no two alike, so that no flip or transposition goes unseen
RATE = np.array([[0.0, 0.5, 1.0], [2.0, 10.0, 50.0]], dtype=np.float32)


def config(**changes: Any) -> RadarNetworkConfig:
    return RadarNetworkConfig(**{"name": "radar", "step": "5min", "variable": "rain", **changes})


def scan_of(path: str, settings: RadarNetworkConfig | None = None) -> np.ndarray:
    """The rain rate of a file that has to give exactly one scan, at noon."""
    report = read_file(path, settings or config())
    assert report.rejected == []
    assert [scan.time for scan in report.scans] == [NOON]
    return RAIN_CODE.decode(report.scans[0].codes)


def rejection_of(path: str, settings: RadarNetworkConfig | None = None) -> str:
    """The reason of a file that has to give no scan but one rejection."""
    report = read_file(path, settings or config())
    assert report.scans == []
    (rejected,) = report.rejected
    return rejected.reason


def assert_rate(found: np.ndarray, expected: Any) -> None:
    expected = np.minimum(expected, 205)
    np.testing.assert_allclose(found, np.where(expected < 0.08, 0.0, expected), rtol=0.016)
