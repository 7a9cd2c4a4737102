"""Intervals of scores: a bootstrap over blocks of time."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from functools import reduce
from operator import add

import numpy as np
import xarray as xr

from squall.pipeline.scores.chance_sums import in_ranges
from squall.pipeline.scores.skill import (
    lead_time_means,
    scores_from_sums,
    where_observed,
)
from squall.pipeline.scores.sums import ScoreSums
from squall.pipeline.scores.table import SCORES, names_with_intervals

_DRAWS = 1000


def with_intervals(
    blocks: Sequence[ScoreSums],
    *,
    reference: str = "",
    level: float = 0.9,
    names: Collection[str] = SCORES,
) -> xr.Dataset:
    """Scores of all blocks pooled, with the bounds of their intervals.

    NAME_low and NAME_high are bounds of the score; NAME_mean_low and NAME_mean_high are those of
    its mean over lead times, over the same lead times as `lead_time_means`.

    With a reference method, NAME_gain is how much better the mean over lead times of a method is
    than that of the reference (`Score.gain`), over the lead times at which both have the score.
    NAME_gain_low and NAME_gain_high are its bounds. The method and the reference have the same
    cases in each draw, so that what both have in common, such as easy and difficult rain, does not
    widen the interval. It is therefore narrower than the intervals of both scores.

    The interval is a percentile bootstrap (Efron and Tibshirani 1993,
    https://doi.org/10.1201/9780429246593). Each of 1000 draws takes N of the N blocks with
    replacement, pools them and scores them. The bounds are quantiles of the scores of the draws.
    A block must be longer than the time over which rain is correlated. Consecutive cases are nearly
    copies of each other, so blocks of one case give intervals that are far too narrow. All methods
    and lead times use the same draws, and so does a second call.

    Parameters
    ----------
    blocks : sums, each of one stretch of time, with the same axes.
    reference : method that all methods are compared with; none if empty.
    level : probability that the interval covers.
    names : of the scores that are asked for; others take time.

    Returns
    -------
    As `scores_from_sums`, with the attribute ``reference``. A score lies inside its interval, or
    both bounds are NaN. They are NaN

    - where fewer than two blocks have the score: on the other blocks alone it is undefined, as the
      CSI of a threshold that neither observation nor forecast reaches;
    - for a mean, also where this holds at one of its lead times;
    - where the bootstrap is so skewed that its interval does not contain the score.

    Bounds leave out the draws in which the score, or one of the scores of a mean, is undefined.
    """
    if not blocks:
        raise ValueError("no sums to score, expected those of at least one block of time.")
    scores = scores_from_sums(reduce(add, blocks), {*names, "base_rate"})
    stacked = xr.concat([block.data for block in blocks], dim="block", join="exact")
    tail = (1 - level) / 2
    by_lead_time, of_means, of_gains = _bounds(stacked, scores, [tail, 1 - tail], reference)
    means = lead_time_means(scores)
    gains = _gains(scores, reference) if reference else {}
    if "observed_frequency" in scores:
        low, high = _frequency_bounds(stacked, [tail, 1 - tail])
        scores["observed_frequency_low"], scores["observed_frequency_high"] = low, high
    percent = f"{100 * level:g} %"
    for name in names_with_intervals(scores):
        score = SCORES[name]
        rows = [
            (name, score.long_name, score.unit, scores[name], by_lead_time[name]),
            (
                *(f"{name}_mean", f"{score.long_name}, mean over lead times", score.unit),
                *(means[name], of_means[name]),
            ),
        ]
        if reference:
            described = f"how much better the mean {score.long_name} is than that of {reference}"
            attrs = {"long_name": described, "units": score.gain_unit}
            scores[f"{name}_gain"] = gains[name].assign_attrs(attrs)
            rows.append((f"{name}_gain", described, score.gain_unit, gains[name], of_gains[name]))
        for prefix, described, unit, value, bounds in rows:
            ends = _around(value, bounds.transpose("quantile", *value.dims))
            for end, bound in zip(("low", "high"), ends, strict=True):
                scores[f"{prefix}_{end}"] = bound.assign_attrs(
                    long_name=f"{described}, {end} end of the {percent} interval", units=unit
                )
    return scores.assign_attrs({"reference": reference} if reference else {})


def _around(value: xr.DataArray, bounds: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Lower and upper bound; NaN where the value does not lie between them."""
    low, high = bounds.isel(quantile=0, drop=True), bounds.isel(quantile=1, drop=True)
    # Where all draws are alike, they differ from the value by rounding errors.
    tolerance = 1e-9 * (1 + abs(value))
    inside = (low <= value + tolerance) & (high >= value - tolerance)
    low, high = low.where(low <= value, value), high.where(high >= value, value)
    return low.where(inside), high.where(inside)


def _bounds(
    stacked: xr.Dataset, scores: xr.Dataset, quantiles: Sequence[float], reference: str
) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Quantiles of all draws: of scores by lead time, of their means, of the gains of means.

    Parameters
    ----------
    stacked : sums along `block`.
    scores : of all blocks pooled.
    reference : may be empty; then there are no gains.
    """
    weights, names = _weights(stacked.sizes["block"]), names_with_intervals(scores)
    in_mean = _in_mean(scores)
    in_both = _in_both(in_mean, reference) if reference else None
    by_lead_time, total, paired = [], xr.Dataset(), [xr.Dataset(), xr.Dataset()]
    # One lead time at a time: the draws of the FSS sums of all lead times would fill the memory.
    for lead in range(stacked.sizes["lead_time"]):
        samples = _scores_of_draws(stacked.isel(lead_time=[lead]), weights, names)
        by_lead_time.append(samples.map(_quantiles, quantiles=quantiles))
        samples = samples.isel(lead_time=0, drop=True)
        # A mean is over the lead times at which the pooled score counts, so a draw without one of
        # them has no mean.
        total = _plus(total, samples.where(in_mean.isel(lead_time=lead, drop=True), 0.0))
        if in_both is not None:
            both = in_both.isel(lead_time=lead, drop=True)
            paired[0] = _plus(paired[0], samples.where(both, 0.0))
            paired[1] = _plus(paired[1], _of(samples, reference).where(both, 0.0))
    means = _divided(total, in_mean)
    of_gains = xr.Dataset()
    if in_both is not None:
        own, other = (_divided(sums, in_both) for sums in paired)
        of_gains = xr.Dataset(
            {
                name: _quantiles(SCORES[name].gain(own[name], other[name]), quantiles)
                for name in map(str, own)
            }
        )
    return (
        xr.concat(by_lead_time, dim="lead_time"),
        means.map(_quantiles, quantiles=quantiles),
        of_gains,
    )


def _frequency_bounds(
    stacked: xr.Dataset, quantiles: Sequence[float]
) -> tuple[xr.DataArray, xr.DataArray]:
    """Bounds of the observed frequency after each range of chances, all lead times together."""
    events, others = (
        in_ranges(stacked[f"chance_{kind}"].sum("lead_time")) for kind in ("events", "others")
    )
    n_blocks = ((events + others) > 0).sum("block")
    weights = _weights(stacked.sizes["block"])
    of_draws = [xr.dot(weights, counts, dim="block") for counts in (events, events + others)]
    bounds = _quantiles((of_draws[0] / of_draws[1]).where(n_blocks > 1), quantiles)
    low, high = (bounds.isel(quantile=end, drop=True) for end in (0, 1))
    return low.assign_attrs(units="1"), high.assign_attrs(units="1")


def _in_mean(scores: xr.Dataset) -> xr.Dataset:
    """Where each score is part of its mean over lead times."""
    return where_observed(scores[names_with_intervals(scores)], scores["base_rate"]).notnull()


def _in_both(in_mean: xr.Dataset, reference: str) -> xr.Dataset:
    """Where a score is part of the mean of the method and of that of the reference."""
    return in_mean & _of(in_mean, reference)


def _of(scores: xr.Dataset, method: str) -> xr.Dataset:
    return scores.sel({"method": method}, drop=True)


def _plus(total: xr.Dataset, part: xr.Dataset) -> xr.Dataset:
    return total + part if total.data_vars else part


def _divided(total: xr.Dataset, in_mean: xr.Dataset) -> xr.Dataset:
    """Sums over the lead times that are in a mean, divided by their number."""
    return total / in_mean.sum("lead_time").where(lambda count: count > 0)


def _gains(scores: xr.Dataset, reference: str) -> dict[str, xr.DataArray]:
    """Gain of the mean of each score over the lead times at which the reference has it, too."""
    in_both = _in_both(_in_mean(scores), reference)
    values = scores[names_with_intervals(scores)]
    own, other = (
        _divided(part.where(in_both, 0.0).sum("lead_time"), in_both)
        for part in (values, _of(values, reference))
    )
    return {
        str(name): SCORES[str(name)].gain(own[name], other[name]).transpose(*own[name].dims)
        for name in own
    }


def _weights(n_blocks: int) -> xr.DataArray:
    """How often each draw contains each block, (sample, block)."""
    draws = np.random.default_rng(0).multinomial(
        n_blocks, np.full(n_blocks, 1 / n_blocks), size=_DRAWS
    )
    return xr.DataArray(draws.astype(float), dims=("sample", "block"))


def _scores_of_draws(
    blocks: xr.Dataset, weights: xr.DataArray, names: Collection[str]
) -> xr.Dataset:
    """The scores of weighted sums of blocks, along `sample`; NaN if less than two have it."""
    sums = blocks.map(lambda values: xr.dot(weights, values, dim="block"))
    samples = scores_from_sums(ScoreSums(sums), names)
    of_blocks = scores_from_sums(ScoreSums(blocks), names)
    return samples.where(of_blocks.notnull().sum("block") > 1)


def _quantiles(score: xr.DataArray, quantiles: Sequence[float]) -> xr.DataArray:
    """Quantiles over `sample`, along `quantile`."""
    score = score.transpose("sample", ...)
    with warnings.catch_warnings():
        # Where all draws are undefined, the bound is undefined.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        values = np.nanquantile(score.values, quantiles, axis=0)
    return xr.DataArray(values, dims=("quantile", *score.dims[1:]))
