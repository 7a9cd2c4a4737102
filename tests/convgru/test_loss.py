"""The training loss: weights by rain rate, a mean over what was observed, and nothing else."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from convgru import LossConfig, RainScaling, balanced_loss

CONFIG = LossConfig()
NAN = math.nan

# rain rate [mm/h]   normalised target   predicted      weight   error²+|error|
#   1    2             0.25  0.5          0.5   0.25     1  2     0.3125  0.3125
#   7    NaN           0.75  0            1.25  9        5  -     0.75    -
# (1 * 0.3125 + 2 * 0.3125 + 5 * 0.75) / 3 = 1.5625
RATE = torch.tensor([[1.0, 2.0], [7.0, NAN]])
TARGET = torch.tensor([[0.25, 0.5], [0.75, 0.0]])
PREDICTED = torch.tensor([[0.5, 0.25], [1.25, 9.0]])
OBSERVED = torch.tensor([[1.0, 1.0], [1.0, 0.0]])


def loss(predicted: Tensor, rate: Tensor, config: LossConfig = CONFIG) -> Tensor:
    """Loss against a rain rate with NaN, through the scaling."""
    target, observed = RainScaling().normalise(rate)
    return balanced_loss(predicted, target, rate, observed, config)


def random_fields(seed: int) -> tuple[Tensor, Tensor]:
    """Predicted and rain rate of (4, 6, 6); every fourth pixel or so is not observed."""
    generator = torch.Generator().manual_seed(seed)
    rate = 40 * torch.rand(4, 6, 6, generator=generator) ** 3
    rate[torch.rand(4, 6, 6, generator=generator) < 0.25] = NAN
    return torch.rand(4, 6, 6, generator=generator), rate


def test_a_hand_worked_grid() -> None:
    assert balanced_loss(PREDICTED, TARGET, RATE, OBSERVED, CONFIG).item() == 1.5625


def test_shares_of_both_errors() -> None:
    squared = LossConfig(mse=2.0, mae=0.0)
    # 2 * (1 * 0.0625 + 2 * 0.0625 + 5 * 0.25) / 3
    found = balanced_loss(PREDICTED, TARGET, RATE, OBSERVED, squared)
    assert found.item() == pytest.approx(2.875 / 3)


@pytest.mark.parametrize(
    ("rate", "weight"),
    [(0.0, 1), (1.9999, 1), (2.0, 2), (4.9999, 2), (5.0, 5), (10.0, 10), (29.99, 10), (30.0, 30)],
)
def test_weights_step_at_their_thresholds(rate: float, weight: float) -> None:
    ones = torch.ones(1)
    found = balanced_loss(ones, torch.zeros(1), torch.tensor([rate]), ones, CONFIG)
    assert found.item() == 2 * weight


def test_nothing_observed_is_no_loss_with_zero_gradients() -> None:
    predicted = torch.full((2, 3), 0.5, requires_grad=True)
    value = loss(predicted, torch.full((2, 3), NAN))
    value.backward()
    assert value.item() == 0
    assert torch.equal(predicted.grad, torch.zeros(2, 3))


def test_missing_targets_never_reach_gradients() -> None:
    predicted, rate = random_fields(1)
    predicted.requires_grad_()
    loss(predicted, rate).backward()
    assert predicted.grad.isfinite().all()
    assert torch.equal(predicted.grad == 0, rate.isnan())


def test_nan_in_the_normalised_target_is_masked_too() -> None:
    predicted = PREDICTED.clone().requires_grad_()
    target = torch.where(OBSERVED.bool(), TARGET, NAN)
    value = balanced_loss(predicted, target, RATE, OBSERVED, CONFIG)
    value.backward()
    assert value.item() == 1.5625
    assert predicted.grad.isfinite().all()


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_parts_weighted_by_their_observed_pixels_make_the_whole(seed: int, cut: int) -> None:
    predicted, rate = random_fields(seed)
    total = 0.0
    for part in (slice(0, cut), slice(cut, None)):
        total += loss(predicted[part], rate[part]).item() * float((~rate[part].isnan()).sum())
    whole = loss(predicted, rate).item()
    assert whole == pytest.approx(total / float((~rate.isnan()).sum()), rel=1e-5)


def test_half_precision_predictions_are_compared_in_full() -> None:
    value = balanced_loss(PREDICTED.bfloat16(), TARGET, RATE, OBSERVED, CONFIG)
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
        ({"mse": 0.0, "mae": 0.0}, "nothing would be learnt"),
        ({"mse": -1.0}, "greater than or equal to 0"),
        ({"mea": 1.0}, "mea"),
    ],
)
def test_configurations_that_cannot_work_are_refused(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        LossConfig.model_validate(values)


def test_one_weight_for_all_needs_no_threshold() -> None:
    config = LossConfig(thresholds_mm_h=(), weights=(1.0,))
    # (0.3125 + 0.3125 + 0.75) / 3
    found = balanced_loss(PREDICTED, TARGET, RATE, OBSERVED, config)
    assert found.item() == pytest.approx(1.375 / 3)
