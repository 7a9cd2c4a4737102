"""The training losses: sums over the pixels that were observed."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from squall.convgru.loss import (
    BalancedLossConfig,
    CrpsConfig,
    LossConfig,
    MaskedL1Config,
    loss_sums,
)
from squall.convgru.scaling import RainScaling
from tests.convgru.random_ensemble import random_ensemble

LOSS: TypeAdapter[LossConfig] = TypeAdapter(LossConfig)
CONFIG = BalancedLossConfig()
NAN = math.nan

# rain rate [mm/h]   normalised target   predicted      weight   error²+|error|
#   1    2             0.25  0.5          0.5   0.25     1  2     0.3125  0.3125
#   7    NaN           0.75  0            1.25  9        5  -     0.75    -
# (1 * 0.3125 + 2 * 0.3125 + 5 * 0.75) / 3 = 1.5625
RATE = torch.tensor([[1.0, 2.0], [7.0, NAN]])
TARGET = torch.tensor([[0.25, 0.5], [0.75, 0.0]])
PREDICTED = torch.tensor([[0.5, 0.25], [1.25, 9.0]])
OBSERVED = torch.tensor([[1.0, 1.0], [1.0, 0.0]])


def mean(
    predicted: Tensor,
    target: Tensor,
    rate: Tensor,
    observed: Tensor,
    config: LossConfig = CONFIG,
) -> Tensor:
    """The value of the loss in training."""
    return loss_sums(predicted, target, rate, observed, config).value()


def loss(predicted: Tensor, rate: Tensor, config: LossConfig = CONFIG) -> Tensor:
    """Loss against a rain rate with NaN, through the scaling."""
    target, observed = RainScaling().normalise(rate)
    return mean(predicted, target, rate, observed, config)


def random_fields(seed: int) -> tuple[Tensor, Tensor]:
    """Predicted and rain rate, (4, 6, 6); about a quarter of the pixels is not observed."""
    generator = torch.Generator().manual_seed(seed)
    rate = 40 * torch.rand(4, 6, 6, generator=generator) ** 3
    rate[torch.rand(4, 6, 6, generator=generator) < 0.25] = NAN
    return torch.rand(4, 6, 6, generator=generator), rate


def test_a_hand_worked_grid() -> None:
    assert mean(PREDICTED, TARGET, RATE, OBSERVED, CONFIG).item() == 1.5625


def test_the_shares_of_squared_and_absolute_error() -> None:
    squared = BalancedLossConfig(mse=2.0, mae=0.0)
    # 2 * (1 * 0.0625 + 2 * 0.0625 + 5 * 0.25) / 3
    value = mean(PREDICTED, TARGET, RATE, OBSERVED, squared)
    assert value.item() == pytest.approx(2.875 / 3)


@pytest.mark.parametrize(
    ("rate", "weight"),
    [(0.0, 1), (1.9999, 1), (2.0, 2), (4.9999, 2), (5.0, 5), (10.0, 10), (29.99, 10), (30.0, 30)],
)
def test_weights_rise_at_their_thresholds(rate: float, weight: float) -> None:
    ones = torch.ones(1)
    value = mean(ones, torch.zeros(1), torch.tensor([rate]), ones, CONFIG)
    assert value.item() == 2 * weight


def test_without_observations_loss_and_gradients_are_0() -> None:
    predicted = torch.full((2, 3), 0.5, requires_grad=True)
    value = loss(predicted, torch.full((2, 3), NAN))
    value.backward()
    assert value.item() == 0
    assert torch.equal(predicted.grad, torch.zeros(2, 3))


def test_missing_targets_have_no_gradient() -> None:
    predicted, rate = random_fields(1)
    predicted.requires_grad_()
    loss(predicted, rate).backward()
    assert predicted.grad.isfinite().all()
    assert torch.equal(predicted.grad == 0, rate.isnan())


def test_nan_in_the_normalised_target_is_masked_too() -> None:
    predicted = PREDICTED.clone().requires_grad_()
    target = torch.where(OBSERVED.bool(), TARGET, NAN)
    value = mean(predicted, target, RATE, OBSERVED, CONFIG)
    value.backward()
    assert value.item() == 1.5625
    assert predicted.grad.isfinite().all()


@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from(["balanced", "masked_l1"]))
def test_sums_of_parts_add_up_to_the_whole(seed: int, cut: int, kind: str) -> None:
    predicted, rate = random_fields(seed)
    target, observed = RainScaling().normalise(rate)
    config = LOSS.validate_python({"kind": kind})

    def total_and_divisor(samples: slice) -> tuple[float, int]:
        fields = (field[samples] for field in (predicted, target, rate, observed))
        sums = loss_sums(*fields, config)
        return sums.totals.item(), int(sums.divisors)

    parts = [total_and_divisor(slice(0, cut)), total_and_divisor(slice(cut, None))]
    whole = total_and_divisor(slice(None))
    assert whole[0] == pytest.approx(parts[0][0] + parts[1][0], rel=1e-5)
    assert whole[1] == parts[0][1] + parts[1][1] == int((~rate.isnan()).sum())


def test_the_loss_of_half_precision_predictions_is_in_float32() -> None:
    value = mean(PREDICTED.bfloat16(), TARGET, RATE, OBSERVED, CONFIG)
    assert value.dtype == torch.float32
    assert value.item() == 1.5625


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": (1.0, 2.0)}, "4 thresholds_mm_h need 5 weights, got 2"),
        ({"thresholds_mm_h": (5.0, 2.0, 10.0, 30.0)}, "must rise"),
        ({"thresholds_mm_h": (2.0, 2.0, 10.0, 30.0)}, "must rise"),
        ({"weights": (1.0, -2.0, 5.0, 10.0, 30.0)}, "0 or more"),
        ({"weights": (0.0,) * 5}, "not all 0"),
        ({"mse": 0.0, "mae": 0.0}, "would learn nothing"),
        ({"mse": -1.0}, "greater than or equal to 0"),
        ({"mea": 1.0}, "mea"),
        ({"kind": "mse"}, "kind must be balanced, masked_l1, crps or exceedance"),
        ({"kind": "masked_l1", "mse": 1.0}, "mse"),
        ({"kind": "crps", "alpha": 0.0}, "greater than 0"),
        ({"kind": "crps", "alpha": 1.1}, "less than or equal to 1"),
        ({"kind": "crps", "members": 1}, "greater than or equal to 2"),
    ],
)
def test_configurations_that_cannot_work_are_refused(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        LOSS.validate_python(values)


def test_a_single_weight_needs_no_threshold() -> None:
    config = BalancedLossConfig(thresholds_mm_h=(), weights=(1.0,))
    # (0.3125 + 0.3125 + 0.75) / 3
    value = mean(PREDICTED, TARGET, RATE, OBSERVED, config)
    assert value.item() == pytest.approx(1.375 / 3)


def test_masked_l1_is_the_mean_absolute_error_where_observed() -> None:
    sums = loss_sums(PREDICTED, TARGET, RATE, OBSERVED, MaskedL1Config())
    assert sums.totals.item() == 0.25 + 0.25 + 0.5
    assert sums.divisors.item() == 3


@pytest.mark.parametrize(
    ("values", "config"),
    [
        ({}, BalancedLossConfig()),
        ({"mse": 2.0}, BalancedLossConfig(mse=2.0)),
        ({"kind": "balanced", "mse": 2.0}, BalancedLossConfig(mse=2.0)),
        ({"kind": "masked_l1"}, MaskedL1Config()),
        ({"kind": "crps", "alpha": 1.0}, CrpsConfig(alpha=1.0)),
    ],
)
def test_a_configuration_without_a_kind_is_balanced(
    values: dict[str, object], config: LossConfig
) -> None:
    validated = LOSS.validate_python(values)
    assert validated == config
    assert LOSS.validate_python(LOSS.dump_python(validated, mode="json")) == config
    assert LOSS.validate_python(validated) is validated


@pytest.mark.parametrize("kind", ["balanced", "masked_l1", "crps"])
def test_pixels_that_were_not_observed_change_neither_value_nor_gradient(kind: str) -> None:
    config = LOSS.validate_python({"kind": kind})
    members, target, observed = random_ensemble(7, 3)
    members = members if kind == "crps" else members[:, 0]
    mask = observed[:, None] if kind == "crps" else observed
    unobserved = ~mask.expand_as(members)
    not_finite = torch.tensor([NAN, math.inf, -math.inf], dtype=torch.float64)
    clean, spoilt = members.clone(), members.clone()
    spoilt[unobserved] = not_finite[torch.arange(int(unobserved.sum())) % 3]
    clean.requires_grad_(), spoilt.requires_grad_()
    expected = loss_sums(clean, target, target, observed, config)
    target_with_gaps = torch.where(observed, target, NAN)
    sums = loss_sums(spoilt, target_with_gaps, target_with_gaps, observed, config)
    assert sums.totals.item() == expected.totals.item()
    expected.totals.backward()
    sums.totals.backward()
    assert torch.equal(spoilt.grad, clean.grad)
    assert (spoilt.grad[unobserved] == 0).all()


@pytest.mark.parametrize("kind", ["balanced", "masked_l1", "crps"])
def test_a_forecast_of_nan_where_observed_gives_a_loss_of_nan(kind: str) -> None:
    members, target, _ = random_ensemble(7, 3)
    members[0, 1, 0, 0, 0, 0] = members[0, 0, 0, 0, 0, 0] = NAN
    predicted = members if kind == "crps" else members[:, 0]
    config = LOSS.validate_python({"kind": kind})
    sums = loss_sums(predicted, target, target, torch.ones_like(target), config)
    assert math.isnan(sums.totals.item())


MEMBERS = torch.zeros(2, 3, 4, 1, 5, 6)
FIELD = torch.zeros(2, 4, 1, 5, 6)


@pytest.mark.parametrize(
    ("kind", "predicted", "message"),
    [
        ("balanced", MEMBERS, "'balanced' needs one prediction .* for members choose"),
        ("masked_l1", MEMBERS, r"\(2, 4, 1, 5, 6\), got \(2, 3, 4, 1, 5, 6\)"),
        ("crps", FIELD, r"needs members in dimension 1: .* got \(2, 4, 1, 5, 6\)"),
        ("crps", MEMBERS.transpose(0, 1), "needs members in dimension 1"),
        ("crps", MEMBERS[:, :0], "needs members"),
        ("balanced", FIELD[:1], "needs one prediction"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(kind: str, predicted: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss_sums(predicted, FIELD, FIELD, FIELD, LOSS.validate_python({"kind": kind}))


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        loss_sums(FIELD, FIELD, FIELD, FIELD[:, :1], CONFIG)
