"""Rain rate at other times and on other grids: fields between two scans, wider and finer pixels.

Public: `with_fields_between`, `regridded`.

Tensors: T time, H rows, W columns; lower-case h, w: cells of the coarse motion grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from squall.convgru import RainScaling
from squall.convgru.motion import COARSE, coarse_motion, pad_to, trajectories, transport
from squall.datasets.grid import is_wide_pixel_known

Rates = npt.NDArray[np.float32]


def with_fields_between(fields: Iterable[Rates], observed: Rates, parts: int) -> Iterator[Rates]:
    """Divide the time between two consecutive times into equal parts, with fields at each division.

    At the fraction f of the time between two times, the fields of both are advected to this time,
    the earlier ones by f steps of the motion and the later ones by f - 1, and averaged with the
    weights 1 - f and f.

    Parameters
    ----------
    fields : (C, y, x) for each time, like rain rate [mm/h] and chances of several thresholds; NaN =
        not known. The fields of one time are known at the same pixels.
    observed : (T, y, x), mm/h, the scans that the motion is computed from. They are as far apart in
        time as the fields.
    parts : number of parts.

    Yields
    ------
    (C, y, x) for each time and each division, NaN where both advected fields are not known. Only
    the fields of two times are kept.
    """
    motion_12hw = coarse_motion(_tensor(observed).unsqueeze(0))
    fractions = [k / parts for k in range(1, parts)]
    ways = [
        (f, trajectories(motion_12hw * f, 1)[0], trajectories(motion_12hw * (f - 1), 1)[0])
        for f in fractions
    ]
    earlier = None
    for later in fields:
        if earlier is not None:
            for fraction, forward, backward in ways:
                before, weight_before = _advected(earlier, forward)
                after, weight_after = _advected(later, backward)
                weight = (1 - fraction) * weight_before + fraction * weight_after
                # 0 / 0 gives NaN: neither is known there
                mean = ((1 - fraction) * before + fraction * after) / weight
                height, width = later.shape[-2:]
                yield mean[0, :, :height, :width].numpy()
        yield later
        earlier = later


def regridded(rain_rate: Rates, factor: Fraction) -> Rates:
    """Make pixels wider by a whole factor k, or narrower by 1 / k.

    A wide pixel is the mean rain rate of the known pixels in it; it is not known if too few of them
    are (`squall.datasets.grid.is_wide_pixel_known`). Narrow pixels are interpolated in
    decibels and scaled, so that their mean is the rain rate of the wide pixel.

    Parameters
    ----------
    rain_rate : (T, y, x), mm/h, NaN = not known.

    Returns
    -------
    (T, y / factor, x / factor), mm/h. Sides that k does not divide are rounded up.
    """
    if factor == 1:
        return rain_rate
    if factor > 1:
        return _block_means(_tensor(rain_rate), int(factor))[:, 0].numpy()
    return _refined(_tensor(rain_rate), factor.denominator)[:, 0].numpy()


def _advected(fields_CHW: Rates, displacement_12hw: Tensor) -> tuple[Tensor, Tensor]:
    """Advected fields (1, C, H, W) with 0 where they are not known, and where they are known."""
    fields = torch.from_numpy(np.ascontiguousarray(fields_CHW))[None]
    fields = pad_to(fields, COARSE, value=math.nan)
    is_known = ~torch.isnan(fields[:, :1])
    return transport(torch.where(is_known, fields, 0.0), is_known.float(), displacement_12hw)


def _block_means(rate_T1HW: Tensor, side: int) -> Tensor:
    """Means of the known pixels in blocks of ``side`` × ``side``; NaN if too few are known.

    Only the pixels in the domain count where a block reaches beyond its edge.
    """

    def blocks(x: Tensor, beyond: float) -> Tensor:
        return pad_to(x, side, value=beyond).unfold(2, side, side).unfold(3, side, side)

    rates = blocks(rate_T1HW, math.nan)
    known = (~torch.isnan(rates)).sum(dim=(4, 5))
    in_domain = blocks(torch.ones_like(rate_T1HW[:1]), 0.0).sum(dim=(4, 5))
    enough = (known > 0) & is_wide_pixel_known(known, in_domain)
    return torch.where(enough, rates.nanmean(dim=(4, 5)), torch.nan)


def _refined(rate_T1HW: Tensor, side: int) -> Tensor:
    """Replace each pixel by ``side`` × ``side`` pixels with the same mean."""

    def spread(x: Tensor, mode: str) -> Tensor:
        return interpolate(x, scale_factor=float(side), mode=mode)

    scaling = RainScaling()
    decibels, is_known = scaling.normalise(rate_T1HW)
    smooth = spread(decibels * is_known, "bilinear") / spread(is_known, "bilinear")
    shape = scaling.denormalise(smooth)
    mean = _block_means(shape, side)
    scaled = shape * spread(rate_T1HW / mean, "nearest")
    # Rain below the smallest value in decibels has no shape to scale: it keeps its rate.
    return torch.where(spread(mean, "nearest") > 0, scaled, spread(rate_T1HW, "nearest"))


def _tensor(rain_rate: Rates) -> Tensor:
    """(T, 1, y, x)."""
    return torch.from_numpy(np.ascontiguousarray(rain_rate))[:, None]
