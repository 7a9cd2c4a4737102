"""A real file of MeteoNet: the reader against NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import FileReport, read_file

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
FORMATS = SHARED / "formats"

pytestmark = pytest.mark.skipif(not FORMATS.is_dir(), reason=f"no real files at {FORMATS}")


def config_of(network: str, **changes: Any) -> RadarNetworkConfig:
    text = (ROOT / "configs" / "archives" / f"{network}.yaml").read_text(encoding="utf-8")
    return RadarNetworkConfig(**yaml.safe_load(text) | changes)


def read(path: Path, config: RadarNetworkConfig) -> FileReport:
    report = read_file(str(path), config)
    assert report.rejected == []
    return report


def test_meteonet() -> None:
    folder = FORMATS / "meteofrance"
    path = folder / "rainfall_NW_2016_08.3.npz"
    report = read(path, config_of("meteonet"))
    # trusted here, to have an independent reading
    with np.load(path, allow_pickle=True) as file:
        numbers, dates = file["data"], file["dates"]
    assert [scan.time for scan in report.scans] == [pd.Timestamp(date) for date in dates]
    assert len(report.scans) == 45
    for scan, stored in zip(report.scans, numbers, strict=True):
        rate = np.where(stored == -1, np.nan, stored * 0.01 * 12)
        np.testing.assert_array_equal(scan.codes, RAIN_CODE.encode(rate.astype(np.float32)))
    assert report.grid is not None
    with np.load(folder / "radar_coords_NW.npz") as file:
        np.testing.assert_allclose(report.grid.x, file["lons"][0], atol=1e-9)
        np.testing.assert_allclose(report.grid.y, file["lats"][:, 0], atol=1e-9)
