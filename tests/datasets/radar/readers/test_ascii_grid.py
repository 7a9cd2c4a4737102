"""ESRI ASCII grids: what the reader returns, and what it rejects with a reason."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.errors import DataError
from squall.datasets.radar.formats import recognised_format
from squall.datasets.radar.readers import ascii_grid
from squall.datasets.radar.readers.ascii_grid import open_ascii_grid

NAME = "RW_20221018-0650.asc"
HEADER = {
    "ncols": "4", "nrows": "3", "xllcorner": "-500", "yllcorner": "2000", "cellsize": "1000",
    "NODATA_value": "-1",
}  # fmt: skip
ROWS = [[-1, 0, 1, 2], [3, 40, 500, 6000], [7, 8, 9, 10]]


def grid_text(rows: Any = ROWS, **changes: str | None) -> str:
    """An ESRI ASCII grid, the northernmost row first; a line is left out by None."""
    lines = [f"{name:<14}{text}" for name, text in (HEADER | changes).items() if text is not None]
    return "\n".join([*lines, *(" ".join(map(str, row)) for row in rows)]) + "\n"


def put(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


@pytest.fixture(scope="session")
def settings(configured: Any) -> Any:
    """Function of changes that gives a configuration; None removes a key."""
    keys = {
        "step": "1h", "phase": "50min", "crs": "EPSG:3035", "units": "mm", "accumulation": "1h",
        "time_in_name": "RW_%Y%m%d-%H%M",
    }  # fmt: skip

    def make(**changes: Any) -> Any:
        kept = {name: value for name, value in (keys | changes).items() if value is not None}
        return configured("ascii_grid", **kept)

    return make


def test_pixels_grid_and_time(settings, unpacked, tmp_path) -> None:
    path = put(tmp_path / NAME, grid_text())
    assert recognised_format(path) == "ascii_grid"
    with open_ascii_grid(path, settings()) as product:
        assert product.times == (pd.Timestamp("2022-10-18T06:50"),)
        assert product.intervals == (pd.Timedelta("1h"),)
        assert product.packing.units == "mm"
        values = unpacked(product)
        with pytest.raises(IndexError):
            product.read_stored(1)
    expected = np.array(ROWS, float)
    expected[0, 0] = np.nan
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_allclose(product.grid.x, [0, 1000, 2000, 3000])
    np.testing.assert_allclose(product.grid.y, [4500, 3500, 2500])


@pytest.mark.parametrize(
    "text",
    [
        grid_text().replace("\n", "\r\n"),
        grid_text().upper(),
        grid_text(xllcorner=None, yllcorner=None, xllcenter="0", yllcenter="2500"),
        grid_text([[n] for row in ROWS for n in row]),  # the words count, not the lines
        grid_text([["-1.0", "0e0", "+1", "2."], *ROWS[1:]]),
        grid_text().rstrip(),
    ],
)
def test_other_ways_to_write_it(settings, unpacked, tmp_path, text) -> None:
    path = put(tmp_path / NAME, text)
    assert recognised_format(path) == "ascii_grid"
    with open_ascii_grid(path, settings()) as product:
        values = unpacked(product)
    assert np.isnan(values[0, 0])
    np.testing.assert_array_equal(values.ravel()[1:], np.ravel(ROWS)[1:])
    assert (product.grid.x[0], product.grid.y[-1]) == (0, 2500)


def test_without_its_line_nodata_is_that_of_esri(settings, unpacked, tmp_path) -> None:
    text = grid_text([[-9999, 0, 1, 2], *ROWS[1:]], NODATA_value=None)
    with open_ascii_grid(put(tmp_path / NAME, text), settings()) as product:
        values = unpacked(product)
    assert np.isnan(values[0, 0])
    assert np.isnan(values).sum() == 1


def test_nan_is_not_observed_and_no_line_of_the_header(settings, tmp_path) -> None:
    text = grid_text([["nan", 1], [2, 3]], ncols="2", nrows="2", NODATA_value=None)
    with open_ascii_grid(put(tmp_path / NAME, text), settings()) as product:
        np.testing.assert_array_equal(product.read_stored(0), [[np.nan, 1], [2, 3]])


def test_blocks_that_end_within_a_number(settings, tmp_path, monkeypatch) -> None:
    path = put(tmp_path / NAME, grid_text())
    for size in range(1, 12):
        monkeypatch.setattr(ascii_grid, "_BLOCK", size)
        with open_ascii_grid(path, settings()) as product:
            np.testing.assert_array_equal(product.read_stored(0), ROWS)


def test_the_key_grid_overrules(settings, tmp_path) -> None:
    key = {"crs": "EPSG:3035", "x0": 0, "y0": 0, "dx": 10, "dy": 10, "nx": 4, "ny": 3}
    with open_ascii_grid(put(tmp_path / NAME, grid_text()), settings(grid=key)) as product:
        np.testing.assert_array_equal(product.read_stored(0), ROWS[::-1])
        assert product.grid.x[0] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crs": None}, "has no projection, as all ESRI ASCII grids; set 'crs'"),
        ({"units": None}, r"has no unit.*'units: mm', for sums of DWD with 'scale: 0.1'"),
        ({"time_in_name": None}, "has no time.*set 'time_in_name'"),
        ({"time_in_name": "XX_%Y%m%d-%H%M"}, "none is in its name"),
    ],
)
def test_what_the_configuration_has_to_say(settings, tmp_path, changes, message) -> None:
    path = put(tmp_path / NAME, grid_text())
    with (
        pytest.raises(DataError, match=message),
        open_ascii_grid(path, settings(**changes)),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no line 'ncols'"),
        ("<html>404</html>", "has no line 'ncols'"),
        (grid_text(nrows="-3"), "has no line 'nrows'"),
        (grid_text(cellsize=None), "has no line 'cellsize'"),
        (grid_text(cellsize="nan"), "has no line 'cellsize'"),
        (grid_text(yllcorner=None), "has no line 'yllcorner'"),
        (grid_text(xllcorner=None, yllcorner=None), "has no line 'xllcenter'"),
        (grid_text(xllcorner="inf"), "its lower left corner is"),
        (grid_text(ncols="4.5"), "has 3 rows and 4.5 columns"),
        (grid_text(ncols="1e999"), "has 3 rows and inf columns"),
        (grid_text(ncols="four"), "its line 'ncols' has no number"),
        (grid_text(ncols="1_0"), "its line 'ncols' has no number"),
        (grid_text(ncols="400000"), "more than any radar composite"),
        (grid_text(ncols="100"), "is cut off: 3. bytes for 3 × 100 pixels"),
        (grid_text(ROWS[:2], ncols="4"), "is cut off: 8 of 3 × 4 pixels"),
        (grid_text([*ROWS, [1]]), "has more than 12 pixels"),
        (grid_text([["x", 1, 2, 3], *ROWS[1:]]), "its pixels are no numbers"),
        (grid_text([["1_0", 1, 2, 3], *ROWS[1:]]), "its pixels are no numbers: b'1_0'"),
        (grid_text([["1" * 65, 1, 2, 3], *ROWS[1:]]), "its pixels are no numbers"),
    ],
)
def test_broken_files_are_rejected(settings, tmp_path, text, message) -> None:
    path = put(tmp_path / NAME, text)
    with (
        pytest.raises(DataError, match=message),
        open_ascii_grid(path, settings()) as product,
    ):
        product.read_stored(0)


def test_a_word_of_megabytes_is_refused_at_once(settings, tmp_path) -> None:
    path = put(tmp_path / NAME, grid_text() + "1" * 2**26)
    began = time.process_time()
    with (
        pytest.raises(DataError, match="its pixels are no numbers: b'1111"),
        open_ascii_grid(path, settings()) as product,
    ):
        product.read_stored(0)
    assert time.process_time() - began < 2  # some 0.1 s


@given(data=st.data())
def test_any_damage_gives_a_product_or_an_exception(data, damages, settings, survives) -> None:
    survives(open_ascii_grid, settings(), NAME, data.draw(damages)(grid_text().encode()))
