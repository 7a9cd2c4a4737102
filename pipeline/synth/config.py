"""What `squall synth` is asked for: a folder and the synthetic radar to write there."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from squall.datasets.synthetic.config import SyntheticConfig


class SynthConfig(BaseModel):
    """Where to write which synthetic radar."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Path
    radar: SyntheticConfig = Field(default=SyntheticConfig())
