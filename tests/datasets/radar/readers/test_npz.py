"""NumPy archives: what the reader returns, and what it rejects with a reason."""

import pickle
import zipfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar.formats import recognised_format
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file
from squall.datasets.radar.readers.npz import open_npz, pickled_datetimes
from tests.datasets.radar.radar_files import NAME, NAMED, config, rejection_of, scan_of

NOON = datetime(2024, 6, 1, 12)
TIMES = [NOON + timedelta(minutes=5 * i) for i in range(4)]
# hundredths of a millimetre in five minutes; -1 is not observed
NUMBERS = np.arange(4 * 2 * 3, dtype=np.int16).reshape(4, 2, 3) - 1
GRID = {"crs": "EPSG:4326", "nx": 3, "ny": 2, "west": -6, "south": 46, "east": 0, "north": 50}


def network(**changes: Any) -> RadarNetworkConfig:
    given: dict[str, Any] = {
        "variable": "data", "units": "mm", "scale": 0.01, "missing_values": -0.01, "grid": GRID,
        "accumulation": "5min",
    }  # fmt: skip
    return config(**given | changes)


def write(path: Path, **arrays: Any) -> str:
    arrays = {"data": NUMBERS, "dates": np.array(TIMES), **arrays}
    np.savez_compressed(
        path, **{name: array for name, array in arrays.items() if array is not None}
    )
    return str(path)


def refused(path: str, message: str, **changes: Any) -> None:
    with (
        pytest.raises((DataError, ConfigError), match=message),
        open_npz(path, network(**changes)) as product,
    ):
        product.read_stored(0)


def test_scans_of_several_times(tmp_path) -> None:
    path = write(tmp_path / "a.npz")
    assert recognised_format(path) == "npz"
    report = read_file(path, network())
    assert report.rejected == []
    assert [scan.time for scan in report.scans] == [pd.Timestamp(time) for time in TIMES]
    rates = np.where(NUMBERS < 0, np.nan, NUMBERS * 0.01 * 12)
    for scan, rate in zip(report.scans, rates, strict=True):
        np.testing.assert_array_equal(scan.codes, RAIN_CODE.encode(rate.astype(np.float32)))
    assert report.grid is not None
    np.testing.assert_allclose(report.grid.x, [-5, -3, -1])
    np.testing.assert_allclose(report.grid.y, [49, 47])


def test_scans_are_read_in_any_order(tmp_path) -> None:
    with open_npz(write(tmp_path / "a.npz"), network()) as product:
        for scan in (2, 0, 3, 3, 1):
            np.testing.assert_array_equal(product.read_stored(scan), NUMBERS[scan])
        for scan in (4, -1):
            with pytest.raises(IndexError):
                product.read_stored(scan)


def test_a_grid_from_the_south(tmp_path) -> None:
    settings = network(grid=GRID | {"first_row": "south"})
    with open_npz(write(tmp_path / "a.npz"), settings) as product:
        np.testing.assert_array_equal(product.read_stored(1), NUMBERS[1, ::-1])


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("as_array", [True, False])
def test_pickled_datetimes_are_read_without_loading_them(protocol, as_array) -> None:
    times = np.array(TIMES, dtype=object) if as_array else TIMES
    found = pickled_datetimes(pickle.dumps(times, protocol=protocol))
    assert found == [pd.Timestamp(time) for time in TIMES]


class _Hostile:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a pickle was loaded')",)


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (np.array([_Hostile()] * 4), "are no datetimes"),
        (np.array([*TIMES[:3], _Hostile()]), "are no datetimes"),
        (np.array([time.replace(tzinfo=UTC) for time in TIMES]), "are no datetimes"),
        (np.array([TIMES[0]] * 4), "4 scans, but 1 datetimes"),
        (np.array(TIMES[:3]), "4 scans but 3 times"),
        (np.array([1, 2, 3, 4]), "holds int64, expected times"),
        (np.array([b"0123456789"] * 4, dtype=object), "are no datetimes"),
        (np.array(["2024-06-01"] * 4, dtype=object), "4 scans, but 0 datetimes"),
    ],
)
def test_other_times_are_refused(tmp_path, dates, message) -> None:
    refused(write(tmp_path / "a.npz", dates=dates), message)


def test_datetime64_and_another_name(tmp_path) -> None:
    times = np.array(TIMES, dtype="datetime64[s]")
    path = write(tmp_path / "a.npz", dates=None, valid=times)
    with open_npz(path, network(time_variable="valid", time_marks="start")) as product:
        assert product.times[0] == pd.Timestamp("2024-06-01 12:05")
        assert product.intervals == (pd.Timedelta("5min"),) * 4
    refused(path, "has no array 'dates' with times")
    refused(path, "no array 'times', only: data, valid", time_variable="times")


