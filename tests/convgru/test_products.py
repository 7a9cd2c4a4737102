"""Rain from chances: order, cuts, means."""

import math

import pytest
import torch
from torch.nn.functional import avg_pool2d

from squall.convgru.calibration import LeadCalibration
from squall.convgru.heads.cascade import band_processes, scale_bands
from squall.convgru.heads.exceedance import TEXTURE_BANDS, LeadChances
from squall.convgru.heads.interface import Frame
from squall.convgru.heads.matching import sorted_amounts
from squall.convgru.products import (
    SCALING,
    biased,
    calibrated_logits,
    expected_rain,
    moved_logits,
    order_of_pixels,
    product_rain,
    rain_of_cuts,
)
from squall.convgru.scaling import RainScaling
from squall.convgru.thresholds import THRESHOLDS_MM_H

from .moving_rain import texture

COUNT = len(THRESHOLDS_MM_H)
NEUTRAL = LeadCalibration([0.0] * COUNT, [0.0] * COUNT, 1.0, [0.0] * COUNT, [1.0] * COUNT)


def lead(seed=1, shift=0.0):
    """Chances that have nothing to do with the last scan, without motion."""
    last, _ = RainScaling().normalise(texture(64)[None, None])
    level, _ = RainScaling().normalise(texture(64, seed)[None, None])
    thresholds, _ = RainScaling().normalise(torch.tensor(THRESHOLDS_MM_H))
    logits = 12 * (level - thresholds[:, None, None]) + shift
    known = torch.ones_like(last)
    known[..., :10, :7] = 0
    still = torch.zeros(1, 2, 8, 8)
    amounts = sorted_amounts(last, known)
    return LeadChances(logits * known, last, known, amounts, still, smooth_bands(last, known))


def smooth_bands(last, known):
    """The bands beyond the texture, of the last scan alone."""
    return band_processes(Frame(last[:, None], known[:, None], None)).smooth


def test_order_has_the_amounts_of_the_last_scan_and_the_order_of_the_chances():
    chances = lead()
    rain = product_rain(chances, "order", None)
    known = chances.known_B1HW > 0
    assert torch.isnan(rain[~known]).all()
    last = RainScaling().denormalise(chances.last_B1HW)
    assert torch.allclose(rain[known].sort().values, last[known].sort().values, rtol=1e-4)
    # a factor of 2 in the mean is more than the texture of the last scan changes
    mean = expected_rain(chances.logits_BKHW)[known]
    one, other = mean[:1500], mean[1500:3000]
    less = 2 * one < other
    assert int(less.sum()) > 300
    assert (rain[known][:1500][less] <= rain[known][1500:3000][less]).float().mean() > 0.98


def test_order_keeps_the_amounts_and_the_small_scales_where_the_rain_moves():
    """A mean of neighbouring pixels would have amounts that no pixel of the last scan has."""
    moving = lead()._replace(displacement_B2hw=torch.full((1, 2, 8, 8), 2.5))
    rain = product_rain(moving, "order", None)
    is_known = moved_logits(moving)[1]
    assert torch.equal(torch.isnan(rain), ~is_known)
    amounts = SCALING.denormalise(moving.last_B1HW[moving.known_B1HW > 0])
    inner = rain[..., 14:, 12:].flatten()  # all pixels around are known
    assert int((inner > 1).sum()) > 300
    assert torch.isclose(inner[:, None], amounts, rtol=1e-4).any(dim=1).all()


def test_order_uses_the_cuts_of_the_calibration():
    """A cut that no logit reaches takes a threshold away from the order."""
    chances = lead()
    cuts = [0.0, 0.0, 0.0, 99.0, 99.0, 99.0]
    order = order_of_pixels(chances, NEUTRAL._replace(best_cuts=cuts))
    most, _ = SCALING.normalise(torch.tensor([THRESHOLDS_MM_H[3]]))
    assert order.max() < most + 0.02 * COUNT + 0.1
    assert order_of_pixels(chances, NEUTRAL).max() > order.max() + 0.05


@pytest.mark.parametrize("cut", [-1.0, 2.0])
def test_order_follows_the_first_chance_below_its_cut(cut):
    """Also where no pixel reaches a cut: the last scan's texture alone ordered these pixels."""
    chances = lead()
    low = chances._replace(logits_BKHW=0.2 * chances.logits_BKHW - 4)
    calibration = NEUTRAL._replace(best_cuts=[cut] * COUNT)
    first = low.logits_BKHW[:, :1]
    below = (low.known_B1HW > 0) & (first < cut)
    order = order_of_pixels(low, calibration)[below]
    assert torch.stack([order, first[below]]).corrcoef()[0, 1] > 0.95
    assert int(below.sum()) > 1000


