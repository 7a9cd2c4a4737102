"""Rain rate at other times and on other grids: fields between two scans, wider and finer pixels.

Public: `with_fields_between`, `scan_motion`, `regridded`.

Tensors: T time, H rows, W columns; lower-case h, w: cells of the coarse motion grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from squall.convgru import RainScaling
from squall.convgru.motion import (
    COARSE,
    at_points,
    coarse_motion,
    departure_rows,
    moved_known,
    pad_to,
    trajectories,
)
from squall.convgru.strips import strips
from squall.datasets.grid import is_wide_pixel_known

Rates = npt.NDArray[np.float32]


def with_fields_between(
    fields: Iterable[Rates], motion_12hw: Tensor, parts: int
) -> Iterator[Rates]:
    """Divide the time between two consecutive times into equal parts, with fields at each division.

    At the fraction f of the time between two times, the fields of both are advected to this time,
    the earlier ones by f steps of the motion and the later ones by f - 1, and averaged with the
    weights 1 - f and f.

    Parameters
    ----------
    fields : (C, y, x) for each time, like rain rate [mm/h] and chances of several thresholds; NaN =
        not known. The fields of one time are known at the same pixels.
    motion_12hw : pixels in the time between two fields (`scan_motion`).
    parts : number of parts.

    Yields
    ------
    (C, y, x) for each time and each division, NaN where both advected fields are not known. Only
    the fields of two times are kept.
    """
    fractions = [k / parts for k in range(1, parts)]
    displacements = [
        [trajectories(motion_12hw * steps, 1)[0] for steps in (f, f - 1)] for f in fractions
    ]
    earlier: _Fields | None = None
    for fields_of_time in fields:
        later = _Fields.of(fields_of_time)
        del fields_of_time  # those of a large grid need much memory
        if earlier is not None:
            for f, (forward, backward) in zip(fractions, displacements, strict=True):
                yield _mean_of_moved((earlier, forward, 1 - f), (later, backward, f))
        earlier = later
        del later
        yield earlier.with_nan()


def scan_motion(rain_rate: Rates) -> Tensor:
    """(1, 2, h, w): motion of scans (T, y, x) mm/h, pixels in the time between two of them."""
    return coarse_motion(_tensor(rain_rate).unsqueeze(0))


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


class _Fields(NamedTuple):
    """Fields that can be moved."""

    values_1CHW: Tensor
    """0 where not known; rows and columns up to multiples of `COARSE`"""
    known_11HW: Tensor
    """1 where known, 0 where not"""
    size: tuple[int, int]
    """rows and columns of the fields"""

    @classmethod
    def of(cls, fields: Rates) -> _Fields:
        """From (C, y, x), NaN = not known."""
        channels, height, width = fields.shape
        shape = (1, channels, height + -height % COARSE, width + -width % COARSE)
        values, known = torch.zeros(shape), torch.zeros((1, 1, *shape[2:]))
        known[0, 0, :height, :width] = torch.from_numpy(~np.isnan(fields[0]))
        for value, field in zip(values[0], fields, strict=True):
            torch.nan_to_num(torch.from_numpy(field), out=value[:height, :width])
        return cls(values, known, (height, width))

    def with_nan(self) -> Rates:
        """(C, y, x), NaN = not known."""
        height, width = self.size
        values, known = (x[0, :, :height, :width] for x in (self.values_1CHW, self.known_11HW))
        return torch.where(known > 0, values, torch.nan).numpy()


def _mean_of_moved(*parts: tuple[_Fields, Tensor, float]) -> Rates:
    """(C, y, x): the weighted mean of moved fields, NaN where none of them is known.

    Parameters
    ----------
    parts : fields; the displacement (1, 2, h, w) that they move by [px]; and their weight.
    """
    fields = parts[0][0]
    height, width = fields.size
    mean = np.empty((fields.values_1CHW.shape[1], height, width), np.float32)
    for rows in strips(height, width, torch.device("cpu")):
        points = [departure_rows(displacement, rows) for _, displacement, _ in parts]
        known = [moved_known(p.known_11HW, at) for (p, *_), at in zip(parts, points, strict=True)]
        weights = [weight for *_, weight in parts]
        pairs = zip(weights, known, strict=True)
        total = torch.stack([weight * is_known for weight, (is_known, _) in pairs]).sum(dim=0)
        strip: Tensor | None = None
        for (part, *_), at, weight, (_, scale) in zip(parts, points, weights, known, strict=True):
            moved = at_points(part.values_1CHW, at)
            share = scale.mul_(weight).div_(total)  # 0 / 0: not known, NaN
            strip = moved.mul_(share) if strip is None else strip.addcmul_(moved, share)
        assert strip is not None
        mean[:, rows] = strip[0, :, :, :width].numpy()
    return mean


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
