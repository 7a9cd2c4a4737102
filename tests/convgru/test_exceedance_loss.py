"""The cross-entropy of exceeding thresholds."""

import math

import pytest
import torch

from squall.convgru import ExceedanceLossConfig, LossSums, loss_sums
from squall.convgru.scaling import RainScaling
from squall.convgru.thresholds import THRESHOLDS_MM_H

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


def entropy(share):
    return -share * math.log(share) - (1 - share) * math.log(1 - share)


def test_the_cross_entropy_of_a_window():
    target = torch.tensor([3.0] + [0.0] * 19).view(1, 1, 1, 1, 20)  # 5 % reach 0.2, 0.5 and 2
    logits = torch.tensor([2.0, 1.0, 0.5, -1.0, -2.0, -3.0]).view(1, 1, COUNT, 1, 1)
    totals = sums(logits.expand(1, 1, COUNT, 1, 20), target).totals
    chance = 1 / (1 + math.exp(-0.5))
    missed, false = math.log(chance), math.log(1 - chance)
    assert CONFIG.usual_shares[2] < 0.05  # so the window's own share counts
    assert float(totals[2]) == pytest.approx(-(missed + 19 * false) / entropy(0.05), rel=1e-5)
    chance = 1 / (1 + math.exp(1.0))
    expected = -20 * 0.8 * math.log(1 - chance) / entropy(CONFIG.usual_shares[3])
    assert float(totals[3]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("wet", [0, 1, 3, 5, 10])
def test_without_skill_a_window_counts_at_most_the_weights_however_heavy_its_rain(wet):
    """If its forecast knows how often each threshold is reached in it, or usually."""
    target = torch.tensor([50.0] * wet + [0.0] * (10 - wet)).view(1, 1, 1, 1, 10)
    shares = torch.tensor(CONFIG.usual_shares).clamp(min=min(wet / 10, 0.999))
    logits = torch.logit(shares).view(1, 1, COUNT, 1, 1).expand(1, 1, COUNT, 1, 10)
    loss = float(sums(logits, target).value())
    assert loss <= sum(CONFIG.weights) * (1 + 1e-5)
    if wet in (3, 5):
        assert loss == pytest.approx(sum(CONFIG.weights), rel=1e-5)


def test_the_windows_of_a_batch_have_their_own_shares():
    heavy = torch.tensor([30.0] * 5 + [0.0] * 5).view(1, 1, 1, 1, 10)
    light = torch.zeros_like(heavy)
    logits = torch.zeros(1, 1, COUNT, 1, 10)
    together = sums(logits.expand(2, -1, -1, -1, -1), torch.cat([heavy, light])).totals
    alone = sums(logits, heavy).totals + sums(logits, light).totals
    torch.testing.assert_close(together, alone)


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