def test_order_has_the_texture_of_the_last_scan_where_chances_are_smooth():
    flat, known = lead(), torch.ones(1, 1, 64, 64)
    amounts, smooth = sorted_amounts(flat.last_B1HW, known), smooth_bands(flat.last_B1HW, known)
    flat = flat._replace(known_B1HW=known, amounts=amounts, smooth=smooth)
    texture = scale_bands(flat.last_B1HW, known)[:, :TEXTURE_BANDS].sum(dim=1, keepdim=True)
    assert torch.allclose(flat.texture(), texture, atol=1e-5)
    flat = flat._replace(logits_BKHW=torch.full_like(flat.logits_BKHW, -0.2))
    order = order_of_pixels(flat, NEUTRAL)
    last = flat.last_B1HW
    small = last - avg_pool2d(last, 9, 1, 4, count_include_pad=False)
    inner = (..., slice(8, -8), slice(8, -8))
    both = torch.stack([order[inner].flatten(), small[inner].flatten()])
    assert both.corrcoef()[0, 1] > 0.6


@pytest.mark.parametrize("bias", [0.8, 1.0, 1.25])
def test_a_bias_changes_the_area_above_each_rain_rate(bias):
    chances = lead()
    known = chances.known_B1HW
    (amounts,) = sorted_amounts(chances.last_B1HW, known)
    values = biased(amounts, int(known.sum()), bias)
    assert len(values) <= int(known.sum())
    assert (values.diff() >= 0).all()
    last = chances.last_B1HW[known > 0]
    for level in (0.5, 0.6, 0.7):
        before, after = int((last >= level).sum()), int((values >= level).sum())
        assert before > 50
        assert after == pytest.approx(bias * before, abs=1.5)


def test_rain_of_cuts_reaches_a_threshold_exactly_where_its_chance_reaches_the_cut():
    logits = lead().logits_BKHW
    cuts = [-0.5, -0.4, 0.3, 0.0, 0.2, 0.5]
    rain = rain_of_cuts(logits, cuts)
    reached = torch.ones_like(rain, dtype=torch.bool)
    for number, (threshold, cut) in enumerate(zip(THRESHOLDS_MM_H, cuts, strict=True)):
        reached = reached & (logits[:, number : number + 1] >= cut)
        assert torch.equal(rain >= threshold * (1 - 1e-5), reached)
    assert (rain[rain > 0] >= THRESHOLDS_MM_H[0] * (1 - 1e-5)).all()


@pytest.mark.parametrize("product", ["best-csi", "unbiased", "expected"])
def test_products_are_not_known_where_the_last_scan_is_not(product):
    chances = lead()
    rain = product_rain(chances, product, NEUTRAL)
    assert torch.equal(torch.isnan(rain), chances.known_B1HW == 0)
    assert float(rain.nan_to_num().max()) > 1


def test_products_take_the_cuts_of_the_calibration():
    low, high = [-2.0] * COUNT, [2.0] * COUNT
    calibration = NEUTRAL._replace(best_cuts=low, unbiased_cuts=high)
    best, unbiased = (
        product_rain(lead(), product, calibration) for product in ("best-csi", "unbiased")
    )
    assert (best.nan_to_num() >= unbiased.nan_to_num()).all()
    assert float(best.nanmean()) > 1.2 * float(unbiased.nanmean())


@pytest.mark.parametrize("product", ["best-csi", "unbiased"])
def test_cuts_need_a_calibration(product):
    with pytest.raises(ValueError, match="needs a calibration"):
        product_rain(lead(), product, None)


def test_the_expected_rain_is_the_mean_of_the_distribution():
    """Exponential rain of mean 4 mm/h: the chance of exceeding r is exp(-r / 4)."""
    chances = torch.exp(-torch.tensor(THRESHOLDS_MM_H) / 4)
    mean = expected_rain(torch.logit(chances)[None, :, None, None])
    # below the first threshold the chance is taken as constant, a little too low
    missing = 4 * (1 - math.exp(-0.2 / 4)) - 0.2 * math.exp(-0.2 / 4)
    assert float(mean) == pytest.approx(4 - missing, rel=1e-3)


def test_the_expected_rain_is_dry_where_hardly_any_rain_is_expected():
    nearly_dry = lead(shift=-6.0)
    rain = product_rain(nearly_dry, "expected", None)
    known = nearly_dry.known_B1HW > 0
    assert (rain[known] == 0).any()
    assert rain[known][rain[known] > 0].min() >= 0.1 - 1e-6


def test_calibrated_logits_still_fall_with_the_threshold():
    calibration = NEUTRAL._replace(intercepts=[0.0, 3.0, 0.0, 1.0, 0.0, 0.0], slopes=[0.5] * COUNT)
    logits = calibrated_logits(lead().logits_BKHW, calibration)
    assert (logits.diff(dim=1) <= 0).all()
    assert torch.allclose(logits[:, 0], 0.5 * lead().logits_BKHW[:, 0])
