"""Work on some pixels of a grid alone: most of a radar's grid is dry, or not observed.

Public: `Pixels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]


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
        """Set these pixels of a contiguous array (…, y, x) to values (…, pixel)."""
        flat = target.reshape(*target.shape[:-2], -1)
        assert flat.base is not None, "a copy"
        flat[..., self._indices] = values

    def fill(self, target: Values, values: Values, elsewhere: Values) -> None:
        """Set an array (y, x): these pixels to values (pixel,), the others to values (y, x)."""
        target[:] = elsewhere
        self.put(target, values)
