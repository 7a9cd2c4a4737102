"""What `squall init` is asked for: files, and where to write."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from squall.pipeline.config import Option
from squall.pipeline.outputs import OutputPath


class InitConfig(BaseModel):
    """A look at radar files of one network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: Annotated[tuple[str, ...], Option(positional=True, metavar="FILE")] = Field(
        description="radar files of one network: paths, globs, folders, s3://, https://, zip://…; "
        "several files tell the step"
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
