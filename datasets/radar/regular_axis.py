"""Coordinates that a file stores in few digits, turned back into the regular line they stand for.

A grid of 0.0126 degrees in three decimals has steps of 0.012 and 0.013. Owns how far coordinates
may lie from a regular line; `squall.datasets.grid` refuses what is not regular.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

MAX_UNIT_PX = 0.25  # a coarser last digit hides irregular steps
_MOST_DECIMALS = 12


def without_rounding(
    numbers: npt.NDArray[np.float64], stored: np.dtype[Any]
) -> npt.NDArray[np.float64]:
    """Return the regular line that rounded coordinates stand for.

    A line is fitted by least squares. It replaces the coordinates if they lie within half a unit of
    their last digit of it (and within the error of the fit, one unit / √n for n coordinates), and
    if that unit is at most a quarter of a pixel. So no pixel moves by more than about an eighth of
    its size.

    Parameters
    ----------
    numbers : (n,) in the file's unit.
    stored : the type that the file stores them in.

    Returns
    -------
    (n,); the same values if they are regular already, or if rounding does not explain their steps.
    """
    if numbers.size < 3 or not np.isfinite(numbers).all():
        return numbers
    steps = np.diff(numbers)
    if steps.max() - steps.min() <= 0.01 * abs(steps.mean()):  # as `Grid` takes it
        return numbers
    unit = _unit_of_last_digit(numbers, stored)
    line, step = fitted_line(numbers)
    allowed = unit * (0.5 + 1 / np.sqrt(numbers.size))
    if unit > MAX_UNIT_PX * abs(step) or np.abs(numbers - line).max() > allowed:
        return numbers
    return line


def fitted_line(numbers: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """The regular line (n,) nearest to numbers (n,) by least squares, and its step."""
    positions = np.arange(numbers.size) - (numbers.size - 1) / 2
    middle = numbers.mean()
    step = float(positions @ (numbers - middle) / (positions @ positions))
    return middle + positions * step, step


def _unit_of_last_digit(numbers: npt.NDArray[np.float64], stored: np.dtype[Any]) -> float:
    """The larger of the last decimal digit's unit and the resolution of the stored type."""
    single = stored.kind == "f" and stored.itemsize < 8
    resolution = float(np.spacing((stored.type if single else np.float64)(np.abs(numbers).max())))
    for decimals in range(_MOST_DECIMALS + 1):
        if np.abs(numbers - np.round(numbers, decimals)).max() <= resolution:
            return max(10.0**-decimals, resolution)
    return resolution
