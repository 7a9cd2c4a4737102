"""Pictures of rain in web Mercator, by nearest pixel, as PNG with a palette.

Public: `tile_window`, `centred_window`, `rain_picture`, `coverage_picture`, `grey_picture`,
`Window`, `SIZES`, `LARGEST_ZOOM`.

The world at zoom z is a square of 256 · 2^z pixels (the scheme of all web maps). A picture of 512
pixels shows the same area as one of 256 at the same zoom, with twice the resolution.
"""

from __future__ import annotations

import io
import math
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from squall.datasets.coding import RAIN_CODE
from squall.datasets.grid import Grid
from squall.pipeline.pictures import RAIN_SCALE
from squall.pipeline.serve.published_run import Frame

SIZES = (256, 512)
LARGEST_ZOOM = 20
NORTHERNMOST = math.degrees(math.atan(math.sinh(math.pi)))  # latitude where the square ends
_BLOCK = 256
_GREY_ALPHA = 110  # of pixels that are not observed: the map under them can be read
Codes = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int32]


class Window(NamedTuple):
    """A square of pixels of the world at a zoom: its left and top pixel and its size."""

    zoom: int
    left: int
    top: int
    size: int


def tile_window(size: int, zoom: int, x: int, y: int) -> Window:
    """The window of a tile."""
    return Window(zoom + size // _BLOCK - 1, x * size, y * size, size)


def centred_window(size: int, zoom: int, lat: float, lon: float) -> Window:
    """The window around a place."""
    zoom += size // _BLOCK - 1
    world = _BLOCK * 2**zoom
    x = (lon + 180) / 360 * world
    y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * world
    return Window(zoom, round(x) - size // 2, round(y) - size // 2, size)


def rain_picture(frame: Frame, window: Window) -> bytes:
    """PNG of a frame: dry is transparent, not observed and outside the grid grey."""
    classes, palette, alpha = _rain_palette()
    return _png(classes[_codes(frame.codes, frame.grid, window)], palette, alpha)


def coverage_picture(frame: Frame, window: Window) -> bytes:
    """PNG of where a frame has no observation: black there, transparent elsewhere."""
    is_unknown = _codes(frame.codes, frame.grid, window) == RAIN_CODE.NOT_OBSERVED
    return _png(is_unknown.astype(np.uint8), bytes(6), bytes((0, 255)))


def grey_picture(window: Window) -> bytes:
    """PNG of a frame in which nothing is observed."""
    classes, palette, alpha = _rain_palette()
    shape = (window.size, window.size)
    return _png(np.full(shape, classes[RAIN_CODE.NOT_OBSERVED]), palette, alpha)


def _codes(codes: Codes, grid: Grid, window: Window) -> Codes:
    """(size, size) codes of a window; not observed outside the grid."""
    flat, result = codes.reshape(-1), np.empty((window.size, window.size), np.uint8)
    for top in range(0, window.size, _BLOCK):
        for left in range(0, window.size, _BLOCK):
            index = _pixel_index(grid, window.zoom, window.left + left, window.top + top)
            block = result[top : top + _BLOCK, left : left + _BLOCK]
            if index is None:
                block[:] = RAIN_CODE.NOT_OBSERVED
                continue
            block[:] = flat[index]
            block[index < 0] = RAIN_CODE.NOT_OBSERVED
    return result


@lru_cache(maxsize=512)  # of 256 kB each
def _pixel_index(grid: Grid, zoom: int, left: int, top: int) -> Index | None:
    """(256, 256) index into the flat frame of each pixel's centre; -1 outside, None if all are."""
    world = _BLOCK * 2**zoom
    steps = np.arange(_BLOCK) + 0.5
    lon = ((left + steps) / world * 360) % 360 - 180
    lat = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * (top + steps) / world))))
    rows, columns = grid.pixels_at(lat[:, None], lon[None, :])
    index = np.where(rows < 0, -1, rows * np.int32(grid.x.size) + columns).astype(np.int32)
    return None if index.max() < 0 else index


@cache
def _rain_palette() -> tuple[Codes, bytes, bytes]:
    """Class of each of the 256 codes; colours and opacity of the classes. As all maps have them."""
    colours = RAIN_SCALE.rgba(RAIN_CODE.table)
    colours[RAIN_CODE.NOT_OBSERVED, 3] = _GREY_ALPHA
    palette, classes = np.unique(colours, axis=0, return_inverse=True)
    assert len(palette) <= 16, "four bits a pixel"
    return classes.astype(np.uint8), palette[:, :3].tobytes(), palette[:, 3].tobytes()


def _png(classes: Codes, palette: bytes, alpha: bytes) -> bytes:
    low, high = int(classes.min()), int(classes.max())
    if low == high:
        return _plain_png(len(classes), low, palette, alpha)
    return _encoded(classes, palette, alpha)


@lru_cache(maxsize=64)
def _plain_png(size: int, value: int, palette: bytes, alpha: bytes) -> bytes:
    """A picture of one colour; most tiles of a dry day are."""
    return _encoded(np.full((size, size), value, np.uint8), palette, alpha)


def _encoded(classes: Codes, palette: bytes, alpha: bytes) -> bytes:
    picture = Image.fromarray(classes, mode="P")
    picture.putpalette(palette)
    file = io.BytesIO()
    bits = 1 if len(alpha) <= 2 else 4
    picture.save(file, "PNG", bits=bits, transparency=alpha, compress_level=3)
    return file.getvalue()
