"""What a nowcast is asked for: the archive, the method, the reference time."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from squall.datasets.addresses import Address


class ForecastConfig(BaseModel):
    """Which nowcast to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: Address
    model: str | Path = Field(
        description="a method's name, a packaged model's or a checkpoint's path"
    )
    out: Path
    at: str = Field(default="latest", description="reference time, UTC, or latest")
    lead_times: int | None = Field(
        default=None, gt=0, description="how many steps; as many as trained with, or an hour"
    )
