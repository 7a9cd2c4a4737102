"""Real files of four networks: the reader against netCDF4 with arithmetic of its own."""

from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import yaml

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import FileReport, read_file

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real archives at {DATA}")


@dataclass(frozen=True)
class Source:
    """How the numbers of a network are converted to mm/h, written independently of the package."""

    variable: str
    fill: int
    shape: tuple[int, int]

    def rain_mm_h(self, packed: np.ndarray) -> np.ndarray:
        """(y, x) rain rate, NaN where the producer has no value."""
        numbers = packed.astype(np.float64)
        if self.variable == "dbz":
            rain = (10 ** (numbers * 0.5 / 10) / 200) ** (1 / 1.6)
        elif self.variable == "rainfall_rate":
            rain = numbers * 0.01
        else:
            minutes = 10 if self.fill == -1 else 6
            # Brisbane's -2 is -0.1 kg m-2 beside showers: dry
            rain = np.where(packed == -2, 0, numbers * 0.05 * 60 / minutes)
        return np.where(packed == self.fill, np.nan, rain)


SOURCES = {
    "bom_brisbane": Source("precipitation", -1, (512, 512)),
    "bom_melbourne": Source("precipitation", -32768, (512, 512)),
    "knmi": Source("rainfall_rate", 65535, (765, 700)),
    "fmi": Source("dbz", -32768, (1226, 760)),
}
FILES = [
    ("bom_brisbane", "2020/10/31/66_20201031_000000.prcp-c10.nc", "2020-10-31T00:00"),
    # has missing pixels and the producer's negative ones
    ("bom_brisbane", "2020/10/31/66_20201031_164000.prcp-c10.nc", "2020-10-31T16:40"),
    ("bom_brisbane", "2020/10/31/66_20201031_053000.prcp-c10.nc", "2020-10-31T05:30"),
    ("bom_melbourne", "2018/06/16/2_20180616_100000.prcp-cscn.nc", "2018-06-16T10:00"),
    ("bom_melbourne", "2018/06/16/2_20180616_130000.prcp-cscn.nc", "2018-06-16T13:00"),
    ("bom_melbourne", "2018/06/16/2_20180616_160000.prcp-cscn.nc", "2018-06-16T16:00"),
    ("knmi", "2010/08/26/knmi_201008260000.nc", "2010-08-26T00:00"),
    ("knmi", "2010/08/26/knmi_201008260300.nc", "2010-08-26T03:00"),
    ("knmi", "2010/08/26/knmi_201008260735.nc", "2010-08-26T07:35"),
    ("fmi", "2016/09/28/fmi_201609281445.nc", "2016-09-28T14:45"),
    ("fmi", "2016/09/28/fmi_201609281600.nc", "2016-09-28T16:00"),
    ("fmi", "2017/05/09/fmi_201705091400.nc", "2017-05-09T14:00"),
]


def config_of(network: str) -> RadarNetworkConfig:
    text = (ROOT / "configs" / "archives" / f"{network}.yaml").read_text(encoding="utf-8")
    return RadarNetworkConfig(**yaml.safe_load(text))


def packed_of(network: str, name: str) -> np.ndarray:
    """(y, x) numbers as stored in the file, turned north up and eastward."""
    with netCDF4.Dataset(DATA / network / name) as file:
        file.set_auto_maskandscale(False)
        packed = np.squeeze(file[SOURCES[network].variable][:])
        x, y = file["x"][:], file["y"][:]
    packed = packed if y[0] > y[-1] else packed[::-1]
    return packed if x[0] < x[-1] else packed[:, ::-1]


def read(network: str, name: str) -> FileReport:
    report = read_file(str(DATA / network / name), config_of(network))
    assert report.rejected == []
    return report


@pytest.mark.parametrize(
    ("network", "name", "time"), FILES, ids=[name[11:] for _, name, _ in FILES]
)
def test_the_rain_rate_agrees_with_plain_arithmetic(network: str, name: str, time: str) -> None:
    report = read(network, name)
    (scan,) = report.scans
    assert scan.time == pd.Timestamp(time)
    rate = RAIN_CODE.decode(scan.codes)
    expected = SOURCES[network].rain_mm_h(packed_of(network, name))
    assert rate.shape == expected.shape == SOURCES[network].shape

    np.testing.assert_array_equal(np.isnan(rate), np.isnan(expected))
    # in single precision, a rate at the limit may be dry or wet
    dry, wet = expected < 0.08 * (1 - 1e-6), expected > 0.08 * (1 + 1e-6)
    assert (rate[dry] == 0).all()
    within = wet & (expected <= 205)
    assert within.any()
    assert np.abs(rate[within] / expected[within] - 1).max() < 0.016
    assert (rate[expected > 205] == np.float32(205)).all()


def test_a_brisbane_file_has_fill_and_negative_values() -> None:
    packed = packed_of(*FILES[1][:2])
    assert (packed == -1).any()
    assert (packed == -2).any()
    assert packed.min() == -2


@pytest.mark.parametrize("network", SOURCES)
def test_all_files_of_a_network_have_the_same_grid(network: str) -> None:
    grids = [read(*file[:2]).grid for file in FILES if file[0] == network]
    assert grids[0] is not None
    assert all(other is not None and grids[0].difference(other) is None for other in grids)
    assert 490 < grids[0].pixel_size_m < 1010


@pytest.mark.parametrize(
    ("network", "longitude", "latitude", "away_m"),
    [
        # the Bureau's grids are centred on their radars: Mt Stapylton and Melbourne (Laverton)
        ("bom_brisbane", 153.24, -27.7178, 1000),
        ("bom_melbourne", 144.752, -37.852, 1000),
    ],
)
def test_the_radar_is_in_the_middle_of_its_grid(
    network: str, longitude: float, latitude: float, away_m: float
) -> None:
    import pyproj

    grid = read(*next(file for file in FILES if file[0] == network)[:2]).grid
    assert grid is not None
    to_grid = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    x, y = to_grid.transform(longitude, latitude)
    assert np.hypot(grid.x.mean() - x, grid.y.mean() - y) < away_m


@pytest.mark.parametrize(("network", "place"), [("knmi", (5.18, 52.10)), ("fmi", (24.94, 60.17))])
def test_a_known_place_is_inside_the_grid_and_observed(
    network: str, place: tuple[float, float]
) -> None:
    """De Bilt and Helsinki are inside, south of the middle and observed."""
    import pyproj

    report = read(*next(file for file in FILES if file[0] == network)[:2])
    grid = report.grid
    assert grid is not None
    x, y = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform(*place)
    column, row = np.argmin(np.abs(grid.x - x)), np.argmin(np.abs(grid.y - y))
    assert abs(grid.x[column] - x) < 1000
    assert abs(grid.y[row] - y) < 1000
    assert report.scans[0].codes[row, column] != RAIN_CODE.NOT_OBSERVED
