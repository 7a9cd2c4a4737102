"""What a calibration is asked for: archive, model, and which forecasts to count."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from squall.datasets.addresses import Address
from squall.datasets.times import EndTime, Time
from squall.pipeline.config import Option
from squall.pipeline.outputs import OutputPath


class CalibrateConfig(BaseModel):
    """Which model to calibrate, and on which forecasts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: Annotated[Address, Option(metavar="ADDRESS", exists=True)] = Field(
        description="archive with the observed scans"
    )
    model: Annotated[str | Path, Option(metavar="MODEL")] = Field(
        description="checkpoint of a `squall train` run with network.head exceedance, or its "
        "exported weights"
    )
    out: Annotated[OutputPath, Option(metavar="FILE.safetensors")] = Field(
        description="file to write: the weights of the model with the calibration"
    )
    start: Annotated[Time | None, Option(metavar="TIME")] = Field(
        default=None,
        description="first reference time, UTC (default: the times that the model was validated "
        "on; if there are none, all of the archive)",
    )
    end: Annotated[EndTime | None, Option(metavar="TIME")] = Field(
        default=None,
        description="last reference time, UTC; a date includes its whole day (default: as for "
        "--start)",
    )
    most_forecasts: Annotated[int, Option(flag="--forecasts")] = Field(
        default=150,
        gt=0,
        description="most forecasts to count, spread evenly over the time; more take longer",
    )
    members: int | None = Field(
        default=None,
        ge=2,
        le=100,
        description="also fit and compare ensembles of so many members, and calibrate their "
        "chances; more than 10 take long (default: ensembles are left as they are)",
    )
    include_training: bool = Field(
        default=False,
        description="also count times that the model was trained on; its chances look better there",
    )
    workers: int | None = Field(
        default=None, ge=1, description="worker processes (default: one per core)"
    )
