"""GRIB2 as JMA packs its radar composites: levels with run lengths, template 4.50008.

No real file is at hand: the messages are made by hand after the specification, and ecCodes decodes
the same levels independently.
"""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.errors import DataError
from squall.datasets.radar.radar_file import read_file
from squall.datasets.radar.readers.grib import open_grib
from squall.datasets.radar.readers.grib_run_length import run_length_values, sections

VALUES = [0, 10, 25, 100, 20_000]  # hundredths of mm/h of the levels from 1 on
RADAR = (0, 1, 201)  # JMA's own parameter
INTERVAL = {
    "productDefinitionTemplateNumber": 8, "typeOfStatisticalProcessing": 1,
    "yearOfEndOfOverallTimeInterval": 2024, "monthOfEndOfOverallTimeInterval": 6,
    "dayOfEndOfOverallTimeInterval": 1, "hourOfEndOfOverallTimeInterval": 12,
    "minuteOfEndOfOverallTimeInterval": 0, "secondOfEndOfOverallTimeInterval": 0,
    "indicatorOfUnitForTimeRange": 0, "lengthOfTimeRange": 10, "minute": 0,
}  # fmt: skip


@pytest.fixture
def levels() -> np.ndarray:
    """(H, W) levels, north up: not observed in the first rows, a long dry run, some rain."""
    field = np.ones((30, 40), np.uint8)
    field[:3] = 0
    field[20:] = np.random.default_rng(2).integers(0, 5, (10, 40))
    return field


def packed(levels: np.ndarray, used: int) -> bytes:
    """Levels with their run lengths, as octets: digits to the base 255 - used, lowest first."""
    octets = bytearray()
    for level, run in groupby(levels.ravel().tolist()):
        octets.append(level)
        rest = len(list(run)) - 1
        while rest:
            rest, digit = divmod(rest, 255 - used)
            octets.append(used + 1 + digit)
    return bytes(octets)


def section(number: int, content: bytes) -> bytes:
    return (len(content) + 5).to_bytes(4, "big") + bytes([number]) + content


def message(
    grib_message: Callable[..., bytes],
    levels: np.ndarray,
    *,
    template: int = 50008,
    used: int = 5,
    bits: int = 8,
    octets: bytes | None = None,
    **keys: Any,
) -> bytes:
    """A message of ecCodes whose product, packing and data are replaced by JMA's."""
    whole = grib_message(
        levels.astype(float), parameter=RADAR, packing="grid_simple", **{**INTERVAL, **keys}
    )
    described = levels.size.to_bytes(4, "big") + (200).to_bytes(2, "big") + bytes([bits])
    described += used.to_bytes(2, "big") + len(VALUES).to_bytes(2, "big") + bytes([2])
    described += b"".join(value.to_bytes(2, "big") for value in VALUES)
    parts = []
    for number, content, _ in sections(whole):
        if number == 4:
            body = content[5:7] + template.to_bytes(2, "big") + content[9:]
            parts.append(section(4, body + (bytes(24) if template == 50008 else b"")))
        elif number == 5:
            parts.append(section(5, described))
        elif number == 6:
            parts.append(section(6, b"\xff"))
        elif number == 7:
            parts.append(section(7, packed(levels, used) if octets is None else octets))
        else:
            parts.append(content)
    body = b"".join(parts) + b"7777"
    return whole[:8] + (16 + len(body)).to_bytes(8, "big") + body


def rates_of(levels: np.ndarray) -> np.ndarray:
    return np.r_[np.nan, np.array(VALUES) / 100][levels]


@pytest.mark.parametrize(("used", "process"), [(4, 1), (5, 0), (5, 255)])
def test_a_composite_of_jma(grib_message, configured, levels, tmp_path, used, process) -> None:
    path = tmp_path / "a.bin"
    content = message(grib_message, levels, used=used, typeOfStatisticalProcessing=process)
    path.write_bytes(content)
    with (
        pytest.raises(DataError, match=r"0-1-201 .*set 'units'"),
        open_grib(str(path), configured("grib")),
    ):
        pass
    settings = configured("grib", units="mm h-1", step="10min")
    with open_grib(str(path), settings) as product:
        assert product.times == (pd.Timestamp("2024-06-01T12:00"),)
        assert product.intervals == (pd.Timedelta("10min"),)
        np.testing.assert_allclose(product.read_stored(0), rates_of(levels))
        np.testing.assert_allclose(product.grid.y[[0, -1]], [54.995, 54.705])
    (scan,) = read_file(str(path), settings).scans
    np.testing.assert_array_equal(scan.codes == 255, levels == 0)
    np.testing.assert_array_equal(scan.codes == 0, levels == 1)


def test_levels_are_those_that_eccodes_decodes(grib_message, levels) -> None:
    eccodes = pytest.importorskip("eccodes", exc_type=ImportError)
    content = message(grib_message, levels, template=8)
    handle = eccodes.codes_new_from_message(content)
    eccodes.codes_set(handle, "missingValue", -1)
    theirs = eccodes.codes_get_values(handle)
    eccodes.codes_release(handle)
    ours = run_length_values(content, levels.size)
    np.testing.assert_allclose(np.nan_to_num(ours, nan=-1), theirs)
    np.testing.assert_allclose(ours, rates_of(levels).ravel())


def test_sums_of_an_hour(grib_message, configured, levels, tmp_path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(message(grib_message, levels, lengthOfTimeRange=60))
    settings = configured("grib", units="mm", step="30min", accumulation="1h")
    with open_grib(str(path), settings) as product:
        assert product.intervals == (pd.Timedelta("1h"),)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"octets": b""}, "are damaged: level 5 of 5"),
        ({"octets": b"\x07\x01"}, "are damaged: level 5 of 5"),  # begins with a digit
        ({"octets": b"\x01\xff"}, "values instead of 1200"),
        ({"octets": b"\x01" + b"\xff" * 60_000}, "repeated too often"),
        ({"used": 6}, "level 6 of 5"),
        ({"bits": 4}, "levels that are not one octet"),
        ({"typeOfProcessedData": 1, "hourOfEndOfOverallTimeInterval": 13}, "is a forecast until"),
        ({"typeOfStatisticalProcessing": 2}, "the statistical process 2"),
        ({"template": 50009}, "template 4.50009 .*convert it to CF netCDF first, .* wgrib2"),
    ],
)
def test_what_cannot_be_read_is_refused(
    grib_message, configured, levels, tmp_path, changes, text
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(message(grib_message, levels, **changes))
    settings = configured("grib", units="mm")
    with pytest.raises(DataError, match=text), open_grib(str(path), settings) as product:
        product.read_stored(0)


@given(octets=st.binary(max_size=300), used=st.integers(0, 5))
def test_any_octets_give_all_values_or_an_error(octets, used) -> None:
    described = bytes(7) + bytes([8]) + used.to_bytes(2, "big") + (5).to_bytes(2, "big") + bytes(11)
    content = bytes(16) + section(5, described[1:]) + section(7, octets)
    try:
        values = run_length_values(content, 1200)
    except DataError:
        return
    assert values.shape == (1200,)


@given(data=st.data())
def test_any_damage_gives_a_product_or_an_exception(
    data, grib_message, damages, configured, survives
) -> None:
    whole = message(grib_message, np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 5)
    survives(open_grib, configured("grib", units="mm"), "a.bin", data.draw(damages)(whole))
