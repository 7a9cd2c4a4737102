"""The table of scores: the name, the unit, the formula and the explanation of each.

To add a score, add a `Score` to `SCORES`. It then appears in ``scores.nc`` and ``scores.csv`` with
its interval, in the printed table, and in the tables, figures and explanations of the report. If
the formula needs a new sum, add it in `squall.pipeline.scores.sums`.
"""

from __future__ import annotations

import xarray as xr

from squall.pipeline.scores.axes import (
    BY_LEAD_TIME,
    BY_METHOD,
    BY_SCALE,
    BY_THRESHOLD,
    BY_WAVELENGTH,
    OBSERVED_BY_WAVELENGTH,
)
from squall.pipeline.scores.chance_table import CHANCE_SCORES
from squall.pipeline.scores.member_table import MEMBER_SCORES
from squall.pipeline.scores.score import Score


def names_with_intervals(scores: xr.Dataset) -> list[str]:
    """Names of the scores in a dataset that have an interval."""
    return [name for name, score in SCORES.items() if score.has_interval and name in scores]


def _by_name(*scores: Score) -> dict[str, Score]:
    return {score.name: score for score in scores}


def _heidke(sums: xr.Dataset) -> xr.DataArray:
    # As float: the products of the counts of many cases exceed int64.
    a, b, c, d = (
        sums[n].astype(float) for n in ("hits", "false_alarms", "misses", "correct_negatives")
    )
    return 2 * (a * d - b * c) / ((a + c) * (c + d) + (a + b) * (b + d))


def _base_rate(sums: xr.Dataset) -> xr.DataArray:
    events = sums["hits"] + sums["misses"]
    return events / (events + sums["false_alarms"] + sums["correct_negatives"])


def _correlation(sums: xr.Dataset) -> xr.DataArray:
    """Pearson correlation of rain rates, not of dB (``corr_p`` of pysteps).

    Undefined (NaN) where a field has no variance.
    """
    n = sums["n_pixels"]
    forecast, observed = sums["forecast_rain"] / n, sums["observed_rain"] / n
    covariance = sums["rain_product"] / n - forecast * observed
    variances = []
    for name, mean in (("forecast_rain2", forecast), ("observed_rain2", observed)):
        variance = sums[name] / n - mean**2
        # A variance below this is rounding error.
        variances.append(variance.where(variance > 1e-12 * mean**2))
    return covariance / xr.ufuncs.sqrt(variances[0] * variances[1])


