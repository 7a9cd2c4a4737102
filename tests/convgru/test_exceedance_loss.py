"""The cross-entropy of exceeding thresholds."""

import math

import pytest
import torch

from squall.convgru import ExceedanceLossConfig, LossSums, loss_sums
from squall.convgru.heads.exceedance import THRESHOLDS_MM_H
from squall.convgru.scaling import RainScaling

COUNT = len(THRESHOLDS_MM_H)
CONFIG = ExceedanceLossConfig()


def sums(logits, target_mm_h, config=CONFIG):
    normalised, observed = RainScaling().normalise(target_mm_h)
    return loss_sums(logits, normalised, target_mm_h, observed, config)


def test_a_forecast_that_knows_only_the_usual_shares_has_the_sum_of_the_weights():
    """If the thresholds are reached exactly as often as usual."""
    config = ExceedanceLossConfig(usual_shares=(0.6, 0.5, 0.4, 0.3, 0.2, 0.1))
    levels = [0.0] * 4 + [0.3, 0.7, 3.0, 7.0, 15.0, 30.0]  # shares 0.6, 0.5, … 0.1
    target = torch.tensor(levels).view(1, 1, 1, 1, 10)
    logits = torch.logit(torch.tensor(config.usual_shares)).view(1, 1, COUNT, 1, 1)
    loss = sums(logits.expand(1, 1, COUNT, 1, 10), target, config).value()
    assert float(loss) == pytest.approx(sum(config.weights), rel=1e-5)


def test_the_cross_entropy_of_one_pixel():
    target = torch.full((1, 1, 1, 1, 1), 3.0)  # reaches 0.2, 0.5 and 2
    logits = torch.tensor([2.0, 1.0, 0.5, -1.0, -2.0, -3.0]).view(1, 1, COUNT, 1, 1)
    totals = sums(logits, target).totals
    chance = 1 / (1 + math.exp(-0.5))
    share = CONFIG.usual_shares[2]
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert float(totals[2]) == pytest.approx(-math.log(chance) / entropy, rel=1e-5)
    chance = 1 / (1 + math.exp(1.0))
    share = CONFIG.usual_shares[3]
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert float(totals[3]) == pytest.approx(-0.8 * math.log(1 - chance) / entropy, rel=1e-5)


def test_pixels_without_observation_or_forecast_change_neither_sums_nor_gradients():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, COUNT, 8, 8, generator=generator).requires_grad_()
    target = 10 * torch.rand(2, 3, 1, 8, 8, generator=generator)
    target[..., :4, :] = torch.nan
    masked = logits.masked_fill(torch.arange(8) >= 6, -torch.inf)
    result = sums(masked, target)
    alone = sums(logits[..., 4:, :6], target[..., 4:, :6])
    assert torch.allclose(result.value(), alone.value())
    (gradient,) = torch.autograd.grad(result.value(), logits)
    assert torch.isfinite(gradient).all()
    assert (gradient[..., :4, :] == 0).all()
    assert (gradient[..., 6:] == 0).all()
    assert (gradient[..., 4:, :6] != 0).all()


def test_sums_add_up_over_batches():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(4, 2, COUNT, 8, 8, generator=generator)
    target = 10 * torch.rand(4, 2, 1, 8, 8, generator=generator)
    target[0, ..., 2:] = torch.nan
    parts = [sums(logits[i : i + 1], target[i : i + 1]) for i in range(4)]
    added = LossSums(sum(p.totals for p in parts), sum(p.divisors for p in parts))
    assert torch.allclose(added.value(), sums(logits, target).value())


def test_logits_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"network\.head exceedance"):
        sums(torch.zeros(1, 1, 1, 8, 8), torch.zeros(1, 1, 1, 8, 8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": (1.0,)}, "needs 6 numbers"),
        ({"weights": (0.0,) * 6}, "not all 0"),
        ({"usual_shares": (0.0,) * 6}, "between 0 and 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ExceedanceLossConfig(**settings)
