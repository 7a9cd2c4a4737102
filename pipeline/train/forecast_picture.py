"""Draws a small picture of a forecast and the observation, for the trackers of a training run.

Returns pixels and writes no file. The colours are those of the maps.
"""

from __future__ import annotations

import math
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from squall.pipeline.pictures import RAIN_SCALE, image_of

COLUMNS = 6
PANEL_IN = 1.5
DPI = 120
LARGEST_ERROR_DB = 10.0


def forecast_picture(
    observed_mm_h: NDArray,
    forecast_mm_h: NDArray,
    last_mm_h: NDArray,
    step_minutes: float | None = None,
) -> NDArray[np.uint8]:
    """Draw observation, forecast and error for up to six lead times.

    Grey was not observed; a pixel that was observed and not forecast has the maps' colour of no
    forecast. The error is ``10 log10(forecast / observed)`` in dB. Rates below the first level of
    the colour table are raised to that level before.

    Parameters
    ----------
    observed_mm_h, forecast_mm_h : (L, H, W) rain rate, mm/h. NaN = not observed, not forecast.
    last_mm_h : (H, W) or (1, H, W), the last scan of the context.
    step_minutes : from one lead time to the next. None: the titles are numbers of lead times.

    Returns
    -------
    (rows, columns, 3) RGB.
    """
    leads, height, width = observed_mm_h.shape
    columns = range(leads - 1, -1, -math.ceil(leads / COLUMNS))[::-1]
    # panels have the shape of the grid, but are not too narrow to see anything
    side_x, side_y = (PANEL_IN * max(0.4, side / max(height, width)) for side in (width, height))
    left, top, gap = 0.75, 0.3, 0.06
    size_in = (left + (len(columns) + 1) * (side_x + gap) + 0.7, top + 3 * (side_y + gap) + 0.1)
    figure = Figure(size_in, dpi=DPI, facecolor="white")

    def panel(row: int, column: int, pixels: NDArray[np.uint8]) -> Axes:
        x, y = left + column * (side_x + gap), size_in[1] - top - (row + 1) * (side_y + gap) + gap
        axes = figure.add_axes(
            (x / size_in[0], y / size_in[1], side_x / size_in[0], side_y / size_in[1])
        )
        axes.imshow(pixels, aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(lw=0.5, color="#666666")
        return axes

    first = panel(0, 0, RAIN_SCALE.rgba(np.reshape(last_mm_h, (height, width))))
    first.set_title("last scan", size=8, pad=3)
    first.set_ylabel("observed", size=8)
    for column, lead in enumerate(columns, start=1):
        rows = (observed_mm_h[lead], forecast_mm_h[lead])
        top_panel = panel(0, column, RAIN_SCALE.rgba(rows[0]))
        number = lead + 1
        label = f"lead {number}" if step_minutes is None else f"+{number * step_minutes:g} min"
        top_panel.set_title(label, size=8, pad=3)
        forecast = RAIN_SCALE.rgba(rows[1], np.isfinite(rows[0]))
        below = panel(1, column, forecast), panel(2, column, _error_rgba(*rows))
        if column == 1:
            for axes, name in zip(below, ("forecast", "error"), strict=True):
                axes.set_ylabel(name, size=8)
    x = size_in[0] - 0.62
    _add_rain_bar(figure, (x, 0.1 + gap + side_y + gap, 2 * side_y - 0.25))
    _add_bar(figure, (x, 0.1 + gap, side_y - 0.25), _error_norm(), _error_colours(), "dB", "both")
    return np.asarray(image_of(figure))


def _add_rain_bar(figure: Figure, place_in: tuple[float, float, float]) -> None:
    levels = RAIN_SCALE.levels_mm_h
    colours = ListedColormap(RAIN_SCALE.colours[:-1]).with_extremes(over=RAIN_SCALE.colours[-1])
    norm = BoundaryNorm(levels, colours.N)
    bar = _add_bar(figure, place_in, norm, colours, RAIN_SCALE.unit, "max")
    bar.set_ticks(list(levels), labels=[f"{level:g}" for level in levels])


def _add_bar(
    figure: Figure,
    place_in: tuple[float, float, float],
    norm: Normalize,
    colours: Colormap,
    unit: str,
    extend: Literal["both", "max"],
) -> Colorbar:
    """Add a colour bar; ``place_in`` is its left, bottom and height in inches."""
    width, height = figure.get_size_inches()
    x, y, tall = place_in
    axes = figure.add_axes((x / width, y / height, 0.1 / width, tall / height))
    bar = figure.colorbar(ScalarMappable(norm, colours), cax=axes, extend=extend)
    bar.ax.set_title(unit, size=7, pad=4, loc="left")
    bar.ax.tick_params(length=0, labelsize=7, pad=2)
    bar.outline.set(lw=0.5)
    return bar


def _error_rgba(observed_mm_h: NDArray, forecast_mm_h: NDArray) -> NDArray[np.uint8]:
    """Too much rain is green-blue, too little brown; unknown has the colours of the maps."""
    floor = RAIN_SCALE.levels_mm_h[0]
    unknown = RAIN_SCALE.rgba(forecast_mm_h + 0 * observed_mm_h, np.isfinite(observed_mm_h))
    error_db = 10 * np.log10(np.maximum(forecast_mm_h, floor) / np.maximum(observed_mm_h, floor))
    rgba = _error_colours()(_error_norm()(error_db), bytes=True)
    return np.where(np.isnan(error_db)[..., None], unknown, rgba).astype(np.uint8)


def _error_colours() -> Colormap:
    return matplotlib.colormaps["BrBG"]


def _error_norm() -> Normalize:
    return Normalize(-LARGEST_ERROR_DB, LARGEST_ERROR_DB)
