"""The skill loss: its terms worked out by hand, sums over parts, pixels that are left out."""

import numpy as np
import pytest
import scipy.signal
import torch

from squall.convgru import RainScaling, loss_sums
from squall.convgru.loss import LossSums
from squall.convgru.skill_loss import (
    FEW_PIXELS,
    LITTLE_MM_H,
    SkillLossConfig,
    _radial_power,
)

SCALING = RainScaling()


def fields(seed: int = 0, batch: int = 2):
    torch.manual_seed(seed)
    rate = torch.exp(1.5 * torch.randn(batch, 3, 1, 24, 24))
    target, observed = SCALING.normalise(rate)
    return (target + 0.1 * torch.randn_like(target)).requires_grad_(), target, rate, observed


def config(**weights: float) -> SkillLossConfig:
    return SkillLossConfig(**{"l1": 0, "csi": 0, "mae": 0, "spectrum": 0} | weights)


def test_a_hard_sigmoid_gives_the_csi():
    predicted, target, rate, observed = fields()
    hard = config(csi=1, thresholds_mm_h=(2.0,), softness_db=1e-4)
    value = loss_sums(predicted, target, rate, observed, hard).value()
    expected = []
    for lead in range(3):
        forecast_event = SCALING.denormalise(predicted)[:, lead] >= 2
        event = rate[:, lead] >= 2
        either = (forecast_event | event).sum()
        hits = (forecast_event & event).sum()
        expected.append((either - hits) / (either + 2 * FEW_PIXELS))
    assert value.item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-3)


def test_errors_by_hand():
    target = torch.tensor([0.0, 0.5]).view(1, 1, 1, 1, 2)
    predicted = torch.tensor([0.1, 0.3]).view(1, 1, 1, 1, 2)
    rate, everywhere = SCALING.denormalise(target), torch.ones(1, 1, 1, 1, 2)
    value = loss_sums(predicted, target, rate, everywhere, config(l1=1, intensity=4)).value()
    tens_of_db = SCALING.span_db / 10
    assert value.item() == pytest.approx(tens_of_db * (0.1 * 1 + 0.2 * 3) / (1 + 3), rel=1e-5)
    value = loss_sums(predicted, target, rate, everywhere, config(mae=1)).value()
    error = (SCALING.denormalise(predicted) - rate).abs().sum() / (rate.sum() + LITTLE_MM_H)
    assert value.item() == pytest.approx(error.item(), rel=1e-5)


def test_the_spectral_term_is_large_for_a_smooth_forecast_and_small_for_a_displaced_one():
    _, target, rate, observed = fields()
    smooth = torch.nn.functional.avg_pool2d(target.flatten(0, 1), 5, 1, 2).view_as(target)
    shifted = target.roll(7, dims=-1)
    spectral_losses = [
        loss_sums(x, target, rate, observed, config(spectrum=1)).value() for x in (smooth, shifted)
    ]
    assert spectral_losses[0] > 3 * spectral_losses[1] > 0
    assert loss_sums(target, target, rate, observed, config(spectrum=1)).value() == 0


def test_sums_of_parts_have_value_and_gradient_of_the_whole():
    skill = SkillLossConfig()
    predicted, target, rate, observed = fields(batch=4)
    whole = loss_sums(predicted, target, rate, observed, skill)
    whole.value().backward()
    expected, predicted.grad = predicted.grad, None
    sums_of_ranks = [
        loss_sums(*(x[i : i + 1] for x in (predicted, target, rate, observed)), skill)
        for i in range(4)
    ]
    # in training each rank uses the means of all ranks' sums
    means = LossSums(
        *(torch.stack([rank_sums[k] for rank_sums in sums_of_ranks]).mean(dim=0) for k in range(2))
    )
    assert means.value().item() == pytest.approx(whole.value().item(), rel=1e-5)
    means.value().backward()
    assert torch.allclose(predicted.grad, expected, atol=1e-7, rtol=1e-3)


def test_pixels_without_observation_or_forecast_are_left_out():
    predicted, target, rate, observed = fields()
    observed = observed.clone()
    observed[..., :5, :] = 0
    with torch.no_grad():
        predicted[..., :, :4] = -torch.inf
    sums = loss_sums(predicted, target, rate, observed, SkillLossConfig())
    spoilt = [x.detach().clone() for x in (predicted, target, rate)]
    for x in spoilt:
        x[..., :5, :] = torch.nan
    spoilt[1][..., :, :4] = torch.nan
    spoilt[0].requires_grad_()
    spoilt_sums = loss_sums(*spoilt, observed, SkillLossConfig())
    assert torch.equal(sums.totals, spoilt_sums.totals)
    spoilt_sums.value().backward()
    assert torch.isfinite(spoilt[0].grad).all()
    assert not spoilt[0].grad[..., :5, :].any()
    assert not spoilt[0].grad[..., :4].any()


def test_the_loss_of_a_forecast_with_nan_is_nan():
    predicted, target, rate, observed = fields()
    broken = predicted.detach().clone()
    broken[0, 0, 0, 3, 3] = torch.nan
    assert torch.isnan(loss_sums(broken, target, rate, observed, SkillLossConfig()).value())


def test_a_loss_without_terms_is_refused():
    with pytest.raises(ValueError, match="would learn nothing"):
        config()


@pytest.mark.parametrize(("height", "width"), [(24, 24), (20, 33)])
def test_rings_of_the_spectrum_are_whole_radial_wavenumbers(height, width):
    torch.manual_seed(0)
    field = torch.rand(1, 1, height, width)
    window = np.outer(*(scipy.signal.windows.hann(n, sym=False) for n in (height, width)))
    power = np.abs(np.fft.fft2(field[0, 0].double().numpy() * window)) ** 2
    side = min(height, width)
    rows, columns = (np.fft.fftfreq(n) * side for n in (height, width))
    ring = np.rint(np.hypot(rows[:, None], columns))
    half = slice(0, width // 2 + 1)  # of the spectrum of a real field
    expected = [power[:, half][ring[:, half] == k].mean() for k in range(1, side // 2)]
    np.testing.assert_allclose(_radial_power(field)[0, 0], expected, rtol=1e-3)
