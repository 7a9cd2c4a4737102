"""GRIB2 files of other producers, with several messages, or on projected grids."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.radar.radar_file import read_file
from squall.datasets.radar.readers.grib import open_grib
from tests.datasets.radar.radar_files import NAME, NAMED, rejection_of, scan_of

NOON = pd.Timestamp("2024-06-01T12:00")
PRATE, TOTAL = (0, 1, 7), (0, 1, 8)  # kg m-2 s-1, kg m-2
LAMBERT = {
    "gridDefinitionTemplateNumber": 30, "shapeOfTheEarth": 6, "Nx": 40, "Ny": 30,
    "latitudeOfFirstGridPointInDegrees": 45.0, "longitudeOfFirstGridPointInDegrees": 5.0,
    "LaDInDegrees": 47.0, "LoVInDegrees": 8.0, "Latin1InDegrees": 46.0, "Latin2InDegrees": 49.0,
    "DxInMetres": 2000.0, "DyInMetres": 1000.0, "jScansPositively": 1,
}  # fmt: skip
STEREOGRAPHIC = {
    "gridDefinitionTemplateNumber": 20, "shapeOfTheEarth": 6, "Nx": 40, "Ny": 30,
    "latitudeOfFirstGridPointInDegrees": 23.117, "longitudeOfFirstGridPointInDegrees": 240.977,
    "LaDInDegrees": 60.0, "orientationOfTheGridInDegrees": 255.0,
    "DxInMetres": 4763.0, "DyInMetres": 4763.0, "jScansPositively": 1,
}  # fmt: skip
MERCATOR = {
    "gridDefinitionTemplateNumber": 10, "shapeOfTheEarth": 6, "Ni": 40, "Nj": 30,
    "latitudeOfFirstGridPointInDegrees": 18.0, "longitudeOfFirstGridPointInDegrees": 200.0,
    "LaDInDegrees": 20.0, "latitudeOfLastGridPointInDegrees": 18.7,
    "longitudeOfLastGridPointInDegrees": 200.95, "DiInMetres": 2500.0, "DjInMetres": 2500.0,
    "jScansPositively": 1,
}  # fmt: skip


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes], str]:
    """Function that writes a file and returns its path."""

    def written(content: bytes) -> str:
        (tmp_path / "a.grib2").write_bytes(content)
        return str(tmp_path / "a.grib2")

    return written


@pytest.fixture
def rates() -> np.ndarray:
    """(H, W) mm/h, north up: no coverage in the first row."""
    values = np.round(np.random.default_rng(1).gamma(0.5, 4, (30, 40)), 1)
    values[0] = -3
    return values


def test_messages_of_several_times_are_scans(
    grib_message, configured, unpacked, rates, put
) -> None:
    later = rates + 0.7  # another reference value, so another packing
    later[0], later[1, 0] = -3, -1
    content = grib_message(rates) + grib_message(later, minute=4)
    with open_grib(put(content), configured("grib")) as product:
        assert product.times == tuple(NOON + pd.Timedelta(f"{m}min") for m in (2, 4))
        for scan, values in enumerate((rates, later)):
            read = unpacked(product, scan)
            is_observed = values >= 0
            np.testing.assert_array_equal(np.isnan(read), ~is_observed)
            np.testing.assert_allclose(read[is_observed], values[is_observed], atol=1e-9)
        np.testing.assert_allclose(unpacked(product, 0)[5], rates[5], atol=1e-9)  # again
        with pytest.raises(IndexError):
            product.read_stored(2)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("209-6-1", 0),
        ("discipline=209, parameterNumber=1", 0),
        ("typeOfLevel=heightAboveSea,level=1000", 1),
        ("209-10-0", 1),
    ],
)
def test_variable_chooses_a_field(
    grib_message, configured, unpacked, rates, put, variable, expected
) -> None:
    height = {"typeOfLevel": "heightAboveSea", "level": 1000}
    content = grib_message(rates) + grib_message(rates + 5, parameter=(209, 10, 0), **height)
    with open_grib(put(content), configured("grib", variable=variable)) as product:
        assert product.packing.units == ("mm h-1", "dBZ")[expected]
        np.testing.assert_allclose(unpacked(product)[1:], rates[1:] + 5 * expected, atol=1e-9)


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("", r"holds 2 fields: unknown \(209-6-1\) at .*; .*'variable: 209-6-1'"),
        ("tprate", "has no field 'tprate', only: unknown"),
        ("shortName=tp,level=7", "has no field"),
        ("noSuchKey=1", "has no field 'noSuchKey=1'"),
    ],
)
def test_a_choice_that_is_missing_is_asked_for(
    grib_message, configured, rates, put, variable, message
) -> None:
    content = grib_message(rates) + grib_message(rates, parameter=(209, 10, 0))
    with (
        pytest.raises(DataError, match=message),
        open_grib(put(content), configured("grib", variable=variable)),
    ):
        pass


def test_messages_on_different_grids_are_refused(grib_message, configured, rates, put) -> None:
    content = grib_message(rates) + grib_message(rates, west=231.0, minute=4)
    with (
        pytest.raises(DataError, match="differ in grid"),
        open_grib(put(content), configured("grib")),
    ):
        pass


def test_several_fields_in_one_message_are_refused(configured, rates, put, tmp_path) -> None:
    """ecCodes would read the first of them and nothing else."""
    eccodes = pytest.importorskip("eccodes", exc_type=ImportError)
    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    several = eccodes.codes_grib_multi_new()
    for minute in (2, 4):
        eccodes.codes_set(handle, "minute", minute)
        eccodes.codes_grib_multi_append(handle, 4, several)
    with (tmp_path / "b.grib2").open("wb") as stream:
        eccodes.codes_grib_multi_write(several, stream)
    with (
        pytest.raises(DataError, match="several fields in one message"),
        open_grib(str(tmp_path / "b.grib2"), configured("grib", missing_values=[-1])),
    ):
        pass


SUM: dict[str, Any] = {
    "productDefinitionTemplateNumber": 8, "typeOfStatisticalProcessing": 1,
    "centre": 7, "tablesVersion": 28,
    "typeOfGeneratingProcess": 0, "typeOfProcessedData": 0, "hour": 11, "minute": 0,
    "yearOfEndOfOverallTimeInterval": 2024, "monthOfEndOfOverallTimeInterval": 6,
    "dayOfEndOfOverallTimeInterval": 1, "hourOfEndOfOverallTimeInterval": 12,
    "minuteOfEndOfOverallTimeInterval": 0, "secondOfEndOfOverallTimeInterval": 0,
}  # fmt: skip


def test_an_accumulation_over_an_interval(grib_message, configured, unpacked, rates, put) -> None:
    """As NCEP's Stage IV: the reference time is the start of the hour."""
    rates[0] = -9999
    content = grib_message(
        rates, parameter=TOTAL, bitmap=-9999.0, packing="grid_simple", **SUM | STEREOGRAPHIC
    )
    with open_grib(put(content), configured("grib")) as product:
        assert (product.times, product.intervals) == ((NOON,), (pd.Timedelta("1h"),))
        assert product.packing.units == "kg m-2"
        values = unpacked(product)
    assert np.isnan(values[-1]).all()  # rows are stored from the south
    np.testing.assert_allclose(values[::-1][1:], rates[1:], atol=1e-6)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"typeOfProcessedData": 1}, "is a forecast until 2024-06-01 12:00:00"),
        ({"typeOfGeneratingProcess": 2}, "is a forecast until"),
        ({"typeOfStatisticalProcessing": 2}, "statistical process 2"),
        ({"hourOfEndOfOverallTimeInterval": 11}, "has an interval from"),
        ({"monthOfEndOfOverallTimeInterval": 0}, "no date and time"),
    ],
)
def test_intervals_that_are_no_observed_sums_are_refused(
    grib_message, configured, rates, put, keys, message
) -> None:
    content = grib_message(rates, parameter=TOTAL, packing="grid_simple", **SUM | keys)
    with (
        pytest.raises(DataError, match=message),
        open_grib(put(content), configured("grib", missing_values=[-3])),
    ):
        pass


