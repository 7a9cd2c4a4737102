"""What an export is asked for: an archive as a Zarr store, or a checkpoint as weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from squall.datasets.times import EndTime, Time


class ExportConfig(BaseModel):
    """What to export, where to, and who answers for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: str = Field(description="archive to export: a folder, s3:// or gs://")
    out: str = Field(description="Zarr store to make: a folder, s3:// or another fsspec address")
    convention: Literal["mlcast"] = "mlcast"
    start: Time | None = Field(default=None, description="first scan, UTC")
    end: EndTime | None = Field(default=None, description="last scan, UTC")
    license: str | None = Field(
        default=None, description="SPDX identifier, where the archive's attributes have none"
    )
    creator: str | None = Field(
        default=None,
        pattern=r"^[^<>]*[^<>\s] <[^<>@\s]+@[^<>@\s]+>$",
        description="contact for the data set, like 'Ada Lovelace <ada@example.org>'",
    )
    identifier: str | None = Field(
        default=None,
        pattern=r"^[A-Z]{2}-[A-Za-z0-9]\w*-[A-Za-z0-9]\w*$",
        description="data set identifier COUNTRY-ENTITY-VARIABLE, like NL-KNMI-rainfall_flux",
    )
    created_with: str | None = Field(
        default=None,
        pattern=r"^https://github\.com/mlcast-community/mlcast-dataset-[^-\s]+-\S+@\S+$",
        description="repository and version of the data set's recipe at mlcast-community",
    )
    workers: int | None = Field(default=None, gt=0, description="threads (default: one a core)")

    @field_validator("out")
    @classmethod
    def _plain_folder(cls, out: str) -> str:
        return out.removeprefix("file://")

    @model_validator(mode="after")
    def _ordered(self) -> ExportConfig:
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError(f"end {self.end} lies before start {self.start}")
        return self


class WeightsConfig(BaseModel):
    """Which checkpoint to publish, and where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: Path
    out: Path
    strength: float = Field(
        default=1.0, ge=0, le=1, description="of what an advection head's network adds"
    )

    @field_validator("out")
    @classmethod
    def _named(cls, out: Path) -> Path:
        from squall.convgru.checkpoint import WEIGHTS_SUFFIX  # imports torch: flags need not wait

        if out.suffix != WEIGHTS_SUFFIX:
            raise ValueError(f"weights are written as NAME{WEIGHTS_SUFFIX}")
        return out
