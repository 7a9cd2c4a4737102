"""What one pass of ingestion is asked for: the source, the archive, the period, the workers."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from squall.datasets.addresses import Address
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.times import EndTimeOrAge, TimeOrAge, now
from squall.pipeline.config import NoOption, Option


class IngestConfig(BaseModel):
    """One pass of ingestion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[RadarNetworkConfig, NoOption("CONFIG.yaml holds it")]
    archive: Annotated[Address, Option(metavar="ADDRESS")] = Field(
        default="",
        description="folder, s3://bucket/prefix or gs://bucket/prefix; created if it does not "
        "exist (default: 'archive' of the configuration)",
    )
    files: Annotated[tuple[str, ...], Option(metavar="PATTERN")] = Field(
        default=(),
        description="globs and addresses (s3://, https://, gs://, zip://…), relative to the "
        "current folder; ** spans folders; write it after CONFIG.yaml (default: 'source' of the "
        "configuration)",
    )
    exclude: Annotated[tuple[str, ...], Option(metavar="GLOB")] = Field(
        default=(),
        description="globs of files that are left out, beside 'exclude' of the configuration: "
        "compared with the name, or with the whole address if they have a /",
    )
    since: Annotated[TimeOrAge | None, Option(metavar="TIME")] = Field(
        default=None,
        description="first valid time, like 2024-06-01T12:00, or an age, like 2D or 36h",
    )
    until: Annotated[EndTimeOrAge | None, Option(metavar="TIME")] = Field(
        default=None, description="last valid time, or an age; a date includes its whole day"
    )
    reread: bool = Field(
        default=False,
        description="read all files again, for example after a change of the configuration, and "
        "put the result in place of the archive when all are read; an interrupted run "
        "goes on where it stopped",
    )
    dry_run: bool = Field(
        default=False, description="list the new files; read nothing, write nothing"
    )
    scheduler: Annotated[str, Option(metavar="WHERE")] = Field(
        default="processes",
        pattern=r"^(processes|threads|(tcp|tls|ucx|wss?)://.+)$",
        description="where workers run: processes or threads of this machine, or the address "
        "tcp://… of a Dask scheduler; threads are better if fetching takes longer than reading",
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        description="number of workers; 0 reads in this process (default: one per core if there "
        "are many files)",
    )
    lock_timeout_s: Annotated[float, Option(flag="--wait")] = Field(
        default=60.0, ge=0, description="how long to wait while another ingestion writes [s]"
    )

    @model_validator(mode="after")
    def _complete(self) -> IngestConfig:
        if not self.address:
            raise ValueError("no archive given; add --archive or 'archive:' in the configuration")
        if not self.patterns:
            raise ValueError("no files given; add --files or 'source:' in the configuration")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValueError(
                f"--since {self.since:%Y-%m-%dT%H:%M} is after --until {self.until:%Y-%m-%dT%H:%M}"
            )
        if self.since is not None and self.since > now() + pd.Timedelta("1D"):
            raise ValueError(f"--since {self.since:%Y-%m-%dT%H:%M} is in the future")
        if self.reread and not (self.since is None and self.until is None):
            raise ValueError("--reread reads all files; leave out --since and --until")
        return self

    @property
    def address(self) -> str:
        """Address of the archive."""
        return self.archive or self.source.archive or ""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Patterns and addresses of the files."""
        return self.files or self.source.source
