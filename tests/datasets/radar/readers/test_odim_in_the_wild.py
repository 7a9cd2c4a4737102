"""ODIM composites that differ from the specification, as some producers write them."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from squall.datasets.errors import DataError
from squall.datasets.radar.readers.odim import open_odim
from tests.datasets.radar.radar_files import NAME, NAMED, rejection_of, scan_of

NOON = pd.Timestamp("2024-06-01T12:00")
FIVE = pd.Timedelta("5min")


def test_pixel_sizes_in_kilometres_are_told_by_the_corners(
    write_odim, configured, pixels, tmp_path
) -> None:
    """As in the files of MeteoSwiss."""
    path = write_odim(tmp_path / "a.h5", pixels, where={"xscale": 2.0, "yscale": 2.0})
    for settings in ({}, {"coordinate_units": "km"}):
        with open_odim(path, configured("odim", **settings)) as product:
            assert product.grid.pixel_size == pytest.approx((2000, 2000))
    with (
        pytest.raises(DataError, match="pixels of 2 × 2 put it"),
        open_odim(path, configured("odim", coordinate_units="m")),
    ):
        pass


@pytest.mark.parametrize(
    ("date", "time"),
    [
        ("20240601", "1200"), ("2024-06-01", "12:00:00"), ("2024-06-01", "12:00:00Z"),
        ("20240601", "12:00"), ("20240601", "115960"), ("20240601", "120000.00"),
    ],
)  # fmt: skip
def test_times_as_some_producers_write_them(
    write_odim, configured, pixels, tmp_path, date, time
) -> None:
    path = write_odim(tmp_path / "a.h5", pixels, what={"date": date, "time": time})
    with open_odim(path, configured("odim")) as product:
        assert product.times == (NOON,)


@pytest.mark.parametrize("what", [{"date": None}, {"time": "noon"}])
def test_the_time_in_the_name_replaces_one_that_the_file_lacks(
    write_odim, configured, pixels, tmp_path, what
) -> None:
    settings = {"time_in_name": "%Y%m%d%H%M", "accumulation": "5min", "variable": "ACRR"}
    path = write_odim(
        tmp_path / "a_202406011205.h5", pixels, what=what, quantity="ACRR", spans=((None, None),)
    )
    with open_odim(path, configured("odim", **settings)) as product:
        assert (product.times, product.intervals) == ((NOON + FIVE,), (FIVE,))
    with open_odim(path, configured("odim", time_marks="start", **settings)) as product:
        assert product.times == (NOON + 2 * FIVE,)
    spans = ((None, None),) * 2
    path = write_odim(tmp_path / "b_202406011205.h5", [pixels] * 2, what=what, spans=spans)
    with pytest.raises(DataError, match="no time"), open_odim(
        path, configured("odim", time_in_name="%Y%m%d%H%M")
    ):  # fmt: skip
        pass


@pytest.mark.parametrize(
    ("variable", "expected"), [("dataset1", 0), ("dataset2", 1), ("dataset2/data1", 1)]
)
def test_variable_chooses_one_of_several_fields(
    write_odim, configured, pixels, tmp_path, variable, expected
) -> None:
    spans = (("20240601115500", "20240601120000"),) * 2
    path = write_odim(tmp_path / "a.h5", [pixels, pixels + 1], quantity="DBZH", spans=spans)
    with open_odim(path, configured("odim", variable=variable)) as product:
        assert product.packing.units == "dBZ"
        assert product.times == (NOON,)
        np.testing.assert_array_equal(product.read_stored(0), pixels + expected)


def test_a_chosen_scan_of_several_keeps_its_own_time(
    write_odim, configured, pixels, tmp_path
) -> None:
    spans = (("20240601115500", "20240601120000"), ("20240601120000", "20240601120500"))
    path = write_odim(tmp_path / "a.h5", [pixels] * 2, spans=spans)
    with open_odim(path, configured("odim", variable="dataset2")) as product:
        assert product.times == (NOON + FIVE,)


def test_a_place_without_a_single_field_is_refused(
    write_odim, configured, pixels, tmp_path
) -> None:
    path = write_odim(tmp_path / "a.h5", pixels)
    with h5py.File(path, "a") as file:
        file["dataset1/data2/data"] = pixels
        file.create_group("dataset1/data2/what").attrs["quantity"] = "QIND"
    for variable, message in (
        ("dataset1", r"has 2 fields at 'dataset1', .*dataset1/data1 \(RATE\), dataset1/data2"),
        ("dataset3", r"has no fields at 'dataset3', .*dataset1/data1 \(RATE\)"),
    ):
        with (
            pytest.raises(DataError, match=message),
            open_odim(path, configured("odim", variable=variable)),
        ):
            pass


def test_nan_is_not_observed_without_being_told(write_odim, configured, unpacked, tmp_path) -> None:
    """As in the files of the Royal Meteorological Institute of Belgium."""
    rates = np.full((12, 16), 1.5, dtype=np.float32)
    rates[:, 0], rates[0, 1:] = np.nan, 0.0
    none = {"gain": None, "offset": None, "nodata": None, "undetect": None}
    path = write_odim(tmp_path / "a.h5", rates, **none)
    with open_odim(path, configured("odim")) as product:
        values = unpacked(product)
    np.testing.assert_array_equal(values, rates)
    path = write_odim(tmp_path / "b.h5", np.nan_to_num(rates), **none)
    with (
        pytest.raises(DataError, match=r"no nodata and no NaN, .*'missing_values: "),
        open_odim(path, configured("odim")) as product,
    ):
        product.read_stored(0)
    with open_odim(path, configured("odim", missing_values=[-1])) as product:
        assert (product.read_stored(0)[:, 0] == 0).all()


def test_nan_that_is_dry_does_not_replace_nodata(write_odim, configured, tmp_path) -> None:
    rates = np.full((12, 16), np.nan, np.float32)
    path = write_odim(tmp_path / "a.h5", rates, gain=1.0, nodata=None, undetect=np.nan)
    with pytest.raises(DataError, match="has no nodata, so pixels outside"), open_odim(
        path, configured("odim")
    ):  # fmt: skip
        pass


def test_listed_values_are_unpacked_with_the_scale_of_the_configuration(
    write_odim, configured, tmp_path
) -> None:
    """Otherwise 65535 would be listed, unpack to another number, and count as rain."""
    numbers = np.full((12, 16), 65535, np.uint16)
    path = write_odim(tmp_path / "a.h5", numbers, gain=None, offset=None, nodata=None)
    settings = {"scale": 0.5, "offset": -32.0}
    for wrong in ((), (65535.0,)):
        with pytest.raises(DataError, match=r"missing_values: \[32735.5\]"), open_odim(
            path, configured("odim", missing_values=wrong, **settings)
        ):  # fmt: skip
            pass
    with open_odim(path, configured("odim", missing_values=32735.5, **settings)) as product:
        assert product.read_stored(0)[0, 0] == 65535


def test_infinity_may_mark_pixels_without_echo(write_odim, configured, unpacked, tmp_path) -> None:
    rates = np.full((12, 16), 1.5)
    rates[:, 0], rates[0, 1:] = np.nan, np.inf
    path = write_odim(tmp_path / "a.h5", rates, gain=1.0, nodata=np.nan, undetect=np.inf)
    with open_odim(path, configured("odim")) as product:
        values = unpacked(product)
    assert np.isnan(values[:, 0]).all()
    assert (values[0, 1:] == -np.inf).all()


def test_the_time_in_the_name_replaces_one_that_contradicts_itself(
    write_odim, configured, pixels, tmp_path
) -> None:
    backwards = (("20240601130000", "20240601120000"),)
    path = write_odim(tmp_path / NAME, pixels, quantity="ACRR", gain=0.01, spans=backwards)
    settings = {**NAMED, "variable": "ACRR", "accumulation": "5min"}
    assert "ends before" in rejection_of(path, configured("odim", **settings))
    scan_of(path, configured("odim", **settings, time_from="name"))


def test_lzf(write_odim, configured, pixels, tmp_path) -> None:
    path = write_odim(tmp_path / "a.h5", pixels, pack={"compression": "lzf", "chunks": (12, 16)})
    with open_odim(path, configured("odim")) as product:
        np.testing.assert_array_equal(product.read_stored(0), pixels)
    content = Path(path).read_bytes()
    size = pixels.nbytes.to_bytes(4, "little")
    start = content.index(b"lzf\0") + 4  # after the name of the filter come its three numbers
    place = content.index(size, start)
    Path(path).write_bytes(content[:place] + (2**31).to_bytes(4, "little") + content[place + 4 :])
    with (
        pytest.raises(DataError, match=r"lzf chunks have \(2147483648,\) bytes, expected 384"),
        open_odim(path, configured("odim")),
    ):
        pass
