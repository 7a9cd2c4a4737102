"""What the maps stage is asked for: a forecast file, a folder, the form of the pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from squall.pipeline.config import Option
from squall.pipeline.outputs import OutputPath

NO_PLACES = Path("none")  # the word in place of a file of places


def _numbers(value: Any) -> Any:
    """Words as argparse gives them, which may hold numbers between commas."""
    words = [value] if isinstance(value, str) else value
    return tuple(part for word in words for part in str(word).replace(",", " ").split())


_Numbers = Annotated[tuple[float, ...], BeforeValidator(_numbers)]


class MapsConfig(BaseModel):
    """Which maps to draw, and where to write them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forecast: Annotated[Path, Option(positional=True, metavar="FORECAST.nc", exists=True)] = Field(
        description="forecast file (CF netCDF) written by `squall forecast`"
    )
    out: Annotated[OutputPath, Option(metavar="DIR")] = Field(
        description="folder for the maps; created if it does not exist"
    )
    animate: bool = Field(
        default=False,
        description="also write an animation; with --archive it shows observed beside forecast",
    )
    animation_format: Literal["gif", "webp"] = Field(
        default="gif", description="file format of the animation; webp is smaller"
    )
    accumulation: bool = Field(
        default=False, description="also draw the rain amount of each hour, in mm"
    )
    extent: Annotated[_Numbers, Option(metavar="DEGREES")] = Field(
        default=(),
        description="west, east, south and north edge of the map, in degrees (default: what the "
        "radar sees)",
    )
    levels: Annotated[_Numbers, Option(metavar="MM/H")] = Field(
        default=(), description="limits of the colours, in mm/h, rising (default: 0.1 to 100)"
    )
    thresholds: Annotated[_Numbers, Option(metavar="MM/H")] = Field(
        default=(),
        description="of an ensemble, draw the chances and times of these thresholds only "
        "(default: all of the file)",
    )
    timezone: Annotated[str | None, Option(metavar="ZONE")] = Field(
        default=None, description="also write the local time of a zone, like Europe/Rome"
    )
    places: Annotated[Path | None, Option(metavar="FILE")] = Field(
        default=None,
        description="places to name on the maps: CSV with the columns name, lat, lon, or GeoJSON; "
        "none names no place (default: the largest cities)",
    )
    dpi: int = Field(
        default=110, ge=40, le=600, description="resolution of the pictures, in dots per inch"
    )

    @field_validator("extent")
    @classmethod
    def _box(cls, extent: tuple[float, ...]) -> tuple[float, ...]:
        if not extent:
            return extent
        if len(extent) != 4:
            raise ValueError(f"expected west east south north, found {len(extent)} numbers")
        west, east, south, north = extent
        if not (-90 <= south < north <= 90 and -360 <= west <= 360 and -360 <= east <= 360):
            raise ValueError("expected degrees west east south north, south below north")
        return (west, east if east > west else east + 360, south, north)

    @field_validator("places")
    @classmethod
    def _exists(cls, places: Path | None) -> Path | None:
        if places is not None and places != NO_PLACES and not places.expanduser().exists():
            raise ValueError("no such file; give CSV or GeoJSON, or none")
        return places if places is None else places.expanduser()

    @field_validator("levels")
    @classmethod
    def _rising(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if levels and (
            not 2 <= len(levels) <= 20
            or min(levels) <= 0
            or not all(map(math.isfinite, levels))
            or list(levels) != sorted(set(levels))
        ):
            raise ValueError("expected 2 to 20 positive numbers that rise")
        return levels

    @field_validator("timezone")
    @classmethod
    def _known(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                ZoneInfo(zone)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError("is no time zone; write it like Europe/Rome or UTC") from None
        return zone
