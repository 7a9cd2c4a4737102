"""Units, accumulations and Z-R relations against numbers computed by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.errors import DataError
from squall.datasets.radar.plausibility import rain_rate
from squall.datasets.radar.units import UNITS, ZRRelation, parse_unit, rain_rate_from_dbz

MARSHALL_PALMER = ZRRelation()
TEN_MINUTES = pd.Timedelta("10min")


def rate_of(value: float, units: str, **changes: Any) -> float:
    settings = {"interval": TEN_MINUTES, "zr": MARSHALL_PALMER, **changes}
    return float(rain_rate(np.array([value]), units, **settings)[0][0])


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
        # the interval is 10 min, so an accumulation is multiplied by 6
        ("mm", 2.0, 12.0),
        ("cm", 0.1, 6.0),
        ("m", 0.001, 6.0),
        ("kg m-2", 0.5, 3.0),
        ("in", 0.5, 76.2),
        # Z = 10**(40/10) = 10000 = 200 R**1.6, so R = 50**(1/1.6) = 11.53
        ("dBZ", 40.0, 11.53),
    ],
)
def test_each_unit(units: str, value: float, rate_mm_h: float) -> None:
    assert rate_of(value, units) == pytest.approx(rate_mm_h, rel=1e-3)


def test_the_table_above_has_all_units() -> None:
    (marks,) = (m for m in test_each_unit.pytestmark if m.name == "parametrize")
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
def test_a_unit_that_is_not_of_rain_is_rejected_with_advice(units: str) -> None:
    with pytest.raises(DataError, match="no rain unit") as caught:
        parse_unit(units)
    assert f"'{units}'" in str(caught.value)
    assert "kg m-2 s-1" in str(caught.value)
    assert "set 'units' in the network configuration" in str(caught.value)


@given(st.sampled_from(sorted(UNITS)), st.sampled_from(["5min", "6min", "1h", "24h"]))
def test_only_accumulations_depend_on_the_interval(units: str, interval: str) -> None:
    longer = pd.Timedelta(interval) * 2
    rate = rate_of(5e-4, units, interval=pd.Timedelta(interval))
    rate_of_double_interval = rate_of(5e-4, units, interval=longer)
    assert rate == pytest.approx(
        rate_of_double_interval * (2 if UNITS[units][0] == "accumulation" else 1)
    )


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        (None, "needs its interval.*set 'accumulation'"),
        (pd.Timedelta(0), "is not positive"),
        (pd.Timedelta("-10min"), "is not positive"),
    ],
)
def test_an_accumulation_without_an_interval_is_rejected(
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
    rate = rain_rate_from_dbz(np.array([dbz]), MARSHALL_PALMER)[0]
    assert rate == pytest.approx(rate_mm_h, rel=1e-4, nan_ok=True)
    assert rate_of(dbz, "dBZ") == pytest.approx(rate_mm_h, rel=1e-4, nan_ok=True)


def test_another_zr_relation() -> None:
    # Z = 300 R**1.4 at 45 dBZ: (10**4.5 / 300)**(1/1.4) = 105.41**0.714286 = 27.86
    assert rate_of(45.0, "dBZ", zr=ZRRelation(300, 1.4)) == pytest.approx(27.86, abs=0.01)


def test_reflectivity_below_zero_is_light_rain_not_an_error() -> None:
    assert 0 < rate_of(-10.0, "dBZ") < 0.01


def test_missing_stays_missing_and_the_shape_stays() -> None:
    values = np.array([[np.nan, 0.0, 1.0], [2.0, np.nan, 3.0]])
    rate, _ = rain_rate(values, "mm/h", interval=None, zr=MARSHALL_PALMER)
    np.testing.assert_array_equal(rate, values)
    assert rate.dtype == np.float32


def test_all_missing_and_empty_fields() -> None:
    for values in (np.full((2, 2), np.nan), np.zeros((0, 3))):
        rate, _ = rain_rate(values, "mm/h", interval=None, zr=MARSHALL_PALMER)
        np.testing.assert_array_equal(rate, values)


@pytest.mark.parametrize(
    ("value", "units", "value_text"),
    [(-1.0, "mm h-1", "-1 mm h-1"), (-0.05, "kg m-2", "-0.05 kg m-2"), (-np.inf, "mm/h", "-inf")],
)
def test_negative_rain_names_the_value_and_what_to_set(
    value: float, units: str, value_text: str
) -> None:
    values = np.array([[0.0, np.nan], [3.0, value]])
    with pytest.raises(DataError, match=f"value {value_text}.*negative") as caught:
        rain_rate(values, units, interval=TEN_MINUTES, zr=MARSHALL_PALMER)
    assert "'missing_values' or 'dry_values'" in str(caught.value)


def test_negative_by_rounding_is_dry() -> None:
    assert rate_of(-5e-4, "mm h-1") == 0.0


@pytest.mark.parametrize(("value", "units"), [(np.inf, "mm/h"), (np.inf, "dBZ"), (9999.0, "dBZ")])
def test_infinite_rain_is_rejected(value: float, units: str) -> None:
    with pytest.raises(DataError, match="infinite; list infinite values under 'missing_values'"):
        rate_of(value, units)


@pytest.mark.parametrize(
    ("value", "units"), [(9999.0, "mm h-1"), (95.5, "dBZ"), (2.0, "kg m-2 s-1"), (6000.0, "mm/h")]
)
def test_impossibly_high_rain_is_rejected(value: float, units: str) -> None:
    with pytest.raises(DataError, match=r"would be .* mm/h: a wrong unit .* 'missing_values'"):
        rate_of(value, units)


@pytest.mark.parametrize("a", [0.0, -1.0])
def test_the_constants_of_a_z_r_relation_are_positive(a: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        ZRRelation(a=a)
