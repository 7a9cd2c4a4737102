"""The configuration of one radar network: all that differs between networks' files.

A new network needs one such YAML file (``configs/archives/NAME.yaml``) and no code. Owns the keys,
the rules between keys, and eras: periods in which the network's files differ.
"""

from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from squall.datasets.addresses import Address
from squall.datasets.names import FileName
from squall.datasets.radar.grid_key import GridKey
from squall.datasets.radar.network_keys import (
    Attributes,
    CoordinateUnits,
    CrsText,
    Eras,
    FormatName,
    NamePattern,
    Numbers,
    OneOrMore,
    RainUnits,
    Scale,
    needs_variable,
)
from squall.datasets.radar.quality import QualityConfig
from squall.datasets.radar.units import ZRRelation
from squall.datasets.times import Duration, Time, parse_time

_SAME_IN_ALL_ERAS = {
    "name", "title", "attributes", "source", "exclude", "source_options", "archive", "begins",
    "lookback", "eras",
}  # fmt: skip
# keys that do not change which scans a file gives
NOT_FOR_READING = {
    "name", "title", "attributes", "source", "exclude", "source_options", "archive", "begins",
    "lookback", "file_span",
}  # fmt: skip


class RadarNetworkConfig(BaseModel):
    """How the files of one radar network are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: FileName = Field(description="short name of the network, used in file names")
    title: str = Field(default="", description="name in full, as on maps")
    attributes: Attributes = Field(
        default={}, description="institution, license and other attributes to carry along"
    )
    step: Duration = Field(description="time between scans, like 5min")
    source: OneOrMore = Field(
        default=(),
        description="where the files are, if --files is not given: globs and fsspec addresses, "
        "with {time:%Y/%m/%d} where the time is part of the address",
    )
    exclude: OneOrMore = Field(
        default=(),
        description="globs of files that are left out, also with --files: compared with the name, "
        "or with the whole address if they have a /, where * spans folders",
    )
    source_options: dict[str, Any] = Field(
        default={},
        description="fsspec storage options, like {anon: true}; credentials belong in the "
        "environment",
    )
    archive: Address | None = Field(
        default=None,
        description="the archive, if --archive is not given: a folder, s3:// or gs://",
    )
    begins: Time | None = Field(
        default=None, description="when the data begin: a first run looks for files from then on"
    )
    lookback: Duration = Field(
        default=pd.Timedelta("2D"),
        description="how far before the newest scan a run looks for late and re-issued files, "
        "where the address has a {time:…}",
    )
    format: FormatName | None = Field(
        default=None,
        description="file format, if the content of the files does not tell: netcdf, odim (OPERA "
        "ODIM HDF5), knmi (KNMI HDF5), hdf5 (HDF5 of no convention), grib (GRIB2, needs "
        "squall[grib]), geotiff (needs squall[geotiff]), nimrod (UK Met Office), npz (NumPy; "
        "MeteoNet), radolan (DWD's binary composites), ascii_grid (ESRI ASCII grids), pysteps "
        "(all that pysteps can import, needs squall[baselines])",
    )
    importer: str | None = Field(
        default=None,
        description="importer of pysteps, for 'format: pysteps': fmi_pgm, mch_gif …, also one of "
        "a plugin",
    )
    importer_options: dict[str, Any] = Field(
        default={}, description="keyword arguments of the importer, like {product: AQC}"
    )
    variable: str = Field(
        default="",
        description="rain or reflectivity in the file: variable of netCDF, quantity (RATE, ACRR, "
        "DBZH) or place (dataset2/data1) of ODIM, image (image1) of KNMI, path of an HDF5 dataset, "
        "array of npz, band of GeoTIFF, title of NIMROD, shortName or conditions of GRIB; files "
        "with one field need none",
    )
    units: RainUnits | None = Field(
        default=None, description="units of the variable, if the file's are wrong or missing"
    )
    missing_values: Numbers = Field(
        default=(), description="unpacked values that mean not observed, besides the fill value"
    )
    dry_values: Numbers = Field(
        default=(),
        description="unpacked values that mean observed and dry, also where the file declares them "
        "as missing, like .nan",
    )
    scale: Scale | None = Field(
        default=None,
        description="value = stored number * scale + offset, if the file does not say so",
    )
    offset: FiniteFloat | None = Field(
        default=None, description="value of the stored number 0, if the file does not say"
    )
    z_r: ZRRelation = Field(default=ZRRelation(), description="Z = a R**b for reflectivity")
    accumulation: Duration | None = Field(
        default=None,
        description="interval of accumulations, if the file does not say, or if it is not the step "
        "(moving sums, like those of an hour every 5 minutes); others are rejected",
    )
    time_variable: str | None = Field(
        default=None, description="variable of the valid time, if CF attributes do not say"
    )
    start_variable: str = Field(
        default="start_time",
        description="variable with the start of an accumulation, if any",
    )
    time_in_name: NamePattern | None = Field(
        default=None,
        description="time in the file's name, like %Y%m%d_%H%M%S, rx_%y%m%d%H%M, or %s for "
        "seconds since 1970: used if a file has no time, and to know the time of a file that "
        "cannot be read",
    )
    time_from: Literal["file", "name"] = Field(
        default="file",
        description="name: the time in the file's name counts, whatever the file says; for files "
        "of one scan with a wrong or no time inside",
    )
    file_span: Duration = Field(
        default=pd.Timedelta(0),
        description="period that a file covers from the time in its name on, like 1D for daily "
        "files, so that --since finds them",
    )
    time_marks: Literal["end", "start"] = Field(
        default="end",
        description="whether the time of an accumulation without bounds is its end or its start",
    )
    phase: Duration = Field(
        default=pd.Timedelta(0),
        description="how long after multiples of the step since midnight the scans are, like 2min "
        "for scans at :02, :07 …",
    )
    snap_tolerance: Duration = Field(
        default=pd.Timedelta("30s"), description="how far from its step a scan's time may be"
    )
    x: str | None = Field(default=None, description="name of the x coordinate")
    y: str | None = Field(default=None, description="name of the y coordinate")
    coordinate_units: CoordinateUnits | None = Field(
        default=None,
        description="units of x and y (m, km, degrees, radians), if the file's are wrong",
    )
    crs: CrsText | None = Field(
        default=None, description="EPSG code, PROJ string or WKT, if the file has none"
    )
    grid: GridKey | None = Field(
        default=None,
        description="grid of files that do not tell theirs: {crs, x0, y0, dx, dy, nx, ny} or "
        "{crs, west, south, east, north, nx, ny}",
    )
    quality: QualityConfig = Field(default=QualityConfig(), description="limits of quality rules")
    regrid: Literal["nearest"] | None = Field(
        default=None,
        description="in an era: put its scans on the archive's grid by the nearest pixel",
    )
    eras: Eras = Field(
        default=(),
        description="periods in which the files differ: each has 'since' and the keys that differ "
        "from then until the next era",
    )

    @model_validator(mode="after")
    def _check_keys_together(self) -> Self:
        if self.format is not None and not self.variable and needs_variable(self.format):
            raise ValueError("'variable' is missing")
        if (self.format == "pysteps") != (self.importer is not None):
            raise ValueError("'format: pysteps' needs 'importer', and the other way round")
        both = {str(v) for v in self.missing_values} & {str(v) for v in self.dry_values}
        if both:  # as texts, since NaN differs from itself
            raise ValueError(f"{min(both)} is under 'missing_values' and under 'dry_values'")
        self._check_step()
        self._check_accumulation()
        self._check_steps_of_eras()
        return self

    def _check_step(self) -> None:
        if self.step < pd.Timedelta("1s") or self.step % pd.Timedelta("1s"):
            raise ValueError(f"step {self.step} must be a whole number of seconds")
        if not pd.Timedelta(0) <= self.phase < self.step:
            raise ValueError(f"phase {self.phase} must be less than the step {self.step}")
        if not pd.Timedelta(0) <= self.snap_tolerance < self.step / 2:
            raise ValueError(
                f"snap_tolerance {self.snap_tolerance} must be less than half the step {self.step}"
            )

    def _check_accumulation(self) -> None:
        if self.accumulation is not None and self.accumulation <= pd.Timedelta(0):
            raise ValueError(f"accumulation {self.accumulation} must be positive")
        if self.time_marks == "start" and self.accumulation is None:
            raise ValueError("time_marks 'start' needs 'accumulation', like 10min")
        if self.time_from == "name" and self.time_in_name is None:
            raise ValueError("time_from 'name' needs 'time_in_name', like radar_%Y%m%d%H%M")

    def _check_steps_of_eras(self) -> None:
        for since, era in self.eras_since:
            if era.step % self.step or (era.phase - self.phase) % self.step:
                raise ValueError(
                    f"the era since {since:%Y-%m-%d} has scans every {era.step}, which do not "
                    f"lie on the archive's step of {self.step}"
                )

    @cached_property
    def eras_since(self) -> tuple[tuple[pd.Timestamp, Self], ...]:
        """First moment (UTC) and full configuration of each era, in order of time.

        An era has the network's keys and its own in place of them; it does not inherit those of
        the era before.
        """
        base = self.model_dump(exclude={"eras"}, exclude_unset=True)
        eras = []
        for number, era in enumerate(self.eras):
            if "since" not in era:
                raise ValueError(f"eras.{number}: 'since' is missing, like 2024-06-04")
            fixed_keys = sorted(set(era) & _SAME_IN_ALL_ERAS)
            if fixed_keys:
                raise ValueError(
                    f"eras.{number}: {', '.join(fixed_keys)} cannot differ between eras"
                )
            since = parse_time(era["since"])
            changes = {key: value for key, value in era.items() if key != "since"}
            eras.append((since, type(self).model_validate(base | changes)))
        moments = [since for since, _ in eras]
        if moments != sorted(set(moments)):
            raise ValueError("eras must be in the order of their 'since', each once")
        if eras and None in (self.time_in_name, *(era.time_in_name for _, era in eras)):
            raise ValueError("eras need 'time_in_name', by which a file's era is known")
        return tuple(eras)

    @property
    def all_eras(self) -> tuple[Self, ...]:
        """The configuration before the first era, followed by that of each era."""
        return (self, *(era for _, era in self.eras_since))

    def at(self, time: pd.Timestamp | None) -> Self:
        """Return the configuration in force at a time (UTC); the one before all eras for None."""
        config = self
        for since, era in self.eras_since:
            if time is not None and time >= since:
                config = era
        return config

    @cached_property
    def reading_key(self) -> str:
        """Digest of all keys that decide which scans a file gives."""
        keys = self.model_dump_json(exclude=NOT_FOR_READING)
        return blake2b(keys.encode(), digest_size=16).hexdigest()
