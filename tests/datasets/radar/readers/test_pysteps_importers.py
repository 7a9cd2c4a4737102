"""Importers of pysteps: what the reader makes of their results, and what it rejects."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.readers import pysteps_importers
from squall.datasets.radar.readers.pysteps_importers import open_pysteps
from tests.datasets.radar.radar_files import RATE, assert_rate, config, rejection_of, scan_of

with pysteps_importers._quiet():
    interface = pytest.importorskip("pysteps.io.interface", exc_type=ImportError)

NAME = "radar_202406011200.dat"
METADATA = {
    "projection": "EPSG:3067", "x1": 0.0, "y1": 0.0, "x2": 3000.0, "y2": 1000.0,
    "xpixelsize": 1000.0, "ypixelsize": 500.0, "cartesian_unit": "m", "yorigin": "upper",
    "unit": "mm/h", "transform": None, "accutime": 5.0, "zerovalue": 0.5, "threshold": 1.0,
}  # fmt: skip

Give = Callable[..., RadarNetworkConfig]


def network(importer: str = "tiny", **changes: Any) -> RadarNetworkConfig:
    given = {"variable": "", "format": "pysteps", "time_in_name": "%Y%m%d%H%M"}
    return config(**given | {"importer": importer} | changes)


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / NAME).write_bytes(b"any")
    return str(tmp_path / NAME)


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Give:
    """Function of (values, metadata…) that registers an importer, as a plugin of pysteps does."""

    def given(values: Any = RATE, *, settings: dict[str, Any] | None = None, **changes: Any) -> Any:
        def import_tiny(filename: str, factor: float = 1.0) -> Any:
            print("as pysteps does")
            return np.ma.asarray(values) * factor, None, METADATA | changes

        monkeypatch.setitem(interface._importer_methods, "tiny", import_tiny)
        return network(**settings or {})

    return given


def refused(path: str, settings: RadarNetworkConfig, message: str) -> None:
    with pytest.raises((DataError, ConfigError), match=message), open_pysteps(path, settings):
        pass


def test_values_grid_and_time(path, give, capsys) -> None:
    """The zero value of the lightest rain does not make it dry."""
    assert_rate(scan_of(path, give()), RATE)
    with open_pysteps(path, give()) as product:
        np.testing.assert_array_equal(product.grid.x, [500, 1500, 2500])
        np.testing.assert_array_equal(product.grid.y, [750, 250])
        assert product.grid.crs.to_epsg() == 3067
        with pytest.raises(IndexError):
            product.read_stored(1)
    assert capsys.readouterr().out == ""


def test_nan_and_masked_pixels_are_not_observed(path, give) -> None:
    rate = RATE.astype(np.float64)
    rate[0, 1] = np.nan
    assert_rate(scan_of(path, give(rate)), rate)
    masked = np.ma.masked_equal(RATE.astype(np.int16), 2)
    assert_rate(scan_of(path, give(masked)), np.ma.filled(masked.astype(float), np.nan))


def test_options_go_to_the_importer(path, give) -> None:
    assert_rate(scan_of(path, give(settings={"importer_options": {"factor": 2.0}})), RATE * 2)
    settings = give(settings={"importer_options": {"factr": 2.0}})
    refused(path, settings, "'importer_options' of importer 'tiny': .*factr")


def test_rows_from_the_south_and_kilometres(path, give) -> None:
    kilometres = {
        "x2": 3.0,
        "y2": 1.0,
        "xpixelsize": 1.0,
        "ypixelsize": 0.5,
        "cartesian_unit": "km",
    }
    settings = give(RATE[::-1], yorigin="lower", **kilometres)
    assert_rate(scan_of(path, settings), RATE)
    with open_pysteps(path, settings) as product:
        np.testing.assert_array_equal(product.grid.y, [750, 250])


def test_transforms(path, give) -> None:
    with np.errstate(divide="ignore"):
        decibels = 10 * np.log10(RATE)
    assert_rate(scan_of(path, give(decibels, transform="dB")), RATE)
    dbz = 10 * np.log10(200) + 16 * np.log10(np.maximum(RATE, 1e-3))
    assert_rate(scan_of(path, give(dbz, transform="dB", unit="dBZ")), RATE)
    refused(path, give(transform="Box-Cox"), "the transform 'Box-Cox', expected none or dB")


def test_accumulations(path, give) -> None:
    settings = give(unit="mm", accutime=10, settings={"accumulation": "10min"})
    assert_rate(scan_of(path, settings), RATE * 6)
    settings = give(unit="mm", accutime=None, settings={"accumulation": "15min"})
    assert_rate(scan_of(path, settings), RATE * 4)


def test_the_configuration_replaces_what_is_missing(path, give) -> None:
    grid = {"crs": "EPSG:3067", "x0": 0, "y0": 0, "dx": 1000, "dy": 1000, "nx": 3, "ny": 2}
    nothing = {"projection": None, "unit": None, "yorigin": None}
    assert_rate(
        scan_of(path, give(**nothing, settings={"grid": grid, "units": "mm/h"})), RATE[::-1]
    )
    with open_pysteps(path, give(projection=None, settings={"crs": "EPSG:3857"})) as product:
        assert product.grid.crs.to_epsg() == 3857


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.ones((2, 2, 3))}, "3 dimensions"),
        ({"unit": None}, "without a unit; set 'units'"),
        ({"unit": "%"}, "no rain unit"),
        ({"projection": None}, "without a projection; set 'crs'"),
        ({"projection": "+proj=flat"}, "PROJ does not know"),
        ({"x1": None}, "without its corners"),
        ({"yorigin": "left"}, "yorigin 'left', expected upper or lower"),
        ({"xpixelsize": 1500.0}, "xpixelsize 1500, but its corners and its 3 pixels give 1000"),
        ({"cartesian_unit": "furlongs"}, "units 'furlongs', expected m or km"),
        ({"x2": 0.0, "xpixelsize": None}, "expected finite numbers"),
        ({"settings": {"time_in_name": None}}, "no time in its name.*set 'time_in_name'"),
    ],
)
def test_what_an_importer_does_not_say_is_asked_for(path, give, changes, message) -> None:
    refused(path, give(**changes), message)


def test_unknown_and_refused_importers(path, monkeypatch) -> None:
    refused(path, network("fmi"), "'importer': Unknown importer method fmi .*fmi_pgm")
    refused(path, network("mch_hdf5"), "makes dry pixels missing; .*leave 'format'")
    refused(path, network("dwd_radolan", importer_options={"product_name": "RY"}), "clutter dry")
    refused(path, network("mch_gif"), "missing 3 required|missing a required argument: 'product'")
    refused(path, network("fmi_geotiff"), "gdal package is required")
    monkeypatch.setitem(sys.modules, "pysteps.io", None)
    refused(path, network("fmi_pgm"), r"pip install 'squall\[baselines\]'")


def test_importer_and_format_belong_together() -> None:
    for changes in ({"importer": None}, {"format": None}):
        with pytest.raises(
            ValidationError, match="'format: pysteps' needs 'importer', and the other"
        ):
            network(**changes)


PGM = b"""P5
# type stereographic
# centrallongitude 25
# centrallatitude 90
# truelatitude 60
# bottomleft 18.600000 57.930000
# topright 34.903000 69.005000
# metersperpixel_x 999.674053
# metersperpixel_y 999.62859
3 2
255
"""


def test_a_pgm_without_comments_does_not_hang(tmp_path) -> None:
    path = tmp_path / NAME
    path.write_bytes(b"P5\n3 2\n255\n" + bytes(6))
    assert "has no comments with the grid" in rejection_of(str(path), network("fmi_pgm"))


@pytest.mark.parametrize(
    ("kind", "suffix"), [("GIF", "gif"), ("PNG", "png"), ("JPEG", "jpg"), ("PGM", "pgm")]
)
def test_a_picture_without_an_importer_is_refused_by_name(tmp_path, kind, suffix) -> None:
    path = str(tmp_path / f"a.{suffix}")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(path)
    reason = rejection_of(path, config(variable=""))
    assert f"is a picture ({kind}), " in reason
    assert "'format: pysteps'" in reason


def test_a_huge_picture_is_refused_before_it_is_read(tmp_path) -> None:
    path = tmp_path / NAME
    path.write_bytes(PGM.replace(b"3 2\n", b"30000 20000\n") + bytes(6))
    for size in (b"3000 7000", b"30000 20000", b"300000 200000"):
        path.write_bytes(PGM.replace(b"3 2\n", size + b"\n") + bytes(6))
        assert "is a picture with more than" in rejection_of(str(path), network("fmi_pgm"))


def test_a_picture_of_meteoswiss(tmp_path) -> None:
    """Codes of AQC: 0 and 1 are dry, 255 is not observed; see `import_mch_gif`."""
    codes = np.zeros((640, 710), np.uint8)
    codes[0, :5] = [0, 1, 100, 120, 255]
    path = str(tmp_path / "AQC202406011200.gif")
    picture = Image.fromarray(codes).convert("P")
    picture.putpalette([*range(256)] * 3)
    picture.save(path, optimize=False)
    options = {"product": "AQC", "unit": "mm", "accutime": 5}
    settings = network("mch_gif", importer_options=options)
    sums = (10 ** ((np.array([100, 120]) - 71.5) / 20) / 316) ** (1 / 1.5)
    rate = scan_of(path, settings)
    np.testing.assert_array_equal(rate[0, :2], 0)
    np.testing.assert_array_equal(
        rate[0, 2:4], RAIN_CODE.decode(RAIN_CODE.encode((sums * 12).astype(np.float32)))
    )
    assert np.isnan(rate[0, 4])
    with open_pysteps(path, settings) as product:
        assert product.grid.x[[0, -1]].tolist() == [255_500, 964_500]
        assert product.grid.y[[0, -1]].tolist() == [479_500, -159_500]
        assert product.times == (pd.Timestamp("2024-06-01 12:00"),)


# pysteps leaves files open when it cannot read them
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_picture_never_crashes_the_reader(data, damages, survives) -> None:
    content = data.draw(damages)(PGM + bytes(range(6)))
    survives(open_pysteps, network("fmi_pgm"), NAME, content)
