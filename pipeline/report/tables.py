"""Scores as text: `write_csv` for spreadsheets, `score_table` for a terminal.

Both take what `squall.pipeline.scores.skill.scores_from_sums` returns. This module computes no
score and draws nothing.
"""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from squall.pipeline.report.differences import EXPLANATION, compared_methods, difference_rows
from squall.pipeline.report.summary import best, lead_means, minutes, scores_to_show, shown_scales
from squall.pipeline.scores.axes import (
    AXES,
    BY_LEAD_TIME,
    BY_METHOD,
    BY_SCALE,
    BY_THRESHOLD,
    BY_THRESHOLD_AND_WIDTH,
    BY_WIDTH,
)
from squall.pipeline.scores.score import Score

_TEXT_WIDTH = 100
CSV_COLUMNS = (*(axis.csv_column for axis in AXES), "score", "value", "low", "high")


def write_csv(scores: xr.Dataset, path: str | Path) -> None:
    """Write every score as rows of a long table with the columns `CSV_COLUMNS`.

    `low` and `high` are the bounds of the 90 % interval of the value. The table does not hold means
    over lead times, only how much better they are than those of the reference (NAME_gain). A cell
    is empty where the score does not have that axis (the observed spectrum has no method), where
    the value is undefined, and where it has no interval.
    """
    scores = scores.assign_coords(lead_time=minutes(scores))
    frames = []
    for name in map(str, scores.data_vars):
        if name.endswith(("_low", "_high")):
            continue
        columns = {"value": scores[name].astype(float)}
        for bound in ("low", "high"):
            if f"{name}_{bound}" in scores:
                columns[bound] = scores[f"{name}_{bound}"].astype(float)
        dims = [str(dim) for dim in scores[name].dims]
        frame = xr.Dataset(columns).to_dataframe(dim_order=dims)
        frames.append(frame.reset_index().assign(score=name))
    rows = pd.concat(frames, ignore_index=True)
    rows = rows.rename(columns={axis.name: axis.csv_column for axis in AXES})
    rows.reindex(columns=list(CSV_COLUMNS)).to_csv(path, index=False, float_format="%.12g")


def score_table(scores: xr.Dataset) -> str:
    """Scores averaged over lead times, as text for a terminal with one row for each method.

    First the scores by threshold, then those of all rain rates. The best value of each column has
    a star. The last part compares each method with the reference.
    """
    means = lead_means(scores)
    lead_min = minutes(scores)
    n_cases = int(scores["n_cases"].max())
    lines = [
        f"Mean over {lead_min.size} lead times ({lead_min.min():g} to {lead_min.max():g} min) of "
        f"the scores of {n_cases} pooled case{'s' if n_cases != 1 else ''}; *: best of a column.",
        "The mean at a threshold leaves out lead times at which it was not observed (–: all).",
    ]
    if comment := scores["lead_time"].attrs.get("comment"):
        lines.append(f"Lead times are {comment}.")
    blocks = [
        _rows_by_threshold(score.label, score, means)
        for score in scores_to_show(scores, BY_THRESHOLD)
    ]
    if blocks:
        shares = 100 * means["base_rate"].max("method").values
        blocks[0].append(["observed [% of pixels]", *(f"{share:.2g} " for share in shares)])
    for score in scores_to_show(scores, BY_SCALE):
        blocks += [
            _rows_by_threshold(f"{score.label}, {scale:.3g} km", score, means.sel(scale=scale))
            for scale in shown_scales(scores)
        ]
    for score in scores_to_show(scores, BY_THRESHOLD_AND_WIDTH):
        blocks += [
            _rows_by_threshold(f"{score.label}, {width:g} km", score, means.sel(width=width))
            for width in scores["width"].values
        ]
    blocks += [_rows_by_width(score, means) for score in scores_to_show(scores, BY_WIDTH)]
    blocks.append(_rows_of_all_rates(means))
    text = [*lines, *(line for rows in blocks for line in ("", *_aligned(rows)))]
    return "\n".join([*text, *_differences(scores)])


def _differences(scores: xr.Dataset) -> list[str]:
    """Lines that compare each method with the reference."""
    rows = difference_rows(scores)
    if not rows:
        return []
    reference = scores.attrs["reference"]
    heading = textwrap.wrap(EXPLANATION.format(reference=reference), _TEXT_WIDTH)
    cells = [[row.label, *(cell.text for cell in row.cells)] for row in rows]
    return ["", *heading, "", *_aligned([["", *compared_methods(scores)], *cells])]


def _rows_by_threshold(title: str, score: Score, means: xr.Dataset) -> list[Sequence[str]]:
    """One row for each method, one column for each threshold."""
    thresholds = [f"{threshold:g}" for threshold in means["threshold"].values]
    thresholds[0] = f"≥ {thresholds[0]}"
    *most, last = thresholds
    values = means[score.name].transpose("threshold", "method").values
    return [
        [title, *(f"{text} " for text in most), f"{last} mm/h"],
        *_method_rows(means, [list(_starred(score, column)) for column in values]),
    ]


def _rows_by_width(score: Score, means: xr.Dataset) -> list[Sequence[str]]:
    """One row for each method, one column for each width of neighbourhood means."""
    values = means[score.name].transpose("width", "method").values
    return [
        [score.title, *(f"{width:g} km " for width in means["width"].values)],
        *_method_rows(means, [list(_starred(score, column)) for column in values]),
    ]


def _rows_of_all_rates(means: xr.Dataset) -> list[Sequence[str]]:
    """One row for each method, one column for each score without a threshold."""
    scores = scores_to_show(means, BY_LEAD_TIME, BY_METHOD)
    columns = [list(_starred(score, means[score.name].values)) for score in scores]
    units = (f"[{score.printed_unit}] " if score.printed_unit else "" for score in scores)
    return [
        ["All rain rates", *(f"{score.column} " for score in scores)],
        ["", *units],
        *_method_rows(means, columns),
    ]


def _method_rows(means: xr.Dataset, columns: list[list[str]]) -> list[Sequence[str]]:
    methods = [str(method) for method in means["method"].values]
    return [[method, *(column[i] for column in columns)] for i, method in enumerate(methods)]


def _starred(score: Score, values: np.ndarray) -> Iterator[str]:
    for value, is_best in zip(values, best(score.name, values), strict=True):
        yield score.text(value) + ("*" if is_best else " ")


def _aligned(rows: list[Sequence[str]]) -> list[str]:
    """Lines of text, the first column aligned left and the others aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
