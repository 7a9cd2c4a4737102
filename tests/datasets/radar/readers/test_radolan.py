"""RADOLAN files: what the reader returns, and what it rejects with a reason."""

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.radar.formats import recognised_format
from squall.datasets.radar.radar_file import read_file
from squall.datasets.radar.readers.radolan import open_radolan
from tests.datasets.radar.radar_files import NAME, NAMED, rejection_of, scan_of

# some grid for small files, whose first row is in the south
SMALL = {
    "crs": "EPSG:3035", "west": 0, "south": 0, "east": 4000, "north": 3000, "nx": 4, "ny": 3,
    "first_row": "south",
}  # fmt: skip
NO_DATA, CLUTTER = 0x29C4, 0x89BA


def header(
    shape: tuple[int, int],
    *,
    product: str = "RY",
    size: int = 2,
    precision: str = "E-02",
    interval: str = "   5",
    version: int = 3,
    lead: str = "",
    time: str = "311250",
    radar: str = "10000",
    rest: str = "MS 10<boo,ros>",
) -> bytes:
    """The line before the pixels, at 12:50 on 31 July 2024."""
    line = (
        f"{product}{time}{radar}0724BY{{:7d}}VS{version:2d}SW   2.21.0PR {precision}INT{interval}"
        f"GP{shape[0]:4d}x{shape[1]:4d}{lead}{rest}"
    )
    length = len(line.format(0)) + 1 + size * shape[0] * shape[1]
    return line.format(length).encode() + b"\x03"


def write(path: Path, pixels: Any, **changes: Any) -> str:
    """A file of (rows, columns) pixels, the southernmost row first."""
    rows = np.asarray(pixels)
    rows = rows.astype("u1" if changes.get("size") == 1 else "<u2")
    path.write_bytes(header(rows.shape, **changes) + rows.tobytes())
    return str(path)


@pytest.fixture
def numbers() -> np.ndarray:
    """(3, 4) pixels in two bytes, the southernmost row first."""
    return np.array(
        [
            [0, 1, 2, 4095],
            [NO_DATA, CLUTTER, 0x8000 | 7, 0x2000 | 7],
            [0x1000 | 9, 0x1000, 0x3000 | 9, 0x4000 | 3],
        ]
    )


@pytest.fixture(scope="session")
def small(configured: Any) -> Any:
    """Function of settings that gives a configuration for files of 3 × 4 pixels."""
    return lambda **changes: configured("radolan", **{"grid": SMALL, **changes})


def recognising(settings: Any) -> Any:
    """The configuration without its format."""
    return settings.model_copy(update={"format": None})


def test_flags_and_sign(numbers, small, unpacked, tmp_path) -> None:
    path = write(tmp_path / "a", numbers)
    assert recognised_format(path) == "radolan"
    with open_radolan(path, small()) as product:
        assert product.times == (pd.Timestamp("2024-07-31T12:50"),)
        assert product.intervals == (pd.Timedelta("5min"),)
        assert product.packing.units == "mm"
        values = unpacked(product)
        with pytest.raises(IndexError):
            product.read_stored(1)
    missing = np.nan
    expected = [
        [missing, missing, missing, -0.03],  # secondary data are none of a radar
        [missing, missing, missing, missing],
        [0.0, 0.01, 0.02, 40.95],
    ]
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_a_clutter_free_scan_is_read_as_rain_rate(small, tmp_path) -> None:
    path = write(tmp_path / "a", [[0, 100, 5, NO_DATA]] * 3)
    (scan,) = read_file(path, small()).scans
    assert (scan.codes[:, 0] == 0).all()  # dry
    assert (scan.codes[:, 3] == 255).all()  # not observed
    np.testing.assert_allclose(RAIN_CODE.decode(scan.codes)[0, 1:3], [12.0, 0.6], rtol=0.016)


def test_the_time_in_the_name_replaces_a_broken_one(small, tmp_path) -> None:
    wet = np.full((3, 4), 5)
    path = write(tmp_path / NAME, wet, time="321250")
    assert "has no time: '3212500724'" in rejection_of(path, small(**NAMED))
    scan_of(path, small(**NAMED, time_from="name"))
    path = write(tmp_path / NAME, wet, time="321250", product="RV", lead="VV   5")
    assert "is a forecast" in rejection_of(path, small(**NAMED, time_from="name"))


@pytest.mark.parametrize(
    ("changes", "interval"),
    [
        ({"product": "RW", "precision": "E-01", "interval": "  60"}, "1h"),
        ({"product": "SF", "precision": "E-01", "interval": "1440"}, "24h"),
        ({"product": "YW", "interval": "   5U0"}, "5min"),
        ({"product": "W1", "precision": "E-01", "interval": "   7U1"}, "7D"),
        ({"product": "RQ", "precision": "E-01", "interval": "  60", "lead": "VV   0"}, "1h"),
        ({"product": "RV", "lead": "VV 000", "version": 5, "rest": "MF 00000008MS 1<a>"}, "5min"),
    ],
)
def test_sums(numbers, small, tmp_path, changes, interval) -> None:
    with open_radolan(write(tmp_path / "a", numbers, **changes), small()) as product:
        assert product.packing.units == "mm"
        assert product.packing.scale == float("1" + changes.get("precision", "E-02"))
        assert product.intervals == (pd.Timedelta(interval),)


