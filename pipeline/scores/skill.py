"""Verification scores as sums that add up over cases, tiles, workers and times.

`score_sums` and `score_sums_by_method` turn one case into a `ScoreSums`; adding those of all cases
and calling `scores_from_sums` gives the scores, `with_intervals` also their uncertainty. CSI and
the like are thus those of the pooled contingency table, RMSE that of all pixels, FSS that of all
neighbourhoods: not means over cases. Only the spectra and the log-spectral distance are means over
cases, of the same sums; they need whole fields, so that tiles have none.

A pixel counts only where observation and forecast are both known. This module opens no archive and
runs no forecasts (`pipeline.verify.run`), and prints and draws nothing (`pipeline.report.tables`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import xarray as xr
from scores.categorical import BasicContingencyManager

from squall.pipeline.scores.fss import fss_windows_px
from squall.pipeline.scores.sums import COUNTS, ScoreSums, score_sums, score_sums_by_method

__all__ = [
    "SCORES",
    "WITH_INTERVALS",
    "ScoreSums",
    "fss_windows_px",
    "score_sums",
    "score_sums_by_method",
    "scores_from_sums",
    "where_observed",
    "with_intervals",
]

# name: (long name, unit) of everything that `scores_from_sums` returns.
SCORES: dict[str, tuple[str, str]] = {
    "csi": ("critical success index", "1"),
    "pod": ("probability of detection", "1"),
    "far": ("false alarm ratio", "1"),
    "frequency_bias": ("forecast events per observed event", "1"),
    "hss": ("Heidke skill score", "1"),
    "base_rate": ("share of pixels with an observed event", "1"),
    "fss": ("fractions skill score", "1"),
    "mae": ("mean absolute error", "mm h-1"),
    "rmse": ("root mean square error", "mm h-1"),
    "mean_error": ("mean error, forecast minus observed", "mm h-1"),
    "b_mse": ("balanced mean square error", "mm2 h-2"),
    "b_mae": ("balanced mean absolute error", "mm h-1"),
    "correlation": ("Pearson correlation of rain rates", "1"),
    "log_spectral_distance": ("log-spectral distance", "dB"),
    "power": ("mean power spectrum of the forecasts", "dB2"),
    "power_observed": ("mean power spectrum of the observations", "dB2"),
    "n_pixels": ("pixels compared", "1"),
    "n_cases": ("cases with any pixel compared", "1"),
}
_NO_INTERVALS = ("base_rate", "power", "power_observed", "n_pixels", "n_cases")
# The scores to which `with_intervals` adds bounds.
WITH_INTERVALS = tuple(name for name in SCORES if name not in _NO_INTERVALS)
_DRAWS = 1000


def scores_from_sums(sums: ScoreSums) -> xr.Dataset:
    """Scores of the pooled cases, named and described as in `SCORES`.

    NaN where a score is undefined, that is where its denominator is 0: CSI without any event, POD
    and frequency bias without an observed one, FAR without a forecast one, HSS where all pixels
    are events in both or in none, errors without a pixel, correlation of a field without variance.

    `b_mse` and `b_mae` are those of Shi et al. (2017, https://arxiv.org/abs/1706.03458), errors
    weighted 1, 2, 5, 10, 30 where the observed rate is below 2, 5, 10, 30 mm/h or not; here in
    mm/h and as means over pixels, where the paper adds up those of a frame. `correlation` is that
    of rain rates, neither in dB nor ranked (`corr_p` of pysteps). `log_spectral_distance` is the
    mean over the cases in which observation and forecast both have rain; `power` and
    `power_observed` are means over all cases with observed rain (a dry forecast has no power), in
    half-octave bins, of which those without a wavenumber are left out.
    """
    data = sums.data
    table = BasicContingencyManager(
        {
            "tp_count": data["hits"],
            "fn_count": data["misses"],
            "fp_count": data["false_alarms"],
            "tn_count": data["correct_negatives"],
            "total_count": data[list(COUNTS)].to_dataarray().sum("variable"),
        }
    )
    n = data["n_pixels"]
    scores = xr.Dataset(
        {
            "csi": table.critical_success_index(),
            "pod": table.probability_of_detection(),
            "far": table.false_alarm_ratio(),
            "frequency_bias": table.frequency_bias(),
            "hss": _heidke(data),
            "base_rate": table.base_rate(),
            "fss": 1 - data["fss_difference2"] / (data["fss_forecast2"] + data["fss_observed2"]),
            "mae": data["absolute_error"] / n,
            "rmse": np.sqrt(data["squared_error"] / n),
            "mean_error": (data["forecast_rain"] - data["observed_rain"]) / n,
            "b_mse": data["balanced_squared_error"] / n,
            "b_mae": data["balanced_absolute_error"] / n,
            "correlation": _correlation(data),
            "log_spectral_distance": data["spectral_distance"] / data["n_distances"],
            "power": data["power_forecast"] / data["n_spectra"],
            "power_observed": data["power_observed"] / data["n_spectra"],
        }
    )
    scores = scores.where(np.isfinite)  # false alarms per no event at all: infinite, so undefined
    scores = scores.assign(n_pixels=n, n_cases=data["n_cases"])
    for name, (long_name, units) in SCORES.items():
        scores[name].attrs = {"long_name": long_name, "units": units}
    return scores.dropna("wavelength", how="all", subset=["power_observed"])


def with_intervals(blocks: Sequence[ScoreSums], *, level: float = 0.9) -> xr.Dataset:
    """Scores of all blocks pooled, and bounds of those in `WITH_INTERVALS`.

    The bounds are NAME_low and NAME_high, and NAME_mean_low and NAME_mean_high of the score's mean
    over the lead times of `where_observed`.

    The interval is a percentile bootstrap (Efron and Tibshirani 1993): as many blocks as there
    are, drawn with replacement, are pooled and scored, 1000 times over; its ends are quantiles of
    those scores. Blocks ought to be longer than rain stays alike; single cases, being nearly
    copies of their neighbours, would give intervals far too narrow. Every method and lead time
    sees the same draws, and a second call too.

    Parameters
    ----------
    blocks : sums of one stretch of time each, with the same axes.
    level : probability between low and high.

    Returns
    -------
    As `scores_from_sums`. Bounds are NaN where fewer than two blocks have a pixel to compare, and
    leave out the draws in which the score is undefined (a threshold reached in no drawn block).
    """
    if not blocks:
        raise ValueError("no sums to score, expected those of at least one block of time.")
    scores = scores_from_sums(reduce(add, blocks))
    stacked = xr.concat([block.data for block in blocks], dim="block", join="exact")
    draws = np.random.default_rng(0).multinomial(
        len(blocks), np.full(len(blocks), 1 / len(blocks)), size=_DRAWS
    )
    weights = xr.DataArray(draws.astype(float), dims=("sample", "block"))
    tail = (1 - level) / 2
    quantiles = [tail, 1 - tail]
    # One lead time after the other: all draws of all FSS sums at once would fill the memory.
    bounds, parts = [], None
    for lead in range(stacked.sizes["lead_time"]):
        samples = _bootstrap(stacked.isel(lead_time=[lead]), weights)
        bounds.append(samples.map(_quantiles, quantiles=quantiles))
        observed = where_observed(samples, scores["base_rate"].isel(lead_time=[lead]))
        observed = observed.isel(lead_time=0, drop=True)
        part = xr.concat([observed.fillna(0), observed.notnull().astype(float)], dim="part")
        parts = part if parts is None else parts + part
    assert parts is not None  # an archive has lead times
    total, count = parts.isel(part=0), parts.isel(part=1)
    of_leads = xr.concat(bounds, dim="lead_time")
    of_means = (total / count.where(count > 0)).map(_quantiles, quantiles=quantiles)
    for name in WITH_INTERVALS:
        long_name, units = SCORES[name]
        for kind, found in (("", of_leads), ("_mean", of_means)):
            dims = [dim for dim in scores[name].dims if dim in found[name].dims]
            for bound, end in enumerate(("low", "high")):
                values = found[name].isel(quantile=bound, drop=True).transpose(*dims)
                what = f"{long_name}, mean over lead times" if kind else long_name
                described = f"{what}, {end} end of the {100 * level:g} % interval"
                scores[f"{name}{kind}_{end}"] = values.assign_attrs(
                    long_name=described, units=units
                )
    return scores


def where_observed(scores: xr.Dataset, base_rate: xr.DataArray) -> xr.Dataset:
    """The scores that take part in means over lead times: where a threshold was observed anywhere.

    These lead times are the same for all methods: without an event CSI is 0 with one false alarm
    and undefined without any, and such a mean would reward whoever dares least.
    """
    happened = base_rate > 0
    return scores.map(lambda score: score.where(happened) if "threshold" in score.dims else score)


def _bootstrap(blocks: xr.Dataset, weights: xr.DataArray) -> xr.Dataset:
    """The scores of weighted sums of blocks, along `sample`."""
    sums = blocks.map(lambda values: xr.dot(weights, values, dim="block"))
    samples = scores_from_sums(ScoreSums(sums))[list(WITH_INTERVALS)]
    return samples.where((blocks["n_pixels"] > 0).sum("block") > 1)


def _quantiles(score: xr.DataArray, quantiles: Sequence[float]) -> xr.DataArray:
    """Quantiles over `sample`, along `quantile`."""
    score = score.transpose("sample", ...)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)  # undefined stays so
        values = np.nanquantile(score.values, quantiles, axis=0)
    return xr.DataArray(values, dims=("quantile", *score.dims[1:]))


def _heidke(data: xr.Dataset) -> xr.DataArray:
    """Heidke skill score, in floats: products of counts of many cases overflow int64."""
    a, b, c, d = (
        data[n].astype(float) for n in ("hits", "false_alarms", "misses", "correct_negatives")
    )
    return 2 * (a * d - b * c) / ((a + c) * (c + d) + (a + b) * (b + d))


def _correlation(data: xr.Dataset) -> xr.DataArray:
    n = data["n_pixels"]
    forecast, observed = data["forecast_rain"] / n, data["observed_rain"] / n
    covariance = data["rain_product"] / n - forecast * observed
    variances = []
    for name, mean in (("forecast_rain2", forecast), ("observed_rain2", observed)):
        variance = data[name] / n - mean**2
        variances.append(variance.where(variance > 1e-12 * mean**2))  # less is rounding
    return covariance / np.sqrt(variances[0] * variances[1])
