"""Stretches of consecutive indices where a mask holds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]


def runs(mask: Bools) -> list[tuple[int, int]]:
    """First index and end (exclusive) of each stretch where the mask holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
