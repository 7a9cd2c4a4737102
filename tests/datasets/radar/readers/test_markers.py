"""Markers of missing and dry pixels that the type of the pixels cannot hold, in every reader."""

import math
from typing import Any

import numpy as np
import pytest

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.radar_file import read_file
from squall.datasets.radar.readers.markers import any_held, held_by, wrapped_to

U8, I8, U16 = np.dtype("u1"), np.dtype("i1"), np.dtype("u2")
NAN = np.nan
# (type, marker that it cannot hold): the number that a producer would store is 255, -1 or 65535
UNHELD = [
    ("u1", -1.0), ("u1", 65535.0), ("u1", 255.5), ("u1", NAN), ("u1", np.inf), ("u1", 1e30),
    ("i1", 255.0), ("u2", -1.0), ("u2", -32768.0), ("i2", 65535.0), ("u4", -1.0), ("i4", 2.0**32),
    (">u2", -9999.0), ("u8", -1.0),
]  # fmt: skip


def rates_of(path: str, config: Any) -> np.ndarray:
    """Rain rate (y, x) of the file's only scan."""
    (scan,) = read_file(path, config).scans
    return RAIN_CODE.decode(scan.codes)


def reason_of(path: str, config: Any) -> str:
    report = read_file(path, config)
    assert report.scans == []
    return report.rejected[0].reason


@pytest.mark.parametrize(
    ("dtype", "marker", "expected"),
    [
        ("u1", 255.0, (255.0,)), ("u1", 254.9999, (255.0,)), ("u1", None, ()), ("u1", 256.0, ()),
        ("i1", -128.0, (-128.0,)), ("u8", float(2**64 - 1), (float(2**64),)),
        ("f4", -9999.9, (float(np.float32(-9999.9)),)), ("f4", 1e40, (np.inf,)),
        ("f8", -9999000.0, (-9999000.0,)),
        # an attribute in single precision of pixels in double precision
        ("f8", float(np.float32(999.9)), (float(np.float32(999.9)), 999.9)),
    ],
)  # fmt: skip
def test_the_number_that_a_marker_means(dtype: str, marker: Any, expected: Any) -> None:
    assert held_by(np.dtype(dtype), marker) == expected


def test_nan_marks_floats_only() -> None:
    assert math.isnan(held_by(np.dtype("f4"), NAN)[0])
    assert held_by(U8, NAN) == ()


def test_the_number_that_is_stored_for_a_marker() -> None:
    assert wrapped_to(U8, -1) == (255.0,)
    assert wrapped_to(U8, -9999) == (241.0,)
    assert wrapped_to(U8, 255.5) == (255.0,)
    assert wrapped_to(I8, 255) == (-1.0,)
    assert wrapped_to(I8, 127.5) == (127.0,)
    assert wrapped_to(I8, 128) == (-128.0,)
    assert wrapped_to(U16, 65534 + 2**16) == (65534.0,)
    assert wrapped_to(U8, NAN) == wrapped_to(U8, np.inf) == wrapped_to(U8, -(2.0**63)) == ()
    assert wrapped_to(np.dtype("f4"), -1) == ()


def test_whether_pixels_can_have_a_value() -> None:
    assert any_held(U8, (-1.0, 95.5), 0.5, -32.0)
    assert not any_held(U8, (-33.0, 95.7), 0.5, -32.0)
    assert any_held(np.dtype("f4"), (-1.0,), 1.0, 0.0)
    assert not any_held(np.dtype("f4"), (), 1.0, 0.0)


@pytest.mark.parametrize(("dtype", "marker"), UNHELD)
def test_odim_nodata_outside_the_type_is_refused(
    write_odim, configured, pixels, tmp_path, dtype: str, marker: float
) -> None:
    """Without the refusal, the pixels outside coverage would be the heaviest rain."""
    limits = np.iinfo(dtype)
    stored = (pixels % 100).astype(dtype)
    stored[:, 0] = limits.max
    path = write_odim(tmp_path / "a.h5", stored, gain=0.01, nodata=marker)
    reason = reason_of(path, configured("odim"))
    assert f"nodata {marker:.15g}, which {np.dtype(dtype).name} cannot hold" in reason
    # a listed value that cannot be stored is no answer, the example of the message is one
    assert "cannot hold" in reason_of(path, configured("odim", missing_values=[0.0123]))
    listed = configured("odim", missing_values=[limits.max * 0.01], variable="RATE")
    rates = rates_of(path, listed)
    assert np.isnan(rates[:, 0]).all()
    assert not np.isnan(rates[:, 1:]).any()


