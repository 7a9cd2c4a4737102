"""Valid ranges of packed numbers: what they hide is counted, and a wrong range hides no rain."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from squall.datasets.radar.radar_file import read_file
from tests.datasets.radar.radar_files import Write, assert_rate, config, rejection_of, scan_of

NAN = np.nan
HUNDREDTHS = {"scale_factor": 0.01}
HALF_DBZ = {"scale_factor": 0.5, "add_offset": -32.0}
HEAVY = np.array([[0, 150, 300], [5000, 9000, 12000]], np.int16)


@pytest.mark.parametrize(
    "limits",
    [
        {"valid_max": np.int16(200)},
        {"valid_max": np.int32(200)},
        {"valid_range": np.array([0, 200], np.int16)},
        {"valid_max": "200.0"},
        {"valid_min": np.int16(0), "valid_max": np.int16(300)},
    ],
)
def test_an_integer_limit_that_would_hide_nearly_all_rain_is_unpacked(
    tmp_path: Path, write_radar: Write, limits: dict[str, Any]
) -> None:
    path = write_radar(tmp_path / "a.nc", HEAVY, attributes=HUNDREDTHS | limits)
    assert_rate(scan_of(path), HEAVY / 100)


def test_an_unpacked_integer_limit_of_reflectivity(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[0, 100, 110], [150, 142, 191]], np.uint8)  # -32, 18, 23, 43, 39, 63.5 dBZ
    limits = {"valid_range": np.array([-32, 60], np.int16)}
    path = write_radar(tmp_path / "a.nc", numbers, units="dBZ", attributes=HALF_DBZ | limits)
    assert_rate(scan_of(path), [[0, 0.486, 0.998], [17.78, 9.98, NAN]])


def test_a_packed_limit_of_reflectivity_hides_markers(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[0, 100, 110], [150, 251, 255]], np.uint8)
    attributes = HALF_DBZ | {"valid_max": np.uint8(250)}
    path = write_radar(tmp_path / "a.nc", numbers, units="dBZ", attributes=attributes)
    assert_rate(scan_of(path), [[0, 0.486, 0.998], [17.78, NAN, NAN]])
    assert read_file(path, config()).masked_px == {"valid range": 2}


def test_a_scan_whose_rain_depends_on_the_reading_is_rejected(
    tmp_path: Path, write_radar: Write
) -> None:
    """The limit is 40 mm/h if it is packed, 400 mm/h if it is not."""
    attributes = {"scale_factor": 0.1, "valid_max": np.int16(400)}
    between = np.array([[0, 10, 20], [399, 410, 700]], np.int16)
    path = write_radar(tmp_path / "a.nc", between, attributes=attributes)
    reason = rejection_of(path)
    assert "ends at 40.1 mm/h if it is packed, at 400 mm/h if it is not" in reason
    assert "correct or delete these attributes" in reason
    below = np.minimum(between, 400)
    path = write_radar(tmp_path / "b.nc", below, attributes=attributes)
    assert_rate(scan_of(path), below / 10)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
def test_pixels_outside_the_valid_range_are_counted(
    tmp_path: Path, write_radar: Write, dtype: str
) -> None:
    numbers = np.array([[-1, 0, 100], [101, 50, -5]], dtype)
    limits = {"valid_range": np.array([0, 100], dtype), "missing_value": np.array(-5, dtype)}
    path = write_radar(tmp_path / "a.nc", numbers, attributes=limits)
    assert_rate(scan_of(path), [[NAN, 0, 100], [NAN, 50, NAN]])
    assert read_file(path, config()).masked_px == {"valid range": 2}  # -5 is declared as missing


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_valid_range_without_zero_needs_a_word_on_zero(
    tmp_path: Path, write_radar: Write, dtype: str
) -> None:
    numbers = np.array([[0, 0, 100], [1, 50, 0]], dtype)
    attributes = {"valid_min": np.array(1, dtype)}
    path = write_radar(tmp_path / "a.nc", numbers, attributes=attributes)
    assert "set 'dry_values: [0]' or 'missing_values: [0]'" in rejection_of(path)
    assert_rate(scan_of(path, config(dry_values=0)), numbers)
    missing = np.where(numbers == 0, NAN, numbers)
    assert_rate(scan_of(path, config(missing_values=0)), missing)


def test_limits_that_are_nan_or_empty_do_not_count(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[0, 1, 100], [1, 50, 7]], np.float32)
    limits = {"valid_min": np.float32(np.nan), "valid_max": ""}
    path = write_radar(tmp_path / "a.nc", numbers, attributes=limits)
    assert_rate(scan_of(path), numbers)
