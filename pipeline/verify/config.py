"""What a verification is asked for: archives, methods, times, thresholds, and how to count."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from squall.datasets.addresses import Address
from squall.datasets.errors import ConfigError
from squall.datasets.times import parse_end, parse_time
from squall.pipeline.forecast.names import STEPS_MEMBERS

THRESHOLDS_MM_H = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
SCALES_KM = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


@dataclass(frozen=True)
class ReferencePeriod:
    """First and last reference time, UTC, both inclusive; open where None."""

    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None


class VerifyConfig(BaseModel):
    """Which forecasts to score, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archives: tuple[Address, ...] = Field(min_length=1)
    models: tuple[str | Path, ...] = Field(
        min_length=1, description="methods, packaged models and checkpoints; persistence comes too"
    )
    out: Path
    start: str | None = Field(default=None, description="first reference time, UTC")
    end: str | None = Field(default=None, description="last reference time, UTC")
    periods: tuple[str, ...] = Field(
        default=(), description="in place of start and end: START/END of reference times, UTC"
    )
    every_minutes: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="between reference times; each scan where not given [min]",
    )
    lead_times: int | None = Field(default=None, gt=0, description="how many steps to forecast")
    minutes: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="how far to forecast [min]"
    )
    thresholds_mm_h: tuple[float, ...] = Field(default=THRESHOLDS_MM_H, min_length=1)
    scales_km: tuple[float, ...] = Field(
        default=SCALES_KM, min_length=1, description="neighbourhood widths of the FSS [km]"
    )
    pixels: Literal["reachable", "observed"] = Field(
        default="reachable",
        description="of the pixels observed and known to every method: those that a trajectory of "
        "the motion of rain reaches from inside what the last scan observed, or all",
    )
    include_training: bool = Field(
        default=False, description="score times that a model was trained or chosen on, too"
    )
    members: int = Field(default=STEPS_MEMBERS, ge=2, description="of the STEPS ensemble")
    block_minutes: float = Field(
        default=60.0, gt=0, allow_inf_nan=False, description="blocks of the bootstrap [min]"
    )
    cases: int = Field(default=3, ge=0, description="forecasts to draw, the rainiest, per archive")
    workers: int | None = Field(default=None, ge=1, description="processes; one a core if None")
    fresh: bool = Field(default=False, description="make anew what an earlier run has finished")

    @field_validator("thresholds_mm_h", "scales_km")
    @classmethod
    def _rising(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if min(values) <= 0 or list(values) != sorted(set(values)):
            raise ValueError("must be positive and rise")
        return values

    @model_validator(mode="after")
    def _one_way(self) -> VerifyConfig:
        if self.periods and (self.start or self.end):
            raise ValueError("give either periods or start and end, not both")
        if self.lead_times and self.minutes:
            raise ValueError("give either lead_times or minutes, not both")
        return self

    def reference_periods(self) -> list[ReferencePeriod]:
        """The periods as times.

        Raises
        ------
        ConfigError
            If a text is no time or no period; the message names the option.
        """
        if not self.periods:
            return [_period("--start", self.start, "--end", self.end)]
        periods = []
        for text in self.periods:
            first, slash, last = text.partition("/")
            if not slash:
                raise ConfigError(f"--period '{text}' is no period; write it START/END")
            periods.append(_period("--period", first, "--period", last))
        return periods


def _period(
    start_option: str, start: str | None, end_option: str, end: str | None
) -> ReferencePeriod:
    try:
        first = None if start is None else parse_time(start)
    except ValueError as error:
        raise ConfigError(f"{start_option}: {error}") from error
    try:
        last = None if end is None else parse_end(end)
    except ValueError as error:
        raise ConfigError(f"{end_option}: {error}") from error
    if first is not None and last is not None and first > last:
        if start_option == end_option:
            raise ConfigError(f"{start_option} '{start}/{end}': the start is after the end")
        raise ConfigError(f"{start_option} {start} is after {end_option} {end}")
    return ReferencePeriod(first, last)
