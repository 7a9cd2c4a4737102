"""What tables, figures and the page show of scores: means, the best method, selected labels.

Scores are the dataset of `squall.pipeline.scores.skill.scores_from_sums`. All parts of the report
take their selections from this module, so that they agree. It computes no score.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from squall.pipeline.scores.axes import Dims
from squall.pipeline.scores.score import Score
from squall.pipeline.scores.skill import lead_time_means
from squall.pipeline.scores.table import SCORES

_SHOWN_LEADS_MIN = (15.0, 30.0, 60.0)
_SHOWN_SCALES_KM = (4.0, 16.0)


def minutes(scores: xr.Dataset | xr.DataArray) -> NDArray[np.float64]:
    """Lead times [min]."""
    return scores["lead_time"].values / np.timedelta64(1, "m")


def scores_to_show(scores: xr.Dataset, *dims: Dims) -> list[Score]:
    """The scores with one of these dims that tables and figures show, in the table's order."""
    return [
        score
        for name, score in SCORES.items()
        if score.in_tables and score.dims in dims and name in scores
    ]


def lead_means(scores: xr.Dataset) -> xr.Dataset:
    """Mean of every score over lead times; NAME_low and NAME_high are the bounds of the mean.

    A score at a threshold is averaged over the lead times at which an observation reached the
    threshold (`lead_time_means`).
    """
    without_waves = scores.drop_dims("wavelength", errors="ignore")
    values = without_waves[[name for name in without_waves if name in SCORES]]
    means = lead_time_means(values)
    means["base_rate"] = scores["base_rate"].fillna(0).mean("lead_time", keep_attrs=True)
    for name in values:
        for end in ("low", "high"):
            if f"{name}_mean_{end}" in scores:
                means[f"{name}_{end}"] = scores[f"{name}_mean_{end}"]
    return means


def best(name: str, values: Sequence[float] | NDArray) -> NDArray[np.bool_]:
    """Which methods have the best value of a score.

    Values with the same text are equally good. No method is the best where all values have the
    same text, or where only one method has a value.
    """
    score = SCORES[name]
    values = np.asarray(values, dtype=float)
    texts = np.array([score.text(value) for value in values])
    if len(set(texts[np.isfinite(values)])) < 2:
        return np.zeros(len(values), dtype=bool)
    return texts == texts[np.nanargmin(score.cost(values))]


def shown_leads(lead_times: NDArray) -> list[int]:
    """Indices of the lead times nearest to 15, 30 and 60 min, without repetition."""
    lead_min = np.asarray(lead_times) / np.timedelta64(1, "m")
    return sorted({int(np.abs(lead_min - wanted).argmin()) for wanted in _SHOWN_LEADS_MIN})


def shown_scales(scores: xr.Dataset) -> list[float]:
    """The FSS scales nearest (in ratio) to 4 and 16 km, without repetition; none without scales."""
    if "scale" not in scores.coords or not scores["scale"].size:
        return []
    scales = scores["scale"].values
    return sorted(
        {float(scales[np.abs(np.log(scales / wanted)).argmin()]) for wanted in _SHOWN_SCALES_KM}
    )