def test_times_that_mark_the_start(numbers, small, tmp_path) -> None:
    path = write(tmp_path / "a", numbers)
    with open_radolan(path, small(time_marks="start", accumulation="5min")) as product:
        assert product.times == (pd.Timestamp("2024-07-31T12:55"),)


@pytest.mark.parametrize("name", ["RX", "WX", "EX"])
def test_reflectivity_in_one_byte(name, small, unpacked, tmp_path) -> None:
    pixels = [[0, 1, 65, 178], [249, 250, 248, 251], [0, 0, 0, 0]]
    path = write(tmp_path / "a", pixels, product=name, size=1, precision="E+00")
    with open_radolan(path, small()) as product:
        assert (product.packing.units, product.intervals) == ("dBZ", (None,))
        values = unpacked(product)[::-1]
    np.testing.assert_allclose(values[0], [-32.5, -32.0, 0.0, 56.5])
    np.testing.assert_allclose(values[1], [np.nan, np.nan, 91.5, 93.0])
    path = write(tmp_path / "b", [[0, 65, 249, 250]] * 3, product=name, size=1, precision="E+00")
    (scan,) = read_file(path, small()).scans
    assert (scan.codes == [0, 0, 255, 255]).all()  # no echo, and 0 dBZ, which is 0.04 mm/h, are dry


def test_reflectivity_in_two_bytes(small, unpacked, tmp_path) -> None:
    pixels = [[0, 650, 1785, NO_DATA]] * 3
    path = write(tmp_path / "a", pixels, product="WN", precision="E-01", lead="VV 000", version=5)
    with open_radolan(path, small()) as product:
        np.testing.assert_allclose(unpacked(product)[0], [-32.5, 0.0, 56.75, np.nan])


# longitude and latitude of the outer corners, as DWD publishes them: lower left, lower right, upper
# right, upper left (Beschreibung des Kompositformats; Formatbeschreibung RV for DE1200)
CORNERS: dict[tuple[int, int, int], list[tuple[float, float]]] = {
    (900, 900, 3): [(3.5889, 46.9526), (14.6209, 47.0705), (15.7208, 54.7405), (2.0715, 54.5877)],
    (1100, 900, 3): [(4.6759, 46.1929), (15.4801, 46.1827), (17.1128, 55.5342), (3.0889, 55.5482)],
    (1500, 1400, 3): [(2.3419, 43.9336)],
    (1200, 1100, 5): [
        (3.566994635, 45.69642538), (16.58086935, 45.68460578),
        (18.73161645, 55.84543856), (1.463301510, 55.86208711),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("rows", "columns", "version"), CORNERS)
def test_corners_are_those_that_dwd_publishes(
    configured, tmp_path, rows: int, columns: int, version: int
) -> None:
    path = tmp_path / "a"
    start = header((rows, columns), version=version)
    path.write_bytes(start)
    os.truncate(path, len(start) + 2 * rows * columns)  # no disk blocks
    with open_radolan(str(path), configured("radolan")) as product:
        grid = product.grid
    assert grid.shape == (rows, columns)
    x = grid.x[0] - 500, grid.x[-1] + 500
    y = grid.y[-1] - 500, grid.y[0] + 500
    assert (x[1] - x[0], y[1] - y[0]) == pytest.approx((1000 * columns, 1000 * rows))
    published = CORNERS[rows, columns, version]
    places = [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])][: len(published)]
    found = [pyproj.Proj(grid.crs)(*place, inverse=True) for place in places]
    np.testing.assert_allclose(found, published, atol=1e-8 if version == 5 else 6e-5)


def test_each_earth_has_its_grids(configured, tmp_path) -> None:
    ellipsoids = {}
    for version in (3, 5):
        path = tmp_path / f"{version}"
        start = header((900, 900), version=version)
        path.write_bytes(start)
        os.truncate(path, len(start) + 2 * 900 * 900)
        with open_radolan(str(path), configured("radolan")) as product:
            ellipsoids[version] = product.grid.crs.ellipsoid
    assert ellipsoids[3].semi_major_metre == ellipsoids[3].semi_minor_metre == 6_370_040
    assert ellipsoids[5].semi_major_metre == 6_378_137
    assert ellipsoids[5].inverse_flattening == pytest.approx(298.257223563)


