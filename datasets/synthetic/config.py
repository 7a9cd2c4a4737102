"""Which synthetic radar to make: length, domain, time step, weather."""

from __future__ import annotations

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from squall.datasets.times import Time


class SyntheticConfig(BaseModel):
    """Which synthetic radar to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hours: float = Field(
        default=24.0,
        gt=0,
        le=24 * 366,
        allow_inf_nan=False,
        description="length of the archive [h]",
    )
    seed: int = Field(default=1, ge=0, description="another seed gives other rain")
    size: int = Field(default=256, ge=32, description="side of the square domain [px of 1 km]")
    step_minutes: int = Field(default=5, gt=0, description="time between scans [min]")
    start: Time = Field(default=pd.Timestamp("2024-06-01"), description="first valid time, UTC")
    missing_fraction: float = Field(default=0.006, ge=0, lt=1, description="share of missing scans")
    radar_faults: bool = Field(
        default=True,
        description="echoes of the ground near the radars, and radars that are silent for a while",
    )
    episode_hours: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="length of an episode [h]; each episode has random weather of its own, with "
        "growth, decay and cells, and its last scan is missing (default: one weather for the "
        "whole archive, without these)",
    )

    @model_validator(mode="after")
    def _episodes_of_scans(self) -> SyntheticConfig:
        if self.episode_hours and self.episode_steps < 2:
            raise ValueError(
                f"episode_hours {self.episode_hours:g} is shorter than two scans, one every "
                f"{self.step_minutes} minutes; give a longer time"
            )
        return self

    @property
    def times(self) -> pd.DatetimeIndex:
        """Valid times of all scans, also of the missing ones, UTC."""
        count = max(1, round(self.hours * 60 / self.step_minutes))
        return pd.date_range(self.start, periods=count, freq=f"{self.step_minutes}min")

    @property
    def episode_steps(self) -> int:
        """Number of time steps of an episode."""
        if self.episode_hours is None:
            return len(self.times)
        return round(self.episode_hours * 60 / self.step_minutes)
