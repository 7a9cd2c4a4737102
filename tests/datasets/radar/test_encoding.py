"""Stored numbers to codes: the look-up table against plain arithmetic, for all numbers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.radar.encoding import encode_scan
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Packing
from squall.datasets.radar.quality import (
    IMPOSSIBLE_VALUE,
    PHYSICAL_RANGE,
    VALID_RANGE,
    QualityError,
)

TYPES = ("int8", "uint8", "int16", "uint16")
TEN_MINUTES = pd.Timedelta("10min")
MISSING, IMPOSSIBLE = "missing", "impossible"


def config(**changes: Any) -> RadarNetworkConfig:
    return RadarNetworkConfig(**{"name": "radar", "step": "5min", "variable": "rain", **changes})


def all_numbers(dtype: str) -> np.ndarray:
    """All numbers of an integer type, as a map of many rows."""
    info = np.iinfo(dtype)
    return np.arange(info.min, info.max + 1).astype(dtype).reshape(16, -1)


def rates(
    stored: np.ndarray,
    packing: Packing,
    interval: pd.Timedelta | None,
    settings: RadarNetworkConfig,
) -> np.ndarray:
    """Rain rate in mm/h, computed independently from the definitions; NaN = not observed."""
    numbers = stored.astype(np.float64)
    values = numbers * packing.scale + packing.offset
    units = settings.units or packing.units
    if units == "dBZ":
        with np.errstate(over="ignore"):
            rate = (10 ** (values / 10) / settings.z_r.a) ** (1 / settings.z_r.b)
        rate = np.where(values < -100, -np.inf, rate)  # no radar measures so little
    elif units == "kg m-2":
        assert interval is not None
        rate = values / (interval / pd.Timedelta("1h"))
    else:
        rate = values * {"mm h-1": 1.0, "mm s-1": 3600.0}[units]
    near = {"rtol": 1e-6, "atol": 1e-3 * abs(packing.scale)}
    outside = np.zeros(numbers.shape, bool)
    if packing.lowest is not None:
        outside |= numbers < packing.lowest
    if packing.highest is not None:
        outside |= numbers > packing.highest
    rate = np.where(outside, np.nan, rate)
    if units != "dBZ":  # a range without 0 does not say whether 0 is dry or not observed
        rate = np.where(outside & (np.abs(values) < near["atol"]), np.inf, rate)
    # later lines take precedence
    rate = np.where(np.isin(numbers, packing.dry), 0.0, rate)
    rate = np.where(np.isin(numbers, packing.missing), np.nan, rate)
    for value in settings.dry_values:
        rate = np.where(np.isclose(values, value, **near), 0.0, rate)
    for value in settings.missing_values:
        rate = np.where(np.isclose(values, value, **near), np.nan, rate)
    return rate


def impossible(rate: np.ndarray) -> np.ndarray:
    return ~np.isnan(rate) & ~((rate >= -1e-3) & (rate <= 5000))


def codes_of(rate: np.ndarray) -> np.ndarray:
    return RAIN_CODE.encode(np.maximum(rate, 0).astype(np.float32))


small = st.floats(1e-4, 2.0).map(lambda value: float(np.float32(value)))
packings = st.builds(
    Packing,
    units=st.sampled_from(["mm h-1", "mm s-1", "kg m-2", "dBZ"]),
    scale=st.one_of(small, small.map(lambda value: -value)),
    offset=st.floats(-50, 50).map(lambda value: float(np.float32(value))),
    missing=st.lists(st.integers(-300, 70000), max_size=2).map(lambda n: tuple(map(float, n))),
    dry=st.lists(st.integers(-300, 300), max_size=2).map(lambda n: tuple(map(float, n))),
    lowest=st.one_of(st.none(), st.integers(-200, 50).map(lambda n: n - 0.5)),
    highest=st.one_of(st.none(), st.integers(60, 30000).map(lambda n: n + 0.5)),
)
configs = st.builds(
    config,
    missing_values=st.lists(st.sampled_from([-1.0, 0.0, 3.5]), max_size=1),
    dry_values=st.lists(st.sampled_from([-0.1, -32.0, 12.0]), max_size=1),
    z_r=st.sampled_from([{"a": 200, "b": 1.6}, {"a": 300, "b": 1.4}]),
    units=st.sampled_from([None, None, "mm h-1"]),
)
intervals = st.sampled_from([pd.Timedelta("5min"), pd.Timedelta("1h")])


@given(st.sampled_from(TYPES), packings, configs, intervals)
@settings(max_examples=60)
def test_the_table_agrees_with_plain_arithmetic_for_every_number(
    dtype: str, packing: Packing, settings: RadarNetworkConfig, interval: pd.Timedelta
) -> None:
    stored = all_numbers(dtype)
    rate = rates(stored, packing, interval, settings)
    possible = ~impossible(rate)
    stored, rate = stored[possible][None], rate[possible][None]
    codes, masked = encode_scan(stored, packing, interval, settings)
    assert set(masked) <= {VALID_RANGE}
    # a rate on the edge of two codes may get either of them, by rounding
    np.testing.assert_array_equal(np.isnan(rate), codes == RAIN_CODE.NOT_OBSERVED)
    difference = np.abs(codes.astype(int) - codes_of(rate)) * (codes != RAIN_CODE.NOT_OBSERVED)
    assert difference.max(initial=0) <= 1
    assert (difference > 0).sum() <= 3


@given(st.sampled_from(TYPES), packings, configs, intervals, st.data())
@settings(max_examples=60)
def test_the_table_and_the_arithmetic_give_the_same_codes(
    dtype: str,
    packing: Packing,
    settings: RadarNetworkConfig,
    interval: pd.Timedelta,
    data: st.DataObject,
) -> None:
    """Numbers as int32 are computed without a table: the codes or the error must be the same."""
    info = np.iinfo(dtype)
    numbers = data.draw(st.lists(st.integers(info.min, info.max), min_size=1, max_size=12))
    outcomes = []
    for kind in (dtype, "int32"):
        try:
            codes, masked = encode_scan(np.array([numbers], kind), packing, interval, settings)
            outcomes.append((codes.tolist(), masked))
        except DataError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("dtype", TYPES)
def test_integers_are_encoded_within_1_6_percent(dtype: str) -> None:
    stored = all_numbers(dtype)
    stored = stored[stored >= 0]
    scale = 200 / stored.max()
    codes, _ = encode_scan(stored[None], Packing("mm h-1", scale), None, config())
    rate, decoded = stored * scale, RAIN_CODE.decode(codes)[0]
    wet = rate >= 0.08
    assert np.abs(decoded[wet] / rate[wet] - 1).max() < 0.016
    assert (decoded[~wet] == 0).all()


@given(st.floats(0.0801, 204.9), st.sampled_from(["f4", "f8", ">f4", ">f8"]))
def test_floats_are_encoded_within_1_6_percent(rate: float, dtype: str) -> None:
    codes, _ = encode_scan(np.array([[rate]], dtype), Packing("mm h-1"), None, config())
    assert abs(float(RAIN_CODE.decode(codes)[0, 0]) / rate - 1) < 0.016


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "float32"])
def test_byte_order_and_memory_layout_do_not_matter(dtype: str) -> None:
    numbers = np.arange(120).reshape(10, 12).astype(dtype)
    packing = Packing("mm h-1", 0.25, missing=(7.0,), dry=(9.0,))
    expected, _ = encode_scan(numbers, packing, None, config())
    swapped = numbers.astype(numbers.dtype.newbyteorder())
    wide = np.zeros((20, 24), dtype)
    wide[::2, 1::2] = numbers
    for other in (swapped, np.asfortranarray(numbers), wide[::2, 1::2], swapped[::-1][::-1]):
        codes, _ = encode_scan(other, packing, None, config())
        np.testing.assert_array_equal(codes, expected)
        assert codes.flags.c_contiguous
    turned, _ = encode_scan(numbers.T, packing, None, config())
    np.testing.assert_array_equal(turned, expected.T)
    numbers.setflags(write=False)  # as readers may return it
    np.testing.assert_array_equal(encode_scan(numbers, packing, None, config())[0], expected)


def test_an_impossible_number_is_rejected_only_if_the_scan_holds_it() -> None:
    packing = Packing("mm h-1", 0.5)
    stored = np.array([[0, 1, 400]], np.int16)
    codes, _ = encode_scan(stored, packing, None, config())
    np.testing.assert_array_equal(codes, codes_of(stored * 0.5))
    # -4 to -1 are impossible, but the scan does not hold them
    with_gap = replace(packing, dry=(-5.0,))
    codes, _ = encode_scan(np.array([[-5, 3]], np.int16), with_gap, None, config())
    np.testing.assert_array_equal(codes, codes_of(np.array([[0.0, 1.5]])))
    with pytest.raises(QualityError, match="value -2 mm h-1 is negative") as caught:
        encode_scan(np.array([[-4, 3]], np.int16), packing, None, config())
    assert caught.value.rule == IMPOSSIBLE_VALUE


def test_a_missing_number_is_never_impossible() -> None:
    packing = Packing("dBZ", 1.0, missing=(30000.0,), lowest=-100.5, highest=100.5)
    stored = np.array([[30000, -32768, 40, 101]], np.int16)
    codes, _ = encode_scan(stored, packing, None, config())
    assert (codes == RAIN_CODE.NOT_OBSERVED).tolist() == [[True, True, False, True]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_pixels_above_the_physical_range_are_masked_and_counted(dtype: str) -> None:
    stored = np.full((10, 100), 20, dtype)
    stored[0, :5] = 250  # 0.5 % of the pixels
    stored[1, :500] = 0
    settings = config(quality={"highest_mm_h": 100})
    codes, masked = encode_scan(stored, Packing("mm h-1", 0.5), None, settings)
    assert masked == {PHYSICAL_RANGE: 5}
    assert (codes[0, :5] == RAIN_CODE.NOT_OBSERVED).all()
    assert (codes == RAIN_CODE.NOT_OBSERVED).sum() == 5
    np.testing.assert_array_equal(codes[2], codes_of(np.full(100, 10.0)))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_a_pixel_at_the_physical_limit_is_kept(dtype: str) -> None:
    """A whole scan at the limit is no fault, and one step above it is."""
    settings = config(quality={"highest_mm_h": 100})
    codes, masked = encode_scan(
        np.full((10, 10), 200, dtype), Packing("mm h-1", 0.5), None, settings
    )
    assert not masked
    np.testing.assert_array_equal(codes, codes_of(np.full((10, 10), 100.0)))
    with pytest.raises(QualityError, match="100 of 100 observed pixels have more than 100 mm/h"):
        encode_scan(np.full((10, 10), 201, dtype), Packing("mm h-1", 0.5), None, settings)


def test_a_scan_with_too_many_pixels_above_the_physical_range_is_rejected() -> None:
    stored = np.full((10, 100), 255, np.uint8)
    stored[:, :50] = 0  # missing: shares are of the observed pixels
    stored[:, 50:95] = 10
    packing = Packing("mm h-1", missing=(0.0,))
    quality = {"highest_mm_h": 200, "highest_share": 0.1}
    _, masked = encode_scan(stored, packing, None, config(quality=quality))
    assert masked == {PHYSICAL_RANGE: 50}  # a share of 0.1 exactly
    stored[0, 50] = 255
    with pytest.raises(
        QualityError, match="51 of 500 observed pixels have more than 200 mm/h"
    ) as caught:
        encode_scan(stored, packing, None, config(quality=quality))
    assert caught.value.rule == PHYSICAL_RANGE


def test_the_limit_applies_to_the_rate_not_to_the_stored_number() -> None:
    settings = config(quality={"highest_mm_h": 100, "highest_share": 1})
    stored = np.array([[12, 20]], np.uint8)  # mm in ten minutes: 72 and 120 mm/h
    codes, masked = encode_scan(stored, Packing("mm"), TEN_MINUTES, settings)
    assert masked == {PHYSICAL_RANGE: 1}
    assert (codes == RAIN_CODE.NOT_OBSERVED).tolist() == [[False, True]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_netcdf_fill_values_and_nan_are_not_observed(dtype: str) -> None:
    stored = np.array([[9.969209968386869e36, np.nan, 1.0]], dtype)
    codes, _ = encode_scan(stored, Packing("mm h-1"), None, config())
    assert codes[0, :2].tolist() == [RAIN_CODE.NOT_OBSERVED] * 2
    assert codes[0, 2] == codes_of(np.array([1.0]))[0]


def test_an_accumulation_is_divided_by_its_interval() -> None:
    stored = np.array([[3]], np.uint8)
    decoded = [
        RAIN_CODE.decode(encode_scan(stored, Packing("mm"), pd.Timedelta(t), config())[0]).item()
        for t in ("5min", "10min", "1h")
    ]
    np.testing.assert_allclose(decoded, [36, 18, 3], rtol=0.016)
    with pytest.raises(DataError, match="needs its interval"):
        encode_scan(stored, Packing("mm"), None, config())


def test_an_empty_and_an_all_missing_scan() -> None:
    packing = Packing("mm h-1", missing=(255.0,))
    codes, _ = encode_scan(np.full((3, 4), 255, np.uint8), packing, None, config())
    assert (codes == RAIN_CODE.NOT_OBSERVED).all()
    codes, _ = encode_scan(np.zeros((0, 4), np.uint8), packing, None, config())
    assert codes.shape == (0, 4)
