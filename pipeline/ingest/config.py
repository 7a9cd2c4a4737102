"""What one pass of ingestion is asked for: the source, the archive, the period, the workers."""

from __future__ import annotations

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from squall.datasets.addresses import Address
from squall.datasets.radar.network_config import RadarNetworkConfig


class IngestConfig(BaseModel):
    """One pass of ingestion."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    source: RadarNetworkConfig
    archive: Address = Field(default="", description="address; that of the source if empty")
    files: tuple[str, ...] = Field(default=(), description="patterns; those of the source if empty")
    since: pd.Timestamp | None = Field(default=None, description="first valid time, UTC")
    until: pd.Timestamp | None = Field(default=None, description="last valid time, UTC")
    dry_run: bool = False
    scheduler: str = Field(
        default="processes",
        pattern=r"^(processes|threads|(tcp|tls|ucx|wss?)://.+)$",
        description="processes or threads here, or the address of a Dask scheduler",
    )
    workers: int | None = Field(
        default=None, ge=0, description="0 = this process alone; none = as many as cores"
    )
    lock_timeout_s: float = Field(default=60.0, ge=0)

    @model_validator(mode="after")
    def _complete(self) -> IngestConfig:
        if not self.address:
            raise ValueError("no archive given; add --archive or 'archive:' in the configuration")
        if not self.patterns:
            raise ValueError("no files given; add --files or 'source:' in the configuration")
        return self

    @property
    def address(self) -> str:
        """Where the archive is."""
        return self.archive or self.source.archive or ""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Where the files are."""
        return self.files or self.source.source
