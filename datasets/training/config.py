"""Configuration of the training data: archives, windows, crops and splits."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from squall.datasets.addresses import Address
from squall.datasets.training.epoch_plan import SPAN
from squall.datasets.training.splits import SplitConfig

Factors = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]


class ArchiveShare(BaseModel):
    """An archive to train on. In YAML its address alone is enough."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Address = Field(description="folder or s3://bucket/prefix")
    weight: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="share of the samples, relative to the other archives' weights; without "
        "weights the shares follow the numbers of windows",
    )
    snapshot: str | None = Field(default=None, description="default: the newest")
    speeds: Factors | None = Field(default=None, description="default: data.speeds")
    coarsen: Factors | None = Field(default=None, description="default: data.coarsen")


def _share(value: Any) -> Any:
    return value if isinstance(value, (dict, ArchiveShare)) else {"address": value}


class DataConfig(BaseModel):
    """Windows, crops and splits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archives: tuple[Annotated[ArchiveShare, BeforeValidator(_share)], ...] = Field(
        default=(), description="archives to train on"
    )
    context: int = Field(default=4, gt=0, description="scans that a forecast starts from")
    lead_times: int = Field(default=12, gt=0, description="scans that the model forecasts")
    crop: int = Field(default=128, gt=0, description="side of the square training crops [px]")
    batch_size: int = Field(default=4, gt=0, description="samples of a step on each device")
    samples_per_epoch: int = Field(default=800, gt=0, description="on all devices together")
    validation_samples: int = Field(default=64, gt=0, description="samples of each validation")
    rain_preference: float = Field(
        default=5.0,
        ge=0,
        allow_inf_nan=False,
        description="0 draws all crops with the same probability; larger values prefer rain",
    )
    crops_per_read: int = Field(
        default=8, gt=0, description="training crops that are cut from one read of the archive"
    )
    augment: bool = Field(default=True, description="rotate and mirror training crops")
    speeds: Factors = Field(
        default=(1,),
        description="a training window takes every so many scans: 1 is the archive's own step, 2 "
        "twice as long. One of the numbers is drawn for each read; a number that is named twice is "
        "drawn twice as often; a number for which an archive is too short is left out. Validation "
        "uses the first number",
    )
    coarsen: Factors = Field(
        default=(1,),
        description="the pixels of a training crop are means over squares with so many pixels a "
        "side; drawn as speeds are",
    )
    intensity: float = Field(
        default=1.0,
        ge=1,
        allow_inf_nan=False,
        description="the rain rates of a training sample are multiplied by one factor between 1 / "
        "intensity and intensity",
    )
    drop_scan: float = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="probability that a scan of a training context, except the last, is dropped",
    )
    kept_windows: int = Field(
        default=1000,
        gt=0,
        description="for network.head exceedance: most training windows of an archive that are "
        "computed once and kept beside the run; of each pair of speeds and coarsen",
    )
    workers: int = Field(
        default=0, ge=0, description="loader processes of each device, besides the main one"
    )
    split: SplitConfig = SplitConfig()

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if self.workers and SPAN % self.workers:
            raise ValueError(
                f"workers {self.workers}: give a divisor of {SPAN} (1, 2, 3, 4, 6, 12), so "
                "that crops of one read stay with one worker"
            )
        weighted = [share.address for share in self.archives if share.weight is not None]
        if weighted and len(weighted) < len(self.archives):
            unweighted = [share.address for share in self.archives if share.weight is None]
            raise ValueError(
                f"archives: {', '.join(weighted)} has a weight and {', '.join(unweighted)} has "
                "none; give all of them a weight or none"
            )
        return self

    @property
    def length(self) -> int:
        """Scans of a window."""
        return self.context + self.lead_times

    @property
    def moving_channels(self) -> int:
        """Fields of a kept window: the context, and for each lead time the smoothed scan, three
        scans at rest, and the future."""
        return self.context + 5 * self.lead_times
