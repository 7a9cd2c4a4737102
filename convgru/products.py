"""From chances of exceeding rain rates to rain: what a forecast of chances is used for.

The chances tell how likely each rain rate is. A rain field is a decision on top of them, and the
best decision depends on its use. `Product` names the choices.

Dims: B batch, K thresholds, H rows, W columns.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from squall.convgru.calibration import LeadCalibration
from squall.convgru.heads.exceedance import LeadChances
from squall.convgru.heads.matching import probability_matched
from squall.convgru.motion import (
    COARSE,
    at_nearest,
    at_points,
    departure_rows,
    moved_known,
    moved_strips,
)
from squall.convgru.scaling import DRY_MM_H, RainScaling
from squall.convgru.strips import in_strips, strips
from squall.convgru.thresholds import THRESHOLDS_MM_H

Product = Literal["order", "best-csi", "unbiased", "expected"]
PRODUCTS: tuple[Product, ...] = get_args(Product)
HEAVIEST_MM_H = 100.0  # of a field that is made by cuts
SCALING = RainScaling()
FAINT_SLOPE = 0.2  # normalised dB for a logit, below the first threshold's cut
TEXTURE_SHARE = 0.15  # of the last scan's small scales in the order of a calibrated network


def product_rain(
    lead: LeadChances, product: Product, calibration: LeadCalibration | None
) -> Tensor:
    """Rain of one lead time, (B, 1, H, W) mm/h at its place; NaN = no forecast.

    Parameters
    ----------
    product : ``order``: the order of pixels from the chances (`order_of_pixels`), the amounts of
        the last scan times the calibrated bias; ``best-csi``: at least a threshold where that gives
        the highest CSI; ``unbiased``: at least a threshold on as many pixels as will be observed;
        ``expected``: the mean of the distribution.
    calibration : of the network on this radar. Without it ``order`` has the bias 1, and only
        ``order`` and ``expected`` are possible.

    Raises
    ------
    ValueError
        If the product needs a calibration.
    """
    if product == "order":
        order = order_of_pixels(lead, calibration)
        return ordered_rain(lead, order, calibration.bias if calibration else 1.0)
    if product == "expected":
        rain_of, of_logits = _expected_or_dry, calibration
    elif calibration is None:
        raise ValueError(f"the product {product} needs a calibration of the network")
    else:
        cuts = calibration.best_cuts if product == "best-csi" else calibration.unbiased_cuts
        rain_of, of_logits = partial(rain_of_cuts, cuts=cuts), None
    rain = torch.empty_like(lead.last_B1HW)
    for rows, logits, is_known in _moved_logits(lead, of_logits):
        rain[..., rows, :] = rain_of(logits).masked_fill_(~is_known, torch.nan)
    return rain


def _expected_or_dry(logits_BKHW: Tensor) -> Tensor:
    mean = expected_rain(logits_BKHW)
    return torch.where(mean < DRY_MM_H, 0.0, mean)


def order_of_pixels(lead: LeadChances, calibration: LeadCalibration | None) -> Tensor:
    """A field whose order of pixels is the forecast's, (B, 1, H, W), in the moving frame.

    It is the rain with the highest CSI, in normalised dB, and a small share of the last scan's
    small scales. Chances are smooth, so without this share the forecast would lack the texture of
    rain.

    Parameters
    ----------
    calibration : of the network on this radar. None: the order is that of the mean of the
        distribution. Cuts of another radar could be so high that hardly any chance reaches them,
        and then they would not order the rain. The mean has texture enough.
    """
    if calibration is None:
        return in_strips(_order_of_means, lead.logits_BKHW)
    cuts = calibration.best_cuts

    def order(logits: Tensor, texture: Tensor) -> Tensor:
        rain, _ = SCALING.normalise(rain_of_cuts(logits, cuts))
        first, _ = SCALING.normalise(rain.new_tensor(THRESHOLDS_MM_H[0]))
        margin = logits[:, :1] - cuts[0]
        return torch.where(margin < 0, first + FAINT_SLOPE * margin, rain) + TEXTURE_SHARE * texture

    return in_strips(order, lead.logits_BKHW, lead.texture())


def _order_of_means(logits_BKHW: Tensor) -> Tensor:
    """The mean of the distribution in normalised dB, also of less rain than is stored."""
    decibels = 10 * torch.log10(expected_rain(logits_BKHW) / SCALING.floor_mm_h)
    return decibels / SCALING.span_db


def exceedance(
    lead: LeadChances, calibration: LeadCalibration | None, chosen: Sequence[int]
) -> Iterator[tuple[slice, Tensor]]:
    """Chances of exceeding some of `THRESHOLDS_MM_H` at their place, strip by strip.

    Parameters
    ----------
    calibration : of the network on this radar; None: the chances as the network says them.
    chosen : numbers of these thresholds, rising.

    Yields
    ------
    The rows of a strip, and its chances (B, chosen, rows, W); NaN = no forecast.
    """
    for rows, logits, is_known in _moved_logits(lead, calibration):
        wanted = logits if len(chosen) == logits.shape[1] else logits[:, list(chosen)]
        yield rows, wanted.sigmoid_().masked_fill_(~is_known, torch.nan)


def moved_logits(lead: LeadChances) -> tuple[Tensor, Tensor]:
    """The logits at their place, (B, K, H, W), and where there is a forecast, (B, 1, H, W) bool."""
    _, logits, is_known = zip(*_moved_logits(lead, None), strict=True)
    return torch.cat(logits, dim=2), torch.cat(is_known, dim=2)


def _moved_logits(
    lead: LeadChances, calibration: LeadCalibration | None
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The rows of each strip and `moved_logits` there, calibrated if a calibration is given."""
    moved = moved_strips(lead.logits_BKHW, lead.known_B1HW, lead.displacement_B2hw)
    for rows, logits, is_known in moved:
        if calibration is not None:
            logits = calibrated_logits(logits, calibration)
        yield rows, logits, is_known


