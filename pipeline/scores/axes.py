"""Axes of sums and scores: their names in netCDF and CSV files, long names and units."""

from __future__ import annotations

from dataclasses import dataclass

Dims = tuple[str, ...]

BY_METHOD: Dims = ("method",)
BY_LEAD_TIME: Dims = ("method", "lead_time")
BY_THRESHOLD: Dims = ("method", "threshold", "lead_time")
BY_SCALE: Dims = ("method", "threshold", "scale", "lead_time")
BY_WAVELENGTH: Dims = ("method", "lead_time", "wavelength")
OBSERVED_BY_WAVELENGTH: Dims = ("lead_time", "wavelength")
# Of members:
BY_WIDTH: Dims = ("method", "width", "lead_time")
BY_THRESHOLD_AND_WIDTH: Dims = ("method", "threshold", "width", "lead_time")
BY_RANK_AND_LEAD_TIME: Dims = ("method", "rank", "lead_time")
BY_SPREAD_AND_LEAD_TIME: Dims = ("method", "spread_range", "lead_time")
BY_SPREAD: Dims = ("method", "spread_range")  # of all lead times together
BY_RANK: Dims = ("method", "rank")  # of all lead times together
# Of chances:
BY_CHANCE_AND_LEAD_TIME: Dims = ("method", "threshold", "chance", "lead_time")
BY_CHANCE: Dims = ("method", "threshold", "chance")  # of all lead times together
BY_COST: Dims = ("method", "threshold", "cost_loss")


@dataclass(frozen=True)
class Axis:
    """One axis.

    Parameters
    ----------
    csv_column : the column of the CSV table that holds the labels of this axis.
    unit : in CF notation. Empty for names, and for lead times: these are timedelta64.
    """

    name: str
    csv_column: str
    long_name: str
    unit: str = ""

    @property
    def attrs(self) -> dict[str, str]:
        """Attributes of the coordinate in a netCDF file."""
        attrs = {"long_name": self.long_name, "units": self.unit}
        return {name: text for name, text in attrs.items() if text}


# In the order of the columns in the CSV table.
AXES: tuple[Axis, ...] = (
    Axis("method", "method", ""),
    Axis("lead_time", "lead_time_min", "lead time"),
    Axis("threshold", "threshold_mm_h", "rain rate threshold", "mm h-1"),
    Axis("scale", "scale_km", "width of the FSS neighbourhood", "km"),
    Axis("wavelength", "wavelength_km", "middle of the wavelengths", "km"),
    Axis("width", "width_km", "width of the neighbourhood mean", "km"),
    Axis("chance", "chance", "lower end of a range of chances of an event", "1"),
    Axis("rank", "rank", "members below the observation", "1"),
    Axis("spread_range", "spread_range_mm_h", "lower end of a range of spreads", "mm h-1"),
    Axis("cost_loss", "cost_loss", "cost of protection per loss avoided", "1"),
)
