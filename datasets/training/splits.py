"""Which times are for training, validation and test: whole blocks of days, or named periods.

Pure arithmetic on the time axis; reads no file.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from squall.datasets.runs import Bools
from squall.datasets.times import parse_time

GOLDEN_RATIO = (5**0.5 - 1) / 2


class Period(BaseModel):
    """Valid times from ``start`` (inclusive) to ``end`` (exclusive), UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # without quotes, YAML reads a date
    start: Annotated[str, BeforeValidator(str)] = Field(description="first valid time, UTC")
    end: Annotated[str, BeforeValidator(str)] = Field(description="end, not in the period, UTC")

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if not parse_time(self.start) < parse_time(self.end):
            raise ValueError(f"start {self.start} must be before end {self.end}")
        return self

    def contains(self, times: pd.DatetimeIndex) -> Bools:
        """(time,) whether each time is in the period."""
        return np.asarray((times >= parse_time(self.start)) & (times < parse_time(self.end)))


class DayBlocks(BaseModel):
    """Whole blocks of days for each split, spread evenly over the seasons.

    Block number k, counted from 1970, has the fraction ``k * golden ratio mod 1``. It is a test
    block if the fraction is below ``test``, a validation block if it is below ``test +
    validation``, and a training block otherwise. So a day keeps its split while the archive grows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: int = Field(default=1, gt=0, description="days of a block, from 00:00 UTC")
    validation: float = Field(default=0.1, ge=0, lt=1, description="share of blocks to validate on")
    test: float = Field(default=0.1, ge=0, lt=1, description="share of blocks kept for verify")

    @model_validator(mode="after")
    def _leave_some(self) -> DayBlocks:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation {self.validation:g} and test {self.test:g} leave nothing to train on"
            )
        return self

    def regions(self, times: pd.DatetimeIndex) -> tuple[Bools, Bools]:
        """Return (time,) which times are for validation, and which for test."""
        block = (times - pd.Timestamp(0)) // pd.Timedelta(days=self.days)
        fraction = np.asarray(block, dtype=np.float64) * GOLDEN_RATIO % 1
        test = fraction < self.test
        return ~test & (fraction < self.test + self.validation), test


class Regions(NamedTuple):
    """(time,) disjoint parts of a time axis."""

    training: Bools
    validation: Bools
    test: Bools


class SplitConfig(BaseModel):
    """Which parts of the time axis are for training, for validation and for test."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: DayBlocks | None = Field(
        default=None, description="split by whole blocks of days, for archives of weeks and more"
    )
    validation: tuple[Period, ...] = Field(default=(), description="periods to validate on")
    test: tuple[Period, ...] = Field(
        default=(), description="periods kept for `squall verify`: neither trained nor validated on"
    )
    validation_fraction: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="share of an archive's scans, the last ones, that are for validation if the "
        "archive has no period above and there are no blocks of days. 0 without a period: no "
        "validation, and training on all times that are not for test",
    )
    guard_minutes: float = Field(
        default=30.0,
        ge=0,
        le=365 * 24 * 60,
        allow_inf_nan=False,
        description="time between training and the other splits, because rain lasts [min]",
    )

    @model_validator(mode="after")
    def _one_way(self) -> SplitConfig:
        if self.days and (self.validation or self.test):
            raise ValueError("give either days or periods of validation and test, not both")
        return self

    @property
    def validates(self) -> bool:
        """Whether the split has validation times, in an archive that reaches them."""
        if self.days:
            return self.days.validation > 0
        return bool(self.validation) or self.validation_fraction > 0

    def regions(self, times: pd.DatetimeIndex, ok: Bools) -> Regions:
        """Return the parts of a regular time axis for training, validation and test.

        Parameters
        ----------
        times : of the axis.
        ok : (time,) which times have a good scan; `validation_fraction` counts these.
        """
        if self.days:
            validation, test = self.days.regions(times)
        else:
            test = _inside(self.test, times)
            validation = _inside(self.validation, times) & ~test
            if not validation.any():
                free = np.flatnonzero(ok & ~test)
                tail = free[int(np.ceil(free.size * (1 - self.validation_fraction))) :]
                if tail.size:
                    validation = ~test & (np.arange(times.size) >= tail[0])
        return Regions(~self._near(validation | test, times), validation, test)

    def _near(self, held_out: Bools, times: pd.DatetimeIndex) -> Bools:
        """(time,) which times are held out, or within the guard time of such a time."""
        if times.size < 2:
            return held_out
        guard = int(np.ceil(pd.Timedelta(minutes=self.guard_minutes) / (times[1] - times[0])))
        size = times.size
        edges = np.zeros(size + 1, dtype=np.int64)
        indices = np.flatnonzero(held_out)
        np.add.at(edges, np.maximum(indices - guard, 0), 1)
        np.add.at(edges, np.minimum(indices + guard + 1, size), -1)
        return np.asarray(np.cumsum(edges[:-1]) > 0)


def _inside(periods: tuple[Period, ...], times: pd.DatetimeIndex) -> Bools:
    inside = np.zeros(times.size, dtype=bool)
    for period in periods:
        inside |= period.contains(times)
    return inside
