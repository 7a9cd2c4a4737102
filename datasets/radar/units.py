"""Units of radar products, and their conversion to rain rate in mm/h.

Owns the tables of units, accumulations and Z-R relations. Converts by unit, never by a variable's
name, and rejects an ambiguous unit. Reads no files; `plausibility` judges the rates.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import DataError

Quantity = Literal["rate", "accumulation", "reflectivity"]
Floats = npt.NDArray[np.floating]

# unit -> (quantity, factor to mm/h, mm or dBZ); 1 kg of water on 1 m2 is 1 mm deep
UNITS: dict[str, tuple[Quantity, float]] = {
    "mm h-1": ("rate", 1.0),
    "mm min-1": ("rate", 60.0),
    "mm s-1": ("rate", 3600.0),
    "mm d-1": ("rate", 1 / 24),
    "cm h-1": ("rate", 10.0),
    "m h-1": ("rate", 1000.0),
    "m s-1": ("rate", 3.6e6),
    "kg m-2 h-1": ("rate", 1.0),
    "kg m-2 min-1": ("rate", 60.0),
    "kg m-2 s-1": ("rate", 3600.0),
    "in h-1": ("rate", 25.4),
    "mm": ("accumulation", 1.0),
    "cm": ("accumulation", 10.0),
    "m": ("accumulation", 1000.0),
    "kg m-2": ("accumulation", 1.0),
    "in": ("accumulation", 25.4),
    "dbz": ("reflectivity", 1.0),
}
# units spelt in full -> their abbreviations in the tables of units
UNIT_WORDS = {
    "millimeter": "mm", "millimeters": "mm", "millimetre": "mm", "millimetres": "mm",
    "meter": "m", "meters": "m", "metre": "m", "metres": "m", "inch": "in", "inches": "in",
    "hour": "h", "hours": "h", "hr": "h", "hrs": "h", "minute": "min", "minutes": "min",
    "second": "s", "seconds": "s", "sec": "s", "day": "d", "days": "d",
    "kilometer": "km", "kilometers": "km", "kilometre": "km", "kilometres": "km",
}  # fmt: skip


@dataclass(frozen=True)
class ZRRelation:
    """Z-R relation Z = a R**b, with Z in mm6 m-3 and R in mm/h."""

    a: float = 200.0
    b: float = 1.6

    def __post_init__(self) -> None:
        if not (self.a > 0 and self.b > 0):
            raise ValueError(f"a and b must be positive, got a = {self.a:g} and b = {self.b:g}")


def parse_unit(text: str) -> tuple[Quantity, float]:
    """Read a unit as files write it: ``mm/h``, ``kg m^-2 s^-1``, ``dBZ`` …

    Returns
    -------
    The quantity, and the factor to mm/h, mm or dBZ.

    Raises
    ------
    DataError
        If the unit is not one of rain rate, accumulation or reflectivity.
    """
    try:
        return UNITS[_canonical(text)]
    except KeyError:
        known = ", ".join(UNITS).replace("dbz", "dBZ")
        raise DataError(
            f"units '{text}' are no rain unit; expected one of {known}. If the file's attribute is "
            "wrong, set 'units' in the network configuration, for example 'units: mm h-1'"
        ) from None


def _canonical(text: str) -> str:
    """Spell a unit as in `UNITS`: ``MM/hr``, ``mm*h**-1`` and ``mm.h^-1`` become ``mm h-1``."""
    plain = text.strip().lower().replace("**", "").replace("^", "").replace("·", " ")
    plain = re.sub(r"[*.]", " ", plain)
    plain = re.sub(r"\s*/\s*([a-z]+)(\d*)", lambda m: f" {m[1]}-{m[2] or 1}", plain)
    factors = []
    for word in plain.split():
        matched = re.fullmatch(r"([a-z]+)([-+]?\d*)", word)
        if not matched:
            return text
        factors.append(UNIT_WORDS.get(matched[1], matched[1]) + matched[2])
    return " ".join(factors)


def rain_rate_from_dbz(dbz: Floats, zr: ZRRelation) -> Floats:
    """Convert reflectivity to rain rate with Z = a R**b (Marshall and Palmer 1948).

    Parameters
    ----------
    dbz : any shape, dBZ; NaN = not observed, -inf = no echo.

    Returns
    -------
    The same shape, mm/h; NaN = not observed, no echo is 0.
    """
    with np.errstate(over="ignore"):  # an undeclared fill of 9999 dBZ gives inf, which is rejected
        return np.asarray((10.0 ** (dbz / 10.0) / zr.a) ** (1.0 / zr.b))


def unchecked_rain_rate(
    values: Floats, units: str, *, interval: pd.Timedelta | None, zr: ZRRelation
) -> npt.NDArray[np.float64]:
    """Convert any supported quantity to rain rate, without a check of the result.

    Parameters
    ----------
    values : any shape, in ``units``; NaN = not observed.
    interval : duration of an accumulation; not needed for rates and reflectivity.

    Returns
    -------
    The same shape, mm/h, NaN = not observed. `plausibility` finds impossible rates.

    Raises
    ------
    DataError
        If the unit is unknown or an accumulation has no interval.
    """
    quantity, factor = parse_unit(units)
    if quantity == "reflectivity":
        dbz = np.asarray(values, dtype=np.float64)
        return np.asarray(rain_rate_from_dbz(dbz, zr), dtype=np.float64)
    rate = np.asarray(values, dtype=np.float64) * factor
    if quantity == "rate":
        return rate
    if interval is None:
        raise DataError(
            f"an accumulation in '{units}' needs its interval, and the file has neither time "
            "bounds nor a start time; set 'accumulation' in the network configuration, for "
            "example 'accumulation: 10min'"
        )
    if interval <= pd.Timedelta(0):
        raise DataError(
            f"accumulation interval {interval} is not positive: its start lies after its end; "
            "correct the files, or name another variable of the start in the network "
            "configuration, for example 'start_variable: start_time'"
        )
    return rate / (interval / pd.Timedelta("1h"))
