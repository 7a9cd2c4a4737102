"""One case as a figure: the observed rain, and under it the forecast of each method.

`draw_case` draws a `ForecastCase`. The rain colours are those of all maps
(`squall.pipeline.pictures`). This module returns figures and writes no files.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.pipeline.lettering import write
from squall.pipeline.maps.basemap import Basemap, add_map_axes, basemap_for_grid
from squall.pipeline.maps.projection import grid_extent
from squall.pipeline.pictures import MAP_STYLE, NO_FORECAST, NO_RADAR, RAIN_SCALE
from squall.pipeline.report.summary import shown_leads

_PANEL_IN = 2.7  # the side of a square panel; other panels have the same area
_LEFT_IN, _GAP_IN, _HEAD_IN, _FOOT_IN = 0.28, 0.07, 0.78, 0.62
_LEAST_WIDTH_IN = 6.2  # the width of the legend
# Sharp enough for a screen; five archives with three cases each fit in a page of 5 MB.
_DPI = 85
_MARGIN = 0.03  # around the observed area, as a share of the domain
# A small map has room for fewer and thinner lines than a large one.
_STYLE = replace(
    MAP_STYLE, coastline_pt=0.6, shore_pt=0.2, border_pt=0.5, grid_pt=0.0, smallest_shape=5e-4
)


@dataclass(frozen=True, eq=False)
class ForecastCase:
    """The observation and the forecasts of one case.

    Parameters
    ----------
    title : the archive, and why this case was chosen.
    reference_time : time of the last scan that the methods had as input, UTC.
    lead_times : timedelta64, (lead,).
    observed : (lead, y, x), mm h-1, north up. NaN = not observed.
    forecasts : method to (lead, y, x), mm h-1. NaN = not known.
    """

    title: str
    reference_time: pd.Timestamp
    lead_times: NDArray[np.timedelta64]
    observed: NDArray[np.float32]
    forecasts: Mapping[str, NDArray[np.float32]]
    grid: Grid

    def __post_init__(self) -> None:
        expected = (len(self.lead_times), *self.grid.shape)
        for name, rain in {"observed": self.observed, **self.forecasts}.items():
            if rain.shape != expected:
                raise ValueError(
                    f"case {self.title!r}: {name!r} has shape {rain.shape}, expected {expected} "
                    "from the lead times and the grid."
                )


def draw_case(case: ForecastCase) -> Figure:
    """Rows: observed, then each method; columns: the lead times nearest to 15, 30 and 60 min.

    The maps show the observed part of the domain. An unknown pixel is "no radar" if it was not
    observed at any lead time, otherwise "no forecast" in the row of a method.
    """
    case = _where_observed(case)
    leads = shown_leads(case.lead_times)
    rows = {"observed": case.observed, **case.forecasts}
    is_covered = np.logical_or.reduce(np.isfinite(case.observed))
    basemap = _basemap(case.grid)
    width_in, height_in = _panel_size(case.grid, basemap)
    width = max(_LEFT_IN + len(leads) * (width_in + _GAP_IN), _LEAST_WIDTH_IN)
    height = _HEAD_IN + len(rows) * (height_in + _GAP_IN) + _FOOT_IN
    figure = Figure((width, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    for row, (method, rain) in enumerate(rows.items()):
        top = height - _HEAD_IN - row * (height_in + _GAP_IN)
        for column, lead in enumerate(leads):
            left = _LEFT_IN + column * (width_in + _GAP_IN)
            rect = left / width, (top - height_in) / height, width_in / width, height_in / height
            rgba = RAIN_SCALE.rgba(rain[lead], is_covered if row else None)
            _draw_panel(figure, rect, rgba, basemap)
            if row == 0:
                minutes = case.lead_times[lead] / np.timedelta64(1, "m")
                valid = case.reference_time + pd.Timedelta(case.lead_times[lead])
                label = f"+{minutes:g} min   {valid:%d %b %H:%M} UTC"
                figure.text(left / width, (top + 0.06) / height, label, size=8.5)
        write(
            figure, 0.5 * _LEFT_IN, top - height_in / 2, method, height_in, rotation=90, size=9.5,
            weight="bold" if row == 0 else "normal", ha="center",
        )  # fmt: skip
    _heading(figure, case)
    _legend(figure)
    return figure


def _heading(figure: Figure, case: ForecastCase) -> None:
    width, height = figure.get_size_inches()
    room = width - _LEFT_IN - 0.1
    write(figure, _LEFT_IN, height - 0.19, case.title, room, smallest=0.6, size=11, weight="bold")
    reference = f"from {case.reference_time:%Y-%m-%d %H:%M} UTC"
    write(figure, _LEFT_IN, height - 0.4, reference, room, size=9, color=MAP_STYLE.quiet_text)


def _where_observed(case: ForecastCase) -> ForecastCase:
    """The case cut to the rows and columns with any observation, and a margin."""
    is_observed = np.logical_or.reduce(np.isfinite(case.observed))
    if not is_observed.any():
        return case
    spans = []
    for axis in (1, 0):
        observed = np.flatnonzero(is_observed.any(axis=axis))
        margin = round(_MARGIN * is_observed.shape[1 - axis])
        spans.append(slice(max(0, observed[0] - margin - 1), observed[-1] + margin + 2))
    rows, columns = spans
    return replace(
        case,
        observed=case.observed[:, rows, columns],
        forecasts={name: rain[:, rows, columns] for name, rain in case.forecasts.items()},
        grid=Grid(x=case.grid.x[columns], y=case.grid.y[rows], crs_wkt=case.grid.crs_wkt),
    )


def _basemap(grid: Grid) -> Basemap | None:
    """The basemap, or None where cartopy cannot draw the grid's projection."""
    try:
        return basemap_for_grid(grid.crs_wkt, grid_extent(grid.x, grid.y), _STYLE)
    except DataError:
        return None


