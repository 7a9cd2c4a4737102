"""What a network's chances are worth on one radar: cuts, bias and reliability, from counts.

The counts are histograms of the logits, of pixels that reached a threshold and of those that did
not. They add up over cases, so a calibration needs one pass over its cases.

Dims: L lead steps, K thresholds, N bins of logits, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from squall.convgru.ensemble.calibration import EnsembleCalibration
from squall.convgru.thresholds import THRESHOLDS_MM_H

Floats = npt.NDArray[np.float64]

LARGEST_LOGIT = 12.0
BIN = 0.1  # width of a bin
BINS = round(2 * LARGEST_LOGIT / BIN)
EDGES = -LARGEST_LOGIT + BIN * np.arange(BINS)  # lower edges of the bins
CENTRES = EDGES + BIN / 2
FEW_EVENTS = 200  # pixels; with fewer a threshold has the cut of the threshold below
WIDEST_BIAS = 1.3  # amounts are multiplied by at most this, and at least its inverse
FAINT_MM_H, HEAVY_MM_H = 0.5, 10.0  # thresholds from which the bias of the order comes
# The order's bias is this power of the bias that has the highest CSI. CSI is flat at its maximum,
# and the absolute error grows with the area in proportion: the root has most of the CSI for half
# of the error.
BIAS_POWER = 0.5


def count_logits(logits_BKHW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    """Histograms of the logits of one lead time.

    Parameters
    ----------
    target_B1HW : mm/h.
    valid_B1HW : bool; other pixels are not counted.

    Returns
    -------
    (K, 2, N) int64: pixels below and from the threshold on, by logit. Logits beyond
    `LARGEST_LOGIT` are in the outermost bins.
    """
    valid = valid_B1HW[:, 0]
    counts = []
    for logits, threshold in zip(logits_BKHW.unbind(1), THRESHOLDS_MM_H, strict=True):
        reached = (target_B1HW[:, 0][valid] >= threshold).long()
        bins = ((logits[valid] + LARGEST_LOGIT) / BIN).long().clamp(0, BINS - 1)
        counts.append(torch.bincount(reached * BINS + bins, minlength=2 * BINS).view(2, BINS))
    return torch.stack(counts)


class Skill(NamedTuple):
    """Scores for each possible cut of the logits, (L, K, N); cut n is the lower edge of bin n."""

    csi: Floats
    bias: Floats
    """forecast events over observed events"""


def skill_of_cuts(counts_LKEN: Floats) -> Skill:
    """CSI and frequency bias of forecasting an event where the logit is at least a cut."""
    hits = counts_LKEN[:, :, 1, ::-1].cumsum(axis=-1)[..., ::-1]
    forecast = counts_LKEN.sum(axis=2)[..., ::-1].cumsum(axis=-1)[..., ::-1]
    events = counts_LKEN[:, :, 1].sum(axis=-1, keepdims=True)
    return Skill(hits / np.maximum(forecast + events - hits, 1), forecast / np.maximum(events, 1))


class Calibration(BaseModel):
    """Cuts, bias and reliability of a network on one radar, by lead time in minutes.

    Between its lead times the values are interpolated; outside they are those of the nearest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: str
    """name of the archive"""
    grid: str
    """digest of its grid and time step: the calibration is only for these"""
    source: dict[str, Any]
    """the data that it comes from, for people"""
    minutes: tuple[float, ...]
    """lead times, L, rising"""
    best_cuts: tuple[tuple[float, ...], ...]
    """(L, K) logits from which an event is forecast, for the highest CSI"""
    unbiased_cuts: tuple[tuple[float, ...], ...]
    """(L, K) for as many forecast as observed events"""
    bias: tuple[float, ...]
    """(L,) factor of the rain area for forecasts with the last scan's amounts"""
    intercepts: tuple[tuple[float, ...], ...]
    slopes: tuple[tuple[float, ...], ...]
    """(L, K) calibrated logit = intercept + slope * logit"""
    ensemble: EnsembleCalibration | None = None
    """None where no ensemble was calibrated"""

    def at(self, minutes: float) -> LeadCalibration:
        """The values at a lead time."""

        def row(table: Sequence[Sequence[float]]) -> list[float]:
            return [float(np.interp(minutes, self.minutes, c)) for c in zip(*table, strict=True)]

        return LeadCalibration(
            row(self.best_cuts),
            row(self.unbiased_cuts),
            float(np.interp(minutes, self.minutes, self.bias)),
            row(self.intercepts),
            row(self.slopes),
        )


