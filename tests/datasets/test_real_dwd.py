"""Real files of DWD, in tar files or not: the archive against arithmetic on the raw numbers."""

import bz2
import gzip
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.opening import open_product
from squall.datasets.radar.radar_file import read_file
from squall.datasets.sources import find_files, local_copy
from tests.datasets.real_files import SHARED, config_of

DWD = SHARED / "formats" / "dwd"
RY = SHARED / "data" / "dwd_ry"
RV = DWD / "DE1200_RV2210180700.tar.bz2"
ASCII = f"tar://*.asc::{DWD}/RW-20221018.tar.gz"

pytestmark = pytest.mark.skipif(not DWD.is_dir(), reason=f"no real files at {DWD}")


def raw_mm_h(content: bytes) -> np.ndarray:
    """(y, x) rain rate of a sum in two bytes, north up, NaN where not observed."""
    start = content.index(b"\x03") + 1
    line = content[:start].decode()
    rows, columns = map(int, re.search(r"GP *(\d+)x *(\d+)", line).groups())  # type: ignore[union-attr]
    step = float("1" + re.search(r"PR (E-0\d)", line)[1])  # type: ignore[index]
    minutes = int(re.search(r"INT *(\d+)", line)[1])  # type: ignore[index]
    words = np.frombuffer(content[start:], "<u2").reshape(rows, columns)[::-1]
    sums = (words & 0x0FFF) * step
    return np.where(words & 0xB000, np.nan, sums * 60 / minutes)


def assert_equal(codes: Any, mm_h: np.ndarray) -> None:
    rate = RAIN_CODE.decode(codes)
    np.testing.assert_array_equal(np.isnan(rate), np.isnan(mm_h))
    np.testing.assert_allclose(rate, np.where(mm_h < 0.08, 0, np.minimum(mm_h, 205)), rtol=0.016)


SUMS = {
    "raa01-ry_10000-1408102050-dwd---bin.gz": ("dwd_ry", "2014-08-10T20:50", 202_093),
    "raa01-rw_10000-1408102050-dwd---bin.gz": ("dwd_rw", "2014-08-10T20:50", 202_093),
    "raa01-sf_10000-1408102050-dwd---bin.gz": ("dwd_rw", "2014-08-10T20:50", 202_235),
    "radolan_rw_sample.bin.bz2": ("dwd_rw", "2026-07-03T06:50", 181_149),
    "raa01-yw2017.002_10000-1708160100-dwd---bin.gz": ("dwd_radklim", "2017-08-16T01:00", 385_102),
    "raa01-yw2017.002_10000-1708160105-dwd---bin.gz": ("dwd_radklim", "2017-08-16T01:05", 384_760),
    "raa01-yw2017.002_10000-1708160110-dwd---bin.gz": ("dwd_radklim", "2017-08-16T01:10", 384_379),
    "RQ2210180700_000.gz": ("dwd_rv", "2022-10-18T07:00", 175_908),
}


LONGER_THAN_THE_STEP = {
    "raa01-sf_10000-1408102050-dwd---bin.gz": {"accumulation": "24h"},
    "RQ2210180700_000.gz": {"accumulation": "1h"},
}


@pytest.mark.parametrize("name", SUMS)
def test_sums_of_each_product(name: str) -> None:
    network, time, missing_px = SUMS[name]
    report = read_file(str(DWD / name), config_of(network, **LONGER_THAN_THE_STEP.get(name, {})))
    assert report.rejected == []
    (scan,) = report.scans
    assert scan.time == pd.Timestamp(time)
    assert (scan.codes == 255).sum() == missing_px
    unpack = gzip if name.endswith("gz") else bz2
    assert_equal(scan.codes, raw_mm_h(unpack.decompress((DWD / name).read_bytes())))


def test_the_hour_of_rw_does_not_enter_an_archive_of_ry() -> None:
    path = str(DWD / "raa01-rw_10000-1408102050-dwd---bin.gz")
    settings = config_of("dwd_ry", time_in_name="-%y%m%d%H%M-")
    (rejected,) = read_file(path, settings).rejected
    assert rejected.rule == "other interval"
    assert "holds a sum over 60 min" in rejected.reason
    settings = config_of("dwd_ry", time_in_name="-%y%m%d%H%M-", accumulation="1h")
    assert len(read_file(path, settings).scans) == 1


def test_no_radar_measured_where_rw_is_interpolated_between_gauges() -> None:
    """With its secondary pixels, RW lacks those that RY, from radars alone, lacks."""
    names = (f"raa01-{product}_10000-1408102050-dwd---bin.gz" for product in ("rw", "ry"))
    settings = RadarNetworkConfig(name="dwd", step="5min", accumulation="1h"), config_of("dwd_ry")
    rw, ry = (
        read_file(str(DWD / name), config.model_copy(update={"time_in_name": None})).scans[0].codes
        for name, config in zip(names, settings, strict=True)
    )
    np.testing.assert_array_equal(rw == 255, ry == 255)


