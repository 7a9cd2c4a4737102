"""Real GeoTIFFs of FMI and DPC: the reader against tifffile, netCDF4 and arithmetic."""

from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import FileReport
from tests.datasets.real_files import FORMATS, SHARED, config_of, needs_real_files, read

pytestmark = needs_real_files
pytest.importorskip("rasterio")


def read_at(path: Path, config: RadarNetworkConfig, time: str) -> FileReport:
    report = read(path, config)
    assert [scan.time for scan in report.scans] == [pd.Timestamp(time)]
    return report


def codes_of(report: FileReport, expected: np.ndarray) -> np.ndarray:
    """Codes of the only scan, of pixels that are not at the limit of dry and wet."""
    (scan,) = report.scans
    assert scan.codes is not None
    expected_codes = RAIN_CODE.encode(expected.astype(np.float32))
    np.testing.assert_array_equal(scan.codes, expected_codes)
    return scan.codes


def assert_corners(report: FileReport, path: Path) -> None:
    """The outer corners are those that the TIFF's own tags say."""
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(path) as file:
        tags = file.pages[0].tags
        width, height, _ = tags["ModelPixelScaleTag"].value
        *_, west, north, _ = tags["ModelTiepointTag"].value
    grid = report.grid
    assert grid is not None
    assert grid.x[0] - width / 2 == pytest.approx(west, rel=1e-12)
    assert grid.y[0] + height / 2 == pytest.approx(north, rel=1e-12)
    assert grid.x[-1] + width / 2 == pytest.approx(west + grid.x.size * width, rel=1e-12)
    assert grid.y[-1] - height / 2 == pytest.approx(north - grid.y.size * height, rel=1e-12)


@pytest.mark.slow
def test_fmi() -> None:
    path = FORMATS / "fmi" / "201609281445_FINUTM.tif"
    report = read_at(path, config_of("fmi_geotiff"), "2016-09-28 14:45")
    tifffile = pytest.importorskip("tifffile")
    stored = tifffile.imread(path)
    dbz = (stored.astype(np.float64) - 64) / 2  # as pysteps.io.import_fmi_geotiff
    rate = (10 ** (dbz / 10) / 223) ** (1 / 1.53)
    rate[stored == 0] = 0
    rate[stored == 255] = np.nan
    codes = codes_of(report, rate)
    assert (codes == RAIN_CODE.NOT_OBSERVED).sum() == 24_670_929
    assert_corners(report, path)
    assert report.grid is not None
    assert report.grid.crs.to_epsg() == 3067
    assert report.grid.pixel_at(60.17, 24.94) is not None  # Helsinki


def test_dpc_rain_rate() -> None:
    import rasterio

    path = FORMATS / "dpc" / "2023-01-01-00-00_ROMA_SRI.tif"
    report = read_at(path, config_of("dpc_geotiff"), "2023-01-01 00:00")
    with rasterio.open(path) as file:
        rate = file.read(1).astype(np.float64)
    rate[rate == -1] = np.nan
    codes = codes_of(report, rate)
    assert (codes == RAIN_CODE.NOT_OBSERVED).sum() == 777_970
    assert_corners(report, path)
    # the corners that the attributes of ODIM name, in degrees
    grid = report.grid
    assert grid is not None
    assert grid.pixel_at(35.0623 + 0.01, 5.9247 + 0.01) == (1399, 0)
    assert grid.pixel_at(47.5730 - 0.01, 20.4801 - 0.015) == (0, 1199)


def test_dpc_maximum_of_the_column_in_campania() -> None:
    """The same scan is in the archive ``italy_campania``, packed by someone else."""
    path = FORMATS / "dpc" / "202503261520_VMI_campania.tiff"
    keys = {"units": "dBZ", "missing_values": [-9999, 0], "dry_values": [-9998]}
    config = config_of("dpc_geotiff", **keys, time_in_name="%Y%m%d%H%M")
    report = read_at(path, config, "2025-03-26 15:20")
    assert_corners(report, path)
    day = SHARED / "data" / "italy_campania" / "2025" / "vmi_20250326.nc"
    if not day.exists():
        pytest.skip("no archive italy_campania")
    with netCDF4.Dataset(day) as file:
        file.set_auto_maskandscale(False)
        times = pd.to_datetime(file["time"][:], unit="m")
        (scan,) = np.flatnonzero(times == pd.Timestamp("2025-03-26 15:20"))
        stored, y, x = file["dbz"][scan], file["lat"][:], file["lon"][:]
    rate = (10 ** ((stored * 0.5 - 32.5) / 10) / 200) ** (1 / 1.6)
    rate[stored == 0] = 0
    rate[stored == 255] = np.nan
    codes_of(report, rate)
    assert report.grid is not None
    np.testing.assert_allclose(report.grid.x, x, atol=1e-9)
    np.testing.assert_allclose(report.grid.y, y, atol=1e-9)
