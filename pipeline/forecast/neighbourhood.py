"""The highest value within a distance of each pixel.

Public: `Neighbourhood`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np
import numpy.typing as npt

from squall.datasets.grid import Grid

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Neighbourhood:
    """The pixels whose centres are within a distance of a pixel's centre.

    Parameters
    ----------
    bands : first row, row after the last, and the mask (height, width) of the neighbourhood of the
        pixels in these rows. On geographic grids it is wider near the poles.
    """

    bands: tuple[tuple[int, int, Bytes], ...]

    @classmethod
    def on(cls, grid: Grid, radius_m: float) -> Neighbourhood:
        """The neighbourhood on a grid; distances are those of `Grid.row_pixel_sizes_m`."""
        widths = [
            _half_widths(height_m, width_m, radius_m)
            for height_m, width_m in grid.row_pixel_sizes_m().tolist()
        ]
        bands, first = [], 0
        for half_widths, rows in groupby(widths):
            end = first + len(list(rows))
            bands.append((first, end, _mask(half_widths)))
            first = end
        return cls(tuple(bands))

    def highest(self, values: Bytes) -> Bytes:
        """Highest value (y, x) in the neighbourhood of each pixel, as far as it is on the grid."""
        result = np.zeros_like(values)
        rows, columns = np.flatnonzero(values.any(axis=1)), np.flatnonzero(values.any(axis=0))
        if not rows.size:
            return result
        for first, end, mask in self.bands:
            reach, aside = mask.shape[0] // 2, mask.shape[1] // 2
            first, end = max(first, rows[0] - reach), min(end, rows[-1] + reach + 1)
            if first >= end:
                continue
            above = max(0, first - reach)
            near = slice(max(0, columns[0] - aside), columns[-1] + aside + 1)
            strip = np.ascontiguousarray(values[above : end + reach, near])
            # what is beyond the strip, and so beyond the grid, never counts
            result[first:end, near] = cv2.dilate(strip, mask)[first - above : end - above]
        return result


def _half_widths(height_m: float, width_m: float, radius_m: float) -> tuple[int, ...]:
    """Half the width [pixels] of the neighbourhood, for each row from its middle upwards."""
    rows = math.floor(radius_m / height_m + 1e-6)
    reach = (math.sqrt(max(0.0, radius_m**2 - (row * height_m) ** 2)) for row in range(rows + 1))
    return tuple(math.floor(distance / width_m + 1e-6) for distance in reach)


def _mask(half_widths: tuple[int, ...]) -> Bytes:
    """(height, width), 1 in the neighbourhood."""
    middle_row, middle = len(half_widths) - 1, half_widths[0]
    columns = np.abs(np.arange(2 * middle + 1) - middle)
    rows = np.abs(np.arange(2 * middle_row + 1) - middle_row)
    return (columns[None, :] <= np.asarray(half_widths)[rows][:, None]).astype(np.uint8)