def _panel_size(grid: Grid, basemap: Basemap | None) -> tuple[float, float]:
    """Width and height [inches]."""
    rows, columns = grid.shape
    ratio = rows / columns
    if basemap is not None:
        x_min, x_max, y_min, y_max = basemap.extent
        ratio = basemap.aspect * (y_max - y_min) / (x_max - x_min)
    return _PANEL_IN / math.sqrt(ratio), _PANEL_IN * math.sqrt(ratio)


def _draw_panel(
    figure: Figure,
    rect: tuple[float, float, float, float],
    rgba: NDArray[np.uint8],
    basemap: Basemap | None,
) -> None:
    if basemap is None:
        axes = figure.add_axes(rect, xticks=[], yticks=[])
        axes.imshow(rgba, interpolation="nearest", aspect="auto")
        return
    axes = add_map_axes(figure, rect, basemap, labels=False, style=_STYLE)
    axes.imshow(
        rgba, extent=basemap.extent, origin="upper", interpolation="nearest",
        transform=basemap.projection, aspect=basemap.aspect, zorder=2,
    )  # fmt: skip


def _legend(figure: Figure) -> None:
    levels = [f"{level:g}" for level in RAIN_SCALE.levels_mm_h]
    spans = [*(f"{a}–{b}" for a, b in itertools.pairwise(levels)), f"≥ {levels[-1]}"]
    patches = [
        Patch(fc=colour, label=span) for colour, span in zip(RAIN_SCALE.colours, spans, strict=True)
    ]
    unknown = {NO_RADAR: RAIN_SCALE.no_radar, NO_FORECAST: RAIN_SCALE.no_forecast}
    patches += [
        Patch(fc=fill, ec=MAP_STYLE.quiet_text, lw=0.4, label=word)
        for word, fill in unknown.items()
    ]
    figure.legend(
        handles=patches, loc="lower center", ncols=6, frameon=False, fontsize=8,
        title=f"Rain rate [{RAIN_SCALE.unit}]", title_fontsize=8, handlelength=1.2,
        handleheight=0.9, columnspacing=1.2, borderpad=0.1,
    )  # fmt: skip
