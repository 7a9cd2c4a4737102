"""How much better or worse each method is than the reference method, as rows of text.

`difference_rows` takes scores with gains (`squall.pipeline.scores.intervals.with_intervals`). The
page and the printed table show the same rows. This module computes no score.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from squall.pipeline.report.summary import shown_scales
from squall.pipeline.scores.axes import (
    BY_LEAD_TIME,
    BY_SCALE,
    BY_THRESHOLD,
    BY_THRESHOLD_AND_WIDTH,
    BY_WIDTH,
    Dims,
)
from squall.pipeline.scores.score import Score
from squall.pipeline.scores.table import SCORES

Verdict = Literal["better", "worse", "unclear", ""]

EXPLANATION = (
    "Each number compares a method with {reference} on the same cases: how far its mean over lead "
    "times is better or worse, with the 90 % interval of this difference. A difference is unclear "
    "where its interval contains 0. Scores that are best at a value, such as a bias, say how much "
    "nearer to that value the method is."
)


@dataclass(frozen=True)
class Difference:
    """One method compared with the reference: text such as "better by 1.2 % [0.4, 2.0]".

    Parameters
    ----------
    verdict : empty without an interval.
    """

    text: str
    verdict: Verdict


@dataclass(frozen=True)
class DifferenceRow:
    """One score at one threshold and scale, for each method other than the reference."""

    label: str
    cells: tuple[Difference, ...]


def compared_methods(scores: xr.Dataset) -> list[str]:
    """The methods that are compared with the reference; none without a reference."""
    reference = scores.attrs.get("reference")
    return [str(m) for m in scores["method"].values if str(m) != reference] if reference else []


def difference_rows(scores: xr.Dataset) -> list[DifferenceRow]:
    """A row for each score in tables, and for each of its thresholds and shown scales.

    Rows without any value are left out.
    """
    rows = []
    methods = compared_methods(scores)
    if not methods:
        return []
    for score in SCORES.values():
        if score.in_tables and f"{score.name}_gain" in scores:
            of_score = scores[[f"{score.name}_gain{end}" for end in ("", "_low", "_high")]]
            for label, at in _selections(of_score, score, scores):
                cells = tuple(_difference(score, at.sel({"method": method})) for method in methods)
                if any(cell.text != _UNDEFINED for cell in cells):
                    rows.append(DifferenceRow(label, cells))
    return rows


_UNDEFINED = "–"


def _selections(
    of_score: xr.Dataset, score: Score, scores: xr.Dataset
) -> Iterator[tuple[str, xr.Dataset]]:
    """A label and the gains of each threshold and scale, along `method`."""
    by: dict[Dims, list[tuple[str, xr.Dataset]]] = {
        BY_LEAD_TIME: [(score.label, of_score)],
        BY_THRESHOLD: [(score.label, of_score)],
    }
    if score.dims == BY_SCALE:
        by[BY_SCALE] = [
            (f"{score.label}, {scale:.3g} km", of_score.sel(scale=scale))
            for scale in shown_scales(scores)
        ]
    if score.dims in (BY_WIDTH, BY_THRESHOLD_AND_WIDTH):
        by[score.dims] = [
            (f"{score.label}, {width:g} km", of_score.sel(width=width))
            for width in scores["width"].values
        ]
    for label, at in by.get(score.dims, []):
        if "threshold" not in at.dims:
            yield label, at
            continue
        for threshold in at["threshold"].values:
            yield f"{label} ≥ {threshold:g} mm/h", at.sel(threshold=threshold)


def _difference(score: Score, at: xr.Dataset) -> Difference:
    """The text of one gain and its bounds."""
    value, low, high = (float(at[f"{score.name}_gain{end}"]) for end in ("", "_low", "_high"))
    if not np.isfinite(value):
        return Difference(_UNDEFINED, "")
    spec, unit = (".1f", "%") if score.gain_unit == "%" else (".3f", score.gain_unit)
    unit = f" {unit}" if unit else ""
    if not np.isfinite(low + high):
        return Difference(f"{value:+{spec}}{unit}", "")
    if low <= 0 <= high:
        return Difference(f"{value:+{spec}}{unit} [{low:+{spec}}, {high:+{spec}}]", "unclear")
    verdict: Verdict = "better" if value > 0 else "worse"
    bounds = sorted((abs(low), abs(high)))
    ends = ", ".join(format(bound, spec) for bound in bounds)
    return Difference(f"{verdict} by {abs(value):{spec}}{unit} [{ends}]", verdict)
