"""MRMS files in GRIB2: what the reader returns, and what it rejects with a reason."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar.readers.grib import open_grib


@pytest.fixture
def rates() -> np.ndarray:
    """(H, W) mm/h, north up: no coverage in the first row, one pixel missing."""
    values = np.round(np.random.default_rng(1).gamma(0.5, 4, (30, 40)), 1)
    values[0], values[1, 0] = -3, -1
    return values


def put(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("packing", ["grid_png", "grid_simple"])
@pytest.mark.parametrize("north_first", [True, False])
def test_rain_rates(
    grib_message, configured, unpacked, rates, tmp_path, packing, north_first
) -> None:
    message = grib_message(rates, packing=packing, north_first=north_first)
    path = put(tmp_path / "a.grib2", message)
    with open_grib(path, configured("grib")) as product:
        assert product.times == (pd.Timestamp("2024-06-01T12:02"),)
        assert product.intervals == (None,)
        assert product.packing.units == "mm h-1"
        assert product.read_stored(0).dtype == np.uint16
        values = unpacked(product)
        with pytest.raises(IndexError):
            product.read_stored(1)
    assert np.isnan(values[0]).all()
    assert np.isnan(values[1, 0])
    assert np.isnan(values).sum() == 41
    is_observed = ~np.isnan(values)
    np.testing.assert_allclose(values[is_observed], rates[is_observed], atol=1e-9)
    np.testing.assert_allclose(product.grid.x[[0, -1]], [-129.995, -129.605])
    np.testing.assert_allclose(product.grid.y[[0, -1]], [54.995, 54.705])
    assert product.grid.crs.is_geographic


def test_reflectivity_without_echo_is_dry(
    grib_message, configured, unpacked, rates, tmp_path
) -> None:
    rates[0], rates[1] = -999, -99
    path = put(tmp_path / "a.grib2", grib_message(rates, parameter=(209, 10, 0)))
    with open_grib(path, configured("grib")) as product:
        assert product.packing.units == "dBZ"
        values = unpacked(product)
    assert np.isnan(values[0]).all()
    assert (values[1] == -np.inf).all()
    np.testing.assert_allclose(values[2:], rates[2:], atol=1e-9)


def test_reflectivity_is_told_from_its_heights_and_from_indices(
    grib_message, configured, rates, tmp_path
) -> None:
    """By NSSL's table of MRMS products (UserTable_MRMS), which ecCodes does not have."""
    # lowest altitude, seamless hybrid scan, 3-D mosaics, composites and layers, base reflectivity
    dbz = {3: (57, 58), 8: (8,), 9: (0, 1), 10: (0, 2, 4), 11: (0, 1, 2)}
    # thickness, quality index, gauge influence, heights of the reflectivity before them
    others = {3: (51,), 8: (0, 7, 9), 10: (1, 3)}
    for products, is_reflectivity in ((dbz, True), (others, False)):
        for category, number in ((c, n) for c, numbers in products.items() for n in numbers):
            message = grib_message(rates, parameter=(209, category, number))
            path = put(tmp_path / "a.grib2", message)
            if is_reflectivity:
                with open_grib(path, configured("grib")) as product:
                    assert product.packing.units == "dBZ"
            else:
                refused = pytest.raises(DataError, match=f"GRIB parameter 209-{category}-{number}")
                with refused, open_grib(path, configured("grib")):
                    pass


@pytest.mark.parametrize("levels", [2, 4, 16, 256, 65536])
def test_png_images_of_any_depth(grib_message, configured, unpacked, tmp_path, levels) -> None:
    values = np.linspace(0, levels - 1, 1200).round().reshape(30, 40) / 10
    path = put(tmp_path / "a.grib2", grib_message(values))
    with open_grib(path, configured("grib")) as product:
        np.testing.assert_allclose(unpacked(product), values, atol=1e-9)


def test_values_of_more_than_two_bytes(grib_message, configured, unpacked, rates, tmp_path) -> None:
    rates[2, 2] = 12345.6
    message = grib_message(rates, packing="grid_simple")
    path = put(tmp_path / "a.grib2", message)
    with open_grib(path, configured("grib")) as product:
        assert product.packing.scale == 1.0
        values = unpacked(product)
    assert np.isnan(values).sum() == 41
    assert values[2, 2] == pytest.approx(12345.6)


def test_values_omitted_by_a_bitmap_are_not_observed(
    grib_message, configured, unpacked, rates, tmp_path
) -> None:
    rates[5] = -9999
    path = put(tmp_path / "a.grib2", grib_message(rates, bitmap=-9999.0, packing="grid_simple"))
    with open_grib(path, configured("grib")) as product:
        values = unpacked(product)
    assert np.isnan(values[5]).all()
    assert np.isnan(values).sum() == 81
    np.testing.assert_allclose(values[6:], rates[6:], atol=1e-9)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_scan_with_a_single_value(grib_message, configured, unpacked, tmp_path, value) -> None:
    path = put(tmp_path / "a.grib2", grib_message(np.full((30, 40), value)))
    with open_grib(path, configured("grib")) as product:
        values = unpacked(product)
    assert np.isnan(values).all() if value < 0 else (values == 0).all()