def test_the_scan_of_a_known_grid_lies_north_up(configured, tmp_path) -> None:
    pixels = np.zeros((900, 900), np.uint16)
    pixels[0, 0], pixels[0, -1] = 11, 12  # in the south
    path = write(tmp_path / "a", pixels)
    with open_radolan(path, configured("radolan")) as product:
        stored = product.read_stored(0)
        assert product.grid.y[0] > product.grid.y[-1]
    assert (stored[-1, 0], stored[-1, -1], stored.sum()) == (11, 12, 23)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"product": "RV", "lead": "VV 005", "version": 5}, r"is a forecast, 5 min ahead.*_000::"),
        ({"product": "RQ", "lead": "VV 120"}, "is a forecast, 120 min ahead of 2024-07-31 12:50"),
        ({"product": "RV"}, "RV without 'VV'"),
        ({"product": "RE"}, "product RE, which is not known here as rain or reflectivity"),
        ({"product": "%M"}, "product %M, which is not known"),
        ({"radar": "10410"}, "product RY of the single radar 10410"),
        ({"time": "321250"}, "has no time: '3212500724' is no ddHHMMmmyy"),
        ({"time": "312460"}, "has no time"),
        ({"precision": "E-92"}, "in steps of 1E-92"),
        ({"size": 1}, "is not 2 for each of 3 × 4 pixels"),
        ({"product": "RX"}, "is not 1 for each of 3 × 4 pixels"),
        ({"product": "WN", "size": 1}, "is not 2 for each of 3 × 4 pixels"),
        ({"product": "RE", "size": 3}, "is not 1 or 2 for each of 3 × 4 pixels"),
    ],
)
def test_what_cannot_be_read_is_rejected(numbers, small, tmp_path, changes, message) -> None:
    path = write(tmp_path / "a", numbers, **changes)
    with pytest.raises(DataError, match=message), open_radolan(path, small()):
        pass


def test_a_product_that_is_not_known_is_read_with_units(numbers, small, tmp_path) -> None:
    path = write(tmp_path / "a", numbers, product="RD", precision="E-01", interval="  60")
    with open_radolan(path, small(units="mm")) as product:
        assert product.packing.units == "mm"
        assert product.packing.scale == 0.1
        assert product.intervals == (pd.Timedelta("1h"),)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: b"", "is no RADOLAN file"),
        (lambda m: b"<html>404</html>", "is no RADOLAN file"),
        (lambda m: m.replace(b"\x03", b" "), "is no RADOLAN file"),
        (lambda m: m[:-1], "is cut off: .* instead of"),
        (lambda m: m + b"\0", "is too long"),
        (lambda m: m.replace(b"   3x   4", b"99999x99999"), "more than any radar composite"),
        (lambda m: m.replace(b"   3x   4", b"   0x   4"), "is not 2 for each of 0 × 4"),
        (lambda m: m.replace(b"GP", b"LV"), "header of another kind, like the classes of PG"),
    ],
)
def test_broken_files_are_rejected(numbers, small, tmp_path, damage, message) -> None:
    path = tmp_path / "a"
    write(path, numbers)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message), open_radolan(str(path), small()):
        pass


def test_a_grid_of_unknown_place_is_refused(numbers, configured, tmp_path) -> None:
    path = write(tmp_path / "a", numbers)
    with (
        pytest.raises(DataError, match=r"3 × 4 pixels, whose place is not known.*set 'grid'"),
        open_radolan(path, configured("radolan")),
    ):
        pass


def test_a_file_that_shrinks_while_it_is_read(numbers, small, tmp_path) -> None:
    path = write(tmp_path / "a", numbers)
    with open_radolan(path, small()) as product:
        os.truncate(path, Path(path).stat().st_size - 2)
        with pytest.raises(DataError, match="was cut off"):
            product.read_stored(0)


def test_classes_of_another_header_are_recognised_and_refused(small, tmp_path) -> None:
    path = tmp_path / "a"
    line = b"PG030905100000814BY22205LV 6  1.0 19.0 28.0 37.0 46.0 55.0CS0MX 0\x03"
    path.write_bytes(line + b"1")
    assert recognised_format(str(path)) == "radolan"
    (rejected,) = read_file(str(path), recognising(small())).rejected
    assert "product PG with a header of another kind" in rejected.reason


def test_a_tar_file_is_named(small, tmp_path) -> None:
    member = tmp_path / "a"
    member.write_bytes(b"x" * 2000)
    for mode in ("w", "w:bz2"):
        path = tmp_path / "a.tar"
        with tarfile.open(path, mode) as tar:
            tar.add(member, "a")
        (rejected,) = read_file(str(path), recognising(small())).rejected
        assert "is a tar file, which holds other files" in rejected.reason
        assert "tar://**::a.tar" in rejected.reason


@given(data=st.data(), product=st.sampled_from(["RX", "RY"]))
def test_any_damage_gives_a_product_or_an_exception(
    data, product, damages, small, survives
) -> None:
    size = 1 if product == "RX" else 2
    whole = header((3, 4), product=product, size=size) + bytes(range(12 * size))
    survives(open_radolan, small(), "a", data.draw(damages)(whole))
