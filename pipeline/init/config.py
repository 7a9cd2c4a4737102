"""What `squall init` is asked for: files, where to write, or a configuration to try."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from squall.pipeline.config import Option
from squall.pipeline.outputs import OutputPath


class InitConfig(BaseModel):
    """A look at radar files of one network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: Annotated[tuple[str, ...], Option(positional=True, metavar="FILE")] = Field(
        default=(),
        description="radar files of one network: paths, globs, folders, s3://, https://, zip://…; "
        "several files tell the step",
    )
    config: Annotated[Path | None, Option(metavar="NETWORK.yaml", exists=True)] = Field(
        default=None,
        description="write no configuration: read a scan with this one, to see it with --plot "
        "before it is ingested; without FILE, a scan of its 'source'",
    )
    out: Annotated[OutputPath | None, Option(metavar="NETWORK.yaml")] = Field(
        default=None, description="write the configuration there (default: print it)"
    )
    force: bool = Field(default=False, description="replace the file of --out if it exists")
    plot: Annotated[OutputPath | None, Option(metavar="FILE.png")] = Field(
        default=None, description="draw a map of one scan: it shows whether the grid is right"
    )
    anonymous: bool = Field(
        default=False, description="read object storage without credentials, as public buckets want"
    )

    @model_validator(mode="after")
    def _writes_or_reads(self) -> InitConfig:
        if self.config is None and not self.files:
            raise ValueError("no FILE given; name radar files, or --config with a configuration")
        if self.config is not None and (self.out is not None or self.force):
            raise ValueError("--config writes no configuration; leave out --out and --force")
        return self
