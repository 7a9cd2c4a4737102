"""NIMROD files: what the reader returns, and what it rejects with a reason."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.datasets.errors import DataError
from squall.datasets.grid import proj_parameters
from squall.datasets.radar.formats import recognised_format
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.readers.nimrod import open_nimrod
from tests.datasets.radar.radar_files import NAME, NAMED, config, rejection_of, scan_of

NOON = pd.Timestamp("2024-06-01T12:00")
UNSET = -32767
# every row and column differs; -1 is not observed
NUMBERS = np.array([[-1, 0, 32], [64, 320, 1600]], dtype=">i2")
TYPES = {">f4": (0, 4), "i1": (1, 1), ">i2": (1, 2), ">i4": (1, 4), "u1": (2, 1)}


def field(numbers: Any = NUMBERS, **changes: Any) -> bytes:
    """Bytes of one field: British National Grid, 2 km pixels, first one at (-238, 1222) km."""
    numbers = np.asarray(numbers)
    header: dict[str, Any] = {
        "valid": (2024, 6, 1, 12, 0, 0), "issued": (2024, 6, 1, 12, 0), "grid": 0, "corner": 0,
        "missing": -1, "minutes": UNSET, "ellipsoid": UNSET, "origin": (1_222_000.0, -238_000.0),
        "steps": (2000.0, 2000.0), "scale": 0.0, "offset": 0.0, "place": (UNSET,) * 5,
        "corners": (UNSET,) * 8, "units": "mm/h*32", "source": "Plr single site radars",
        "title": "Rainfall rate Composite", "shape": numbers.shape,
        "type": TYPES[numbers.dtype.str.lstrip("|")],
        **changes,
    }  # fmt: skip
    integers = [UNSET] * 31
    integers[0:6], integers[6:11] = header["valid"], header["issued"]
    integers[11:13], integers[14:17] = header["type"], (header["grid"], *header["shape"])
    integers[23:26] = header["corner"], header["missing"], header["minutes"]
    integers[27] = header["ellipsoid"]
    (y, x), (dy, dx) = header["origin"], header["steps"]
    reals = [9999.0, UNSET, y, dy, x, dx, header.get("real_missing", header["missing"])]
    reals += [header["scale"], header["offset"], UNSET, UNSET, *header["place"]]
    packed = struct.pack(">31h", *integers) + struct.pack(">28f", *reals, *[UNSET] * 12)
    packed += struct.pack(">45f", *header["corners"], *[UNSET] * 37)
    for name, length in (("units", 8), ("source", 24), ("title", 24)):
        packed += header[name].encode().ljust(length, b"\0")
    packed += struct.pack(">51h", *[UNSET] * 51)
    size = struct.pack(">L", numbers.nbytes)
    return (
        struct.pack(">L", 512) + packed + struct.pack(">L", 512) + size + numbers.tobytes() + size
    )


def network(**changes: Any) -> RadarNetworkConfig:
    return config(**{"variable": "", **changes})


def put(path: Path, *fields: bytes) -> str:
    path.write_bytes(b"".join(fields))
    return str(path)


def refused(path: str, message: str, settings: RadarNetworkConfig | None = None) -> None:
    with (
        pytest.raises(DataError, match=message),
        open_nimrod(path, settings or network()) as product,
    ):
        product.read_stored(0)


def test_a_rain_rate(unpacked, tmp_path) -> None:
    path = put(tmp_path / "a.dat", field())
    assert recognised_format(path) == "nimrod"
    with open_nimrod(path, network()) as product:
        assert product.times == (NOON,)
        assert product.intervals == (None,)
        assert product.packing.units == "mm/h"
        values = unpacked(product)
        with pytest.raises(IndexError):
            product.read_stored(1)
    np.testing.assert_array_equal(values, [[np.nan, 0, 1], [2, 10, 50]])
    np.testing.assert_array_equal(product.grid.x, [-238_000, -236_000, -234_000])
    np.testing.assert_array_equal(product.grid.y, [1_222_000, 1_220_000])
    assert product.grid.crs.to_epsg() == 27700


@pytest.mark.parametrize(
    ("corner", "rows", "columns"), [(0, 1, 1), (1, -1, 1), (2, 1, -1), (3, -1, -1)]
)
def test_the_first_number_may_lie_in_any_corner(unpacked, tmp_path, corner, rows, columns) -> None:
    origin = (1_222_000.0 if rows == 1 else 1_220_000.0, -238_000.0 if columns == 1 else -234_000.0)
    turned = np.ascontiguousarray(NUMBERS[::rows, ::columns])
    path = put(tmp_path / "a.dat", field(turned, corner=corner, origin=origin))
    with open_nimrod(path, network()) as product:
        np.testing.assert_array_equal(unpacked(product), [[np.nan, 0, 1], [2, 10, 50]])
        np.testing.assert_array_equal(product.grid.x, [-238_000, -236_000, -234_000])
        np.testing.assert_array_equal(product.grid.y, [1_222_000, 1_220_000])


@pytest.mark.parametrize("dtype", TYPES)
def test_numbers_of_each_type(unpacked, tmp_path, dtype) -> None:
    numbers = np.array([[2, 0, 32], [64, 120, 16]]).astype(dtype)
    path = put(tmp_path / "a.dat", field(numbers, missing=2))
    with open_nimrod(path, network()) as product:
        expected = [[np.nan, 0, 1], [2, 3.75, 0.5]]
        np.testing.assert_array_equal(unpacked(product), expected)


def test_bytes_are_signed_if_their_missing_value_is(unpacked, tmp_path) -> None:
    numbers = np.array([[255, 0, 32], [64, 120, 16]], np.uint8)
    for missing in (-1, 255):
        path = put(tmp_path / "a.dat", field(numbers, missing=missing))
        with open_nimrod(path, network()) as product:
            values = unpacked(product)
            np.testing.assert_array_equal(np.isnan(values), numbers == 255)
            assert values[1, 1] == 3.75


def test_accumulations_end_at_the_valid_time(unpacked, tmp_path) -> None:
    keys = {"units": "mm*10^2", "title": "precip accumulation"}
    later = field(valid=(2024, 6, 1, 12, 15, 0), issued=(2024, 6, 1, 12, 15), minutes=15, **keys)
    path = put(tmp_path / "a.dat", field(minutes=15, **keys), later)
    with open_nimrod(path, network()) as product:
        assert product.times == (NOON, NOON + pd.Timedelta("15min"))
        assert product.intervals == (pd.Timedelta("15min"),) * 2
        assert unpacked(product, 1)[1, 2] == 16
    for minutes in (UNSET, 0, 32767):
        path = put(tmp_path / "a.dat", field(minutes=minutes, **keys))
        with open_nimrod(path, network(accumulation="5min")) as product:
            assert product.intervals == (pd.Timedelta("5min"),)


def test_a_field_is_chosen_by_its_title(unpacked, tmp_path) -> None:
    path = put(
        tmp_path / "a.dat", field(NUMBERS[::-1].copy(), title="Quality", units="index"), field()
    )
    refused(path, "several fields, only: Quality, Rainfall rate Composite; set 'variable'")
    refused(path, "no field 'Rain'", network(variable="Rain"))
    with open_nimrod(path, network(variable="Rainfall rate Composite")) as product:
        assert unpacked(product)[1, 2] == 50


def test_the_scale_of_the_header(unpacked, tmp_path) -> None:
    with open_nimrod(put(tmp_path / "a.dat", field(scale=1 / 32)), network()) as product:
        assert product.packing.scale == 1 / 32
    for changes in ({"scale": 0.1}, {"units": "mm/h", "scale": 1 / 32}, {"offset": 2.0}):
        path = put(tmp_path / "a.dat", field(**changes))
        refused(path, "its header says scale .*set 'scale' and 'offset'")
        with open_nimrod(path, network(scale=0.5)) as product:
            assert unpacked(product)[1, 0] == 32


def test_grids(tmp_path) -> None:
    full = (49.0, -2.0, 400_000.0, -100_000.0, 0.9996012)
    for place in (full, (*full[:2], 400.0, -100.0, UNSET)):
        path = put(tmp_path / "a.dat", field(place=place))
        with open_nimrod(path, network()) as product:
            assert product.grid.crs.to_epsg() == 27700
    path = put(tmp_path / "a.dat", field(grid=4, place=(0.0, 9.0, 500_000.0, 0.0, 0.9996)))
    with open_nimrod(path, network()) as product:
        parameters = proj_parameters(product.grid.crs)
        assert (parameters["proj"], parameters["lon_0"]) == ("tmerc", 9)
        assert parameters["ellps"] == "intl"
    degrees = {"grid": 1, "origin": (55.0, -10.0), "steps": (0.5, 0.25)}
    with open_nimrod(put(tmp_path / "a.dat", field(**degrees)), network()) as product:
        np.testing.assert_allclose(product.grid.x, [-10, -9.75, -9.5])
        np.testing.assert_allclose(product.grid.y, [55, 54.5])
    path = put(tmp_path / "a.dat", field(grid=3))
    refused(path, "grid of type 3, .*set 'crs'")
    with open_nimrod(path, network(crs="EPSG:3995")) as product:
        assert product.grid.crs.to_epsg() == 3995
    key = {"crs": "EPSG:27700", "x0": 0, "y0": 0, "dx": 1000, "dy": -1000, "nx": 3, "ny": 2}
    with open_nimrod(path, network(grid=key)) as product:
        assert product.grid.x[0] == 500


def test_corners_in_the_header(tmp_path) -> None:
    top, bottom, left, right = 1_223_000, 1_219_000, -239_000, -233_000
    corners = np.array([top, left, top, right, bottom, right, bottom, left], float)
    with open_nimrod(put(tmp_path / "a.dat", field(corners=corners)), network()):
        pass
    refused(put(tmp_path / "a.dat", field(corners=corners + 5000)), "its corners lie 5000 away")


def test_a_missing_value_that_the_numbers_cannot_hold(tmp_path) -> None:
    path = put(tmp_path / "a.dat", field(NUMBERS.astype("u1"), missing=UNSET))
    refused(path, "has missing value -32767, which int8 cannot hold")
    with open_nimrod(path, network(missing_values=[-1 / 32])) as product:
        assert product.packing.missing == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"issued": (2024, 6, 1, 10, 0)}, "is a forecast, issued at 2024-06-01 10:00:00"),
        ({"valid": (2024, 13, 1, 0, 0, 0)}, "are no date and time"),
        ({"type": (1, 3)}, "numbers of type 1 in 3 bytes"),
        ({"shape": (2, 4)}, "has 12 bytes for 2 × 4 numbers"),
        ({"shape": (0, 3)}, "says that it has 0 × 3 pixels"),
        ({"shape": (32767, 32767)}, "more than any radar composite"),
        ({"shape": (1, 6)}, "has 1 × 6 pixels, expected a map"),
        ({"corner": 7}, "corner 7, expected 0 to 3"),
        ({"steps": (0.0, 2000.0)}, "expected positive numbers"),
        ({"steps": (np.nan, 2000.0)}, "expected positive numbers"),
        ({"origin": (np.inf, 0.0)}, "expected finite numbers"),
        ({"units": "furlongs"}, "no rain unit"),
        ({"units": "mm/h*0"}, "has the unit 'mm/h\\*0'"),
    ],
)
def test_an_unreadable_file_is_rejected_with_a_reason(tmp_path, changes, message) -> None:
    refused(put(tmp_path / "a.dat", field(**changes)), message)


def test_the_time_in_the_name_replaces_a_broken_one(tmp_path) -> None:
    by_name = network(**NAMED, time_from="name")
    for key in ("valid", "issued"):
        content = field(units="mm*32", minutes=5, **{key: (2024, 13, 1, 12, 0, 0)[: 11 - len(key)]})
        path = put(tmp_path / NAME, content)
        assert "has no time: [2024, 13, 1, 12, 0]" in rejection_of(path, network(**NAMED))
        np.testing.assert_allclose(scan_of(path, by_name)[0, 2], 12, rtol=0.016)


def test_broken_files_are_rejected(tmp_path) -> None:
    whole = field()
    for content, message in (
        (whole[:300], "no header of 512 bytes at byte 0"),
        (whole[:-1], "its last record has no end"),
        (whole[:-6], "its last record has no end"),
        (whole + whole[:100], f"no header of 512 bytes at byte {len(whole)}"),
        (whole + whole, "twice for 2024-06-01 12:00:00"),
    ):
        refused(put(tmp_path / "a.dat", content), message)
    later = {"valid": (2024, 6, 1, 12, 5, 0), "issued": (2024, 6, 1, 12, 5)}
    for changes in ({"missing": 0}, {"origin": (0.0, 0.0)}):
        path = put(tmp_path / "a.dat", whole, field(**later, **changes))
        refused(path, "differ in grid or packing")


@given(data=st.data())
@settings(max_examples=100)
def test_a_damaged_file_never_crashes_the_reader(data, damages, survives) -> None:
    survives(open_nimrod, network(), "a.dat", data.draw(damages)(field() + field()[:600]))
    survives(open_nimrod, network(), "a.dat", data.draw(damages)(field()))


@given(rest=st.binary(max_size=700))
def test_arbitrary_bytes_never_crash_the_reader(rest, survives) -> None:
    survives(open_nimrod, network(), "a.dat", struct.pack(">L", 512) + rest)
