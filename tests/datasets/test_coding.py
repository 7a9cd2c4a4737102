"""The one-byte code of rain rate: dry, not observed, limits, relative error, round trip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from squall.datasets.coding import RAIN_CODE

LOWEST, HIGHEST = np.float32(0.08), np.float32(205.0)


@given(st.floats(LOWEST.item(), HIGHEST.item(), width=32))
def test_the_relative_error_is_below_1_6_percent(rate: float) -> None:
    back = RAIN_CODE.decode(RAIN_CODE.encode(np.float32(rate)[None]))[0]
    assert abs(back - rate) < 0.016 * rate


def test_the_relative_error_at_and_next_to_both_ends() -> None:
    rates = np.array(
        [LOWEST, np.nextafter(LOWEST, np.float32(1)), np.nextafter(HIGHEST, LOWEST), HIGHEST]
    )
    assert RAIN_CODE.encode(rates).tolist() == [1, 1, 254, 254]
    np.testing.assert_allclose(RAIN_CODE.decode(RAIN_CODE.encode(rates)), rates, rtol=1e-5)


def test_each_code_survives_decoding_and_encoding() -> None:
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(RAIN_CODE.encode(RAIN_CODE.decode(codes)), codes)
    assert (np.diff(RAIN_CODE.table[1:255]) > 0).all()


@given(
    arrays(
        np.float32,
        (4, 5),
        elements=st.one_of(st.just(np.nan), st.floats(0, 1e6, width=32)),
    )
)
def test_dry_and_not_observed_survive_exactly(rate: np.ndarray) -> None:
    codes = RAIN_CODE.encode(rate)
    back = RAIN_CODE.decode(codes)
    assert codes.dtype == np.uint8
    assert back.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(back), np.isnan(rate))
    np.testing.assert_array_equal(back == 0, rate < LOWEST)
    np.testing.assert_array_equal(back[rate > HIGHEST], HIGHEST)


@given(st.floats(0, 300, width=32), st.floats(0, 300, width=32))
def test_more_rain_never_gets_a_lower_code(a: float, b: float) -> None:
    less, more = RAIN_CODE.encode(np.sort(np.array([a, b], dtype=np.float32)))
    assert less <= more


def test_shapes_and_dimensions_are_kept() -> None:
    assert RAIN_CODE.encode(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert RAIN_CODE.decode(np.zeros((2, 3, 4), dtype=np.uint8)).shape == (2, 3, 4)


@pytest.mark.parametrize("rate", [-0.01, -1e-7, -np.inf])
def test_negative_rain_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="negative rain rate"):
        RAIN_CODE.encode(np.array([1.0, rate, np.nan]))


def test_minus_zero_is_dry() -> None:
    assert RAIN_CODE.encode(np.array([-0.0])).tolist() == [0]


def test_infinite_rain_is_the_heaviest_code() -> None:
    assert RAIN_CODE.encode(np.array([np.inf, 1e30, 206.0])).tolist() == [254, 254, 254]
