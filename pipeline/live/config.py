"""What a live service is asked for: radar network, model, products, limits of time."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from squall.datasets.addresses import Address
from squall.datasets.times import Age, EndTime, Time
from squall.pipeline.config import Option, Rising
from squall.pipeline.live.alerts.rules import AlertRule, CapConfig, check_rules


class Place(BaseModel):
    """A place that gets a forecast of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latitude: float = Field(ge=-90, le=90, description="degrees north")
    longitude: float = Field(ge=-180, le=180, description="degrees east")


class LiveConfig(BaseModel):
    """A live service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Path | None = Field(
        default=None,
        description="configuration of the radar network, like configs/archives/knmi.yaml; not "
        "needed for a replay",
    )
    archive: Address = Field(
        default="", description="archive of the scans (default: 'archive' of the network)"
    )
    files: tuple[str, ...] = Field(
        default=(), description="globs and addresses (default: 'source' of the network)"
    )
    publish_to: Address = Field(description="folder or s3://bucket/prefix for the forecasts")
    model: str = Field(default="squall-base", description="as in `squall forecast --model`")
    members: int | None = Field(default=None, ge=2, le=1000, description="members of an ensemble")
    minutes: float = Field(default=60.0, gt=0, allow_inf_nan=False, description="horizon [min]")
    thresholds_mm_h: Rising = Field(
        default=(0.5, 2.0, 5.0, 10.0),
        min_length=1,
        max_length=10,
        description="rain rates whose chances are published [mm/h]",
    )
    places: dict[str, Place] = Field(default={}, description="name to latitude and longitude")
    alerts: tuple[AlertRule, ...] = Field(default=(), description="rules, see docs/alerts.md")
    cap: CapConfig = Field(default=CapConfig(), description="how messages of alerts are signed")
    also: tuple[Literal["zarr", "geotiff", "maps"], ...] = Field(
        default=(),
        description="what each run holds besides: Zarr, GeoTIFF (extra squall[geotiff]), maps as "
        "`squall maps` draws them",
    )
    usual_latency: Age = Field(
        default=pd.Timedelta("5min"),
        description="how long after its valid time a scan usually arrives",
    )
    stale_after: Age = Field(
        default=pd.Timedelta("1h"),
        description="age of the last scan from which on no forecast is made from it",
    )
    keep: Age = Field(default=pd.Timedelta("1D"), description="age at which runs are deleted")
    look_back: Age = Field(
        default=pd.Timedelta("6h"), description="files of this span before now are looked for"
    )
    poll_s: float = Field(default=10.0, gt=0, description="time between two looks [s]")
    watch: bool = Field(
        default=False,
        description="look at once when a file comes into the local folders of the radar files",
    )
    deadline_s: float = Field(
        default=120.0,
        gt=0,
        description="ingestion, and a forecast, are stopped after this time [s]",
    )

    @field_validator("watch")
    @classmethod
    def _can_watch(cls, watch: bool) -> bool:
        if watch and find_spec("watchfiles") is None:
            raise ValueError("needs watchfiles: pip install 'squall[watch]', or leave watch out")
        return watch

    @field_validator("also")
    @classmethod
    def _installed(cls, also: tuple[str, ...]) -> tuple[str, ...]:
        if "geotiff" in also and find_spec("rasterio") is None:
            raise ValueError(
                "geotiff needs rasterio: pip install 'squall[geotiff]', or leave geotiff out"
            )
        return also

    @model_validator(mode="after")
    def _complete(self) -> LiveConfig:
        if not self.publish_to:
            raise ValueError("publish_to is empty; give a folder or s3://bucket/prefix")
        if self.stale_after <= self.usual_latency:
            raise ValueError("stale_after must be longer than usual_latency")
        if self.keep < self.stale_after:
            raise ValueError("keep must be at least stale_after")
        check_rules(
            self.alerts,
            places=self.places,
            thresholds_mm_h=self.thresholds_mm_h,
            minutes=self.minutes,
            members=self.members,
            model=self.model,
        )
        return self

    def lead_times(self, step: pd.Timedelta) -> int:
        """Number of lead times of a forecast that is not late."""
        return math.ceil(pd.Timedelta(minutes=self.minutes) / step)


DEFAULT_SPEED = 60.0


class LiveOptions(BaseModel):
    """How a live service runs, beside its configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    once: bool = Field(default=False, description="one cycle, then end")
    replay: Annotated[Address | None, Option(metavar="ARCHIVE", exists=True)] = Field(
        default=None,
        description="play the scans of an archive as if they came now, instead of radar files",
    )
    start: Annotated[Time | None, Option(metavar="TIME")] = Field(
        default=None,
        description="where the replay begins, UTC (default: an hour after the first scan)",
    )
    end: Annotated[EndTime | None, Option(metavar="TIME")] = Field(
        default=None, description="where the replay ends, UTC (default: it goes on)"
    )
    speed: Annotated[float, Option(metavar="FACTOR")] = Field(
        default=DEFAULT_SPEED,
        gt=0,
        allow_inf_nan=False,
        description="how much faster than real time a replay runs",
    )

    @model_validator(mode="after")
    def _of_a_replay(self) -> LiveOptions:
        is_asked = any(name in self.model_fields_set for name in ("start", "end", "speed"))
        if self.replay is None and is_asked:
            raise ValueError("--start, --end and --speed are for a replay; add --replay ARCHIVE")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("--end must be after --start")
        return self
