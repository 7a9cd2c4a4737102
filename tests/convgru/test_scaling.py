"""Rain rate to normalised decibels and back."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from squall.convgru import RainScaling

SCALING = RainScaling()


@given(st.lists(st.floats(0.101, 204.9), min_size=1, max_size=50))
def test_rain_survives_the_round_trip(rates: list[float]) -> None:
    rate = torch.tensor(rates)
    normalised, observed = SCALING.normalise(rate)
    assert (observed == 1).all()
    assert ((normalised > 0) & (normalised <= 1)).all()
    torch.testing.assert_close(SCALING.denormalise(normalised), rate, rtol=1e-4, atol=0)


def test_dry_comes_back_exactly_dry() -> None:
    normalised, observed = SCALING.normalise(torch.tensor([0.0, 0.01, 0.0799, 0.08]))
    assert torch.equal(observed, torch.ones(4))
    assert torch.equal(normalised, torch.zeros(4))
    assert torch.equal(SCALING.denormalise(normalised), torch.zeros(4))


def test_a_forecast_below_a_tenth_of_a_millimetre_is_dry() -> None:
    normalised, _ = SCALING.normalise(torch.tensor([0.081, 0.099, 0.102]))
    assert (normalised > 0).all()
    assert (SCALING.denormalise(normalised) > 0).tolist() == [False, False, True]


def test_not_observed_is_zero_with_mask_zero() -> None:
    normalised, observed = SCALING.normalise(torch.tensor([[math.nan, 0.0], [5.0, math.nan]]))
    assert torch.equal(observed, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert torch.equal(normalised[observed == 0], torch.zeros(2))
    assert normalised[1, 0] > 0


def test_decibels_lie_evenly_between_floor_and_ceiling() -> None:
    middle = math.sqrt(0.08 * 205.0)
    normalised, _ = SCALING.normalise(torch.tensor([0.08, middle, 205.0, 1e4, math.inf]))
    torch.testing.assert_close(normalised, torch.tensor([0.0, 0.5, 1.0, 1.0, 1.0]))


def test_values_outside_the_scale_are_clamped() -> None:
    rate = SCALING.denormalise(torch.tensor([-5.0, -1e-6, 1.0, 1.5, 1e9]))
    torch.testing.assert_close(rate, torch.tensor([0.0, 0.0, 205.0, 205.0, 205.0]))
    assert torch.equal(rate[:2], torch.zeros(2))


def test_nan_of_a_network_that_fails_stays_nan() -> None:
    assert SCALING.denormalise(torch.tensor([math.nan])).isnan().all()


def test_no_forecast_becomes_nan() -> None:
    assert SCALING.denormalise(torch.tensor([-math.inf])).isnan().all()


def test_other_constants_are_used() -> None:
    scaling = RainScaling(floor_mm_h=1.0, ceiling_mm_h=100.0)
    normalised, _ = scaling.normalise(torch.tensor([0.5, 10.0, 100.0]))
    torch.testing.assert_close(normalised, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(scaling.denormalise(normalised), torch.tensor([0.0, 10.0, 100.0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_mask_has_the_type_of_the_rain(dtype: torch.dtype) -> None:
    normalised, observed = SCALING.normalise(torch.ones(2, dtype=dtype))
    assert normalised.dtype == observed.dtype == dtype


def test_half_precision_becomes_float32() -> None:
    assert SCALING.denormalise(torch.tensor([0.5], dtype=torch.bfloat16)).dtype == torch.float32


def test_the_inverse_keeps_what_a_forecast_drops() -> None:
    rates = torch.tensor([0.0, 0.08, 0.09, 0.1, 7.0, 205.0])
    expected = torch.tensor([0.08, 0.08, 0.09, 0.1, 7.0, 205.0])
    torch.testing.assert_close(SCALING.inverse(SCALING.normalise(rates)[0]), expected)