def test_a_rate_in_kg_per_second_is_converted(grib_message, rates, put, configured) -> None:
    content = grib_message(rates / 3600, parameter=PRATE, packing="grid_simple",
                           decimalScaleFactor=6)  # fmt: skip
    path = put(content)
    reason = read_file(path, configured("grib", step="2min")).rejected[0].reason
    assert "has no bitmap" in reason
    assert "'missing_values: [-9999]'" in reason


def test_pixels_that_a_bitmap_omits_are_not_observed_though_all_others_are_equal(
    grib_message, configured, rates, put
) -> None:
    """A field with one value has no bits, and the bitmap all the same."""
    values = np.zeros((30, 40))
    values[0] = -9999
    content = grib_message(values, parameter=PRATE, bitmap=-9999.0, packing="grid_simple")
    report = read_file(put(content), configured("grib", step="2min"))
    assert report.rejected == []
    codes = report.scans[0].codes
    assert codes is not None
    assert (codes[0] == RAIN_CODE.NOT_OBSERVED).all()
    assert (codes[1:] == 0).all()


@pytest.mark.parametrize(
    "keys", [LAMBERT, STEREOGRAPHIC, MERCATOR], ids=["lambert", "stereographic", "mercator"]
)
def test_projected_grids_are_those_of_eccodes(grib_message, configured, rates, put, keys) -> None:
    eccodes = pytest.importorskip("eccodes", exc_type=ImportError)
    content = grib_message(rates, packing="grid_simple", **keys)
    handle = eccodes.codes_new_from_message(content)
    places = {n: eccodes.codes_get_array(handle, n) for n in ("longitudes", "latitudes", "values")}
    eccodes.codes_release(handle)
    with open_grib(put(content), configured("grib")) as product:
        grid, stored = product.grid, product.read_stored(0)
        values = stored * product.packing.scale + product.packing.offset
    rows, columns = grid.pixels_at(places["latitudes"], places["longitudes"])
    assert (rows >= 0).all()
    np.testing.assert_allclose(values[rows, columns], places["values"], atol=1e-9)
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == rates.size
    assert grid.y[0] > grid.y[-1]


