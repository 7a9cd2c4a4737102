"""Packed numbers of CF netCDF files: scales, fill values, valid ranges."""

import re
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.radar_file import read_file
from tests.datasets.radar.radar_files import (
    RATE,
    Write,
    assert_rate,
    config,
    rejection_of,
    scan_of,
)

NAN = np.nan
HUNDREDTHS = {"scale_factor": 0.01, "add_offset": 0.0}


def test_packed_integers_with_an_offset(tmp_path: Path, write_radar: Write) -> None:
    packed = np.array([[-50, -40, -30], [-10, 150, 127]], dtype=np.int16)
    attributes = {"scale_factor": 0.5, "add_offset": 25.0}
    path = write_radar(tmp_path / "a.nc", packed, attributes=attributes, fill=np.int16(127))
    assert_rate(scan_of(path), [[0.0, 5.0, 10.0], [20.0, 100.0, NAN]])


def test_missing_and_dry_values(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[-1.0, -2.0, 999.0], [-9999.0, 0.5, 1e20]], dtype=np.float32)
    path = write_radar(tmp_path / "a.nc", numbers, fill=np.float32(1e20))
    settings = config(missing_values=[-1, 999, -9999], dry_values=[-2])
    assert_rate(scan_of(path, settings), [[NAN, 0.0, NAN], [NAN, 0.5, NAN]])


def test_missing_values_are_unpacked_values(tmp_path: Path, write_radar: Write) -> None:
    packed = np.array([[0, 100, 200], [32000, 32001, 0]], dtype=np.int16)
    path = write_radar(tmp_path / "a.nc", packed, attributes=HUNDREDTHS)
    settings = config(missing_values=[320.0], dry_values=[320.01])
    assert_rate(scan_of(path, settings), [[0.0, 1.0, 2.0], [NAN, 0.0, 0.0]])


def test_reflectivity_with_a_code_for_no_echo(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[-32.0, 23.0103, 39.0103], [95.5, -np.inf, 23.0103]])
    path = write_radar(tmp_path / "a.nc", numbers, units="dBZ")
    settings = config(missing_values=[95.5], dry_values=[-32.0])
    assert_rate(scan_of(path, settings), [[0.0, 1.0, 10.0], [NAN, 0.0, 1.0]])


@pytest.mark.parametrize(
    "limits",
    [
        {"valid_range": np.array([0, 5000], dtype=np.int16)},
        {"valid_min": np.int16(0), "valid_max": np.int16(5000)},
        # in the unpacked type they can only mean unpacked values (NetCDF User Guide)
        {"valid_range": np.array([0.0, 50.0])},
        {"valid_min": np.float32(0), "valid_max": np.float32(50)},
    ],
)
def test_a_valid_range_of_packed_numbers(
    tmp_path: Path, write_radar: Write, limits: dict[str, Any]
) -> None:
    packed = np.array([[-1, 0, 100], [4999, 5000, 5001]], dtype=np.int16)
    path = write_radar(tmp_path / "a.nc", packed, attributes=HUNDREDTHS | limits)
    assert_rate(scan_of(path), [[NAN, 0.0, 1.0], [49.99, 50.0, NAN]])


def test_a_valid_range_of_plain_numbers(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[-1.0, 0.0, 100.0], [100.5, 1.0, 9999.0]], dtype=np.float32)
    limits = {"valid_range": np.array([0, 100], dtype=np.float32)}
    path = write_radar(tmp_path / "a.nc", numbers, attributes=limits)
    assert_rate(scan_of(path), [[NAN, 0.0, 100.0], [NAN, 1.0, NAN]])


def test_the_configured_units_take_precedence(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, units="whatever")
    assert_rate(scan_of(path, config(units="mm h-1")), RATE)


def test_all_dry_and_all_missing(tmp_path: Path, write_radar: Write) -> None:
    dry = write_radar(tmp_path / "a.nc", np.zeros((4, 5)))
    assert (read_file(dry, config()).scans[0].codes == RAIN_CODE.DRY).all()
    missing = write_radar(tmp_path / "b.nc", np.full((4, 5), NAN))
    assert (read_file(missing, config()).scans[0].codes == RAIN_CODE.NOT_OBSERVED).all()


