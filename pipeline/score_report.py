"""Scores for people: `write_csv` for a spreadsheet, `table` for a terminal, `plot` for a figure.

All three take what `pipeline.skill.scores_from_sums` returns, with a dimension `method`. Nothing
is scored here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

CSV_COLUMNS = ("method", "lead_time_min", "threshold_mm_h", "scale_km", "score", "value")

_TABLE_SCORES = {
    "csi": ("CSI", ".3f"),
    "pod": ("POD", ".3f"),
    "far": ("FAR", ".3f"),
    "frequency_bias": ("bias", ".2f"),
}
_TABLE_ERRORS = {"mae": "MAE", "rmse": "RMSE", "mean_error": "mean error"}

# Okabe and Ito's colours, told apart with any colour vision; the reference is grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_REFERENCE = "persistence"
_SCALE_LINEWIDTHS = (2.4, 0.9)  # of the largest and the smallest FSS scale


def write_csv(scores: xr.Dataset, path: str | Path) -> None:
    """Write every score as one row of a long table with the columns `CSV_COLUMNS`.

    Empty where a score has no threshold or scale, and where its value is undefined.
    """
    scores = _with_methods(scores).assign_coords(lead_time=_minutes(scores))
    parts = [
        scores[name].rename("value").to_dataframe().reset_index().assign(score=str(name))
        for name in scores.data_vars
    ]
    frame = pd.concat([part.astype({"value": float}) for part in parts], ignore_index=True)
    frame = frame.rename(
        columns={"lead_time": "lead_time_min", "threshold": "threshold_mm_h", "scale": "scale_km"}
    )
    frame.reindex(columns=list(CSV_COLUMNS)).to_csv(path, index=False, float_format="%.12g")


def table(scores: xr.Dataset) -> str:
    """Scores averaged over lead times, a row a method under each threshold, to be printed."""
    scores = _with_methods(scores)
    minutes = _minutes(scores)
    means = scores.mean("lead_time", skipna=True)
    # .sel(method=...) would be the lookup option of that name; hence the dictionaries below.
    methods = [str(method) for method in scores["method"].values]
    scales = _outer_scales(scores)

    head = ["threshold", "observed", "method", *(label for label, _ in _TABLE_SCORES.values())]
    rows = [head + [f"FSS {scale:g} km" for scale in scales]]
    for threshold in scores["threshold"].values:
        at = means.sel(threshold=threshold)
        share = _number(100 * float(at["base_rate"].mean()), ".3g")
        labels = [f"{threshold:g} mm/h", f"{share} %"]
        for method in methods:
            here = at.sel({"method": method})
            values = [_number(here[name], spec) for name, (_, spec) in _TABLE_SCORES.items()]
            fss = [_number(here["fss"].sel(scale=scale), ".3f") for scale in scales]
            rows.append([*labels, method, *values, *fss])
            labels = ["", ""]
    errors = [["all rates", "[mm/h]", "method", *_TABLE_ERRORS.values()]]
    for method in methods:
        here = means.sel({"method": method})
        errors.append(["", "", method, *(_number(here[name], ".3f") for name in _TABLE_ERRORS)])

    n_cases = int(scores["n_cases"].max())
    return "\n".join(
        [
            f"Mean over {minutes.size} lead times ({minutes.min():g} to {minutes.max():g} min) of "
            f"the scores of {n_cases} pooled case{'s' if n_cases != 1 else ''}.",
            "Lead times where a score is undefined are left out of its mean (–: all are).",
            "observed: share of pixels at or above the threshold. bias: forecast / observed share.",
            "",
            *_aligned(rows, errors),
        ]
    )


def plot(scores: xr.Dataset) -> Figure:
    """CSI and FSS against lead time, a column a threshold, with MAE and RMSE in the last column.

    The FSS panels show the smallest scale thin and the largest thick.
    """
    scores = _with_methods(scores)
    thresholds = scores["threshold"].values
    widths = dict(zip(_SCALE_LINEWIDTHS, reversed(_outer_scales(scores)), strict=False))
    n_columns = len(thresholds) + 1
    figure = Figure(figsize=(2.6 * n_columns + 0.6, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, n_columns, squeeze=False, sharex=True)

    for column, threshold in enumerate(thresholds):
        here = scores.sel(threshold=threshold)
        top, bottom = axes[:, column]
        top.set_title(f"≥ {threshold:g} mm/h", fontsize="medium")
        _draw(top, here["csi"])
        for width, scale in widths.items():
            _draw(bottom, here["fss"].sel(scale=scale), linewidth=width)
        for ax in (top, bottom):
            ax.set_ylim(0, 1)
            if column:
                ax.tick_params(labelleft=False)
    axes[0, 0].set_ylabel("CSI")
    axes[1, 0].set_ylabel("FSS")
    for ax, name in zip(axes[:, -1], ("mae", "rmse"), strict=True):
        _draw(ax, scores[name])
        ax.set_ylim(bottom=0)
        ax.set_ylabel(f"{name.upper()} [mm/h]")
    axes[0, -1].set_title("all rates", fontsize="medium")
    axes[0, 0].set_xlim(0, 1.03 * _minutes(scores).max())
    for ax in axes[1]:
        ax.set_xlabel("lead time [min]")
    handles, _ = axes[0, -1].get_legend_handles_labels()
    handles += [
        Line2D([], [], color="black", linewidth=width, label=f"FSS {scale:g} km")
        for width, scale in widths.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def _draw(ax: Axes, score: xr.DataArray, linewidth: float = 1.8) -> None:
    """A line a method, on (method, lead_time)."""
    minutes = _minutes(score)
    for method, style in _styles(score["method"].values):
        y = score.sel({"method": method}).values
        # Markers, since a score defined at a single lead time draws no line.
        style |= {"marker": "o", "markersize": 1.5 * linewidth}
        ax.plot(minutes, y, label=str(method), linewidth=linewidth, **style)
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _styles(methods: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    colours = itertools.cycle(_COLOURS)
    for method in methods:
        if method == _REFERENCE:
            yield method, {"color": "0.45", "linestyle": (0, (4, 1.5)), "zorder": 1.9}
        else:
            yield method, {"color": next(colours)}


def _aligned(*blocks: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text with an empty line between blocks; their first three columns line up."""
    together = [max(map(len, column)) for column in zip(*itertools.chain(*blocks), strict=False)]
    lines: list[str] = []
    for block in blocks:
        widths = [max(map(len, column)) for column in zip(*block, strict=True)]
        widths = [*together[:3], *(max(width, 6) for width in widths[3:])]
        for row in block:
            cells = [
                cell.ljust(width) if column in (0, 2) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        lines.append("")
    return lines[:-1]


def _number(value: xr.DataArray | float, spec: str) -> str:
    return format(float(value), spec) if np.isfinite(value) else "–"


def _minutes(scores: xr.Dataset | xr.DataArray) -> np.ndarray:
    return scores["lead_time"].values / np.timedelta64(1, "m")


def _outer_scales(scores: xr.Dataset) -> list[float]:
    """The smallest and the largest FSS scale in km: two, one or none."""
    scales = scores["scale"].values
    return sorted({float(scales.min()), float(scales.max())}) if scales.size else []


def _with_methods(scores: xr.Dataset) -> xr.Dataset:
    """Scores of a single forecast get the dimension `method`."""
    return scores if "method" in scores.dims else scores.expand_dims(method=["forecast"])
