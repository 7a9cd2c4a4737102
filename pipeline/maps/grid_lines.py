"""The lines of longitude and latitude on a map, and their labels along its edges.

Public: `Tick`, `meridians_and_parallels`, `edge_ticks`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyproj
from numpy.typing import NDArray

from squall.pipeline.maps.geodata import LonLatBox
from squall.pipeline.maps.projection import project
from squall.pipeline.pictures import MapStyle

FloatArray = NDArray[np.float64]

# Degrees between grid lines: the first step with at most `MapStyle.grid_lines` lines is used.
_GRID_STEPS_DEG = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)


class Tick(NamedTuple):
    """The position [CRS units] where a grid line meets the edge of the map, and its label."""

    position: float
    label: str


def meridians_and_parallels(
    crs: pyproj.CRS, box: LonLatBox, style: MapStyle, x_centre: float | None = None
) -> tuple[list[tuple[str, FloatArray]], list[tuple[str, FloatArray]]]:
    """Meridians and parallels of a box as (label, line in CRS units).

    ``x_centre`` is as in `squall.pipeline.maps.projection.project`.
    """
    lons, lats = np.linspace(box.west, box.east, 181), np.linspace(box.south, box.north, 181)
    meridians, parallels = [], []
    for lon in _round_values(box.west, box.east, style.grid_lines):
        line = project(crs, np.column_stack([np.full(181, lon), lats]), x_centre=x_centre)
        meridians.append((_degrees((lon + 180) % 360 - 180, "E", "W"), line))
    for lat in _round_values(box.south, box.north, style.grid_lines):
        line = project(crs, np.column_stack([lons, np.full(181, lat)]), x_centre=x_centre)
        parallels.append((_degrees(lat, "N", "S"), line))
    return meridians, parallels


def _round_values(low: float, high: float, most: int) -> FloatArray:
    """Multiples of a round step between two values, about ``most`` of them."""
    step = next((s for s in _GRID_STEPS_DEG if (high - low) / s <= most + 1), _GRID_STEPS_DEG[-1])
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step


def _degrees(value: float, positive: str, negative: str) -> str:
    hemisphere = "" if round(value, 6) in (0, -180) else positive if value > 0 else negative
    return f"{abs(value):.4g}°{hemisphere}"


def edge_ticks(
    lines: Sequence[tuple[str, FloatArray]], axis: int, edge: float, low: float, high: float
) -> tuple[Tick, ...]:
    """Ticks where lines cross one edge of the map.

    Parameters
    ----------
    axis, edge : the edge is where the coordinate with number ``axis`` equals ``edge``.
    low, high : range of the other coordinate along the edge.
    """
    ticks = []
    for label, line in lines:
        across, along = line[:, axis] - edge, line[:, 1 - axis]
        for i in np.flatnonzero(np.signbit(across[1:]) != np.signbit(across[:-1])):
            fraction = across[i] / (across[i] - across[i + 1])
            position = along[i] + fraction * (along[i + 1] - along[i])
            if np.isfinite(position) and low <= position <= high:
                ticks.append(Tick(float(position), label))
    spaced: list[Tick] = []  # labels must not overlap
    for tick in sorted(ticks):
        if not spaced or tick.position - spaced[-1].position > 0.07 * (high - low):
            spaced.append(tick)
    return tuple(spaced)
