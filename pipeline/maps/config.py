"""What the maps stage is asked for: a forecast file, a folder, the form of the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from squall.pipeline.config import NoOption, Option
from squall.pipeline.outputs import OutputPath


class MapsConfig(BaseModel):
    """Which maps to draw, and where to write them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forecast: Annotated[Path, Option(positional=True, metavar="FORECAST.nc", exists=True)] = Field(
        description="forecast file (CF netCDF) written by `squall forecast`"
    )
    out: Annotated[OutputPath, Option(metavar="DIR")] = Field(
        description="folder for the maps; created if it does not exist"
    )
    animate: bool = Field(default=False, description="also write an animated GIF")
    dpi: Annotated[int, NoOption("the default fits the page and the animation")] = Field(
        default=110, ge=40, le=600, description="resolution of the pictures [dots per inch]"
    )
