"""Units, accumulations, Z-R and coordinates against numbers worked by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.errors import DataError
from squall.datasets.grid import proj_parameters
from squall.datasets.radar.coordinates import crs_of, harmonised_grid, in_metres
from squall.datasets.radar.units import UNITS, ZRRelation, parse_unit, rain_rate, rain_rate_from_dbz

MARSHALL_PALMER = ZRRelation()
TEN_MINUTES = pd.Timedelta("10min")
METRES = pyproj.CRS.from_epsg(3067)
DEGREES = pyproj.CRS.from_epsg(4326)


def rate_of(value: float, units: str, **changes: Any) -> float:
    settings = {"interval": TEN_MINUTES, "zr": MARSHALL_PALMER, **changes}
    return float(rain_rate(np.array([value]), units, **settings)[0])


@pytest.mark.parametrize(
    ("units", "value", "rate_mm_h"),
    [
        ("mm h-1", 3.0, 3.0),
        ("mm min-1", 0.5, 30.0),
        ("mm s-1", 0.001, 3.6),
        ("mm d-1", 48.0, 2.0),
        ("cm h-1", 0.4, 4.0),
        ("m h-1", 0.004, 4.0),
        ("m s-1", 1e-6, 3.6),
        ("kg m-2 h-1", 3.0, 3.0),
        ("kg m-2 min-1", 0.1, 6.0),
        ("kg m-2 s-1", 0.001, 3.6),
        ("in h-1", 2.0, 50.8),
        # what fell in ten minutes falls six times in an hour
        ("mm", 2.0, 12.0),
        ("cm", 0.1, 6.0),
        ("m", 0.001, 6.0),
        ("kg m-2", 0.5, 3.0),
        ("in", 0.5, 76.2),
        # Z = 10**(40/10) = 10000 = 200 R**1.6, so R = 50**(1/1.6) = 11.53
        ("dBZ", 40.0, 11.53),
    ],
)
def test_every_unit(units: str, value: float, rate_mm_h: float) -> None:
    assert rate_of(value, units) == pytest.approx(rate_mm_h, rel=1e-3)


def test_the_table_above_names_every_unit() -> None:
    (marks,) = (m for m in test_every_unit.pytestmark if m.name == "parametrize")
    assert {units.lower() for units, *_ in marks.args[1]} == set(UNITS)


@pytest.mark.parametrize(
    ("spellings", "canonical"),
    [
        (
            "mm/h|mm/hr|mm / h|mm hr-1|mm h^-1|mm h**-1|mm.h-1|mm*h^-1|MM/H|mm/hour| mm  h-1 |"
            "mm·h-1|millimetres/hour|mm hours-1",
            "mm h-1",
        ),
        ("kg m^-2 s^-1|kg/m2/s|kg/m^2/s|kg/m**2/s|kg.m-2.s-1|kg m-2 sec-1|KG M-2 S-1|kg m-2/s",
         "kg m-2 s-1"),
        ("kg m^-2|kg/m2|kg m**-2|kg.m-2", "kg m-2"),
        ("m/s|m s^-1|meters/second|metre second-1", "m s-1"),
        ("mm/day|mm d^-1|mm/d", "mm d-1"),
        ("mm/min|mm minute-1", "mm min-1"),
        ("millimeter|MM|mm ", "mm"),
        ("inch/hr|inches/hour", "in h-1"),
        ("dBZ|dbz|DBZ| dBZ ", "dbz"),
    ],
)  # fmt: skip
def test_spellings(spellings: str, canonical: str) -> None:
    for text in spellings.split("|"):
        assert parse_unit(text) == UNITS[canonical], text


@pytest.mark.parametrize(
    "units",
    ["", "1", "mm/5min", "mm/24h", "0.01 mm", "10^-3 m s-1", "kg/(m2 s)", "kg m-2 s", "mm h",
     "mm-1", "dB", "dBm", "K", "mm6 m-3", "mm per hour", "m2 s-1", "mm s-2", "kg m2"],
)  # fmt: skip
def test_what_is_no_rain_unit_is_refused_with_advice(units: str) -> None:
    with pytest.raises(DataError, match="no rain unit") as caught:
        parse_unit(units)
    assert f"'{units}'" in str(caught.value)
    assert "kg m-2 s-1" in str(caught.value)
    assert "set 'units' in the network configuration" in str(caught.value)


@given(st.sampled_from(sorted(UNITS)), st.sampled_from(["5min", "6min", "1h", "24h"]))
def test_an_accumulation_alone_depends_on_its_interval(units: str, interval: str) -> None:
    longer = pd.Timedelta(interval) * 2
    here = rate_of(5e-4, units, interval=pd.Timedelta(interval))
    there = rate_of(5e-4, units, interval=longer)
    assert here == pytest.approx(there * (2 if UNITS[units][0] == "accumulation" else 1))


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        (None, "needs its interval.*set 'accumulation'"),
        (pd.Timedelta(0), "is not positive"),
        (pd.Timedelta("-10min"), "is not positive"),
    ],
)
def test_an_accumulation_without_a_usable_interval(
    interval: pd.Timedelta | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        rate_of(1.0, "mm", interval=interval)


def test_a_rate_needs_no_interval() -> None:
    assert rate_of(1.0, "mm/h", interval=None) == 1.0


@pytest.mark.parametrize(
    ("dbz", "rate_mm_h"),
    [
        # R = (10**(dBZ/10) / 200)**(1/1.6)
        (23.0103, 1.0),  # Z = 200
        (39.0103, 10.0),  # 16 dB more are one decade of rain
        (7.0103, 0.1),
        (-np.inf, 0.0),
        (np.nan, np.nan),
    ],
)
def test_marshall_palmer(dbz: float, rate_mm_h: float) -> None:
    found = rain_rate_from_dbz(np.array([dbz]), MARSHALL_PALMER)[0]
    assert found == pytest.approx(rate_mm_h, rel=1e-4, nan_ok=True)
    assert rate_of(dbz, "dBZ") == pytest.approx(rate_mm_h, rel=1e-4, nan_ok=True)


def test_another_zr_relation() -> None:
    # Z = 300 R**1.4 at 45 dBZ: (10**4.5 / 300)**(1/1.4) = 105.41**0.714286 = 27.86
    assert rate_of(45.0, "dBZ", zr=ZRRelation(300, 1.4)) == pytest.approx(27.86, abs=0.01)


def test_reflectivity_below_zero_is_light_rain_not_an_error() -> None:
    assert 0 < rate_of(-10.0, "dBZ") < 0.01


def test_missing_stays_missing_and_the_shape_stays() -> None:
    values = np.array([[np.nan, 0.0, 1.0], [2.0, np.nan, 3.0]])
    rate = rain_rate(values, "mm/h", interval=None, zr=MARSHALL_PALMER)
    np.testing.assert_array_equal(rate, values)
    assert rate.dtype == np.float32


def test_all_missing_and_empty_fields() -> None:
    for values in (np.full((2, 2), np.nan), np.zeros((0, 3))):
        rate = rain_rate(values, "mm/h", interval=None, zr=MARSHALL_PALMER)
        np.testing.assert_array_equal(rate, values)


@pytest.mark.parametrize(
    ("value", "units", "shown"),
    [(-1.0, "mm h-1", "-1 mm h-1"), (-0.05, "kg m-2", "-0.05 kg m-2"), (-np.inf, "mm/h", "-inf")],
)
def test_negative_rain_names_the_value_and_what_to_set(
    value: float, units: str, shown: str
) -> None:
    values = np.array([[0.0, np.nan], [3.0, value]])
    with pytest.raises(DataError, match=f"value {shown}.*negative") as caught:
        rain_rate(values, units, interval=TEN_MINUTES, zr=MARSHALL_PALMER)
    assert "'missing_values' or 'dry_values'" in str(caught.value)


def test_negative_by_rounding_is_dry() -> None:
    assert rate_of(-5e-4, "mm h-1") == 0.0


@pytest.mark.parametrize(("value", "units"), [(np.inf, "mm/h"), (np.inf, "dBZ"), (9999.0, "dBZ")])
def test_infinite_rain_is_refused(value: float, units: str) -> None:
    with pytest.raises(DataError, match="infinite values; list them under 'missing_values'"):
        rate_of(value, units)


# --- coordinates -------------------------------------------------------------------------------


def axis(name: str, values: Any, units: str | None = "m") -> xr.DataArray:
    attributes = {} if units is None else {"units": units}
    return xr.DataArray(np.asarray(values), dims=name, name=name, attrs=attributes)


@pytest.mark.parametrize("unit", ["km", "kilometer", "Kilometres"])
def test_kilometres_become_metres(unit: str) -> None:
    grid, *_ = harmonised_grid(
        axis("x", [-0.5, 0.5, 1.5], unit), axis("y", [2, 1, 0], unit), METRES
    )
    np.testing.assert_array_equal(grid.x, [-500, 500, 1500])
    np.testing.assert_array_equal(grid.y, [2000, 1000, 0])


@pytest.mark.parametrize("unit", ["m", "metre", "meters", " M "])
def test_metres_stay(unit: str) -> None:
    grid, *_ = harmonised_grid(axis("x", [0, 10], unit), axis("y", [10, 0], unit), METRES)
    np.testing.assert_array_equal(grid.x, [0, 10])


@pytest.mark.parametrize("rows_up", [False, True])
@pytest.mark.parametrize("columns_reversed", [False, True])
def test_any_direction_becomes_north_up_and_eastward(rows_up: bool, columns_reversed: bool) -> None:
    x, y = np.arange(4) * 1000.0, np.arange(3)[::-1] * 1000.0
    grid, flip_rows, flip_columns = harmonised_grid(
        axis("x", x[::-1] if columns_reversed else x), axis("y", y[::-1] if rows_up else y), METRES
    )
    assert (flip_rows, flip_columns) == (rows_up, columns_reversed)
    np.testing.assert_array_equal(grid.x, x)
    np.testing.assert_array_equal(grid.y, y)


@pytest.mark.parametrize("units", [None, "", "deg", "degrees", "1", "pixel", "mi", "cm"])
def test_coordinates_without_a_known_unit_are_refused(units: str | None) -> None:
    with pytest.raises(DataError, match=r"'x' has units .*expected m or km") as caught:
        harmonised_grid(axis("x", [0, 1], units), axis("y", [1, 0]), METRES)
    assert "set 'coordinate_units'" in str(caught.value)


def test_degrees_on_a_geographic_grid() -> None:
    x, y = axis("lon", [10.0, 10.1], "degrees_east"), axis("lat", [50.0, 50.1], "degrees_north")
    grid, flip_rows, flip_columns = harmonised_grid(x, y, DEGREES)
    assert (flip_rows, flip_columns) == (True, False)
    np.testing.assert_array_equal(grid.y, [50.1, 50.0])


def test_metres_on_a_geographic_grid_are_refused() -> None:
    with pytest.raises(DataError, match="'lat' has units 'm', expected degrees"):
        harmonised_grid(axis("lon", [0, 1], "degrees"), axis("lat", [1, 0]), DEGREES)


def test_irregular_coordinates_are_named() -> None:
    with pytest.raises(DataError, match="coordinates x, y: y is not regular"):
        harmonised_grid(axis("x", [0, 1]), axis("y", [3.0, 2.5, 0.0]), METRES)


# --- projections -------------------------------------------------------------------------------

KNMI_KM = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378140 +b=6356750 +units=km"


@pytest.mark.parametrize(
    "text",
    [
        "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +units=km",
        "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +units=km",
        "+proj=tmerc +lat_0=0 +lon_0=27 +x_0=500000 +ellps=GRS80 +to_meter=1000",
        "+proj=utm +zone=33 +ellps=WGS84 +units=us-ft",
    ],
)
def test_a_projection_in_kilometres_or_feet_becomes_the_same_in_metres(text: str) -> None:
    crs = pyproj.CRS.from_proj4(text)
    factor = crs.axis_info[0].unit_conversion_factor
    metres = in_metres(crs)
    assert [a.unit_conversion_factor for a in metres.axis_info] == [1.0, 1.0]
    there = pyproj.Transformer.from_crs(DEGREES, crs, always_xy=True).transform(12.0, 53.0)
    here = pyproj.Transformer.from_crs(DEGREES, metres, always_xy=True).transform(12.0, 53.0)
    np.testing.assert_allclose(here, np.array(there) * factor, rtol=0, atol=0.01)


@pytest.mark.parametrize("crs", [METRES, DEGREES])
def test_a_projection_in_metres_or_degrees_is_left_alone(crs: pyproj.CRS) -> None:
    assert in_metres(crs) is crs


def dataset(mapping: str | None, attributes: dict[str, Any], units: str = "m") -> xr.Dataset:
    rain = xr.DataArray(np.zeros((2, 2)), dims=("y", "x"), attrs={"units": "mm/h"})
    if mapping:
        rain.attrs["grid_mapping"] = mapping
    coords = {n: axis(n, [0.0, 1.0], units) for n in ("x", "y")}
    return xr.Dataset({"rain": rain, "crs": ((), 0, attributes)}, coords=coords)


def found_crs(data: xr.Dataset) -> pyproj.CRS:
    return crs_of(data, data["rain"], data["x"], data["y"])


@pytest.mark.parametrize("mapping", ["crs", "crs: x y", " crs : x y"])
def test_the_grid_mapping_that_the_variable_names(mapping: str) -> None:
    assert found_crs(dataset(mapping, {"crs_wkt": METRES.to_wkt()})).equals(METRES)


def test_the_grid_mapping_that_xarray_moved_into_the_encoding() -> None:
    data = dataset(None, {"spatial_ref": METRES.to_wkt()})
    data["rain"].encoding["grid_mapping"] = "crs"
    assert found_crs(data).equals(METRES)


def test_a_mapping_in_kilometres_is_brought_to_metres() -> None:
    crs = pyproj.CRS.from_proj4(KNMI_KM)
    parameters = proj_parameters(found_crs(dataset("crs", {"crs_wkt": crs.to_wkt()})))
    assert (parameters["units"], parameters["a"]) == ("m", 6378140)


def test_longitude_and_latitude_without_a_mapping_are_wgs_84() -> None:
    assert found_crs(dataset(None, {}, units="degrees_east")).to_epsg() == 4326


@pytest.mark.parametrize(
    ("mapping", "attributes", "message"),
    [
        (None, {}, "has no grid_mapping; set 'crs'.*EPSG:3067"),
        ("projection", {}, "variable 'projection' is missing; set 'crs'"),
        ("crs", {}, "grid mapping 'crs'.*set 'crs' instead"),
        ("crs", {"crs_wkt": "PROJCRS["}, "'crs_wkt' is no valid CRS.*set 'crs' instead"),
        ("crs", {"grid_mapping_name": "flat"}, "set 'crs' instead"),
    ],
)
def test_no_usable_projection(
    mapping: str | None, attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        found_crs(dataset(mapping, attributes))


@pytest.mark.parametrize(
    ("value", "units"), [(9999.0, "mm h-1"), (95.5, "dBZ"), (2.0, "kg m-2 s-1"), (6000.0, "mm/h")]
)
def test_impossible_rain_is_an_undeclared_fill_value_or_a_wrong_unit(
    value: float, units: str
) -> None:
    with pytest.raises(DataError, match=r"would be .* mm/h: a wrong unit .* 'missing_values'"):
        rate_of(value, units)


@pytest.mark.parametrize("a", [0.0, -1.0])
def test_a_z_r_relation_must_be_possible(a: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ZRRelation(a=a)
