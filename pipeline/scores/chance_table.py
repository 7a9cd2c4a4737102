"""The scores of chances, part of the table of scores.

A chance is what a method says, or the share of its members at or above a threshold. Brier scores
are sums over pixels. All else follows from counts of pixels by threshold, lead time, range of
chances and event (`squall.pipeline.scores.chance_sums`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr
from scipy.optimize import isotonic_regression

from squall.pipeline.scores.axes import (
    BY_CHANCE,
    BY_COST,
    BY_SCALE,
    BY_THRESHOLD,
)
from squall.pipeline.scores.chance_sums import NARROW, in_ranges
from squall.pipeline.scores.score import Score

COST_LOSS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


def _events(sums: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Pixels with and without an event by narrow range of chances, as floats."""
    return sums["chance_events"].astype(float), sums["chance_others"].astype(float)


def _per_pixel(name: str, sums: xr.Dataset) -> xr.DataArray:
    """A sum over pixels by threshold, divided by the number of pixels with a chance."""
    return sums[name] / (sums["chance_events"] + sums["chance_others"]).sum(NARROW)


def _all_in_ranges(sums: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Pixels with and without an event by range of chances, all lead times together."""
    of_all = sums[["chance_events", "chance_others"]].sum("lead_time")
    return in_ranges(of_all["chance_events"]), in_ranges(of_all["chance_others"])


def _n_of_chance(sums: xr.Dataset) -> xr.DataArray:
    events, others = _all_in_ranges(sums)
    return events + others


def _rate(which: int, sums: xr.Dataset) -> xr.DataArray:
    """Hit rate (0) or false alarm rate (1) of the warning "at least this chance"."""
    counts = _all_in_ranges(sums)[which].astype(float)
    from_here_on = counts.isel(chance=slice(None, None, -1)).cumsum("chance")
    return from_here_on.isel(chance=slice(None, None, -1)) / counts.sum("chance")


def _roc_area(sums: xr.Dataset) -> xr.DataArray:
    """Area under hit rate against false alarm rate, with straight lines between ranges.

    It is the chance that an event is in a higher range than another pixel, ties counted half.
    """
    events, others = _events(sums)
    below = others.cumsum(NARROW) - others / 2
    area = xr.dot(events, below, dim=NARROW)
    return area / (events.sum(NARROW) * others.sum(NARROW))


def _economic_value(sums: xr.Dataset) -> xr.DataArray:
    """Relative economic value of protecting where the chance is at least cost / loss.

    (Richardson 2000, https://doi.org/10.1256/smsqj.56312), all lead times together.
    """
    events, others = (counts.sum("lead_time") for counts in _events(sums))
    cost_loss = xr.DataArray(COST_LOSS, dims="cost_loss", coords={"cost_loss": COST_LOSS})
    total = (events + others).sum(NARROW)
    protects = sums[NARROW] >= cost_loss - 1e-9
    expense = (
        cost_loss * (events + others).where(protects, 0).sum(NARROW)
        + events.where(~protects, 0).sum(NARROW)
    ) / total
    base_rate = events.sum(NARROW) / total
    climate, perfect = np.minimum(cost_loss, base_rate), cost_loss * base_rate
    return ((climate - expense) / (climate - perfect)).transpose(*BY_COST)


def _recalibrated_brier(events: np.ndarray, others: np.ndarray) -> float:
    """Brier score of the chances after isotonic regression of the events on their ranges."""
    count = events + others
    used = count > 0
    if not used.any():
        return np.nan
    fit = isotonic_regression(events[used] / count[used], weights=count[used]).x
    return float((events[used] * (1 - fit) ** 2 + others[used] * fit**2).sum() / count.sum())


def _corp(part: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """A part of the CORP decomposition of the Brier score (Dimitriadis et al. 2021).

    Brier score = miscalibration - discrimination + uncertainty, with the Brier score itself (not
    the fair one). Chances of one narrow range get the same chance in the regression.
    """

    def of_sums(sums: xr.Dataset) -> xr.DataArray:
        events, others = _events(sums)
        base_rate = events.sum(NARROW) / (events + others).sum(NARROW)
        uncertainty = base_rate * (1 - base_rate)
        if part == "uncertainty":
            return uncertainty
        recalibrated = xr.apply_ufunc(
            _recalibrated_brier,
            *(events, others),
            input_core_dims=[[NARROW], [NARROW]],
            vectorize=True,
        )
        if part == "discrimination":
            return uncertainty - recalibrated
        return _per_pixel("brier", sums) - recalibrated

    return of_sums


def _pfss(sums: xr.Dataset) -> xr.DataArray:
    skill = 1 - sums["pfss_difference2"] / (sums["pfss_forecast2"] + sums["fss_observed2"])
    has_chances = (sums["chance_events"] + sums["chance_others"]).sum(NARROW) > 0
    return skill.where(has_chances)


_chance_score = partial(Score, needs="brier")

CHANCE_SCORES: tuple[Score, ...] = (
    _chance_score(
        "fair_brier", "Brier score", "fair Brier score of the chance of an event", "1",
        BY_THRESHOLD, "lower", partial(_per_pixel, "fair_brier"),
        "Mean square difference between the chance of an event and what happened (1 or 0); 0 is "
        "perfect. The chance is what the method says, or the share of its members. That of members "
        "is the fair one: it estimates the score of very many members, so ensembles of different "
        "size can be compared. It falls as rain gets rarer.",
        spec=".5f",
    ),
    _chance_score(
        "miscalibration", "Miscalibration", "miscalibration of the chances (CORP)", "1",
        BY_THRESHOLD, "lower", _corp("miscalibration"),
        "How much lower the Brier score would be if each chance were replaced by how often the "
        "event happens after it. 0 means that 30 % happens in 30 of 100 cases. Shares of few "
        "members are coarse, so part of theirs falls with more members.",
        spec=".5f", drawn=False,
    ),
    _chance_score(
        "discrimination", "Discrimination", "discrimination of the chances (CORP)", "1",
        BY_THRESHOLD, "higher", _corp("discrimination"),
        "How much the chances tell events from other pixels: what their order alone, once "
        "calibrated, takes off the Brier score of a constant chance. 0 tells nothing.",
        spec=".5f", drawn=False,
    ),
    _chance_score(
        "uncertainty", "Uncertainty", "Brier score of the constant chance (CORP)", "1",
        BY_THRESHOLD, None, _corp("uncertainty"), in_tables=False,
    ),
    _chance_score(
        "brier", "Brier score itself", "Brier score of the chance of an event", "1",
        BY_THRESHOLD, None, partial(_per_pixel, "brier"), in_tables=False,
    ),
    _chance_score(
        "roc_area", "ROC area", "area under the ROC curve", "1",
        BY_THRESHOLD, "higher", _roc_area,
        "Chance that a pixel with an event had a higher chance than a pixel without. 0.5 tells "
        "nothing, 1 is perfect. It ignores whether chances are too high or too low, and many dry "
        "pixels far from rain make it high.",
    ),
    _chance_score(
        "pfss", "Probability FSS", "fractions skill score of the chances", "1",
        BY_SCALE, "higher", _pfss,
        "As the FSS, but with the mean chance in a square instead of the share of events.",
    ),
    _chance_score(
        "observed_frequency", "Observed frequency", "share of pixels with an event", "1",
        BY_CHANCE, None, lambda s: _all_in_ranges(s)[0] / _n_of_chance(s), in_tables=False,
    ),
    _chance_score(
        "mean_chance", "Mean chance", "mean of the chances in this range", "1",
        BY_CHANCE, None, lambda s: s["total_chance"].sum("lead_time") / _n_of_chance(s),
        in_tables=False,
    ),
    _chance_score(
        "n_of_chance", "Pixels of a chance", "pixels with a chance in this range", "1",
        BY_CHANCE, None, _n_of_chance, in_tables=False,
    ),
    _chance_score(
        "hit_rate", "Hit rate", "hit rate of warnings from this chance on", "1",
        BY_CHANCE, None, partial(_rate, 0), in_tables=False,
    ),
    _chance_score(
        "false_alarm_rate", "False alarm rate", "false alarm rate of warnings from this chance on",
        "1", BY_CHANCE, None, partial(_rate, 1), in_tables=False,
    ),
    _chance_score(
        "economic_value", "Economic value", "relative economic value", "1",
        BY_COST, None, _economic_value, in_tables=False,
    ),
)  # fmt: skip
