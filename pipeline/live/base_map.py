"""The map under the frames, for the page: land, lakes, borders and towns, in the grid's projection.

Public: `base_map`.

The shapes are cut to the grid and made as coarse as its pixels, so that the page loads them fast.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely  # type: ignore[import-untyped]
from matplotlib.path import Path as Outline

from squall.datasets.grid import Grid
from squall.pipeline.maps.basemap import Basemap, basemap_for_grid
from squall.pipeline.maps.cities import CREDIT, towns_of
from squall.pipeline.maps.projection import grid_extent

_TOLERANCE = 0.5  # of simplified lines, in pixels
_MOST_TOWNS = 1500

FloatArray = npt.NDArray[np.float64]
Line = list[list[float]]


def base_map(grid: Grid) -> dict[str, Any]:
    """Shapes as lines of x, y in units of the grid's projection, and towns, the largest first.

    Returns
    -------
    ``land``, ``lakes``, ``islands``: lists of rings; those of one surface are filled by winding
    number, so that holes stay holes. ``coastlines``, ``borders``: lists of lines. ``towns``: name,
    x, y. ``credit``: the sources.
    """
    basemap = basemap_for_grid(grid.crs_wkt, grid_extent(grid.x, grid.y))
    pixel = float(min(abs(np.diff(grid.x)).mean(), abs(np.diff(grid.y)).mean()))
    digits = max(0, 1 - math.floor(math.log10(pixel)))
    towns = [
        {"name": town.name, "x": round(x, digits), "y": round(y, digits)}
        for town, x, y in islice(towns_of(basemap), _MOST_TOWNS)
    ]
    return {
        **{
            name: [_rounded(ring, pixel, digits) for ring in _rings(getattr(basemap, name))]
            for name in ("land", "lakes", "islands")
        },
        "coastlines": _lines(basemap.coastlines, pixel, digits),
        "borders": _lines(basemap.borders, pixel, digits),
        "towns": towns,
        "credit": _credit(basemap),
    }


def _credit(basemap: Basemap) -> str:
    return "; ".join(part for part in (basemap.credit, CREDIT) if part)


def _rings(outline: Outline | None) -> list[FloatArray]:
    return [] if outline is None else [np.asarray(ring) for ring in outline.to_polygons()]


def _lines(lines: tuple[FloatArray, ...], pixel: float, digits: int) -> list[Line]:
    return [_rounded(line, pixel, digits) for line in lines if len(line) > 1]


def _rounded(line: FloatArray, pixel: float, digits: int) -> Line:
    simple = shapely.simplify(shapely.LineString(line), _TOLERANCE * pixel)
    return [[float(x), float(y)] for x, y in shapely.get_coordinates(simple).round(digits)]
