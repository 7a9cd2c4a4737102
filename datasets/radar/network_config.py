"""The configuration of one radar network: everything in which its files differ from others'.

A new network needs such a YAML file and no code.
"""

import re
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Any, Literal

import pandas as pd
import pyproj
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from squall.datasets.radar.quality import QualityConfig
from squall.datasets.radar.units import ZRRelation, parse_unit
from squall.datasets.times import Duration, Time, parse_time


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


# digits that each directive of time_in_name stands for
NAME_DIGITS = {"Y": 4, "j": 3, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}


_SAME_IN_ALL_ERAS = {
    "name", "title", "attributes", "source", "source_options", "archive", "begins", "lookback",
    "eras",
}  # fmt: skip


class RadarNetworkConfig(BaseModel):
    """How one radar network's files are read: everything that differs between networks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="short name of the network, used in file names")
    title: str = Field(default="", description="name for people, on maps")
    attributes: dict[str, str] = Field(
        default={}, description="institution, license and other attributes to carry along"
    )
    step: Duration = Field(description="spacing of the scans, like 5min")
    source: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(
        default=(),
        description="where the files are, where --files names none: globs and fsspec addresses, "
        "with {time:%Y/%m/%d} where the time is part of the address",
    )
    source_options: dict[str, Any] = Field(
        default={},
        description="fsspec storage options, like {anon: true}; credentials belong in the "
        "environment",
    )
    archive: str | None = Field(
        default=None,
        description="the archive, where --archive names none: a folder, s3:// or gs://",
    )
    begins: Time | None = Field(
        default=None, description="when the data begin: where a first run looks from"
    )
    lookback: Duration = Field(
        default=pd.Timedelta("2D"),
        description="how far before the newest scan a run looks for late and re-issued files, "
        "where the address has a {time:…}",
    )
    format: Literal["netcdf", "odim", "knmi", "mrms"] = Field(
        default="netcdf",
        description="netcdf: CF netCDF; odim: OPERA ODIM HDF5; knmi: KNMI HDF5; mrms: NOAA MRMS "
        "GRIB2 (needs squall[grib])",
    )
    variable: str = Field(
        default="",
        description="what holds the rain or the reflectivity: variable of a netCDF file, quantity "
        "(RATE, ACRR, DBZH) of ODIM, image (image1) of KNMI; MRMS files hold one",
    )
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
    file_span: Duration = Field(
        default=pd.Timedelta(0),
        description="how long from the time in its name on a file has scans, like 1D for daily "
        "files: so that --since finds them",
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
    quality: QualityConfig = Field(default=QualityConfig(), description="what is kept")
    regrid: Literal["nearest"] | None = Field(
        default=None,
        description="in an era: bring its scans to the archive's grid by the nearest pixel",
    )
    eras: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="periods in which the product differs: each has 'since' and the keys that "
        "differ from then on until the next",
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
    def _consistent(self) -> "RadarNetworkConfig":
        if not self.variable and self.format != "mrms":
            raise ValueError("'variable' is missing")
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
        for since, era in self._eras:
            if era.step % self.step or (era.phase - self.phase) % self.step:
                raise ValueError(
                    f"the era since {since:%Y-%m-%d} has scans every {era.step}, which do not "
                    f"lie on the archive's step of {self.step}"
                )
        return self

    @cached_property
    def _eras(self) -> tuple[tuple[pd.Timestamp, "RadarNetworkConfig"], ...]:
        base = self.model_dump(exclude={"eras"}, exclude_unset=True)
        found = []
        for number, era in enumerate(self.eras):
            if "since" not in era:
                raise ValueError(f"eras.{number}: 'since' is missing, like 2024-06-04")
            wrong = sorted(set(era) & _SAME_IN_ALL_ERAS)
            if wrong:
                raise ValueError(f"eras.{number}: {', '.join(wrong)} cannot differ between eras")
            since = parse_time(era["since"])
            changes = {key: value for key, value in era.items() if key != "since"}
            found.append((since, RadarNetworkConfig.model_validate(base | changes)))
        if [since for since, _ in found] != sorted({since for since, _ in found}):
            raise ValueError("eras must be in the order of their 'since', each once")
        if found and None in (self.time_in_name, *(era.time_in_name for _, era in found)):
            raise ValueError("eras need 'time_in_name', by which a file's era is known")
        return tuple(found)

    @property
    def all_eras(self) -> tuple["RadarNetworkConfig", ...]:
        """The configuration before the first era, and each era's own."""
        return (self, *(era for _, era in self._eras))

    def at(self, time: pd.Timestamp | None) -> "RadarNetworkConfig":
        """The configuration in force at a time (UTC); without a time, that before all eras."""
        config = self
        for since, era in self._eras:
            if time is not None and time >= since:
                config = era
        return config

    @cached_property
    def reading_key(self) -> str:
        """Digest of all that decides what a file gives."""
        plain = self.model_dump_json(
            exclude={"name", "title", "attributes", "source", "source_options", "archive",
                     "begins", "lookback", "file_span"}
        )  # fmt: skip
        return blake2b(plain.encode(), digest_size=16).hexdigest()