def test_unwritten_floats_are_not_observed(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.where(RATE > 5, netCDF4.default_fillvals["f4"], RATE).astype(np.float32)
    (scan,) = read_file(write_radar(tmp_path / "a.nc", numbers), config()).scans
    assert np.array_equal(scan.codes == 255, (RATE > 5) | np.isnan(RATE))


def packed(
    path: Path, write_radar: Write, numbers: Any, attributes: dict[str, Any], **storage: Any
) -> str:
    """Write a file whose variable is stored with the given arguments of ``createVariable``."""
    write_radar(path, RATE)
    with netCDF4.Dataset(path, "a") as file:
        file.renameVariable("rain", "other")
        numbers = np.asarray(numbers)
        dtype = numbers.dtype
        if storage.get("endian") == "big":
            dtype = dtype.newbyteorder(">")
        variable = file.createVariable("rain", dtype, ("time", "y", "x"), **storage)
        variable.set_auto_maskandscale(False)
        variable[:] = numbers[None]
        variable.setncatts({"units": "mm h-1", "grid_mapping": "proj"} | attributes)
    return str(path)


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("zlib", [False, True])
def test_unsigned_numbers_in_a_signed_type(
    tmp_path: Path, write_radar: Write, endian: str, zlib: bool
) -> None:
    numbers = np.array([[0, 100, 20000], [65535, 40000, 50000]], np.uint16).view(np.int16)
    attributes = {"_Unsigned": "true", "scale_factor": 0.001, "missing_value": np.int16(-1)}
    path = packed(tmp_path / "a.nc", write_radar, numbers, attributes, endian=endian, zlib=zlib)
    assert_rate(scan_of(path), [[0.0, 0.1, 20.0], [NAN, 40.0, 50.0]])


def test_signed_numbers_in_an_unsigned_type(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[0, -1, 20], [-128, 4, 5]], np.int8).view(np.uint8)
    attributes = {"_Unsigned": "false", "scale_factor": 0.5, "add_offset": 0.5}
    path = packed(tmp_path / "a.nc", write_radar, numbers, attributes, fill_value=np.uint8(128))
    assert_rate(scan_of(path), [[0.5, 0.0, 10.5], [NAN, 2.5, 3.0]])


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "uint32", "int64", "f4", "f8"])
def test_both_byte_orders(tmp_path: Path, write_radar: Write, endian: str, dtype: str) -> None:
    numbers = np.array([[0, 100, 200], [300, 1000, 5000]], dtype)
    path = packed(
        tmp_path / "a.nc", write_radar, numbers, {"scale_factor": 0.01}, endian=endian,
        fill_value=np.array(300, dtype),
    )  # fmt: skip
    assert_rate(scan_of(path), [[0.0, 1.0, 2.0], [NAN, 10.0, 50.0]])


@pytest.mark.parametrize(
    "missing",
    [np.int16(-1), np.array([-1, -3], np.int16), np.float32(-1), np.float64(-1), np.int32(-1)],
)
def test_a_missing_value_besides_the_fill_value(
    tmp_path: Path, write_radar: Write, missing: Any
) -> None:
    numbers = np.array([[0, 100, 200], [-1, -2, 300]], np.int16)
    attributes = {"scale_factor": 0.01, "missing_value": missing}
    path = packed(tmp_path / "a.nc", write_radar, numbers, attributes, fill_value=np.int16(-2))
    assert_rate(scan_of(path), [[0.0, 1.0, 2.0], [NAN, NAN, 3.0]])


@pytest.mark.parametrize(
    "limits", [np.array([0.0, 2.5]), np.array([-250, 0], np.int16)], ids=["floats", "packed"]
)
def test_a_valid_range_with_a_negative_scale(
    tmp_path: Path, write_radar: Write, limits: np.ndarray
) -> None:
    numbers = np.array([[0, -100, -200], [5, -250, -251]], np.int16)
    attributes = {"scale_factor": -0.01, "valid_range": limits}
    path = packed(tmp_path / "a.nc", write_radar, numbers, attributes)
    assert_rate(scan_of(path), [[0.0, 1.0, 2.0], [NAN, 2.5, NAN]])


def test_a_valid_range_of_scaled_floats_has_no_slack(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[0, 1, 2], [-0.4, 6, 10.4]], np.float32)
    limits = {"scale_factor": np.float32(1), "valid_range": np.array([0, 10], np.float32)}
    path = packed(tmp_path / "a.nc", write_radar, numbers, limits)
    assert_rate(scan_of(path), [[0.0, 1.0, 2.0], [NAN, 6.0, NAN]])


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "uint32", "f4", "f8"])
@pytest.mark.parametrize("unsigned", [False, True])
def test_unwritten_numbers_are_not_observed(
    tmp_path: Path, write_radar: Write, dtype: str, unsigned: bool
) -> None:
    """An unwritten `uint16` that is packed in hundredths would be 655 mm/h."""
    number = netCDF4.default_fillvals[np.dtype(dtype).str[1:]]
    numbers = np.array([[0, 100, 200], [number, 1000, 5000]], dtype)
    attributes = {"scale_factor": 0.01} | ({"_Unsigned": "true"} if unsigned else {})
    path = packed(tmp_path / "a.nc", write_radar, numbers, attributes)
    assert_rate(scan_of(path), [[0.0, 1.0, 2.0], [NAN, 10.0, 50.0]])


