"""Smaller pictures of a frame, for a page that shows a large grid as a whole.

Public: `overview_factor`, `overview_of`.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

MOST_PIXELS = 2_000_000  # of a picture that a page shows as a whole
UNKNOWN = 255  # of all kinds of codes
Codes = npt.NDArray[np.uint8]


def overview_factor(shape: tuple[int, ...]) -> int:
    """Rows and columns of pixels in one pixel of the overview; 1: the grid needs none.

    Parameters
    ----------
    shape : (y, x) of the grid.
    """
    return math.ceil(math.sqrt(math.prod(shape) / MOST_PIXELS))


def overview_of(codes: Codes, factor: int, *, is_first_time: bool = False) -> Codes:
    """(y / factor, x / factor), rounded up: the strongest code of each block of pixels.

    No storm is lost, and what is not known never becomes dry: a block without rain that holds a
    pixel which is not known is not known.

    Parameters
    ----------
    codes : (y, x) of rain, amounts or chances: 0 none, 255 not known, others the more the higher.
    is_first_time : they are first times of rain, so the lowest code apart from 0 is taken.
    """
    ranks, codes_of_ranks = _ranks(is_first_time)
    rows, columns = (np.arange(0, side, factor) for side in codes.shape)
    by_rows = np.maximum.reduceat(ranks[codes], rows, axis=0)
    blocks: Codes = np.maximum.reduceat(by_rows, columns, axis=1)
    return codes_of_ranks[blocks]


@cache
def _ranks(is_first_time: bool) -> tuple[Codes, Codes]:
    """The rank of each code, and the code of each rank: none, not known, weak to strong."""
    known = np.arange(1, UNKNOWN, dtype=np.uint8)
    order = known[::-1] if is_first_time else known
    codes_of_ranks = np.concatenate(([0, UNKNOWN], order)).astype(np.uint8)
    return np.argsort(codes_of_ranks).astype(np.uint8), codes_of_ranks