@pytest.mark.parametrize(
    ("number", "interval"),
    [(2, "1h"), (3, "3h"), (8, "72h"), (9, "1h"), (30, "1h"), (37, "1h"), (41, "24h"),
     (43, "72h"), (45, "15min")],
)  # fmt: skip
def test_accumulations(grib_message, configured, rates, tmp_path, number, interval) -> None:
    path = put(tmp_path / "a.grib2", grib_message(rates, parameter=(209, 6, number)))
    with open_grib(path, configured("grib")) as product:
        assert product.packing.units == "mm"
        assert product.intervals == (pd.Timedelta(interval),)


def test_other_parameters_need_units(grib_message, configured, rates, tmp_path) -> None:
    path = put(tmp_path / "a.grib2", grib_message(rates, parameter=(209, 3, 28)))  # hail in mm
    with (
        pytest.raises(DataError, match=r"GRIB parameter 209-3-28 .*set 'units'"),
        open_grib(path, configured("grib")),
    ):
        pass
    settings = configured("grib", units="mm", accumulation="1h")
    with open_grib(path, settings) as product:
        assert (product.packing.units, product.intervals) == ("mm", (pd.Timedelta("1h"),))


def test_a_grid_across_greenwich_and_one_across_the_date_line(
    grib_message, configured, rates, tmp_path
) -> None:
    for west, first in ((359.905, -0.095), (179.905, 179.905)):
        path = put(tmp_path / f"{west}.grib2", grib_message(rates, west=west))
        with open_grib(path, configured("grib")) as product:
            assert product.grid.x[[0, -1]] == pytest.approx([first, first + 0.39])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"forecastTime": 1}, "is a forecast"),
        ({"month": 13}, "no date and time"),
        ({"productDefinitionTemplateNumber": 1}, "product template 1"),
        ({"jPointsAreConsecutive": 1}, "scanning mode 32"),
        ({"packingType": "grid_ieee"}, "packed as grid_ieee, expected one of grid_simple"),
        ({"gridDefinitionTemplateNumber": 1}, "rotated_ll, expected one of regular_ll"),
        ({"latitudeOfLastGridPointInDegrees": 54.995}, "has latitudes"),
        ({"longitudeOfLastGridPointInDegrees": 230.005}, "coordinates: x must"),
        ({"Ni": 2**31 - 2}, "more than any radar composite"),
        ({"Ni": 41}, "has 1200 values at 1200 points for 30 × 41 pixels"),
        ({"packing": "grid_png", "bitmap": -3.0}, "PNG"),
    ],
)
def test_an_unreadable_file_is_rejected_with_a_reason(
    grib_message, configured, rates, tmp_path, keys, message
) -> None:
    path = put(tmp_path / "a.grib2", grib_message(rates, **{"packing": "grid_simple", **keys}))
    with pytest.raises(DataError, match=message), open_grib(path, configured("grib")):
        pass


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: b"", "is no GRIB file"),
        (lambda m: b"<html>404</html>", "is no GRIB file"),
        (lambda m: m[:7] + b"\x01" + m[8:], "is GRIB edition 1, expected 2"),
        (lambda m: m[:100], "is cut off: 100 bytes of a message of"),
        (lambda m: m[:-4] + b"    ", "is cut off"),
        (lambda m: m + m, "holds .*209-6-1.* twice for 2024-06-01 12:02"),
        (lambda m: m + b"more", "4 bytes after message 1 that are no GRIB message"),
        (lambda m: m[:8] + bytes(8) + m[16:], "has a message of 0 bytes"),
        (lambda m: m[:8] + (2**40).to_bytes(8, "big") + m[16:], "at most 268435456 are read"),
        (lambda m: m.replace(b"IDAT", b"IDAX"), "PNG cannot be decoded"),
        (lambda m: m.replace(b"IHDR", b"IHDX"), "holds a PNG of"),
    ],
)
def test_broken_files_are_rejected(
    grib_message, configured, rates, tmp_path, damage, message
) -> None:
    path = put(tmp_path / "a.grib2", damage(grib_message(rates)))
    with (
        pytest.raises(DataError, match=message),
        open_grib(path, configured("grib")) as product,
    ):
        product.read_stored(0)


def test_sections_that_disagree_are_rejected_before_memory_is_allocated(
    grib_message, configured, rates, tmp_path
) -> None:
    simple = grib_message(rates, packing="grid_simple")
    header = simple.index((1200).to_bytes(4, "big"), 100)  # number of values, section 5
    more = simple[:header] + (2**31).to_bytes(4, "big") + simple[header + 4 :]
    png = grib_message(rates)
    size = png.index(b"IHDR") + 4
    huge = png[:size] + (2**20).to_bytes(4, "big") + png[size + 4 :]
    for data, message in ((more, "has 2147483648 values"), (huge, "PNG of 30 × 1048576")):
        with (
            pytest.raises(DataError, match=message),
            open_grib(put(tmp_path / "a.grib2", data), configured("grib")),
        ):
            pass


def test_without_eccodes_the_extra_is_named(configured, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "eccodes", None)
    with (
        pytest.raises(ConfigError, match="pip install 'squall\\[grib\\]'"),
        open_grib(str(tmp_path / "a.grib2"), configured("grib")),
    ):
        pass


@given(data=st.data(), packing=st.sampled_from(["grid_png", "grid_simple"]))
def test_any_damage_gives_a_product_or_an_exception(
    data, packing, grib_message, damages, configured, survives
) -> None:
    whole = grib_message(np.arange(12 * 16).reshape(12, 16) / 10, packing=packing)
    survives(open_grib, configured("grib"), "a.grib2", data.draw(damages)(whole))
