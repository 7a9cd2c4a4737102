"""The configuration of one radar network: everything in which its files differ from others'.

A new network needs such a YAML file and no code.
"""

import re
from typing import Annotated, Any, Literal

import pandas as pd
import pyproj
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from datasets.harmonise import ZRRelation, parse_unit


def _duration(value: Any) -> pd.Timedelta:
    try:
        duration = pd.Timedelta(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{value!r} is no duration; write it like 5min, 1h or 30s") from error
    if isinstance(value, (int, float)) or duration is pd.NaT:
        raise ValueError(f"{value!r} has no unit; write it like 5min, 1h or 30s")
    return duration


Duration = Annotated[Any, BeforeValidator(_duration)]

# digits that each directive of time_in_name stands for
NAME_DIGITS = {"Y": 4, "j": 3, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}


class ArchiveConfig(BaseModel):
    """How one radar network's files are read: everything that differs between networks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="short name of the network, used in file names")
    title: str = Field(default="", description="name for people, on maps")
    attributes: dict[str, str] = Field(
        default={}, description="institution, license and other attributes to carry along"
    )
    step: Duration = Field(description="spacing of the scans, like 5min")
    files: tuple[str, ...] = Field(
        default=(), description="globs of the files, where --files names none"
    )
    variable: str = Field(description="the variable that holds the rain or the reflectivity")
    units: str | None = Field(default=None, description="its units, where the file's are wrong")
    missing_values: tuple[float, ...] = Field(
        default=(), description="unpacked values that mean not observed, besides the fill value"
    )
    dry_values: tuple[float, ...] = Field(
        default=(), description="unpacked values that mean observed and dry"
    )
    z_r: ZRRelation = Field(default=ZRRelation(), description="Z = a R**b for reflectivity")
    accumulation: Duration | None = Field(
        default=None, description="interval of accumulations, where the file does not tell"
    )
    time_variable: str | None = Field(
        default=None, description="variable of the valid time, where CF attributes do not tell"
    )
    start_variable: str = Field(
        default="start_time", description="variable of an accumulation's start, if there is one"
    )
    time_in_name: str | None = Field(
        default=None,
        description="time in the file's name, like %Y%m%d_%H%M%S: used where a file has no time "
        "variable, and to know which scan a broken file was",
    )
    time_marks: Literal["end", "start"] = Field(
        default="end", description="what the time of an accumulation without bounds marks"
    )
    phase: Duration = Field(
        default=pd.Timedelta(0),
        description="how far the scans lie off multiples of the step since midnight, like 2min "
        "for scans at :02, :07 …",
    )
    snap_tolerance: Duration = Field(
        default=pd.Timedelta("30s"), description="how far off its step a scan's time may be"
    )
    x: str | None = Field(default=None, description="name of the x coordinate")
    y: str | None = Field(default=None, description="name of the y coordinate")
    coordinate_units: str | None = Field(
        default=None, description="units of x and y (m, km, degrees), where the file's are wrong"
    )
    crs: str | None = Field(
        default=None, description="EPSG code, PROJ string or WKT, where the file has none"
    )

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
            raise ValueError("use letters, digits, '_', '.' and '-' only")
        return name

    @field_validator("units")
    @classmethod
    def _known_unit(cls, units: str | None) -> str | None:
        if units is not None:
            parse_unit(units)
        return units

    @field_validator("time_in_name")
    @classmethod
    def _known_directives(cls, pattern: str | None) -> str | None:
        directives = re.findall("%(.?)", pattern or "")
        unknown = sorted({f"%{d}" for d in directives if d not in NAME_DIGITS})
        if unknown:
            known = " ".join(f"%{d}" for d in NAME_DIGITS)
            raise ValueError(f"{', '.join(unknown)} is not known here; use {known}")
        given = set(directives)
        if pattern and not ("Y" in given and ("j" in given or {"m", "d"} <= given)):
            raise ValueError("needs a whole date: %Y with %m and %d, or %Y with %j")
        if len(set(directives)) < len(directives):
            raise ValueError("each of the directives may come once")
        return pattern

    @field_validator("crs")
    @classmethod
    def _known_crs(cls, crs: str | None) -> str | None:
        if crs is not None:
            try:
                pyproj.CRS.from_user_input(crs)
            except pyproj.exceptions.CRSError as error:
                raise ValueError(f"PROJ does not know this CRS: {error}") from error
        return crs

    @model_validator(mode="after")
    def _consistent(self) -> "ArchiveConfig":
        if self.step < pd.Timedelta("1s") or self.step % pd.Timedelta("1s"):
            raise ValueError(f"step {self.step} must be a whole number of seconds")
        if not pd.Timedelta(0) <= self.phase < self.step:
            raise ValueError(f"phase {self.phase} must be less than the step {self.step}")
        if not pd.Timedelta(0) <= self.snap_tolerance < self.step / 2:
            raise ValueError(
                f"snap_tolerance {self.snap_tolerance} must be less than half the step {self.step}"
            )
        if self.accumulation is not None and self.accumulation <= pd.Timedelta(0):
            raise ValueError(f"accumulation {self.accumulation} must be positive")
        if self.time_marks == "start" and self.accumulation is None:
            raise ValueError("time_marks 'start' needs 'accumulation', like 10min")
        return self