def test_all_numbers_of_a_byte_may_be_data(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[0, 1, 2], [255, 10, 50]], np.uint8)
    path = packed(tmp_path / "a.nc", write_radar, numbers, {})
    assert_rate(scan_of(path), [[0.0, 1.0, 2.0], [255.0, 10.0, 50.0]])


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"scale_factor": np.nan}, "nothing can be unpacked"),
        ({"scale_factor": 0.0}, "nothing can be unpacked"),
        ({"scale_factor": "one"}, "scale_factor 'one', expected numbers; correct or delete"),
        ({"scale_factor": np.array([1.0, 2.0])}, "expected one number"),
        ({"add_offset": np.array([1.0, 2.0])}, "expected one number"),
        ({"scale_factor": np.inf}, "nothing can be unpacked"),
        ({"add_offset": np.nan}, "nothing can be unpacked"),
        ({"missing_value": "none"}, "missing_value 'none', expected numbers"),
        ({"valid_range": "0 to 5"}, "valid_range '0 to 5', expected numbers"),
        ({"valid_range": np.int16(5)}, r"valid_range \(5.0,\), expected two"),
        ({"valid_range": np.arange(3, dtype="i2")}, "expected two"),
    ],
)
def test_unusable_attributes_are_rejected(
    tmp_path: Path, write_radar: Write, attributes: dict[str, Any], message: str
) -> None:
    numbers = np.array([[0, 100, 200], [5, 6, 7]], np.int16)
    path = packed(tmp_path / "a.nc", write_radar, numbers, attributes)
    assert re.search(message, rejection_of(path))


@pytest.mark.parametrize(
    ("dtype", "missing"),
    [
        ("f4", np.float64(1e20)),  # in single precision it is 1.00000002e20
        ("f4", np.float64(-9999.9)),
        ("f4", "-9999.9"),
        ("f8", np.array([-9999.9, 1e20])),
        ("f4", ["-9999.9", "1e20"]),
        ("f8", np.int32(-9999)),
    ],
)
def test_a_missing_value_of_another_type_than_floats(
    tmp_path: Path, write_radar: Write, dtype: str, missing: Any
) -> None:
    marker = float(np.ravel(missing)[0])
    numbers = np.array([[0, 1, 2], [marker, 4, 5]], dtype)
    path = packed(tmp_path / "a.nc", write_radar, numbers, {"missing_value": missing})
    assert_rate(scan_of(path), [[0, 1, 2], [NAN, 4, 5]])


@pytest.mark.parametrize(
    ("missing", "fill", "expected"),
    [
        (np.float32(327.67), None, [NAN, 50, 60]),  # unpacked: no packed number has decimals
        (np.float64(5000), np.int16(5000), [327.67, NAN, 60]),  # as the fill value, packed
        (np.int32(5000), None, [327.67, NAN, 60]),
        ("5000 6000", None, [327.67, 50, 60]),
    ],
)
def test_a_missing_value_of_packed_integers(
    tmp_path: Path, write_radar: Write, missing: Any, fill: Any, expected: list[float]
) -> None:
    numbers = np.array([[0, 100, 200], [32767, 5000, 6000]], np.int16)
    attributes = {"scale_factor": 0.01, "missing_value": missing}
    path = packed(tmp_path / "a.nc", write_radar, numbers, attributes, fill_value=fill)
    if isinstance(missing, str):
        expected = [327.67, NAN, NAN]
    assert_rate(scan_of(path), [[0, 1, 2], expected])


def test_a_missing_value_with_two_meanings_is_rejected_or_listed(
    tmp_path: Path, write_radar: Write
) -> None:
    """95 may be the packed number of 15.5 dBZ or mean 95 dBZ, packed 254."""
    numbers = np.array([[0, 95, 110], [254, 254, 254]], np.uint8)
    attributes = {
        "units": "dBZ", "scale_factor": 0.5, "add_offset": -32.0, "missing_value": np.float32(95),
    }  # fmt: skip
    path = packed(tmp_path / "a.nc", write_radar, numbers, attributes)
    reason = rejection_of(path)
    assert "may be the packed number 95 or mean 254; list the unpacked values" in reason
    assert_rate(scan_of(path, config(missing_values=95)), [[0, 0.34, 0.998], [NAN, NAN, NAN]])


