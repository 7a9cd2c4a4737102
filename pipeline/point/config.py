"""Which place of which forecast to describe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from squall.pipeline.config import Option
from squall.pipeline.outputs import OutputPath

_NUMBER = r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))"
_PLACE = re.compile(rf"\s*{_NUMBER}\s*[,\s]\s*{_NUMBER}\s*")


def parse_place(value: Any) -> tuple[float, float]:
    """Read a place: latitude and longitude in degrees, like ``52.1,5.18``.

    Raises
    ------
    ValueError
        If the value is no place on Earth.
    """
    text = value if isinstance(value, str) else ",".join(map(str, value)) if value else ""
    matched = _PLACE.fullmatch(text)
    if matched is None:
        raise ValueError(f"{text!r} is no place; write it LAT,LON in degrees, like 52.1,5.18")
    lat, lon = float(matched[1]), float(matched[2])
    if not -90 <= lat <= 90:
        swapped = f"; the latitude comes first, like {lon:g},{lat:g}" if abs(lon) <= 90 else ""
        raise ValueError(f"latitude {lat:g} is not between -90 and 90{swapped}")
    if not -180 <= lon <= 360:
        raise ValueError(f"longitude {lon:g} is not between -180 and 360")
    return lat, lon


class PointConfig(BaseModel):
    """Which place to describe, and where to draw it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forecast: Annotated[Path, Option(positional=True, metavar="FORECAST.nc", exists=True)] = Field(
        description="forecast file written by `squall forecast`, netCDF or Zarr"
    )
    at: Annotated[Any, BeforeValidator(parse_place), Option(metavar="LAT,LON")] = Field(
        description="the place: degrees north and east, like 52.1,5.18 or -37.8,145.0"
    )
    threshold_mm_h: Annotated[float | None, Option(flag="--threshold")] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="rain counts from this rate on (default: the lowest threshold of the file, or "
        "0.2) [mm/h]",
    )
    plot: Annotated[OutputPath | None, Option(metavar="FILE.png")] = Field(
        default=None, description="also draw rain against time"
    )
