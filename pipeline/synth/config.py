"""What `squall synth` is asked for: a folder, and the synthetic radar to write into it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from squall.datasets.synthetic.config import SyntheticConfig
from squall.pipeline.config import Option, OptionsOf
from squall.pipeline.outputs import OutputPath


class SynthConfig(BaseModel):
    """Which synthetic radar to write, and where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Annotated[OutputPath, Option(metavar="DIR")] = Field(description="folder for the files")
    radar: Annotated[SyntheticConfig, OptionsOf(("hours", "seed", "episode_hours", "size"))] = (
        Field(default=SyntheticConfig(), description="the synthetic radar")
    )