def calibrated_logits(logits_BKHW: Tensor, calibration: LeadCalibration) -> Tensor:
    """Logits whose chances are as frequent as they say; they still fall with the threshold."""
    intercepts, slopes = (
        logits_BKHW.new_tensor(values)[:, None, None]
        for values in (calibration.intercepts, calibration.slopes)
    )
    return (intercepts + slopes * logits_BKHW).cummin(dim=1).values


def ordered_rain(lead: LeadChances, order_B1HW: Tensor, bias: float) -> Tensor:
    """Rain with the order of pixels from a field, and the amounts of the last scan times a bias.

    It moves by the nearest pixel, so that the finest scales keep their power. At the edge of what
    is known the nearest pixel may be unknown; there it is the mean of the known ones around.

    Parameters
    ----------
    order_B1HW : in the moving frame; a larger value means more rain.
    bias : factor of the rain area: at each rain rate the share of pixels above it is that of the
        last scan times the bias.

    Returns
    -------
    (B, 1, H, W) rain rate at its place, mm/h, NaN = no forecast.
    """
    pixels = (lead.known_B1HW > 0).flatten(1).sum(dim=1).tolist()
    amounts = [biased(*each, bias) for each in zip(lead.amounts, pixels, strict=True)]
    matched = probability_matched(order_B1HW, lead.known_B1HW, amounts)
    rain = torch.empty_like(matched)
    height, width = matched.shape[-2:]
    for rows in strips(height, width, matched.device, COARSE):
        points = departure_rows(lead.displacement_B2hw, rows)
        is_known, scale = moved_known(lead.known_B1HW, points)
        moved = at_nearest(matched, points)
        is_nearest_unknown = is_known & (at_nearest(lead.known_B1HW, points) <= 0)
        if is_nearest_unknown.any():
            moved = torch.where(is_nearest_unknown, at_points(matched, points) * scale, moved)
        rain[..., rows, :] = SCALING.denormalise(torch.where(is_known, moved, -torch.inf))
    return rain


def biased(amounts_n: Tensor, pixels: int, bias: float) -> Tensor:
    """Sorted amounts whose share of pixels above each value is that of the given ones times a bias.

    Parameters
    ----------
    amounts_n : above 0, in rising order; the other pixels have 0.
    pixels : how many there are in all.
    """
    if bias == 1 or not len(amounts_n):
        return amounts_n
    falling = torch.cat([amounts_n.flip(0), amounts_n.new_zeros(1)])
    count = min(pixels, math.ceil((len(amounts_n) + 0.5) * bias - 0.5))
    number = torch.arange(count, device=amounts_n.device, dtype=torch.float64)
    place = ((number + 0.5) / bias - 0.5).clamp(min=0)  # of the same share of pixels, before
    higher = place.floor().long()
    share = (place - higher).to(falling.dtype)
    last = len(amounts_n)
    result = torch.lerp(
        falling[higher.clamp(max=last)], falling[(higher + 1).clamp(max=last)], share
    )
    return result.flip(0)


def rain_of_cuts(logits_BKHW: Tensor, cuts: Sequence[float]) -> Tensor:
    """Rain that is at least a threshold exactly where its chance is at least the threshold's cut.

    Between two thresholds, the logarithm of rain follows the distances of the logits from the
    cuts linearly; above the last threshold it goes on as between the last two.

    Parameters
    ----------
    cuts : logit for each of `THRESHOLDS_MM_H`.

    Returns
    -------
    (B, 1, H, W) mm/h; 0 below the first threshold.
    """
    levels = [math.log(threshold) for threshold in THRESHOLDS_MM_H]
    margins = [logit - cut for logit, cut in zip(logits_BKHW.unbind(1), cuts, strict=True)]
    result = torch.full_like(margins[0], -torch.inf)
    reached = torch.ones_like(margins[0], dtype=torch.bool)
    steps = [upper - lower for lower, upper in pairwise(levels)]
    for number, margin in enumerate(margins):
        reached = reached & (margin >= 0)
        if number + 1 < len(margins):
            above = margins[number + 1]
            share = (margin / (margin - above).clamp(min=1e-6)).clamp(0, 1)
            value = levels[number] + share * steps[number]
        else:
            before = (margins[number - 1] - margin).clamp(min=1e-6)
            value = levels[number] + steps[-1] * margin / before
        result = torch.where(reached, value, result)
    return result.exp().clamp(max=HEAVIEST_MM_H)[:, None]


def expected_rain(logits_BKHW: Tensor) -> Tensor:
    """The mean of the distribution that the chances describe, (B, 1, H, W) mm/h.

    It is the integral of the chance of exceedance over the rain rate. Between two thresholds the
    chance falls exponentially; below the first it is that of the first; above the last it falls as
    between the last two.
    """
    chances = torch.sigmoid(logits_BKHW).clamp(min=1e-7).unbind(1)
    total = THRESHOLDS_MM_H[0] * chances[0]
    scale = torch.zeros_like(total)
    for number in range(len(THRESHOLDS_MM_H) - 1):
        width = THRESHOLDS_MM_H[number + 1] - THRESHOLDS_MM_H[number]
        upper, lower = chances[number], chances[number + 1]
        scale = width / (upper / lower).clamp(min=1 + 1e-4).log()
        total = total + (upper - lower).clamp(min=0) * scale
    total = total + chances[-1] * scale.clamp(max=THRESHOLDS_MM_H[-1])
    return total[:, None]
