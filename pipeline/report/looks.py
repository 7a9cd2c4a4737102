"""What people are shown of scores: names, meanings, means over lead times, the best method.

Public: `ScoreLook`, `SCORE_LOOKS`, `lead_means`, `best`, `minutes`, `shown_leads`, `shown_scales`.

The tables, figures and the report all take these from here, so that they agree. Scores are the
dataset of `pipeline.scores.skill.scores_from_sums` with a dimension `method`; nothing is scored
here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from squall.pipeline.scores.skill import where_observed

_SHOWN_LEADS_MIN = (15.0, 30.0, 60.0)
_SHOWN_SCALES_KM = (4.0, 16.0)


@dataclass(frozen=True)
class ScoreLook:
    """How one score is written: `spec` formats it, `ideal` is its value for a perfect forecast."""

    label: str
    spec: str
    ideal: float
    meaning: str
    unit: str = ""
    in_ratios: bool = False  # 0.5 is as far from 1 as 2 is

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label

    def text(self, value: float) -> str:
        """The value as written in tables; a dash where it is undefined."""
        return format(float(value), self.spec) if np.isfinite(value) else "–"

    def distance(self, values: NDArray) -> NDArray:
        """How far values are from the ideal one; NaN stays NaN."""
        if self.in_ratios:
            with np.errstate(divide="ignore"):
                return np.abs(np.log(values / self.ideal))
        return np.abs(values - self.ideal)


SCORE_LOOKS: dict[str, ScoreLook] = {
    "csi": ScoreLook(
        "CSI", ".3f", 1.0,
        "Critical success index: hits / (hits + misses + false alarms) of pixels at or above a "
        "threshold. 1 is perfect, 0 has no hit. It punishes a shower that is forecast one pixel "
        "beside its place twice, and falls as rain gets rarer: compare methods within a column.",
    ),
    "pod": ScoreLook(
        "POD", ".3f", 1.0,
        "Probability of detection: share of the observed events that were forecast. 1 is perfect; "
        "forecasting rain everywhere reaches it too, so read it beside FAR.",
    ),
    "far": ScoreLook(
        "FAR", ".3f", 0.0,
        "False alarm ratio: share of the forecast events that were not observed. 0 is perfect.",
    ),
    "frequency_bias": ScoreLook(
        "Frequency bias", ".2f", 1.0,
        "Forecast events / observed events. 1 is perfect; above, rain of this rate is forecast too "
        "often, below, too seldom (as smooth forecasts do with heavy rain).",
        in_ratios=True,
    ),
    "hss": ScoreLook(
        "HSS", ".3f", 1.0,
        "Heidke skill score: share of right pixels beyond those that chance gets right. 1 is "
        "perfect, 0 is chance.",
    ),
    "fss": ScoreLook(
        "FSS", ".3f", 1.0,
        "Fractions skill score: compares the shares of events in squares of the given width "
        "instead of single pixels, so that a small displacement costs little (Roberts and Lean "
        "2008). 1 is perfect, 0 has no overlap.",
    ),
    "mae": ScoreLook(
        "MAE", ".3f", 0.0, "Mean absolute error of the rain rate over all pixels.", "mm/h"
    ),
    "rmse": ScoreLook(
        "RMSE", ".3f", 0.0,
        "Root mean square error of the rain rate; heavy rain decides it, and smooth forecasts "
        "have less of it.",
        "mm/h",
    ),
    "mean_error": ScoreLook(
        "Mean error", "+.3f", 0.0,
        "Forecast minus observed rain rate: above 0 too much rain is forecast, below too little.",
        "mm/h",
    ),
    "b_mae": ScoreLook(
        "B-MAE", ".3f", 0.0,
        "Balanced MAE (Shi et al. 2017): errors weigh up to 30 times more where heavy rain was "
        "observed.",
        "mm/h",
    ),
    "b_mse": ScoreLook(
        "B-MSE", ".2f", 0.0,
        "Balanced mean square error (Shi et al. 2017), with the weights of B-MAE.",
        "mm²/h²",
    ),
    "correlation": ScoreLook(
        "Correlation", ".3f", 1.0, "Pearson's correlation of forecast and observed rain rate."
    ),
    "log_spectral_distance": ScoreLook(
        "Log-spectral distance", ".2f", 0.0,
        "Root mean square difference in dB of the power spectra of forecast and observed rain over "
        "all wavelengths. 0 is perfect; blurred forecasts have lost their short waves and score "
        "high.",
        "dB",
    ),
    "seconds": ScoreLook("Time a forecast", ".2f", 0.0, "Median time to make one forecast.", "s"),
}  # fmt: skip


def minutes(scores: xr.Dataset | xr.DataArray) -> NDArray[np.float64]:
    """Lead times [min]."""
    return scores["lead_time"].values / np.timedelta64(1, "m")


def lead_means(scores: xr.Dataset) -> xr.Dataset:
    """Mean of every score over lead times, with NAME_low and NAME_high those of the mean.

    Of a score at a threshold, over the lead times at which that was observed (`where_observed`).
    """
    kept = scores.drop_dims("wavelength", errors="ignore")
    kept = kept.drop_vars([str(name) for name in kept if str(name).endswith(("_low", "_high"))])
    means = where_observed(kept, scores["base_rate"])
    means["base_rate"] = scores["base_rate"].fillna(0)
    means = means.mean("lead_time", skipna=True, keep_attrs=True)
    for name in kept:
        for end in ("low", "high"):
            if f"{name}_mean_{end}" in scores:
                means[f"{name}_{end}"] = scores[f"{name}_mean_{end}"]
    return means


def best(name: str, values: Sequence[float] | NDArray) -> NDArray[np.bool_]:
    """Which of the methods' values of a score is best, with all that are written alike.

    None is where all are written alike, or only one method has a value.
    """
    look = SCORE_LOOKS[name]
    values = np.asarray(values, dtype=float)
    texts = np.array([look.text(value) for value in values])
    if len(set(texts[np.isfinite(values)])) < 2:
        return np.zeros(len(values), dtype=bool)
    return texts == texts[np.nanargmin(look.distance(values))]


def shown_leads(lead_times: NDArray) -> list[int]:
    """Indices of the lead times nearest to 15, 30 and 60 min; fewer where these coincide."""
    lead_min = np.asarray(lead_times) / np.timedelta64(1, "m")
    return sorted({int(np.abs(lead_min - wanted).argmin()) for wanted in _SHOWN_LEADS_MIN})


def shown_scales(scores: xr.Dataset) -> list[float]:
    """The FSS scales nearest (in ratio) to 4 and 16 km; one where these coincide, maybe none."""
    if "scale" not in scores.coords or not scores["scale"].size:
        return []
    scales = scores["scale"].values
    return sorted(
        {float(scales[np.abs(np.log(scales / wanted)).argmin()]) for wanted in _SHOWN_SCALES_KM}
    )
