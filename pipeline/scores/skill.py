"""Scores from sums: every formula of the table of scores, applied to pooled cases.

The formulas are in `squall.pipeline.scores.table`, the sums in `squall.pipeline.scores.sums`. This
module opens no archive, makes no forecast, and prints and draws nothing.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import xarray as xr

from squall.pipeline.scores.sums import ScoreSums
from squall.pipeline.scores.table import SCORES


def scores_from_sums(sums: ScoreSums, names: Collection[str] = SCORES) -> xr.Dataset:
    """Scores of the pooled cases.

    CSI and the other event scores are those of the pooled contingency table, errors those of all
    pixels, the FSS that of all neighbourhoods. They are not means over cases; only the spectra and
    the log-spectral distance are.

    Parameters
    ----------
    names : of the scores that are asked for.

    Returns
    -------
    One variable for each score of `SCORES` that follows from the sums; the scores of members and
    chances only where these were scored. NaN where the score is
    undefined, that is where its denominator is 0: CSI without any event; POD and frequency bias
    without an observed event; FAR without a forecast event; HSS where all pixels are events in
    both or in none; errors without a pixel; correlation where a field has no variance. Wavelengths
    without observed power are dropped.
    """
    scores = xr.Dataset(
        {
            score.name: _finite(score.of_sums(sums.data)).assign_attrs(score.attrs)
            for score in SCORES.values()
            if score.of_sums is not None
            and score.name in names
            and (not score.needs or score.needs in sums.data)
        }
    )
    if "power_observed" not in scores:
        return scores
    return scores.dropna("wavelength", how="all", subset=["power_observed"])


def where_observed(scores: xr.Dataset, base_rate: xr.DataArray) -> xr.Dataset:
    """The scores, with NaN at the thresholds and lead times that no observation reached.

    Means over lead times leave these out, for all methods alike. Without an observed event the CSI
    is 0 after one false alarm and undefined after none, so a mean that included it would favour
    the method that forecasts the fewest events.
    """
    reached = base_rate > 0
    by_threshold = {"threshold", "lead_time"}
    return scores.map(
        lambda score: score.where(reached) if by_threshold <= set(score.dims) else score
    )


def lead_time_means(scores: xr.Dataset) -> xr.Dataset:
    """Mean of every score over the lead times at which it is defined and its threshold observed.

    `where_observed` says which thresholds and lead times are left out.
    """
    means = where_observed(scores, scores["base_rate"])
    return means.mean("lead_time", skipna=True, keep_attrs=True)


def _finite(values: xr.DataArray) -> xr.DataArray:
    """NaN in place of infinity, such as false alarms divided by no observed event."""
    return values.where(np.isfinite(values)) if values.dtype.kind == "f" else values