# By name, in the order of tables and files.
SCORES: dict[str, Score] = _by_name(
    Score(
        name="csi",
        label="CSI",
        long_name="critical success index",
        unit="1",
        dims=BY_THRESHOLD,
        direction="higher",
        of_sums=lambda s: s["hits"] / (s["hits"] + s["false_alarms"] + s["misses"]),
        meaning="Critical success index: hits / (hits + misses + false alarms) of pixels at or "
        "above a threshold. 1 is perfect, 0 means no hit. A shower that is forecast one pixel "
        "from its place counts as a miss and as a false alarm. The CSI falls as rain gets rarer, "
        "so compare methods within a column only.",
    ),
    Score(
        name="pod",
        label="POD",
        long_name="probability of detection",
        unit="1",
        dims=BY_THRESHOLD,
        direction="higher",
        of_sums=lambda s: s["hits"] / (s["hits"] + s["misses"]),
        meaning="Probability of detection: share of the observed events that were forecast. 1 is "
        "perfect. A forecast of rain everywhere also has 1, so read it together with the FAR.",
        in_tables=False,
    ),
    Score(
        name="far",
        label="FAR",
        long_name="false alarm ratio",
        unit="1",
        dims=BY_THRESHOLD,
        direction="lower",
        of_sums=lambda s: s["false_alarms"] / (s["hits"] + s["false_alarms"]),
        meaning="False alarm ratio: share of the forecast events that were not observed. 0 is "
        "perfect.",
        in_tables=False,
    ),
    Score(
        name="frequency_bias",
        label="Frequency bias",
        long_name="forecast events per observed event",
        unit="1",
        dims=BY_THRESHOLD,
        direction="nearer",
        ideal=1.0,
        in_ratios=True,
        of_sums=lambda s: (s["hits"] + s["false_alarms"]) / (s["hits"] + s["misses"]),
        meaning="Forecast events / observed events. 1 is perfect. Above 1, rain of this rate is "
        "forecast too often. Below 1, it is forecast too seldom, as smooth forecasts do with "
        "heavy rain.",
        spec=".2f",
    ),
    Score(
        name="hss",
        label="HSS",
        long_name="Heidke skill score",
        unit="1",
        dims=BY_THRESHOLD,
        direction="higher",
        of_sums=_heidke,
        meaning="Heidke skill score: share of correct pixels beyond those that are correct by "
        "chance. 1 is perfect, 0 is chance.",
        in_tables=False,
    ),
    Score(
        name="base_rate",
        label="Base rate",
        long_name="share of pixels with an observed event",
        unit="1",
        dims=BY_THRESHOLD,
        direction=None,
        of_sums=_base_rate,
        in_tables=False,
    ),
    Score(
        name="fss",
        label="FSS",
        long_name="fractions skill score",
        unit="1",
        dims=BY_SCALE,
        direction="higher",
        of_sums=lambda s: 1 - s["fss_difference2"] / (s["fss_forecast2"] + s["fss_observed2"]),
        meaning="Fractions skill score: compares the shares of events in squares of the given "
        "width instead of single pixels, so that a small displacement costs little (Roberts and "
        "Lean 2008). 1 is perfect, 0 means no overlap.",
    ),
    Score(
        name="mae",
        label="MAE",
        long_name="mean absolute error",
        unit="mm h-1",
        dims=BY_LEAD_TIME,
        direction="lower",
        of_sums=lambda s: s["absolute_error"] / s["n_pixels"],
        meaning="Mean absolute error of the rain rate over all pixels.",
    ),
    Score(
        name="rmse",
        label="RMSE",
        long_name="root mean square error",
        unit="mm h-1",
        dims=BY_LEAD_TIME,
        direction="lower",
        of_sums=lambda s: xr.ufuncs.sqrt(s["squared_error"] / s["n_pixels"]),
        meaning="Root mean square error of the rain rate. Heavy rain dominates it, and smooth "
        "forecasts have a lower one.",
    ),
    Score(
        name="mean_error",
        label="Mean error",
        short_label="bias",
        long_name="mean error, forecast minus observed",
        unit="mm h-1",
        dims=BY_LEAD_TIME,
        direction="nearer",
        of_sums=lambda s: (s["forecast_rain"] - s["observed_rain"]) / s["n_pixels"],
        meaning="Forecast minus observed rain rate. Above 0 the forecast has too much rain, below "
        "0 too little.",
        spec="+.3f",
    ),
    # The balanced errors of Shi et al. (2017, https://arxiv.org/abs/1706.03458). Here they are
    # means over pixels, in mm/h; the paper adds up the pixels of a frame.
    Score(
        name="b_mae",
        label="B-MAE",
        long_name="balanced mean absolute error",
        unit="mm h-1",
        dims=BY_LEAD_TIME,
        direction="lower",
        of_sums=lambda s: s["balanced_absolute_error"] / s["n_pixels"],
        meaning="Balanced MAE (Shi et al. 2017): errors weigh up to 30 times more where heavy "
        "rain was observed.",
    ),
    Score(
        name="b_mse",
        label="B-MSE",
        long_name="balanced mean square error",
        unit="mm2 h-2",
        dims=BY_LEAD_TIME,
        direction="lower",
        of_sums=lambda s: s["balanced_squared_error"] / s["n_pixels"],
        meaning="Balanced mean square error (Shi et al. 2017), with the weights of B-MAE.",
        spec=".2f",
    ),
    Score(
        name="correlation",
        label="Correlation",
        short_label="corr.",
        long_name="Pearson correlation of rain rates",
        unit="1",
        dims=BY_LEAD_TIME,
        direction="higher",
        of_sums=_correlation,
        meaning="Pearson's correlation of forecast and observed rain rate.",
    ),
    Score(
        name="log_spectral_distance",
        label="Log-spectral distance",
        short_label="LSD",
        long_name="log-spectral distance",
        unit="dB",
        dims=BY_LEAD_TIME,
        direction="lower",
        # The mean over the cases in which the observation and the forecast both have rain.
        of_sums=lambda s: s["spectral_distance"] / s["n_distances"],
        meaning="Root mean square difference in dB of the power spectra of forecast and observed "
        "rain over all wavelengths. 0 is perfect. A blurred forecast has lost its short waves and "
        "has a high distance.",
        spec=".2f",
    ),
    Score(
        name="power",
        label="Power",
        long_name="mean power spectrum of the forecasts",
        unit="dB2",
        dims=BY_WAVELENGTH,
        direction=None,
        # The mean over the cases with observed rain. A dry forecast has no power.
        of_sums=lambda s: s["power_forecast"] / s["n_spectra"],
        in_tables=False,
    ),
    Score(
        name="power_observed",
        label="Observed power",
        long_name="mean power spectrum of the observations",
        unit="dB2",
        dims=OBSERVED_BY_WAVELENGTH,
        direction=None,
        of_sums=lambda s: s["power_observed"] / s["n_spectra"],
        in_tables=False,
    ),
    Score(
        name="n_pixels",
        label="Pixels",
        long_name="pixels compared",
        unit="1",
        dims=BY_LEAD_TIME,
        direction=None,
        of_sums=lambda s: s["n_pixels"],
        in_tables=False,
    ),
    Score(
        name="n_cases",
        label="Cases",
        long_name="cases with any pixel compared",
        unit="1",
        dims=BY_LEAD_TIME,
        direction=None,
        of_sums=lambda s: s["n_cases"],
        in_tables=False,
    ),
    *CHANCE_SCORES,
    *MEMBER_SCORES,
    # Measured by `squall verify`.
    Score(
        name="seconds",
        label="Time a forecast",
        short_label="time",
        long_name="median time for a forecast",
        unit="s",
        dims=BY_METHOD,
        direction="lower",
        of_sums=None,
        meaning="Median time to make one forecast, with its members where they are scored.",
        spec=".2f",
    ),
)
