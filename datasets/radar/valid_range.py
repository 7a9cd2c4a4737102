"""The valid range that a file declares for its numbers, and when it must be wrong.

Owns the choice between two readings of a range: producers write packed numbers, as CF says, or
unpacked ones; and the doubt about a missing value that the pixels cannot hold. A scan is rejected
if its rain depends on the reading and nothing decides.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from squall.datasets.radar.product import Limits, Packing

Numbers = npt.NDArray[np.float64]

# A range that ends below 10 mm/h cannot be meant, one that ends above 100 mm/h hides no rain, and
# hardly any range ends above 1000 mm/h.
TOO_LOW_MM_H, HIGH_ENOUGH_MM_H, TOO_HIGH_MM_H = 10.0, 100.0, 1000.0
_CORRECT = "correct or delete these attributes in the file, or ask its producer"


@dataclass(frozen=True, eq=False)
class Doubt:
    """Pixels outside the valid range that might be rain or dry, and why; the shape of a scan."""

    pixels: npt.NDArray[np.bool_]
    reason: str


def invalid_numbers(
    numbers: Numbers,
    is_marked: npt.NDArray[np.bool_],
    packing: Packing,
    rate_of: Callable[[Numbers], Numbers],
) -> tuple[npt.NDArray[np.bool_] | None, Doubt | None]:
    """Where numbers are outside the valid range, and which of these are in doubt.

    Parameters
    ----------
    numbers, is_marked : the same shape; as stored, and where a number is a marker of missing or dry
        pixels, which no range concerns.
    rate_of : converts unpacked values to mm/h.

    Returns
    -------
    The invalid numbers, None if there is no range; and the doubt, None if there is none.
    """
    limits: Limits = packing.lowest, packing.highest
    other = packing.other_limits
    if limits == (None, None):
        return None, None
    if other is not None:
        highest, other_highest = (_highest_mm_h(x, packing, rate_of) for x in (limits, other))
        if highest < TOO_LOW_MM_H <= other_highest:
            limits, other = other, None
        elif highest >= HIGH_ENOUGH_MM_H or not highest < other_highest <= TOO_HIGH_MM_H:
            other = None
    invalid = ~_inside(numbers, limits) & ~is_marked & ~np.isnan(numbers)
    if other is not None:
        doubtful = invalid & _inside(numbers, other)
        if doubtful.any():
            return invalid, Doubt(
                doubtful,
                f"its valid range ends at {highest:.3g} mm/h if it is packed, at "
                f"{other_highest:.3g} mm/h if it is not, and the scan has values between them; "
                f"{_CORRECT}",
            )
    values = numbers * packing.scale + packing.offset
    is_zero = invalid & (np.abs(values) < 1e-3 * abs(packing.scale)) & (rate_of(values) == 0)
    if is_zero.any():
        return invalid, Doubt(
            is_zero,
            "0 is outside its valid range, so nothing tells whether these pixels are dry or not "
            "observed; set 'dry_values: [0]' or 'missing_values: [0]' in the network configuration",
        )
    return invalid, None


def unclear_marker(
    numbers: Numbers, is_marked: npt.NDArray[np.bool_], packing: Packing, dtype: np.dtype
) -> Doubt | None:
    """Where numbers are ``packing.doubtful``: rain, or a missing marker cut to its type.

    Parameters
    ----------
    numbers, is_marked : as in `invalid_numbers`; the configuration may have marked a number.
    dtype : of the pixels in the file.
    """
    pixels = np.isin(numbers, packing.doubtful) & ~is_marked
    if not pixels.any():
        return None
    number = float(numbers[pixels][0])
    value = number * packing.scale + packing.offset
    return Doubt(
        pixels,
        f"the file declares a missing value that {dtype.name} cannot hold and that would be stored "
        f"as {number:g}, and pixels have this number: nothing tells whether they are {value:g} or "
        f"not observed; if not observed, set 'missing_values: [{value:g}]' in the network "
        "configuration, else list there the other values that mean not observed",
    )


def _inside(numbers: Numbers, limits: Limits) -> npt.NDArray[np.bool_]:
    low, high = limits
    inside = np.ones(numbers.shape, dtype=bool)
    if low is not None:
        inside &= numbers >= low
    if high is not None:
        inside &= numbers <= high
    return inside


def _highest_mm_h(limits: Limits, packing: Packing, rate_of: Callable[[Numbers], Numbers]) -> float:
    """The rain rate at the upper end of a range; infinite if it is open."""
    end = limits[0] if packing.scale < 0 else limits[1]
    if end is None:
        return np.inf
    return float(rate_of(np.array([end * packing.scale + packing.offset]))[0])
