"""The scores of members and of the chances that they give; part of the table of scores.

Chances are shares of members: k of M members at or above a threshold. Everything about them
follows from counts of pixels by threshold, lead time, share and event
(`squall.pipeline.scores.member_sums`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from scipy.optimize import isotonic_regression

from squall.pipeline.scores.axes import (
    BY_COST,
    BY_LEAD_TIME,
    BY_RANK,
    BY_SCALE,
    BY_SHARE,
    BY_THRESHOLD,
    BY_THRESHOLD_AND_WIDTH,
    BY_WIDTH,
    Dims,
)
from squall.pipeline.scores.member_sums import fair_part
from squall.pipeline.scores.score import Direction, Score

COST_LOSS = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


def _events(sums: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Pixels with and without an event by share, as floats."""
    return sums["share_events"].astype(float), sums["share_others"].astype(float)


def _fair_brier(sums: xr.Dataset) -> xr.DataArray:
    """Brier score that does not depend on the number of members (Ferro 2014)."""
    events, others = _events(sums)
    share = sums["share"]
    fair = fair_part(share, sums.sizes["share"] - 1)
    total = (events * ((1 - share) ** 2 - fair) + others * (share**2 - fair)).sum("share")
    return total / (events + others).sum("share")


def _rates(sums: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Hit rate and false alarm rate of the warning "at least this share", along `share`."""
    return tuple(
        counts.isel(share=slice(None, None, -1)).cumsum("share").isel(share=slice(None, None, -1))
        / counts.sum("share")
        for counts in _events(sums)
    )  # type: ignore[return-value]


def _roc_area(sums: xr.Dataset) -> xr.DataArray:
    """Area under hit rate against false alarm rate, with straight lines between shares."""
    hit_rate, false_rate = (rate.pad(share=(0, 1), constant_values=0) for rate in _rates(sums))
    width = -false_rate.diff("share")
    middle = (hit_rate + hit_rate.shift(share=1)).isel(share=slice(1, None)) / 2
    return (width.drop_vars("share") * middle.drop_vars("share")).sum("share", skipna=False)


def _economic_value(sums: xr.Dataset) -> xr.DataArray:
    """Relative economic value of protecting where the share is at least cost / loss.

    (Richardson 2000, https://doi.org/10.1256/smsqj.56312), all lead times together.
    """
    events, others = (counts.sum("lead_time") for counts in _events(sums))
    cost_loss = xr.DataArray(COST_LOSS, dims="cost_loss", coords={"cost_loss": COST_LOSS})
    total = (events + others).sum("share")
    protects = sums["share"] >= cost_loss - 1e-9
    expense = (
        cost_loss * (events + others).where(protects, 0).sum("share")
        + events.where(~protects, 0).sum("share")
    ) / total
    base_rate = events.sum("share") / total
    climate, perfect = np.minimum(cost_loss, base_rate), cost_loss * base_rate
    return ((climate - expense) / (climate - perfect)).transpose(*BY_COST)


def _recalibrated_brier(events: np.ndarray, others: np.ndarray) -> float:
    """Brier score of the shares after isotonic regression of the events on them."""
    count = events + others
    used = count > 0
    if not used.any():
        return np.nan
    fit = isotonic_regression(events[used] / count[used], weights=count[used]).x
    return float((events[used] * (1 - fit) ** 2 + others[used] * fit**2).sum() / count.sum())


def _corp(part: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """A part of the CORP decomposition of the Brier score (Dimitriadis et al. 2021).

    Brier score = miscalibration - discrimination + uncertainty, with the Brier score of the
    shares themselves (not the fair one).
    """

    def of_sums(sums: xr.Dataset) -> xr.DataArray:
        events, others = _events(sums)
        total = (events + others).sum("share")
        base_rate = events.sum("share") / total
        uncertainty = base_rate * (1 - base_rate)
        if part == "uncertainty":
            return uncertainty
        recalibrated = xr.apply_ufunc(
            _recalibrated_brier,
            *(events, others),
            input_core_dims=[["share"], ["share"]],
            vectorize=True,
        )
        if part == "discrimination":
            return uncertainty - recalibrated
        share = sums["share"]
        brier = (events * (1 - share) ** 2 + others * share**2).sum("share") / total
        return brier - recalibrated

    return of_sums


def _rank_histogram(sums: xr.Dataset) -> xr.DataArray:
    """Count of each rank, as a multiple of the count that all ranks would have if equal."""
    ranks = sums["ranks"].sum("lead_time")
    return ranks / ranks.mean("rank")


def _spread(sums: xr.Dataset) -> xr.DataArray:
    """Standard deviation of members, made as large as the error of a reliable ensemble's mean.

    The factor is 1 + 1 / M (Fortin et al. 2014, https://doi.org/10.1175/JHM-D-14-0008.1).
    """
    members = sums.sizes["share"] - 1
    variance = sums["member_variance"] / sums["n_pixels"] * (1 + 1 / members)
    return xr.ufuncs.sqrt(variance.where(sums["member_variance"] > 0))


def _error_of_mean(sums: xr.Dataset) -> xr.DataArray:
    return xr.ufuncs.sqrt(sums["mean_squared_error"] / sums["n_pixels"])


def _member_score(
    name: str,
    label: str,
    long_name: str,
    unit: str,
    dims: Dims,
    direction: Direction | None,
    of_sums: Callable[[xr.Dataset], xr.DataArray],
    meaning: str = "",
    **more: object,
) -> Score:
    return Score(
        name, label, long_name, unit, dims, direction, of_sums, meaning, of_members=True,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


MEMBER_SCORES: tuple[Score, ...] = (
    _member_score(
        "fair_brier", "Brier score", "fair Brier score of the share of members", "1",
        BY_THRESHOLD, "lower", _fair_brier,
        "Mean square difference between the chance of an event (the share of members) and what "
        "happened (1 or 0); 0 is perfect. It is the fair one: it estimates the score of very many "
        "members, so ensembles of different size can be compared. It falls as rain gets rarer.",
        spec=".5f",
    ),
    _member_score(
        "tw_crps", "CRPS above", "threshold-weighted fair CRPS", "mm h-1",
        BY_THRESHOLD, "lower", lambda s: s["tw_crps"] / s["n_pixels"],
        "CRPS that counts only what happens above the threshold: how good the members are for "
        "heavy rain. Fair, as the fair CRPS.",
        spec=".4f",
    ),
    _member_score(
        "miscalibration", "Miscalibration", "miscalibration of the share of members (CORP)", "1",
        BY_THRESHOLD, "lower", _corp("miscalibration"),
        "How much lower the Brier score would be if each chance were replaced by how often the "
        "event happens after it. 0 means that 30 % happens in 30 of 100 cases. Shares of few "
        "members are coarse, so part of it falls with more members.",
        spec=".5f", drawn=False,
    ),
    _member_score(
        "discrimination", "Discrimination", "discrimination of the share of members (CORP)", "1",
        BY_THRESHOLD, "higher", _corp("discrimination"),
        "How much the chances tell events from other pixels: what their order alone, once "
        "calibrated, takes off the Brier score of a constant chance. 0 tells nothing.",
        spec=".5f", drawn=False,
    ),
    _member_score(
        "uncertainty", "Uncertainty", "Brier score of the constant chance (CORP)", "1",
        BY_THRESHOLD, None, _corp("uncertainty"), in_tables=False,
    ),
    _member_score(
        "roc_area", "ROC area", "area under the ROC curve", "1",
        BY_THRESHOLD, "higher", _roc_area,
        "Chance that a pixel with an event had a higher share of members than a pixel without. 0.5 "
        "tells nothing, 1 is perfect. It ignores whether chances are too high or too low, and many "
        "dry pixels far from rain make it high.",
    ),
    _member_score(
        "pfss", "Probability FSS", "fractions skill score of the share of members", "1",
        BY_SCALE, "higher",
        lambda s: 1 - s["pfss_difference2"] / (s["pfss_forecast2"] + s["fss_observed2"]),
        "As the FSS, but with the mean chance in a square instead of the share of events.",
    ),
    _member_score(
        "crps", "CRPS", "continuous ranked probability score", "mm h-1",
        BY_LEAD_TIME, "lower", lambda s: s["crps"] / s["n_pixels"],
        "Continuous ranked probability score of the members as they are: the mean absolute error "
        "for a whole distribution. For a single forecast it is the MAE. More members lower it.",
        spec=".4f",
    ),
    _member_score(
        "fair_crps", "Fair CRPS", "fair continuous ranked probability score", "mm h-1",
        BY_LEAD_TIME, "lower", lambda s: s["fair_crps"] / s["n_pixels"],
        "The CRPS that very many members would have, estimated from those at hand: the score to "
        "compare ensembles with. It is right only if members are drawn independently, and it is "
        "too good if they are spread out on purpose.",
        spec=".4f",
    ),
    _member_score(
        "spread", "Spread", "standard deviation of members", "mm h-1",
        BY_LEAD_TIME, None, _spread, in_tables=False,
    ),
    _member_score(
        "error_of_mean", "Error of the mean", "root mean square error of the mean of members",
        "mm h-1", BY_LEAD_TIME, "lower", _error_of_mean,
        "Root mean square error of the mean of the members.", short_label="mean err.",
    ),
    _member_score(
        "spread_error", "Spread / error", "spread of members per error of their mean", "1",
        BY_LEAD_TIME, "nearer", lambda s: _spread(s) / _error_of_mean(s),
        "Spread of the members divided by the error of their mean. 1 is reliable; below 1 the "
        "ensemble is too sure of itself.",
        short_label="spr./err.", spec=".2f", ideal=1.0, in_ratios=True,
    ),
    _member_score(
        "means_crps", "CRPS of means", "fair CRPS of neighbourhood means", "mm h-1",
        BY_WIDTH, "lower", lambda s: s["means_fair_crps"] / s["n_means"],
        "Fair CRPS of the mean rain in squares: whether rain at neighbouring pixels varies "
        "together as it should. Members that are right at each pixel alone fail here.",
        spec=".4f",
    ),
    _member_score(
        "means_brier", "Brier of means", "fair Brier score of neighbourhood means", "1",
        BY_THRESHOLD_AND_WIDTH, "lower", lambda s: s["means_fair_brier"] / s["n_means"],
        "Fair Brier score of the mean rain in squares at or above a threshold.", spec=".5f",
    ),
    _member_score(
        "observed_frequency", "Observed frequency", "share of pixels with an event", "1",
        BY_SHARE, None,
        lambda s: s["share_events"].sum("lead_time")
        / (s["share_events"] + s["share_others"]).sum("lead_time"),
        in_tables=False,
    ),
    _member_score(
        "n_of_share", "Pixels of a share", "pixels with this share of members", "1",
        BY_SHARE, None,
        lambda s: (s["share_events"] + s["share_others"]).sum("lead_time"), in_tables=False,
    ),
    _member_score(
        "hit_rate", "Hit rate", "hit rate of warnings from this share on", "1",
        BY_SHARE, None, lambda s: _rates(s.sum("lead_time"))[0], in_tables=False,
    ),
    _member_score(
        "false_alarm_rate", "False alarm rate", "false alarm rate of warnings from this share on",
        "1", BY_SHARE, None, lambda s: _rates(s.sum("lead_time"))[1], in_tables=False,
    ),
    _member_score(
        "economic_value", "Economic value", "relative economic value", "1",
        BY_COST, None, _economic_value, in_tables=False,
    ),
    _member_score(
        "rank_histogram", "Rank histogram", "count of a rank per mean count of all ranks", "1",
        BY_RANK, None, _rank_histogram, in_tables=False,
    ),
)  # fmt: skip
