"""The scores of members, part of the table of scores; see `squall.pipeline.scores.member_sums`."""

from __future__ import annotations

from functools import partial

import xarray as xr

from squall.pipeline.scores.axes import (
    BY_LEAD_TIME,
    BY_RANK,
    BY_THRESHOLD,
    BY_THRESHOLD_AND_WIDTH,
    BY_WIDTH,
)
from squall.pipeline.scores.score import Score


def _rank_histogram(sums: xr.Dataset) -> xr.DataArray:
    """Count of each rank, as a multiple of the count that all ranks would have if equal."""
    ranks = sums["ranks"].sum("lead_time")
    return ranks / ranks.mean("rank")


def _spread(sums: xr.Dataset) -> xr.DataArray:
    """Standard deviation of members, made as large as the error of a reliable ensemble's mean.

    The factor is 1 + 1 / M (Fortin et al. 2014, https://doi.org/10.1175/JHM-D-14-0008.1).
    """
    members = sums.sizes["rank"] - 1
    variance = sums["member_variance"] / sums["n_pixels"] * (1 + 1 / members)
    return xr.ufuncs.sqrt(variance.where(sums["member_variance"] > 0))


def _error_of_mean(sums: xr.Dataset) -> xr.DataArray:
    return xr.ufuncs.sqrt(sums["mean_squared_error"] / sums["n_pixels"])


_member_score = partial(Score, needs="fair_crps")

MEMBER_SCORES: tuple[Score, ...] = (
    _member_score(
        "tw_crps", "CRPS above", "threshold-weighted fair CRPS", "mm h-1",
        BY_THRESHOLD, "lower", lambda s: s["tw_crps"] / s["n_pixels"],
        "CRPS that counts only what happens above the threshold: how good the members are for "
        "heavy rain. Fair, as the fair CRPS.",
        spec=".4f",
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
        "rank_histogram", "Rank histogram", "count of a rank per mean count of all ranks", "1",
        BY_RANK, None, _rank_histogram, in_tables=False,
    ),
)  # fmt: skip
