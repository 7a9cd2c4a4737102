"""Work on some pixels of a grid: in strips of rows, or where it is not dry, as most of a grid is.

Public: `Pixels`, `row_strips`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]

STRIP_VALUES = 2**21  # 8 MB of float32


def row_strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """The rows of each strip of fields (member, y, x).

    All members of a large grid would need much memory for each step of a computation.
    """
    members, height, width = shape
    rows = max(1, STRIP_VALUES // (members * width))
    for first in range(0, height, rows):
        yield slice(first, min(first + rows, height))


class Pixels:
    """The pixels of a grid where any member has something.

    Parameters
    ----------
    has : (member, y, x), numbers or booleans.
    """

    def __init__(self, has: Values) -> None:
        self._indices = np.flatnonzero(has.any(axis=0))

    def of(self, values: Values) -> Values:
        """Values (…, y, x) of these pixels, (…, pixel)."""
        return np.take(values.reshape(*values.shape[:-2], -1), self._indices, axis=-1)

    def put(self, target: Values, values: Values) -> None:
        """Set these pixels of an array (…, y, x) to values (…, pixel).

        The rows of a field must follow each other in memory, and all pixels of a row.
        """
        flat = np.reshape(target, (*target.shape[:-2], -1), copy=False)
        flat[..., self._indices] = values

    def fill(self, target: Values, values: Values, elsewhere: Values) -> None:
        """Set an array (y, x): these pixels to values (pixel,), the others to values (y, x)."""
        target[:] = elsewhere
        self.put(target, values)
