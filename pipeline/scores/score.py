"""`Score`: the names, unit, dims, direction, formula and explanation of one score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from squall.pipeline.scores.axes import Dims

Direction = Literal["higher", "lower", "nearer"]

# How people write the units that CF writes otherwise.
_PRINTED_UNITS = {"1": "", "mm h-1": "mm/h", "mm2 h-2": "mm²/h²"}


@dataclass(frozen=True)
class Score:
    """One score, or one quantity that describes the scored data.

    Parameters
    ----------
    name : of the variable in ``scores.nc``, and in the column ``score`` of ``scores.csv``.
    label : name in tables and figures.
    long_name, unit : attributes of the variable. The unit is in CF notation.
    dims : names of axes.
    direction : which of two values is better: the higher one, the lower one, or the one nearer to
        `ideal`. None for a quantity that is neither good nor bad; it has no interval.
    of_sums : the score from the data of a `ScoreSums`. It may be infinite or NaN where the score
        is undefined. None for a quantity that does not follow from the sums.
    meaning : the explanation in the report. Empty = not explained there.
    short_label : used instead of the label in narrow columns of the printed table.
    spec : format of a value.
    ideal : value of a perfect forecast, for the direction ``nearer``.
    in_ratios : whether 0.5 is as far from an ideal of 1 as 2 is.
    in_tables : whether tables and figures show the score. The files hold all scores.
    needs : name of a sum, without which the score does not exist.
    drawn : whether the bootstrap draws the score. It takes too long for some.
    """

    name: str
    label: str
    long_name: str
    unit: str
    dims: Dims
    direction: Direction | None
    of_sums: Callable[[xr.Dataset], xr.DataArray] | None
    meaning: str = ""
    short_label: str = ""
    spec: str = ".3f"
    ideal: float = 0.0
    in_ratios: bool = False
    in_tables: bool = True
    needs: str = ""
    drawn: bool = True

    @property
    def attrs(self) -> dict[str, str]:
        """Attributes of the variable in a netCDF file."""
        return {"long_name": self.long_name, "units": self.unit}

    @property
    def printed_unit(self) -> str:
        """The unit as people write it; empty where there is none."""
        return _PRINTED_UNITS.get(self.unit, self.unit)

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label} [{self.printed_unit}]" if self.printed_unit else self.label

    @property
    def column(self) -> str:
        """Head of a narrow column."""
        return self.short_label or self.label

    @property
    def has_interval(self) -> bool:
        """Whether the bootstrap gives the score an interval."""
        return self.direction is not None and self.of_sums is not None and self.drawn

    def text(self, value: float) -> str:
        """The value as tables show it; a dash where it is undefined."""
        if not np.isfinite(value):
            return "–"
        text = format(float(value), self.spec)
        return text if float(text) else format(0.0, self.spec)  # rounding errors make -0.000

    @property
    def gain_unit(self) -> str:
        """Unit of `gain`, as people write it."""
        return self.printed_unit if self.direction == "nearer" and not self.in_ratios else "%"

    def gain(self, values: xr.DataArray, reference: xr.DataArray) -> xr.DataArray:
        """How much better values are than those of a reference, in `gain_unit`; below 0 = worse.

        A score whose direction is higher or lower gains the percentage that it is above or below
        the reference. A score with an ideal gains how much nearer it is to the ideal; in ratios
        that is 100 (|ln reference| - |ln value|). NaN where the reference is not above 0, and a
        percentage has no meaning.
        """
        if self.direction == "nearer":
            gained = xr.apply_ufunc(self.cost, reference) - xr.apply_ufunc(self.cost, values)
            return _finite(100 * gained if self.in_ratios else gained)
        sign = 1 if self.direction == "higher" else -1
        return _finite(100 * sign * (values / reference.where(reference > 0) - 1))

    def cost(self, values: NDArray) -> NDArray:
        """Numbers that order the values: the lower the number, the better. NaN stays NaN."""
        if self.direction == "higher":
            return -values
        if self.direction == "lower":
            return values
        if self.in_ratios:
            with np.errstate(divide="ignore"):
                return np.abs(np.log(values / self.ideal))
        return np.abs(values - self.ideal)


def _finite(values: xr.DataArray) -> xr.DataArray:
    return values.where(np.isfinite(values))
