"""Which times train, validate and test: whole blocks of days, or named periods.

Pure arithmetic on the time axis; reads nothing.
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

    start: Annotated[str, BeforeValidator(str)]  # YAML makes a date of one without quotes
    end: Annotated[str, BeforeValidator(str)]

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if not parse_time(self.start) < parse_time(self.end):
            raise ValueError(f"start {self.start} must be before end {self.end}")
        return self

    def contains(self, times: pd.DatetimeIndex) -> Bools:
        """(time,) which times lie in the period."""
        return np.asarray((times >= parse_time(self.start)) & (times < parse_time(self.end)))


class DayBlocks(BaseModel):
    """Whole blocks of days dealt to the splits, evenly over the seasons.

    Block number k, counted from 1970, goes by the fractional part of k times the golden ratio: a
    day's split depends on nothing else and stays the same while the archive grows.
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
        """(time,) which times validate and which test."""
        block = (times - pd.Timestamp(0)) // pd.Timedelta(days=self.days)
        place = np.asarray(block, dtype=np.float64) * GOLDEN_RATIO % 1
        return (place >= self.test) & (place < self.test + self.validation), place < self.test


class Regions(NamedTuple):
    """(time,) parts of a time axis, disjoint."""

    training: Bools
    validation: Bools
    test: Bools


class SplitConfig(BaseModel):
    """Which part of the time axis is for training, validation and nothing at all (test)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: DayBlocks | None = Field(
        default=None, description="deal whole blocks of days, for archives of weeks and more"
    )
    validation: tuple[Period, ...] = Field(default=(), description="periods to validate on")
    test: tuple[Period, ...] = Field(
        default=(), description="periods kept for `squall verify`: neither trained nor validated on"
    )
    validation_fraction: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="the last share of an archive's scans validates, where no period above lies "
        "in the archive and no blocks of days are dealt; 0, and no period: trains without "
        "validation on all that is not test",
    )
    guard_minutes: float = Field(
        default=30.0,
        ge=0,
        le=365 * 24 * 60,
        allow_inf_nan=False,
        description="training keeps this distance from validation and test, for rain lasts [min]",
    )

    @model_validator(mode="after")
    def _one_way(self) -> SplitConfig:
        if self.days and (self.validation or self.test):
            raise ValueError("give either days or periods of validation and test, not both")
        return self

    @property
    def validates(self) -> bool:
        """Whether anything is to be validated on, in archives that have it."""
        if self.days:
            return self.days.validation > 0
        return bool(self.validation) or self.validation_fraction > 0

    def regions(self, times: pd.DatetimeIndex, ok: Bools) -> Regions:
        """Parts of a regular time axis for training, validation and test.

        ``ok`` says which times hold a good scan; shares are counted in those.
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
        """What is held out, and the guard on both sides."""
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
