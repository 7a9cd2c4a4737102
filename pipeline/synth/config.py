"""What `squall synth` is asked for: a folder, and the synthetic radar to write into it."""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from squall.datasets.synthetic.config import SyntheticConfig
from squall.datasets.times import TimeOrAge, parse_time, parse_time_or_age
from squall.pipeline.config import Option, OptionsOf
from squall.pipeline.outputs import OutputPath


class SynthConfig(BaseModel):
    """Which synthetic radar to write, and where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Annotated[OutputPath, Option(metavar="DIR")] = Field(description="folder for the files")
    radar: Annotated[SyntheticConfig, OptionsOf(("hours", "seed", "episode_hours", "size"))] = (
        Field(default=SyntheticConfig(), description="the synthetic radar")
    )
    start: Annotated[TimeOrAge | None, Option(metavar="TIME")] = Field(
        default=None,
        description="first valid time, UTC, or now, or an age like 3h; the last two are rounded "
        "down to the time between scans (default: 2024-06-01)",
    )
    live: bool = Field(
        default=False,
        description="write each scan when its time comes, and those of the past at once",
    )

    @property
    def synthetic(self) -> SyntheticConfig:
        """The synthetic radar, from the start that is asked for."""
        if self.start is None:
            return self.radar
        return self.radar.model_copy(update={"start": self.start})

    @field_validator("start", mode="before")
    @classmethod
    def _on_a_step(cls, start: Any, info: ValidationInfo) -> Any:
        """Round a start that is given from now on; a time stays as it is."""
        if start is None:
            return None
        time = parse_time_or_age(start)
        is_from_now = time != _time_or_none(start)
        radar = info.data.get("radar", SyntheticConfig())
        return time.floor(f"{radar.step_minutes}min") if is_from_now else time


def _time_or_none(value: Any) -> pd.Timestamp | None:
    try:
        return parse_time(value)
    except ValueError:
        return None