def test_reflectivity() -> None:
    path = DWD / "raa01-rx_10000-1408102050-dwd---bin.gz"
    pixels = gzip.decompress(path.read_bytes())[-810_000:]
    numbers = np.frombuffer(pixels, "u1").reshape(900, 900)[::-1]
    settings = config_of("dwd_ry").model_copy(update={"time_in_name": None})
    (scan,) = read_file(str(path), settings).scans
    rate = (10 ** ((numbers * 0.5 - 32.5) / 10) / 200) ** (1 / 1.6)
    assert_equal(scan.codes, np.where(numbers >= 249, np.nan, rate))
    assert (scan.codes == 255).sum() == 176_545


@pytest.mark.skipif(not RY.is_dir(), reason=f"no real archive at {RY}")
def test_scans_of_the_archive() -> None:
    paths = sorted(RY.rglob("*.gz"))
    assert len(paths) == 92
    for path in paths[::13]:
        (scan,) = read_file(str(path), config_of("dwd_ry")).scans
        assert f"{scan.time:%y%m%d%H%M}" in path.name
        assert_equal(scan.codes, raw_mm_h(gzip.decompress(path.read_bytes())))


@pytest.fixture(scope="module")
def short_rv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar file with the analysis and the first forecast of the real one, which takes seconds."""
    folder = tmp_path_factory.mktemp("rv")
    with tarfile.open(RV, "r|bz2") as tar, tarfile.open(folder / RV.name, "w:bz2") as short:
        for _ in range(2):
            member = tar.next()
            assert member is not None
            short.addfile(member, tar.extractfile(member))
    return folder / RV.name


def test_the_analysis_in_a_tar_file_is_read_and_its_forecasts_are_refused(short_rv: Path) -> None:
    settings = config_of("dwd_rv")
    pattern = settings.source[0].partition("::")[0]
    (analysis,) = find_files([f"{pattern}::{short_rv}"])
    assert analysis.name == "DE1200_RV2210180700_000"
    with local_copy(analysis) as path:
        (scan,) = read_file(str(path), settings).scans
        assert_equal(scan.codes, raw_mm_h(path.read_bytes()))
    assert scan.time == pd.Timestamp("2022-10-18T07:00")
    _, forecast = find_files([f"tar://**::{short_rv}"])
    with local_copy(forecast) as path:
        (rejected,) = read_file(str(path), settings).rejected
    assert "is a forecast, 5 min ahead of 2022-10-18 07:00" in rejected.reason


def test_a_text_grid_in_a_tar_file() -> None:
    files = find_files([ASCII])
    assert len(files) == 24
    with local_copy(files[6]) as path:
        (scan,) = read_file(str(path), config_of("dwd_rw_ascii")).scans
        tenths = np.loadtxt(path, skiprows=6)
    assert scan.time == pd.Timestamp("2022-10-18T06:50")
    assert_equal(scan.codes, np.where(tenths < 0, np.nan, tenths / 10))


def test_text_and_binary_lie_on_one_grid_and_overlap(tmp_path: Path) -> None:
    """Both say where RW has no data, from the same radars; a flip would not fit.

    In the text, pixels that are interpolated between gauges are no others.
    """
    binary = read_file(str(DWD / "radolan_rw_sample.bin.bz2"), config_of("dwd_rw"))
    with local_copy(find_files([ASCII])[6]) as path:
        text = read_file(str(path), config_of("dwd_rw_ascii"))
    assert binary.grid is not None
    assert text.grid is not None
    assert binary.grid.difference(text.grid) is None
    outside = [report.scans[0].codes == 255 for report in (binary, text)]
    assert np.mean(outside[0] == outside[1]) > 0.92
    assert np.mean(outside[0] == outside[1][::-1]) < 0.9


def test_de1200_is_the_grid_of_dwds_hdf5_files(short_rv: Path) -> None:
    settings = RadarNetworkConfig(name="hdf5", step="5min", variable="ACRR")
    with open_product(str(DWD / "composite_rs_sample.hd5"), settings) as product:
        hdf5 = product.grid
    (file,) = find_files([f"tar://*_000::{short_rv}"])
    with local_copy(file) as path, open_product(str(path), config_of("dwd_rv")) as product:
        assert product.grid.difference(hdf5) is None


def test_sums_end_at_their_time() -> None:
    """RQ is the hour until 07:00. It fits the hour until 06:50 better than that until 07:50."""
    last_hour = raw_mm_h(gzip.decompress((DWD / "RQ2210180700_000.gz").read_bytes()))
    fits = {}
    with tarfile.open(DWD / "RW-20221018.tar.gz") as tar:
        for hour in ("0650", "0750"):
            member = tar.extractfile(f"RW_20221018-{hour}.asc")
            assert member is not None
            tenths = np.loadtxt(member, skiprows=6)
            observed = (tenths >= 0) & ~np.isnan(last_hour)
            fits[hour] = np.corrcoef(tenths[observed], last_hour[observed])[0, 1]
    assert fits["0650"] > 0.85
    assert fits["0750"] < 0.7
