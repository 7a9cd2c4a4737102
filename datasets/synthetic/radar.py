"""Synthetic radar: rain that looks, moves and changes like real rain, to train and test with.

Owns the archive's time axis, grid and coverage, and the episodes of different weather that it is
made of; the rain itself is `squall.datasets.synthetic.weather`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
from pydantic import BaseModel, ConfigDict, Field, model_validator

from squall.datasets.grid import Grid
from squall.datasets.synthetic.weather import Weather, rain_rates

MARGIN_PX = 32  # the periodic field is larger than the domain, so what leaves does not come back
EPISODE_MARGIN_PX = 64  # nor does it in a gale


class SyntheticConfig(BaseModel):
    """What synthetic radar to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hours: float = Field(
        default=24.0,
        gt=0,
        le=24 * 366,
        allow_inf_nan=False,
        description="length of the archive [h]",
    )
    seed: int = Field(default=1, ge=0)
    size: int = Field(default=256, ge=32, description="side of the square domain [px of 1 km]")
    step_minutes: int = Field(default=5, gt=0)
    start: str = "2024-06-01T00:00"
    missing_fraction: float = Field(default=0.006, ge=0, lt=1, description="share of scans lost")
    episode_hours: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="each so many hours have weather of their own, drawn by chance, with growth, "
        "decay and cells; their last scan is left out. One weather without these where not given "
        "[h]",
    )

    @model_validator(mode="after")
    def _episodes_of_scans(self) -> SyntheticConfig:
        if self.episode_hours and self.episode_steps < 2:
            raise ValueError(
                f"episode_hours {self.episode_hours:g} has no two scans, one every "
                f"{self.step_minutes} minutes; give more"
            )
        return self

    @property
    def times(self) -> pd.DatetimeIndex:
        """Valid times of all scans, the missing ones too, UTC."""
        count = max(1, round(self.hours * 60 / self.step_minutes))
        return pd.date_range(self.start, periods=count, freq=f"{self.step_minutes}min")

    @property
    def episode_steps(self) -> int:
        """Time steps from an episode's start to the next one's."""
        if self.episode_hours is None:
            return len(self.times)
        return round(self.episode_hours * 60 / self.step_minutes)


@dataclass(frozen=True)
class SyntheticScan:
    """One scan: rain rate (y, x) in mm/h, NaN outside the radars' coverage; or a lost one."""

    time: pd.Timestamp
    rain_rate_mm_h: npt.NDArray[np.float32]
    missing: bool


def synthetic_grid(size: int) -> Grid:
    """A square kilometre grid over the Danish straits, so that maps have coasts to show."""
    crs = pyproj.CRS.from_proj4("+proj=laea +lat_0=55.6 +lon_0=10.9 +ellps=GRS80 +units=m")
    centres = np.asarray((np.arange(size) - (size - 1) / 2) * 1000.0, dtype=np.float64)
    return Grid(x=centres, y=centres[::-1].copy(), crs_wkt=crs.to_wkt())


def coverage(size: int) -> npt.NDArray[np.bool_]:
    """(y, x) where one of the three radars sees: within 0.4 of the domain's side of one."""
    rows, columns = np.mgrid[:size, :size] / (size - 1)
    seen = np.zeros((size, size), dtype=bool)
    for row, column in ((0.35, 0.33), (0.42, 0.72), (0.72, 0.47)):
        seen |= np.hypot(rows - row, columns - column) < 0.40
    return seen


def synthetic_scans(config: SyntheticConfig) -> Iterator[SyntheticScan]:
    """Scans in order of time, the same for the same configuration.

    An episode depends on the seed, its number and the step, and not on those before it.
    """
    seen = coverage(config.size)
    margin = MARGIN_PX if config.episode_hours is None else EPISODE_MARGIN_PX
    inner = slice(margin, margin + config.size)
    times, steps = config.times, config.episode_steps
    for number, first in enumerate(range(0, len(times), steps)):
        if config.episode_hours is None:
            rng, weather = np.random.default_rng(config.seed), Weather()
        else:
            rng = np.random.default_rng((config.seed, number))
            weather = Weather.drawn(rng)
        rates = rain_rates(weather, config.size + 2 * margin, float(config.step_minutes), rng)
        for step, time in enumerate(times[first : first + steps]):
            rate = next(rates)[inner, inner]
            rate[~seen] = np.nan
            missing = bool(rng.random() < config.missing_fraction)
            if config.episode_hours is not None:
                missing |= step == steps - 1  # no window reaches into other weather
            yield SyntheticScan(time, rate.astype(np.float32), missing)
