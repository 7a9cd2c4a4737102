"""Colours and styles that all pictures of Squall share, and a figure as pixels.

Needs matplotlib and Pillow alone: neither training nor `squall status` loads cartopy for a colour.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class RainScale:
    """The one table of rain colours: `colours[i]` is for `levels_mm_h[i]` up to the next level.

    Below the first level is dry and transparent; from the last level on is the last colour. Light
    rain darkens from pale to deep blue, heavy rain brightens from purple to yellow; all colours
    stay apart for colour-blind readers (tests/pipeline/maps/test_maps.py).
    """

    levels_mm_h: tuple[float, ...] = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
    colours: tuple[str, ...] = (
        "#a6daf3", "#72bae6", "#3f98d6", "#2274c4", "#17489c",
        "#3d0d55", "#93196b", "#dd3f4f", "#f9992e", "#ffee4d",
    )  # fmt: skip
    no_radar: str = "#d6d6d4"
    no_radar_hatch: str = "#a5a5a2"
    unit: str = "mm h⁻¹"

    def rgba(self, rain_rate_mm_h: NDArray) -> NDArray[np.uint8]:
        """Colours of shape (..., 4); NaN has the colour of no radar."""
        table = np.vstack([np.zeros(4), to_rgba_array(self.colours), to_rgba_array(self.no_radar)])
        steps = np.digitize(rain_rate_mm_h, self.levels_mm_h)
        steps[np.isnan(rain_rate_mm_h)] = len(table) - 1
        return np.round(table * 255).astype(np.uint8)[steps]


RAIN_SCALE = RainScale()


@dataclass(frozen=True)
class MapStyle:
    """Colours, widths and thresholds of everything that is not rain."""

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
    grid_lines: int = 6
    smallest_shape: float = 2e-5  # lakes and islands below this part of the map's area clutter


MAP_STYLE = MapStyle()


def image_of(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
