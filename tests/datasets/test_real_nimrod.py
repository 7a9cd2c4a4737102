"""Real NIMROD files of the UK Met Office: the reader against arithmetic on the raw bytes."""

import gzip

import numpy as np
import pandas as pd

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.radar_file import read_file
from tests.datasets.real_files import FORMATS, config_of, needs_real_files, read

pytestmark = needs_real_files


def test_a_composite_equals_its_raw_numbers() -> None:
    path = FORMATS / "nimrod" / "input_preciprate.nimrod.gz"
    report = read(path, config_of("ukmo_nimrod"))
    (scan,) = report.scans
    assert scan.time == pd.Timestamp("2018-08-03 22:45")
    numbers = np.frombuffer(gzip.decompress(path.read_bytes())[524:-4], ">i2").reshape(704, 548)
    rate = np.where(numbers == -1, np.nan, numbers / 32)
    np.testing.assert_array_equal(scan.codes, RAIN_CODE.encode(rate.astype(np.float32)))
    assert (scan.codes == RAIN_CODE.NOT_OBSERVED).sum() == 112_171
    grid = report.grid
    assert grid is not None
    # the corners that the header says
    assert (grid.x[0] - 1000, grid.x[-1] + 1000) == (-239_000, 857_000)
    assert (grid.y[0] + 1000, grid.y[-1] - 1000) == (1_223_000, -185_000)
    # the grid reference of the Royal Observatory in Greenwich is TQ 389 773
    row, column = grid.pixel_at(51.4779, -0.0015) or (-1, -1)
    assert abs(grid.x[column] - 538_900) <= 1000
    assert abs(grid.y[row] - 177_300) <= 1000


def test_a_forecast_is_refused() -> None:
    report = read_file(
        str(FORMATS / "nimrod" / "u1096_ng_bmr04_precip_2km"), config_of("ukmo_nimrod")
    )
    (rejected,) = report.rejected
    assert "'precip accumulation' of 'STEPS' is a forecast" in rejected.reason
