"""What a verification is asked for: archives, methods, times, thresholds, and how to count."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from datasets.errors import ConfigError
from datasets.repository import Address
from pipeline.forecast import parse_time
from pipeline.methods import STEPS_MEMBERS
from pipeline.verify_cases import ReferencePeriod

THRESHOLDS_MM_H = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
SCALES_KM = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


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
        """The periods as times; raises ConfigError where one is none."""
        if not self.periods:
            start = None if self.start is None else parse_time(self.start, "--start")
            end = None if self.end is None else parse_time(self.end, "--end")
            if start and end and start > end:
                raise ConfigError(f"--start {start} is after --end {end}")
            return [ReferencePeriod(start, end)]
        found = []
        for text in self.periods:
            first, slash, last = text.partition("/")
            if not slash:
                raise ConfigError(f"--period '{text}' is no period; write it START/END")
            start, end = parse_time(first, "--period"), parse_time(last, "--period")
            if start > end:
                raise ConfigError(f"--period '{text}': the start is after the end")
            found.append(ReferencePeriod(start, end))
        return found
