"""What the maps stage is asked for: a forecast file, a folder, the form of the pictures."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class MapsConfig(BaseModel):
    """What `squall maps` draws, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forecast: Path = Field(description="forecast file (CF netCDF) written by `squall forecast`")
    out: Path = Field(description="folder for the pictures, made where it is missing")
    animate: bool = Field(False, description="also write an animated GIF")
    dpi: int = Field(110, ge=40, le=600, description="resolution of the pictures [dots per inch]")
