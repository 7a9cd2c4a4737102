"""Scores for people and spreadsheets: `write_csv` for a long table, `table` for a terminal.

Both take what `pipeline.scores.skill.scores_from_sums` returns, with a dimension `method`.
Nothing is
scored here; figures are `pipeline.report.plots`', the page is `pipeline.report.page`'s.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from squall.pipeline.report.looks import SCORE_LOOKS, best, lead_means, minutes, shown_scales

CSV_COLUMNS = (
    "method", "lead_time_min", "threshold_mm_h", "scale_km", "wavelength_km", "score", "value",
    "low", "high",
)  # fmt: skip
ALL_RATES = (
    "mae", "rmse", "mean_error", "b_mae", "b_mse", "correlation", "log_spectral_distance",
    "seconds",
)  # fmt: skip

_CSV_NAMES = {
    "lead_time": "lead_time_min",
    "threshold": "threshold_mm_h",
    "scale": "scale_km",
    "wavelength": "wavelength_km",
}
# The labels of SCORE_LOOKS that are too wide for a column here.
_SHORT_LABELS = {
    "mean_error": "bias",
    "correlation": "corr.",
    "log_spectral_distance": "LSD",
    "seconds": "time",
}


def write_csv(scores: xr.Dataset, path: str | Path) -> None:
    """Write every score as one row of a long table with the columns `CSV_COLUMNS`.

    `low` and `high` are the 90 % interval of the value. Means over lead times are not in the table,
    nor their intervals. Empty where a score has no such label
    (the observed spectrum has no method), and where a value is undefined or has no interval.
    """
    scores = scores.assign_coords(lead_time=minutes(scores))
    names = [str(name) for name in scores.data_vars]
    parts = []
    for name in names:
        score = scores[name].astype(float)
        if name.removesuffix("_low").removesuffix("_high").removesuffix("_mean") != name:
            continue
        columns = {"value": score}
        for bound in ("low", "high"):
            if f"{name}_{bound}" in scores:
                columns[bound] = scores[f"{name}_{bound}"].astype(float)
        frame = xr.Dataset(columns).to_dataframe(dim_order=[str(dim) for dim in score.dims])
        parts.append(frame.reset_index().assign(score=name))
    table = pd.concat(parts, ignore_index=True).rename(columns=_CSV_NAMES)
    table.reindex(columns=list(CSV_COLUMNS)).to_csv(path, index=False, float_format="%.12g")


def table(scores: xr.Dataset) -> str:
    """Scores averaged over lead times, the methods under each other, to be printed.

    CSI, frequency bias and FSS by threshold, then the scores of all rain rates. The best of each
    column has a star.
    """
    means = lead_means(scores)
    lead_min = minutes(scores)
    n_cases = int(scores["n_cases"].max())
    lines = [
        f"Mean over {lead_min.size} lead times ({lead_min.min():g} to {lead_min.max():g} min) of "
        f"the scores of {n_cases} pooled case{'s' if n_cases != 1 else ''}; *: best of a column.",
        "A threshold's mean leaves out lead times where it was not observed (–: all of them).",
    ]
    if comment := scores["lead_time"].attrs.get("comment"):
        lines.append(f"Lead times are {comment}.")
    blocks = [("CSI", "csi", means), ("Frequency bias", "frequency_bias", means)]
    for scale in shown_scales(scores):
        blocks.append((f"FSS, {scale:.3g} km", "fss", means.sel(scale=scale)))
    for title, name, here in blocks:
        observed = name == "csi"
        lines += ["", *_aligned(_by_threshold(title, name, here, observed=observed))]
    return "\n".join([*lines, "", *_aligned(_all_rates(means))])


def _by_threshold(
    title: str, name: str, means: xr.Dataset, *, observed: bool
) -> list[Sequence[str]]:
    """A row a method, a column a threshold; under them perhaps how often it was reached."""
    thresholds = [f"{threshold:g}" for threshold in means["threshold"].values]
    thresholds[0] = f"≥ {thresholds[0]}"
    columns = [
        list(_starred(name, values))
        for values in means[name].transpose("threshold", "method").values
    ]
    rows: list[Sequence[str]] = [[title, *(f"{text} " for text in thresholds)]]
    rows += _rows(means, columns)
    rows[0] = [*rows[0][:-1], f"{thresholds[-1]} mm/h"]
    if observed:
        shares = 100 * means["base_rate"].max("method").values
        rows.append(["observed [% of pixels]", *(f"{share:.2g} " for share in shares)])
    return rows


def _all_rates(means: xr.Dataset) -> list[Sequence[str]]:
    """A row a method, a column a score that knows no threshold."""
    names = [name for name in ALL_RATES if name in means]
    looks = [SCORE_LOOKS[name] for name in names]
    columns = [list(_starred(name, means[name].values)) for name in names]
    labels = [_SHORT_LABELS.get(name, look.label) for name, look in zip(names, looks, strict=True)]
    return [
        ["All rain rates", *(f"{label} " for label in labels)],
        ["", *(f"[{look.unit}] " if look.unit else "" for look in looks)],
        *_rows(means, columns),
    ]


def _rows(means: xr.Dataset, columns: list[list[str]]) -> list[Sequence[str]]:
    methods = [str(method) for method in means["method"].values]
    return [[method, *(column[i] for column in columns)] for i, method in enumerate(methods)]


def _starred(name: str, values: np.ndarray) -> Iterator[str]:
    for value, is_best in zip(values, best(name, values), strict=True):
        yield SCORE_LOOKS[name].text(value) + ("*" if is_best else " ")


def _aligned(rows: list[Sequence[str]]) -> list[str]:
    """Lines of text, the first column flush left and the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
