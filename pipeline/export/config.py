"""What an export is asked for: an archive as a Zarr store, or a checkpoint as weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from squall.datasets.times import EndTime, Time
from squall.pipeline.config import Option
from squall.pipeline.outputs import OutputPath

ARCHIVE_GROUP = "for an archive"


class ExportConfig(BaseModel):
    """What to export, the address to write to, and the person responsible."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: Annotated[str, Option(positional=True, metavar="ARCHIVE")] = Field(
        description="archive to export: a folder, s3:// or gs://"
    )
    out: Annotated[str, Option(positional=True, metavar="OUT")] = Field(
        description="Zarr store to create: a folder, s3:// or another fsspec address"
    )
    convention: Annotated[Literal["mlcast"], Option(group=ARCHIVE_GROUP)] = Field(
        default="mlcast", description="MLCast source data"
    )
    start: Annotated[Time | None, Option(group=ARCHIVE_GROUP, metavar="TIME")] = Field(
        default=None, description="first scan, UTC (default: the first of the archive)"
    )
    end: Annotated[EndTime | None, Option(group=ARCHIVE_GROUP, metavar="TIME")] = Field(
        default=None,
        description="last scan, UTC; a date includes its whole day (default: the last of the "
        "archive)",
    )
    license: Annotated[str | None, Option(group=ARCHIVE_GROUP, metavar="SPDX")] = Field(
        default=None,
        description="SPDX identifier, like CC-BY-4.0 (default: the license in the archive)",
    )
    creator: Annotated[str | None, Option(group=ARCHIVE_GROUP, metavar="'NAME <MAIL>'")] = Field(
        default=None,
        pattern=r"^[^<>]*[^<>\s] <[^<>@\s]+@[^<>@\s]+>$",
        description="contact for the data set, like 'Ada Lovelace <ada@example.org>'",
    )
    identifier: Annotated[str | None, Option(group=ARCHIVE_GROUP, metavar="ID")] = Field(
        default=None,
        pattern=r"^[A-Z]{2}-[A-Za-z0-9]\w*-[A-Za-z0-9]\w*$",
        description="data set identifier COUNTRY-ENTITY-VARIABLE, like NL-KNMI-rainfall_flux",
    )
    created_with: Annotated[str | None, Option(group=ARCHIVE_GROUP, metavar="URL")] = Field(
        default=None,
        pattern=r"^https://github\.com/mlcast-community/mlcast-dataset-[^-\s]+-\S+@\S+$",
        description="repository and version of the data set's recipe at mlcast-community",
    )
    workers: Annotated[int | None, Option(group=ARCHIVE_GROUP)] = Field(
        default=None, gt=0, description="threads (default: one per core)"
    )

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

    checkpoint: Annotated[Path, Option(positional=True, metavar="CKPT")] = Field(
        description="checkpoint of a training run"
    )
    out: Annotated[OutputPath, Option(positional=True, metavar="OUT")] = Field(
        description="file to write, NAME.safetensors"
    )

    @field_validator("out")
    @classmethod
    def _named(cls, out: Path) -> Path:
        from squall.convgru.checkpoint import WEIGHTS_SUFFIX  # imports torch, --help must not

        if out.suffix != WEIGHTS_SUFFIX:
            raise ValueError(f"weights are written as NAME{WEIGHTS_SUFFIX}")
        return out
