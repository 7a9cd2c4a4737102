"""A verification as one static HTML page: tables, figures, cases, meanings and provenance.

`html_report` makes the page from `Section`s. The page needs no other file, no network and no
JavaScript. Its words and its style are in `page.html.jinja`; this module fills that template and
embeds the pictures.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import xarray as xr
from jinja2 import Environment, StrictUndefined
from matplotlib.colors import to_hex, to_rgba_array
from PIL import Image

from squall.pipeline.pictures import RAIN_SCALE, image_of
from squall.pipeline.report.case_figure import ForecastCase, draw_case
from squall.pipeline.report.differences import EXPLANATION, compared_methods, difference_rows
from squall.pipeline.report.plots import MODEL_COLOURS, method_styles
from squall.pipeline.report.summary import best, lead_means, minutes, scores_to_show, shown_scales
from squall.pipeline.scores.axes import (
    BY_LEAD_TIME,
    BY_METHOD,
    BY_SCALE,
    BY_THRESHOLD,
    BY_THRESHOLD_AND_WIDTH,
    BY_WIDTH,
)
from squall.pipeline.scores.score import Score
from squall.pipeline.scores.table import SCORES

# A picture keeps these colours even if few pixels have them; the other colours of its palette are
# the most frequent ones.
_KEPT_COLOURS = (
    "white", "black", "0.2", "0.4", "0.6", "0.8", *MODEL_COLOURS, *RAIN_SCALE.colours,
    RAIN_SCALE.no_radar, RAIN_SCALE.no_forecast,
)  # fmt: skip
_OTHER_COLOURS = 40


@dataclass(frozen=True, eq=False)
class Section:
    """Scores, plots and cases of one archive, or of all archives pooled.

    Parameters
    ----------
    facts : names and values.
    plots : PNG files by name, those of `score_figures` and `probability_figures`.
    """

    title: str
    scores: xr.Dataset
    facts: Mapping[str, str]
    plots: Mapping[str, Path] = field(default_factory=dict)
    cases: Sequence[ForecastCase] = ()


def html_report(
    title: str,
    sections: Sequence[Section],
    *,
    facts: Mapping[str, str],
    provenance: Mapping[str, str],
    configuration: str,
    cautions: Sequence[str] = (),
) -> str:
    """The page as text. HTML in any argument is escaped.

    Parameters
    ----------
    sections : in the order of the page.
    facts : what was verified, and which pixels count.
    provenance : versions and digests of what computed the scores.
    configuration : its line breaks are kept.
    cautions : what the reader must know before the numbers, such as cases that failed.
    """
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        files("squall.pipeline.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    )
    names = [str(name) for section in sections for name in section.scores]
    return template.render(
        title=title,
        facts=facts,
        cautions=cautions,
        sections=[_filled(section) for section in sections],
        has_chances="observed_frequency" in names,
        has_members="rank_histogram" in names,
        has_intervals=any(name.endswith("_low") for name in names),
        scores=[score for name, score in SCORES.items() if score.meaning and name in names],
        provenance=provenance,
        configuration=configuration,
    )


@dataclass(frozen=True)
class _Cell:
    text: str
    interval: str
    best: bool


@dataclass(frozen=True)
class _Row:
    method: str
    colour: str
    cells: Sequence[_Cell]


@dataclass(frozen=True)
class _Table:
    caption: str
    heads: Sequence[str]
    rows: Sequence[_Row]
    foot: Sequence[str] = ()


@dataclass(frozen=True)
class _Picture:
    uri: str
    width: int
    height: int
    alt: str


def _filled(section: Section) -> dict[str, object]:
    """The values of a section for the template."""
    scores = section.scores
    return {
        "title": section.title,
        "facts": {**_counts(scores), **section.facts},
        "tables": _tables(scores),
        "differences": difference_rows(scores),
        "reference": scores.attrs.get("reference", ""),
        "compared": compared_methods(scores),
        "differences_explained": EXPLANATION.format(reference=scores.attrs.get("reference", "")),
        "plots": [
            _picture(Image.open(path), f"{section.title}: {name.replace('_', ' ')} of each method")
            for name, path in section.plots.items()
        ],
        "cases": [_picture(image_of(draw_case(case)), case.title) for case in section.cases],
    }


def _counts(scores: xr.Dataset) -> dict[str, str]:
    lead_min, pixels = minutes(scores), scores["n_pixels"].values
    span = f"{pixels.min():,}" + (f" to {pixels.max():,}" if pixels.max() > pixels.min() else "")
    comment = scores["lead_time"].attrs.get("comment")
    return {
        "Cases": f"{int(scores['n_cases'].max()):,}",
        "Lead times": f"{lead_min.size}, {lead_min.min():g} to {lead_min.max():g} min"
        + (f"; {comment}" if comment else ""),
        "Pixels compared": f"{span.replace(',', ' ')} at each lead time",
    }


def _tables(scores: xr.Dataset) -> list[_Table]:
    means = lead_means(scores)
    tables = [
        _by_threshold(score, score.title, means) for score in scores_to_show(scores, BY_THRESHOLD)
    ]
    if tables:
        shares = 100 * means["base_rate"].max("method").values
        foot = ("observed, % of pixels", *(f"{share:.2g}" for share in shares))
        tables[0] = replace(tables[0], foot=foot)
    for score in scores_to_show(scores, BY_SCALE):
        tables += [
            _by_threshold(
                score,
                f"{score.title}, neighbourhoods of {scale:.3g} km",
                means.sel(scale=scale),
            )
            for scale in shown_scales(scores)
        ]
    for score in scores_to_show(scores, BY_THRESHOLD_AND_WIDTH):
        tables += [
            _by_threshold(score, f"{score.title}, means of {width:g} km", means.sel(width=width))
            for width in scores["width"].values
        ]
    for score in scores_to_show(scores, BY_WIDTH):
        widths = scores["width"].values
        of_widths = [_cells(score, means.sel(width=width)) for width in widths]
        heads = [f"{width:g} km" for width in widths]
        tables.append(_Table(score.title, heads, _rows(means, of_widths)))
    general_scores = scores_to_show(scores, BY_LEAD_TIME, BY_METHOD)
    columns = [_cells(score, means) for score in general_scores]
    heads = [score.title for score in general_scores]
    return [*tables, _Table("All rain rates", heads, _rows(means, columns))]


def _by_threshold(score: Score, caption: str, means: xr.Dataset) -> _Table:
    thresholds = means["threshold"].values
    columns = [_cells(score, means.sel(threshold=threshold)) for threshold in thresholds]
    heads = [f"≥ {threshold:g} mm/h" for threshold in thresholds]
    return _Table(caption, heads, _rows(means, columns))


def _cells(score: Score, means: xr.Dataset) -> list[_Cell]:
    """One cell for each method; means have the dim `method` alone."""
    values = means[score.name].values
    intervals = [""] * values.size
    if f"{score.name}_low" in means:
        bounds = (means[f"{score.name}_{end}"].values for end in ("low", "high"))
        intervals = [
            f"{score.text(low)} to {score.text(high)}" if np.isfinite(low + high) else ""
            for low, high in zip(*bounds, strict=True)
        ]
    return [
        _Cell(score.text(value), interval, bool(is_best))
        for value, interval, is_best in zip(
            values, intervals, best(score.name, values), strict=True
        )
    ]


def _rows(means: xr.Dataset, columns: Sequence[Sequence[_Cell]]) -> list[_Row]:
    styles = method_styles(means["method"].values)
    return [
        _Row(method, to_hex(style["color"]), [column[i] for column in columns])
        for i, (method, style) in enumerate(styles.items())
    ]


def _picture(image: Image.Image, alt: str) -> _Picture:
    """A picture as text of the page. A palette makes it eight times smaller than a full PNG."""
    webp = io.BytesIO()
    image = image.convert("RGB")
    kept = np.round(255 * to_rgba_array(_KEPT_COLOURS)[:, :3]).astype(np.uint8).ravel().tolist()
    others = image.quantize(_OTHER_COLOURS, dither=Image.Dither.NONE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(kept + others[: 3 * _OTHER_COLOURS])
    reduced = image.quantize(palette=palette, dither=Image.Dither.NONE)
    reduced.convert("RGB").save(webp, "webp", lossless=True)
    text = base64.b64encode(webp.getvalue()).decode("ascii")
    return _Picture(f"data:image/webp;base64,{text}", image.width, image.height, alt)
