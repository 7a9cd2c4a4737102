"""What a nowcast is asked for: the archive, the method, the reference time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from squall.datasets.addresses import Address
from squall.datasets.times import Age, parse_time
from squall.pipeline.config import Option
from squall.pipeline.outputs import OutputPath


def _latest_or_time(value: Any) -> Any:
    return value if value == "latest" else parse_time(value)


class ForecastConfig(BaseModel):
    """Which nowcast to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: Annotated[Address, Option(metavar="ADDRESS", exists=True)] = Field(
        description="archive with the observed scans"
    )
    model: Annotated[str | Path, Option(metavar="METHOD")] = Field(
        description="checkpoint of a `squall train` run, a packaged model like squall-base, or a "
        "method without training: extrapolation, persistence, s-prog …"
    )
    out: Annotated[OutputPath, Option(metavar="FILE.nc")] = Field(description="file to write")
    at: Annotated[Any, BeforeValidator(_latest_or_time), Option(metavar="TIME")] = Field(
        default="latest",
        description="reference time, UTC: the last scan to use, like 2010-08-26T06:00",
    )
    max_age: Annotated[Age | None, Option(metavar="DURATION")] = Field(
        default=None,
        description="refuse the latest scan if it is older than this, like 20min (default: any "
        "age, with a warning above an hour)",
    )
    lead_times: Annotated[int | None, Option(excludes="horizon")] = Field(
        default=None,
        gt=0,
        description="steps to forecast (default: as many as trained with; one hour for a method "
        "without training)",
    )
    minutes: Annotated[float | None, Option(excludes="horizon")] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="forecast up to this lead time [min], a multiple of the archive's step",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ForecastConfig:
        if self.lead_times and self.minutes:
            raise ValueError("give either lead_times or minutes, not both")
        if self.max_age is not None and not self.max_age:
            raise ValueError("max_age must be longer than nothing, like 20min")
        if self.max_age is not None and self.at != "latest":
            raise ValueError(
                "max_age is a limit for the latest scan; leave it out where 'at' names a time"
            )
        return self