def test_odim_undetect_outside_the_type_is_refused(
    write_odim, configured, pixels, tmp_path
) -> None:
    path = write_odim(tmp_path / "a.h5", pixels, undetect=-1.0)
    reason = reason_of(path, configured("odim"))
    assert "undetect -1, which uint16 cannot hold" in reason
    assert "'dry_values: [0]' for pixels stored as 0" in reason
    assert "undetect" in reason_of(path, configured("odim", dry_values=[-1.0]))
    assert (rates_of(path, configured("odim", dry_values=[0.0]))[0, 1:] == 0).all()


def test_odim_undetect_may_be_nan_in_floats(write_odim, configured, tmp_path) -> None:
    numbers = np.full((12, 16), 5.0, np.float32)
    numbers[0], numbers[1] = NAN, -1
    path = write_odim(tmp_path / "a.h5", numbers, gain=1.0, nodata=-1.0, undetect=NAN)
    rates = rates_of(path, configured("odim"))
    assert (rates[0] == 0).all()
    assert np.isnan(rates[1]).all()
    path = write_odim(tmp_path / "b.h5", numbers, gain=1.0, nodata=NAN, undetect=-1.0)
    rates = rates_of(path, configured("odim"))
    assert np.isnan(rates[0]).all()
    assert (rates[1] == 0).all()
    path = write_odim(tmp_path / "c.h5", numbers[[0, 2] * 6], gain=1.0, nodata=NAN, undetect=NAN)
    assert np.isnan(rates_of(path, configured("odim"))[0]).all()


def test_odim_nodata_in_single_precision_marks_pixels_in_double(
    write_odim, configured, tmp_path
) -> None:
    """999.9 mm/h could be rain: the two numbers differ by 2e-5."""
    numbers = np.full((12, 16), 5.0)
    numbers[0] = 999.9
    path = write_odim(tmp_path / "a.h5", numbers, gain=1.0, nodata=np.float32(999.9))
    assert np.isnan(rates_of(path, configured("odim"))[0]).all()


@pytest.mark.parametrize(("dtype", "marker"), UNHELD)
def test_knmi_out_of_image_outside_the_type_is_refused(
    write_knmi, configured, tmp_path, dtype: str, marker: float
) -> None:
    limits = np.iinfo(dtype)
    stored = (np.arange(12 * 16).reshape(12, 16) % 100).astype(dtype)
    stored[:, 0] = limits.max
    path = write_knmi(tmp_path / "a.h5", stored, outside=marker, lost=0)
    reason = reason_of(path, configured("knmi"))
    assert f"calibration_out_of_image {marker:.15g}, which {np.dtype(dtype).name} cannot" in reason
    assert "cannot hold" in reason_of(path, configured("knmi", missing_values=[-0.013]))
    rates = rates_of(path, configured("knmi", missing_values=[limits.max * 0.01]))
    assert np.isnan(rates[:, 0]).all()
    assert not np.isnan(rates[:, 1:]).any()


def test_knmi_missing_data_outside_the_type(write_knmi, configured, tmp_path) -> None:
    """65534 in 8 bits is 254: nothing tells whether a pixel of 254 is rain."""
    stored = (np.arange(12 * 16).reshape(12, 16) % 100).astype(np.uint8)
    stored[:, 0] = 255
    path = write_knmi(tmp_path / "a.h5", stored, outside=255, lost=65534)
    assert np.isnan(rates_of(path, configured("knmi"))[:, 0]).all()
    stored[3, 3] = 254
    path = write_knmi(tmp_path / "b.h5", stored, outside=255, lost=65534)
    assert "uint8 cannot hold and that would be stored as 254" in reason_of(
        path, configured("knmi")
    )
    rates = rates_of(path, configured("knmi", missing_values=[2.54]))
    assert np.isnan(rates[3, 3])
    assert np.isnan(rates[:, 0]).all()


@pytest.mark.parametrize("packing", ["grid_simple", "grid_png"])
@pytest.mark.parametrize("marker", [-3.0, -1.0])
def test_mrms_markers_are_not_observed_though_packed_unsigned(
    grib_message, configured, tmp_path, packing: str, marker: float
) -> None:
    """Packed numbers count from the least value on, so that a negative marker is 0."""
    values = np.full((12, 16), 2.0)
    values[0] = marker
    path = tmp_path / "a.grib2"
    path.write_bytes(grib_message(values, packing=packing))
    rates = rates_of(str(path), configured("grib", step="2min"))
    assert np.isnan(rates[0]).all()
    assert np.allclose(rates[1:], 2.0, rtol=0.02)
