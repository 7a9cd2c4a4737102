"""The scores of members, part of the table of scores; see `squall.pipeline.scores.member_sums`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import xarray as xr

from squall.pipeline.scores.axes import (
    BY_LEAD_TIME,
    BY_RANK,
    BY_SPREAD,
    BY_THRESHOLD,
    BY_THRESHOLD_AND_WIDTH,
    BY_WAVELENGTH,
    BY_WIDTH,
)
from squall.pipeline.scores.score import Score


def _rank_histogram(sums: xr.Dataset) -> xr.DataArray:
    """Count of each rank, as a multiple of the count that all ranks would have if equal."""
    ranks = sums["ranks"].sum("lead_time")
    return ranks / ranks.mean("rank")


def _inflation(sums: xr.Dataset) -> float:
    """Variance of a reliable ensemble's error by that of its M members, 1 + 1 / M.

    (Fortin et al. 2014, https://doi.org/10.1175/JHM-D-14-0008.1).
    """
    return 1 + 1 / (sums.sizes["rank"] - 1)


def _spread(sums: xr.Dataset) -> xr.DataArray:
    """Standard deviation of members, made as large as the error of a reliable ensemble's mean."""
    variance = sums["member_variance"] / sums["n_pixels"] * _inflation(sums)
    return xr.ufuncs.sqrt(variance.where(sums["member_variance"] > 0))


def _of_spread(name: str, factor: Callable[[xr.Dataset], float], sums: xr.Dataset) -> xr.DataArray:
    """Root of a mean over the pixels of each range of spread, all lead times together."""
    of_all = sums[["n_of_spread", name]].sum("lead_time")
    mean = of_all[name] / of_all["n_of_spread"].where(of_all["n_of_spread"] > 0)
    return xr.ufuncs.sqrt(factor(sums) * mean)


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
        "spread_of_range", "Spread of a range", "spread of the pixels in a range of spreads",
        "mm h-1", BY_SPREAD, None, partial(_of_spread, "variance_of_spread", _inflation),
        in_tables=False,
    ),
    _member_score(
        "error_of_range", "Error of a range",
        "root mean square error of the mean of members in a range of spreads", "mm h-1",
        BY_SPREAD, None, partial(_of_spread, "squared_error_of_spread", lambda _: 1.0),
        in_tables=False,
    ),
    _member_score(
        "n_of_spread", "Pixels of a spread", "pixels in a range of spreads", "1",
        BY_SPREAD, None, lambda s: s["n_of_spread"].sum("lead_time"), in_tables=False,
    ),
    _member_score(
        "member_spectral_distance", "LSD of members", "log-spectral distance of single members",
        "dB", BY_LEAD_TIME, "lower", lambda s: s["member_distance"] / s["n_member_distances"],
        "Log-spectral distance of single members, their mean. A good member has the texture of "
        "observed rain and a low distance; the mean of members is smooth and has a high one.",
        short_label="LSD memb.", spec=".2f",
    ),
    _member_score(
        "member_power", "Power of members", "mean power spectrum of single members", "dB2",
        BY_WAVELENGTH, None, lambda s: s["member_power"] / s["n_spectra"], in_tables=False,
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