def test_one_scan_with_the_time_in_its_name(tmp_path) -> None:
    rate = np.array([[np.nan, 0, 1], [2, 10, 50]], dtype=">f8")
    path = write(tmp_path / "rain_202406011200.npz", data=rate, dates=None)
    keys = {"units": "mm h-1", "scale": None, "missing_values": ()}
    settings = network(**keys, time_in_name="%Y%m%d%H%M")
    (scan,) = read_file(path, settings).scans
    np.testing.assert_array_equal(scan.codes, RAIN_CODE.encode(rate.astype(np.float32)))
    refused(path, "no time in its name", **keys)


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        ({}, {"grid": None}, "does not tell where its pixels lie"),
        ({}, {"units": None}, "does not tell where its pixels lie"),
        ({}, {"missing_values": ()}, r"names no missing value.*missing_values"),
        (
            {"data": NUMBERS.astype("f4")},
            {"missing_values": ()},
            "a scan without NaN.*missing_values",
        ),
        ({}, {"variable": "rain"}, "no array 'rain', only: data, dates.*'variable: data'"),
        ({"data": NUMBERS[:, :, :2]}, {}, "ny: 2, nx: 3"),
        ({"data": NUMBERS.ravel()}, {}, "has 1 dimensions"),
        ({"data": NUMBERS.astype(object)}, {}, "holds object, expected numbers"),
        ({"data": NUMBERS.astype("U3")}, {}, "expected numbers"),
        ({"data": np.asfortranarray(NUMBERS)}, {}, "column by column"),
        ({"data": NUMBERS[:0]}, {}, "has 0 scans"),
    ],
)
def test_an_unreadable_file_is_rejected_with_a_reason(tmp_path, arrays, changes, message) -> None:
    refused(write(tmp_path / "a.npz", **arrays), message, **changes)


def put(path: Path, **members: bytes) -> str:
    """A NumPy archive of raw members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return str(path)


def array(numbers: Any, **header: Any) -> bytes:
    stream = BytesIO()
    np.lib.format.write_array(stream, np.asarray(numbers))
    content = stream.getvalue()
    if not header:
        return content
    start = BytesIO()
    described = np.lib.format.header_data_from_array_1_0(np.asarray(numbers)) | header
    np.lib.format.write_array_header_1_0(start, described)
    return start.getvalue() + np.asarray(numbers).tobytes()


def test_the_time_in_the_name_replaces_broken_ones(tmp_path) -> None:
    path = write(tmp_path / f"{NAME}.npz", data=NUMBERS[:1], dates=np.array(["noon"]))
    assert "expected times: datetime64" in rejection_of(path, network(**NAMED))
    by_name = network(**NAMED, time_from="name")
    np.testing.assert_allclose(scan_of(path, by_name)[1, 2], 0.48, rtol=0.016)
    path = write(tmp_path / f"{NAME}.npz")
    assert "holds 4 scans, which one time in its name" in rejection_of(path, by_name)


def test_headers_that_lie_are_refused_before_memory_is_allocated(tmp_path) -> None:
    times = array(np.array(TIMES, dtype="datetime64[s]"))
    for content, message in (
        (array(NUMBERS, shape=(4, 2, 4)), "has 48 bytes for 4 scans of 16 bytes"),
        (array(NUMBERS, shape=(4, 2**30, 3)), "more than any radar composite"),
        (array(NUMBERS, shape=(2**40, 2, 3)), "scans, at most"),
        (array(NUMBERS, shape=(-4, -2, 3)), "says that it has the shape"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "has no header of NumPy"),
        (b"\x93NUMPY\x07\x00", "has no header of NumPy"),
        (b"", "has no header of NumPy"),
    ):
        refused(put(tmp_path / "a.npz", data=content, dates=times), message)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    return Path(write(tmp_path_factory.mktemp("npz") / "a.npz")).read_bytes()


@given(data=st.data())
@settings(max_examples=100)
def test_a_damaged_file_never_crashes_the_reader(data, whole, damages, survives) -> None:
    survives(open_npz, network(), "a.npz", data.draw(damages)(whole))


@given(pickled=st.binary(max_size=200))
def test_arbitrary_pickles_never_crash_the_reader(pickled) -> None:
    with suppress(DataError):
        pickled_datetimes(pickled)
