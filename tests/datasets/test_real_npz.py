"""A real file of MeteoNet: the reader against NumPy."""

import numpy as np
import pandas as pd

from squall.datasets.coding import RAIN_CODE
from tests.datasets.real_files import FORMATS, config_of, needs_real_files, read

pytestmark = needs_real_files


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
