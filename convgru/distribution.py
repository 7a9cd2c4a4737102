"""The distribution of rain rate that the chances of exceeding a few thresholds describe.

Between two thresholds the logit of the chance is linear in the logarithm of rain rate. Below the
first threshold there is no rain: what does not reach it is dry. Beyond the last threshold the logit
falls by `TAIL_SLOPE` for each unit of the logarithm, up to the heaviest rate of `RainScaling`.

Public: `chances_of_reaching`, `RainDistribution`.

Dims: K thresholds, M members, H rows, W columns, N pixels with rain.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.special import ndtri

from squall.convgru.scaling import RainScaling
from squall.convgru.strips import STRIP_PX
from squall.convgru.thresholds import THRESHOLDS_MM_H

TAIL_SLOPE = 2.7  # found on Italian rain (issue 16)
LEAST_CHANCE = 1e-7  # keeps logits finite
HEAVIEST_MM_H = RainScaling().ceiling_mm_h
LEVELS = tuple(math.log(threshold) for threshold in THRESHOLDS_MM_H)
# highest rates between two thresholds, in single precision
_MOST_MM_H = (
    *np.nextafter(np.array(THRESHOLDS_MM_H[1:], np.float32), np.float32(0)).tolist(),
    HEAVIEST_MM_H,
)


def chances_of_reaching(chances_KHW: Tensor, thresholds_mm_h: Sequence[float]) -> Tensor:
    """Chances that the rain rate is at least other thresholds.

    Parameters
    ----------
    chances_KHW : of at least `THRESHOLDS_MM_H`; NaN = not known.
    thresholds_mm_h : above 0.

    Returns
    -------
    (thresholds, H, W); NaN where not known.
    """
    logits = torch.logit(chances_KHW, LEAST_CHANCE)
    result = []
    for threshold in thresholds_mm_h:
        if threshold in THRESHOLDS_MM_H:
            result.append(chances_KHW[THRESHOLDS_MM_H.index(threshold)])
            continue
        below = sum(level < threshold for level in THRESHOLDS_MM_H) - 1
        if below < 0:
            result.append(chances_KHW[0])
            continue
        distance = math.log(threshold) - LEVELS[below]
        if below + 1 < len(LEVELS):
            share = distance / (LEVELS[below + 1] - LEVELS[below])
            logit = torch.lerp(logits[below], logits[below + 1], share)
        else:
            logit = logits[below] - TAIL_SLOPE * distance
        is_possible = (chances_KHW[below] > 0) & (threshold <= HEAVIEST_MM_H)
        chance = torch.where(is_possible, torch.sigmoid(logit), 0.0)
        result.append(torch.where(chances_KHW[below].isnan(), torch.nan, chance))
    return torch.stack(result)


class RainDistribution(NamedTuple):
    """The distribution of rain rate at each pixel of one lead time."""

    limit_N: Tensor
    """normal score from which on the first threshold is reached, for all pixels in a row"""
    logits_KN: Tensor
    """of the chances of at least `THRESHOLDS_MM_H`, with infinities; NaN = not known"""

    @classmethod
    def of(cls, chances_KHW: Tensor) -> "RainDistribution":
        """The distribution that chances describe.

        Parameters
        ----------
        chances_KHW : of at least `THRESHOLDS_MM_H`, which do not rise with K; NaN = not known.
        """
        limit_HW, logits_KHW = -ndtri(chances_KHW[0]), torch.logit(chances_KHW)
        return cls(limit_HW.flatten(), logits_KHW.flatten(1))

    def rain_at_scores(self, scores_MHW: Tensor) -> Tensor:
        """The rain rate of each pixel's distribution at normal scores.

        A score is that of a standard normal variable. Rain has the same chance of being exceeded as
        the score. So members whose scores are standard normal have the distribution of the chances.

        Returns
        -------
        (M, H, W) mm/h; 0 below the first threshold, NaN where not known.
        """
        rain = torch.empty_like(scores_MHW)
        for strip in range(0, rain[0].numel(), STRIP_PX):
            pixels = slice(strip, strip + STRIP_PX)
            rain.flatten(1)[:, pixels] = self._of_pixels(scores_MHW.flatten(1)[:, pixels], pixels)
        return rain

    def _of_pixels(self, scores: Tensor, pixels: slice) -> Tensor:
        """(M, n): `rain_at_scores` of some pixels, since it needs memory for each of them."""
        limit, logits_Kn = self.limit_N[pixels], self.logits_KN[:, pixels]
        rain = torch.zeros_like(scores)
        wet_N = (scores >= limit).flatten().nonzero()[:, 0]
        logit_N = _logit_of_exceeding(scores.flatten().index_select(0, wet_N))
        logits_KN = logits_Kn.index_select(1, wet_N % scores.shape[1])
        reached_N = (logit_N <= logits_KN[1:]).sum(dim=0, dtype=torch.int8).long() + 1
        places = torch.stack([reached_N - 1, reached_N.clamp(max=len(LEVELS) - 1)])
        impossible, certain = torch.logit(scores.new_tensor([0.0, 1.0]), LEAST_CHANCE)
        lower_N, upper_N = logits_KN.gather(0, places).clamp(impossible, certain)
        level_N, next_N = scores.new_tensor(LEVELS)[places]
        share = ((lower_N - logit_N) / (lower_N - upper_N).clamp(min=1e-6)).clamp(0, 1)
        beyond = (lower_N - logit_N).clamp(min=0) / TAIL_SLOPE
        is_beyond = reached_N == len(LEVELS)
        logarithm = level_N + torch.where(is_beyond, beyond, share * (next_N - level_N))
        rate_N = logarithm.exp()  # rounding must neither lose nor reach a threshold
        least, most = (scores.new_tensor(limit) for limit in (THRESHOLDS_MM_H, _MOST_MM_H))
        rate_N = rate_N.maximum(least[reached_N - 1]).minimum(most[reached_N - 1])
        rain.view(-1)[wet_N] = rate_N
        return rain.masked_fill_(logits_Kn[0].isnan(), torch.nan)


def _logit_of_exceeding(scores_N: Tensor) -> Tensor:
    """The logit of the chance that a standard normal variable exceeds a score.

    ::

        log(1 - Phi(z)) - log(Phi(z)),    Phi(z) = erfc(-z / sqrt(2)) / 2
    """
    scaled = scores_N * math.sqrt(0.5)
    return torch.erfc(scaled).log_() - torch.erfc(-scaled).log_()
