"""Colours and styles of all pictures, and a figure as an image.

Public: `RAIN_SCALE`, `AMOUNT_SCALE`, `CHANCE_SCALE`, `time_scale`, `COVERAGE_SCALE`, `MAP_STYLE`,
`BADGE_COLOURS`, `NO_RADAR`, `NO_FORECAST`, and `image_of`.

A colour needs no drawing library: only `image_of` imports matplotlib, and nothing here cartopy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class RainScale:
    """Rain colours of all maps: `colours[i]` is for rates from `levels_mm_h[i]` to the next level.

    Rates below the first level are transparent; the last colour has no upper limit. Light rain goes
    from pale to deep blue, heavy rain from purple to yellow. Colour-blind readers can distinguish
    all colours (tests/pipeline/maps/test_drawing.py).
    """

    levels_mm_h: tuple[float, ...] = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
    colours: tuple[str, ...] = (
        "#a6daf3", "#72bae6", "#3f98d6", "#2274c4", "#17489c",
        "#3d0d55", "#93196b", "#dd3f4f", "#f9992e", "#ffee4d",
    )  # fmt: skip
    no_radar: str = "#c9c9c6"
    no_radar_hatch: str = "#9c9c98"
    no_forecast: str = "#fbf6e0"
    no_forecast_hatch: str = "#b9ac7c"
    unit: str = "mm h⁻¹"
    quantity: str = "Rain rate"
    top: float | None = None  # upper limit of the last colour
    labels: tuple[str, ...] = ()  # of the levels, if they are not the numbers
    nothing: str = ""  # what a map says on which nothing reaches the first level

    def with_levels(self, levels_mm_h: Sequence[float]) -> RainScale:
        """The scale with other levels; its colours are spread evenly over them."""
        position = np.linspace(0, len(self.colours) - 1, len(levels_mm_h))
        rgb = _rgb(self.colours)
        columns = [np.interp(position, np.arange(len(rgb)), column) for column in rgb.T]
        rounded = np.rint(np.stack(columns, axis=1)).astype(np.uint8)
        colours = tuple(f"#{colour.tobytes().hex()}" for colour in rounded)
        return replace(self, levels_mm_h=tuple(levels_mm_h), colours=colours)

    def rgba(
        self, rain_rate_mm_h: NDArray, is_covered: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """Colours, (..., 4) uint8, of rain rates; NaN has the colour of no radar.

        Parameters
        ----------
        is_covered : where the radar observed, in a shape that broadcasts to that of the rates. NaN
            has the colour of no forecast there. None: nowhere.
        """
        opaque = _rgb((*self.colours, self.no_radar, self.no_forecast))
        table = np.vstack([np.zeros(4), np.pad(opaque, ((0, 0), (0, 1)), constant_values=255)])
        rows = np.digitize(rain_rate_mm_h, self.levels_mm_h)
        is_unknown = np.isnan(rain_rate_mm_h)
        rows[is_unknown] = len(table) - 2
        if is_covered is not None:
            rows[is_unknown & is_covered] = len(table) - 1
        return table.astype(np.uint8)[rows]


def _rgb(colours: Sequence[str]) -> NDArray[np.uint8]:
    """(N, 3) values of colours like ``#a6daf3``."""
    return np.array([tuple(bytes.fromhex(colour[1:])) for colour in colours], np.uint8)


RAIN_SCALE = RainScale()
AMOUNT_SCALE = replace(RAIN_SCALE, unit="mm", quantity="Rain amount")  # levels in mm
CHANCE_SCALE = RainScale(
    levels_mm_h=(1e-6, 10, 20, 30, 40, 50, 60, 70, 80, 90),  # percent; 0 % is clear
    colours=(
        "#f2ea69", "#fbb61a", "#f8850f", "#e45a31", "#c33b4f",
        "#9a2865", "#71196e", "#450a69", "#180c3c", "#000004",
    ),
    unit="%",
    quantity="Chance",
    top=100.0,
    labels=("> 0", *(str(percent) for percent in range(10, 100, 10))),
    nothing="0 % everywhere",
)  # fmt: skip
NO_RADAR, NO_FORECAST = "no radar", "no forecast"  # the two reasons why a pixel is unknown
BADGE_COLOURS = {"observed": "#2f6b4f", "forecast": "#1f3f75"}  # of the word on each map


def time_scale(labels: Sequence[str], levels_min: Sequence[float]) -> RainScale:
    """Colours of times, the earliest darkest.

    Parameters
    ----------
    labels : of the levels.
    levels_min : minutes after the reference time; a map shows nothing for smaller values.
    """
    scale = replace(CHANCE_SCALE, colours=CHANCE_SCALE.colours[::-1]).with_levels(levels_min)
    scale = replace(scale, unit="UTC", quantity="Time", nothing="no time of rain")
    return replace(scale, labels=tuple(labels), top=None)


@dataclass(frozen=True)
class CoverageScale:
    """Colours of `squall status --plot`: a cell is a day or hour, its share is that of good scans.

    ``colours[i]`` is for shares from ``levels[i]`` to the next level; a cell without a good scan
    has the colour ``empty``. Colour-blind readers, and readers of a print in grey, can distinguish
    the colours and the mark of rejected scans (tests/pipeline/status/test_calendar_plot.py).
    """

    levels: tuple[float, ...] = (0.0, 0.5, 0.8, 0.95, 1.0)
    colours: tuple[str, ...] = ("#fbe08a", "#98d0a8", "#5cb2bd", "#3187bb", "#1d4a86")
    labels: tuple[str, ...] = ("< 50 %", "≥ 50 %", "≥ 80 %", "≥ 95 %", "all")
    empty: str = "#ffffff"
    edge: str = "#8a939b"
    rejected: str = "#d1420a"
    # The mark's side, in cells, is marks[i] if the share of rejected scans is above shares[i].
    marks: tuple[float, ...] = (0.45, 0.7, 1.0)
    shares: tuple[float, ...] = (0.0, 0.05, 0.25)

    def fill(self, share: NDArray[np.float64]) -> list[str]:
        """Colour of each share, 0 to 1."""
        indices = np.digitize(share, self.levels) - 1
        return [
            self.empty if value == 0 else self.colours[index]
            for value, index in zip(share, indices, strict=True)
        ]

    def mark(self, rejected: NDArray[np.float64]) -> NDArray[np.float64]:
        """Side of the mark of rejected scans, in cells, for each rejected share above 0."""
        return np.asarray(self.marks)[np.searchsorted(self.shares, rejected) - 1]


COVERAGE_SCALE = CoverageScale()


@dataclass(frozen=True)
class MapStyle:
    """Colours, line widths [pt] and thresholds of everything on a map except rain."""

    land: str = "#f5f3ee"
    water: str = "#e3e8ea"
    coastline: str = "#404040"
    halo: str = "#ffffff99"
    shore: str = "#7f8d99"
    border: str = "#6d6a66"
    grid: str = "#8f9aa3"
    text: str = "#1d2730"
    quiet_text: str = "#5c6770"
    coastline_pt: float = 0.8
    shore_pt: float = 0.35
    border_pt: float = 0.8
    grid_pt: float = 0.35
    grid_lines: int = 6  # largest number of meridians, and of parallels
    smallest_shape: float = 2e-5  # smaller lakes and islands, as fractions of the map, are left out


MAP_STYLE = MapStyle()


def image_of(figure: Figure) -> Image.Image:
    """Draw a figure and return its pixels, RGB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
