"""Real pictures of FMI and MeteoSwiss, imported by pysteps, against netCDF4 and Pillow."""

import netCDF4
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.readers.pysteps_importers import _quiet
from tests.datasets.real_files import FORMATS, SHARED, config_of, needs_real_files, read

pytestmark = needs_real_files


def test_a_pgm_of_fmi_equals_the_same_scan_in_the_archive() -> None:
    with _quiet():
        pytest.importorskip("pysteps.io", exc_type=ImportError)
    path = FORMATS / "fmi" / "201609281445_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz"
    report = read(path, config_of("fmi_pgm"))
    (scan,) = report.scans
    assert scan.time == pd.Timestamp("2016-09-28 14:45")
    same = SHARED / "data" / "fmi" / "2016" / "09" / "28" / "fmi_201609281445.nc"
    if not same.exists():
        pytest.skip("no archive fmi")
    with netCDF4.Dataset(same) as file:
        file.set_auto_maskandscale(False)
        stored, x, y = np.squeeze(file["dbz"][:]), file["x"][:], file["y"][:]
    stored = stored if y[0] > y[-1] else stored[::-1]
    rate = (10 ** (stored * 0.5 / 10) / 223) ** (1 / 1.53)
    rate = np.where(stored == -32768, np.nan, rate)
    np.testing.assert_array_equal(scan.codes, RAIN_CODE.encode(rate.astype(np.float32)))
    assert report.grid is not None
    np.testing.assert_allclose(report.grid.x, np.sort(x), atol=20)
    np.testing.assert_allclose(report.grid.y, np.sort(y)[::-1], atol=20)


def test_a_gif_of_meteoswiss() -> None:
    with _quiet():
        pytest.importorskip("pysteps.io", exc_type=ImportError)
    path = FORMATS / "mch" / "AQC151351545F_00005.801.gif"
    report = read(path, config_of("mch_gif"))
    (scan,) = report.scans
    assert scan.time == pd.Timestamp("2015-05-15 15:45")  # day 135 of 2015
    with Image.open(path) as picture:
        numbers = np.asarray(picture).astype(np.float64)
    rate = (10 ** ((numbers - 71.5) / 20) / 316) ** (1 / 1.5) * 12
    rate[(numbers < 2) | (numbers > 250)] = 0
    rate[numbers == 255] = np.nan
    np.testing.assert_array_equal(scan.codes, RAIN_CODE.encode(rate.astype(np.float32)))
    assert report.grid is not None
    assert report.grid.pixel_at(46.9524, 7.4396) is not None  # Berne, (600, 200) km
    row, column = report.grid.pixel_at(46.9524, 7.4396) or (-1, -1)
    assert (report.grid.x[column], report.grid.y[row]) == (
        pytest.approx(600_000, abs=501),
        pytest.approx(200_000, abs=501),
    )