class LeadCalibration(NamedTuple):
    """A `Calibration` at one lead time; lists have K entries."""

    best_cuts: list[float]
    unbiased_cuts: list[float]
    bias: float
    intercepts: list[float]
    slopes: list[float]


def calibrated(
    counts_LKEN: Floats,
    minutes: Sequence[float],
    *,
    archive: str,
    grid: str,
    source: dict[str, Any],
) -> Calibration:
    """Choose cuts, bias and reliability from counts.

    Parameters
    ----------
    counts_LKEN : sums of `count_logits` for each lead time.
    minutes : the lead times.
    """
    skill = skill_of_cuts(counts_LKEN)
    events = counts_LKEN[:, :, 1].sum(axis=-1)
    best = np.argmax(skill.csi, axis=-1)
    unbiased = np.argmin(np.abs(np.log(np.maximum(skill.bias, 1e-9))), axis=-1)
    enough = events >= FEW_EVENTS
    best_cuts, unbiased_cuts = (_filled(EDGES[index], enough) for index in (best, unbiased))
    chosen = [k for k, t in enumerate(THRESHOLDS_MM_H) if FAINT_MM_H <= t <= HEAVY_MM_H]
    best_bias = np.take_along_axis(skill.bias, best[..., None], axis=-1)[..., 0]
    counted = enough[:, chosen]
    log_bias = np.where(counted, np.log(np.maximum(best_bias[:, chosen], 1e-9)), 0.0)
    bias = np.exp(BIAS_POWER * log_bias.sum(axis=1) / np.maximum(counted.sum(axis=1), 1))
    lines = np.array(
        [[_reliability(counts) for counts in by_threshold] for by_threshold in counts_LKEN]
    )
    return Calibration(
        archive=archive,
        grid=grid,
        source=source,
        minutes=tuple(minutes),
        best_cuts=_rows(best_cuts),
        unbiased_cuts=_rows(unbiased_cuts),
        bias=tuple(np.clip(bias, 1 / WIDEST_BIAS, WIDEST_BIAS).round(4).tolist()),
        intercepts=_rows(lines[..., 0]),
        slopes=_rows(lines[..., 1]),
    )


def _filled(cuts_LK: Floats, enough_LK: npt.NDArray[np.bool_]) -> Floats:
    """Cuts in which a threshold with few events has the cut of the threshold below."""
    result = cuts_LK.copy()
    for k in range(result.shape[1]):
        below = result[:, k - 1] if k else np.zeros(len(result))
        result[:, k] = np.where(enough_LK[:, k], result[:, k], below)
    return result


def _reliability(counts_EN: Floats) -> tuple[float, float]:
    """Intercept and slope of the calibrated logit: logistic regression by Newton's method.

    With few events of either kind the logits stay as they are.
    """
    if counts_EN.sum(axis=1).min() < FEW_EVENTS:
        return 0.0, 1.0
    total, events = counts_EN.sum(axis=0), counts_EN[1]
    design = np.stack([np.ones(BINS), CENTRES])
    line = np.array([0.0, 1.0])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-(line @ design).clip(-30, 30)))
        slope = design @ (events - total * chance)
        curvature = (design * (total * chance * (1 - chance))) @ design.T + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        line = line + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-8:
            break
    return float(line[0]), float(max(line[1], 0.05))


def _rows(table: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(value), 4) for value in row) for row in table)


def reliability_curve(counts_EN: Floats, line: tuple[float, float] = (0.0, 1.0)) -> Floats:
    """(3, 10): forecast chance, observed frequency and number of pixels, in tenths of the chance.

    Parameters
    ----------
    counts_EN : of one lead time and threshold.
    line : intercept and slope of a calibration of the logits.
    """
    chance = 1 / (1 + np.exp(-(line[0] + line[1] * CENTRES)))
    tenth = np.minimum((chance * 10).astype(int), 9)
    total, events = counts_EN.sum(axis=0), counts_EN[1]
    sums = np.stack(
        [np.bincount(tenth, values, minlength=10) for values in (total * chance, events, total)]
    )
    pixels = np.where(sums[2] > 0, sums[2], math.nan)
    return np.stack([sums[0] / pixels, sums[1] / pixels, sums[2]])