def test_impossible_projected_grids_are_refused(grib_message, configured, rates, put) -> None:
    for change, message in (
        ({"jScansPositively": 0}, "has scanning mode 0 on a map projection"),
        ({"DxInMetres": 0.0}, "pixels of 0.0 × 1000.0 m"),
        ({"Latin1InDegrees": 46.0, "Latin2InDegrees": -46.0}, "cannot be used|outside"),
    ):
        content = grib_message(rates, packing="grid_simple", **LAMBERT | change)
        with (
            pytest.raises(DataError, match=message),
            open_grib(put(content), configured("grib")),
        ):
            pass


def test_keys_of_the_configuration_are_used(grib_message, configured, unpacked, rates, put) -> None:
    """A scale is one of unpacked values, whatever packs the message."""
    edges = {"crs": "EPSG:4326", "west": 0, "south": 50, "east": 4, "north": 53}
    grid = {**edges, "nx": 40, "ny": 30, "first_row": "south"}
    path = put(grib_message(rates))
    with open_grib(path, configured("grib", scale=2.0, grid=grid)) as product:
        assert product.packing.scale == 1
        np.testing.assert_allclose(unpacked(product)[::-1][1:], rates[1:], atol=1e-9)
        assert np.isnan(unpacked(product)[-1]).all()
        np.testing.assert_allclose(product.grid.y[[0, -1]], [52.95, 50.05])
    path = put(grib_message(rates, parameter=TOTAL))
    settings = {"units": "mm", "accumulation": "1h", "time_marks": "start", "missing_values": -3}
    with open_grib(path, configured("grib", **settings)) as product:
        hour = pd.Timedelta("1h")
        assert product.times == (NOON + pd.Timedelta("2min") + hour,)
        assert product.intervals == (hour,)


def test_the_time_in_the_name_replaces_a_broken_one(
    grib_message, configured, rates, tmp_path
) -> None:
    path = tmp_path / NAME
    path.write_bytes(grib_message(rates, month=13))
    assert "has no time: [2024, 13, 1, 12, 2, 0]" in rejection_of(
        str(path), configured("grib", **NAMED)
    )
    by_name = configured("grib", **NAMED, time_from="name")
    scan_of(str(path), by_name)
    path.write_bytes(grib_message(rates, month=13, forecastTime=5))
    assert "is a forecast" in rejection_of(str(path), by_name)