@pytest.mark.parametrize("missing", [np.int32(-9999), np.int16(-1), np.float64(1e20), NAN])
def test_a_missing_value_that_cannot_be_stored(
    tmp_path: Path, write_radar: Write, missing: Any
) -> None:
    """Without another marker, pixels that are not observed would count as rain."""
    numbers = np.array([[0, 1, 2], [255, 4, 241]], np.uint8)  # -9999 in 8 bits is 241
    path = packed(tmp_path / "a.nc", write_radar, numbers, {"missing_value": missing})
    reason = rejection_of(path)
    assert "uint8 cannot hold; list the unpacked values" in reason
    assert "'missing_values: [255]' for pixels stored as 255" in reason
    expected = [[0, 1, 2], [NAN, 4, 241]]
    assert_rate(scan_of(path, config(missing_values=[255])), expected)
    numbers[1, 2] = 240
    path = packed(
        tmp_path / "b.nc", write_radar, numbers, {"missing_value": missing}, fill_value=255
    )
    assert_rate(scan_of(path), [[0, 1, 2], [NAN, 4, 240]])


def test_pixels_that_may_be_a_missing_value_cut_to_their_type_are_refused(
    tmp_path: Path, write_radar: Write
) -> None:
    """The fill value is fine, but -9999 in 8 bits is 241, and a pixel has 241."""
    numbers = np.array([[0, 1, 2], [255, 4, 241]], np.uint8)
    attributes = {"missing_value": np.int32(-9999)}
    path = packed(tmp_path / "a.nc", write_radar, numbers, attributes, fill_value=255)
    reason = rejection_of(path)
    assert "uint8 cannot hold and that would be stored as 241, and pixels have this" in reason
    assert "set 'missing_values: [241]'" in reason
    assert_rate(scan_of(path, config(missing_values=241)), [[0, 1, 2], [NAN, 4, NAN]])
    assert_rate(scan_of(path, config(missing_values=255)), [[0, 1, 2], [NAN, 4, 241]])
    assert_rate(scan_of(path, config(dry_values=241)), [[0, 1, 2], [NAN, 4, 0]])
    # the numbers of an unpacked value that no pixel can have are no answer
    assert "stored as 241" in rejection_of(path, config(missing_values=-9999))


def test_text_as_missing_value_does_not_matter_if_the_values_are_listed(
    tmp_path: Path, write_radar: Write
) -> None:
    numbers = np.array([[0, 1, 2], [255, 4, 5]], np.int16)
    path = packed(tmp_path / "a.nc", write_radar, numbers, {"missing_value": "no data"})
    assert "list the unpacked values that mean not observed" in rejection_of(path)
    assert_rate(scan_of(path, config(missing_values=[255])), [[0, 1, 2], [NAN, 4, 5]])


def test_flags_are_not_observed(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[0, 1, 2], [254, 253, 5]], np.uint8)
    flags = {"flag_values": np.array([253, 254], np.uint8), "flag_meanings": "clutter no_coverage"}
    path = packed(tmp_path / "a.nc", write_radar, numbers, flags)
    assert_rate(scan_of(path), [[0, 1, 2], [NAN, NAN, 5]])


@pytest.mark.parametrize("fill", [NAN, None])
def test_nan_as_dry_value(tmp_path: Path, write_radar: Write, fill: Any) -> None:
    numbers = np.array([[0, 1, NAN], [-1, NAN, 5]], np.float32)
    path = packed(tmp_path / "a.nc", write_radar, numbers, {}, fill_value=fill)
    settings = config(dry_values=[NAN], missing_values=-1)
    assert_rate(scan_of(path, settings), [[0, 1, 0], [NAN, 0, 5]])


def test_a_dry_value_precedes_the_fill_value(tmp_path: Path, write_radar: Write) -> None:
    """Some producers write no rain as the fill value; only the user knows."""
    numbers = np.array([[0, 1, 0], [65535, 0, 5]], np.uint16)
    attributes = {"missing_value": np.uint16(65535)}
    path = packed(tmp_path / "a.nc", write_radar, numbers, attributes, fill_value=np.uint16(0))
    assert_rate(scan_of(path), [[NAN, 1, NAN], [NAN, NAN, 5]])
    assert_rate(scan_of(path, config(dry_values=0)), [[0, 1, 0], [NAN, 0, 5]])


def test_a_listed_value_is_found_though_the_scale_has_single_precision(
    tmp_path: Path, write_radar: Write
) -> None:
    numbers = np.array([[319, 330, 340], [-1, 420, 400]], np.int16)
    attributes = {"scale_factor": np.float32(0.1), "add_offset": np.float32(-32)}
    path = packed(tmp_path / "a.nc", write_radar, numbers, attributes, fill_value=np.int16(-1))
    assert_rate(scan_of(path, config(dry_values=[-0.1])), [[0, 1, 2], [NAN, 10, 8]])


def test_a_variable_of_texts_is_rejected(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE)
    with netCDF4.Dataset(path, "a") as file:
        file.renameVariable("rain", "other")
        texts = file.createVariable("rain", str, ("time", "y", "x"))
        texts.setncatts({"grid_mapping": "proj", "units": "mm h-1"})
    assert "no numbers" in rejection_of(path)
