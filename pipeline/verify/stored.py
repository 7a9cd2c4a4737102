"""Forecasts that were made before: a store of `squall forecast --period`, or of another program.

Public: `StoredForecasts`, `common_times`. A dataset with the dimensions reference_time, lead_time,
y and x is checked against an archive: units, grid, times. Nothing is moved to another grid; what
does not fit is refused with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall.convgru.file_arrays import release, zeros
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.datasets.grid import GRID_MAPPING, Grid, crs_from_attributes
from squall.datasets.radar.units import parse_unit
from squall.datasets.runs import Bools
from squall.pipeline.forecast.ensemble_dataset import CHANCES, MEMBERS
from squall.pipeline.forecast.store import REFERENCE_TIME

Rates = npt.NDArray[np.float32]
RAIN_RATE = "rain_rate"
DIMS = (REFERENCE_TIME, "lead_time", "y", "x")
MEMBER = "realization"
_METADATA = ("zarr.json", ".zmetadata", ".zattrs", ".")  # what changes if a store does
_PIXEL_UNITS_M = {"m": 1.0, "metre": 1.0, "meter": 1.0, "km": 1000.0, "kilometre": 1000.0}


@dataclass(frozen=True)
class StoredForecasts:
    """Forecasts on the grid and the step of one archive; `squall.pipeline.verify` scores them.

    They stand beside methods in a verification, but nothing is forecast. Of the scans, only the one
    at the reference time must be there.

    Parameters
    ----------
    name : name that users see, that of the file.
    lead_times : number of steps that all its forecasts have.
    digest : changes when the forecasts do.
    """

    path: Path
    name: str
    lead_times: int
    digest: str
    dataset: xr.Dataset
    variable: str
    factor_to_mm_h: float
    context: int = 1
    stride: int = 1

    @classmethod
    def open(cls, path: Path, archive: ScanStore) -> StoredForecasts:
        """Open and check.

        Raises
        ------
        DataError
            If it cannot be read, or dimensions, units, grid or times do not fit to the archive.
        """
        dataset = _opened(path)
        variable = _rain_variable(path, dataset)
        factor = _factor_to_mm_h(path, dataset[variable])
        _check_times(path, dataset, archive)
        dataset = _north_up(dataset)
        _check_grid(path, dataset, dataset[variable], archive)
        lead_times = _lead_times(path, dataset, archive)
        digest = sha256(repr((str(path.resolve()), _changes(path))).encode()).hexdigest()
        return cls(path, path.stem, lead_times, digest, dataset, variable, factor)

    @cached_property
    def times(self) -> pd.DatetimeIndex:
        """Reference times."""
        return pd.DatetimeIndex(self.dataset[REFERENCE_TIME].values)

    @property
    def training(self) -> list[dict[str, Any]]:
        """What the network was trained on that made the forecasts, if the store says so."""
        training = json.loads(self.dataset.attrs.get("training", "{}"))
        return [training] if training else []

    @property
    def members(self) -> int | None:
        """Number of members, if there are any."""
        return self.dataset.sizes.get(MEMBER) if self._member_variable else None

    @property
    def _member_variable(self) -> str | None:
        names = (MEMBERS, self.variable)
        return next((n for n in names if MEMBER in self.dataset.get(n, xr.DataArray()).dims), None)

    def is_there(self, times: pd.DatetimeIndex) -> Bools:
        """(time,) whether there is a forecast of each reference time."""
        return np.asarray(times.isin(self.times))

    def rain(self, time: pd.Timestamp, lead_times: int) -> Iterator[Rates]:
        """The forecast (y, x) of a reference time, mm/h, one lead time at a time; of members, their
        mean."""
        for lead in range(lead_times):
            values = self._mm_h(_mean(self._fields(self.variable, time, lead)))
            if (values < 0).any():
                raise DataError(
                    f"{self.path}: {self.variable} has negative values, down to "
                    f"{np.nanmin(values):g}; expected rain rates in mm/h, NaN where nothing is "
                    "known"
                )
            yield values

    def ensemble_at(self, time: pd.Timestamp, lead_times: int, members: int) -> Iterator[Rates]:
        """The first members (member, y, x) of a reference time, mm/h, one lead time at a time.

        Those of a large grid lie in a temporary file.
        """
        assert self._member_variable
        for lead in range(lead_times):
            rates = self._fields(self._member_variable, time, lead)
            fields = zeros((members, rates.sizes["y"], rates.sizes["x"]), np.float32)
            for number, field in enumerate(fields):
                field[:] = self._mm_h(rates.isel({MEMBER: number}).transpose("y", "x").values)
                release(fields)
            yield fields
            del fields, field  # before the next are made

    def chance_thresholds(self, thresholds_mm_h: Sequence[float]) -> tuple[float, ...]:
        """Those of the thresholds that the store has chances of; maybe none."""
        if CHANCES not in self.dataset or "threshold" not in self.dataset.coords:
            return ()
        stored = self.dataset["threshold"].values.tolist()
        return tuple(level for level in thresholds_mm_h if level in stored)

    def chances_at(
        self, time: pd.Timestamp, lead_times: int, thresholds_mm_h: Sequence[float]
    ) -> Iterator[Rates]:
        """Chances (threshold, y, x) of a reference time, 0 to 1, one lead time at a time."""
        stored = self.dataset["threshold"].values.tolist()
        numbers = [stored.index(level) for level in thresholds_mm_h]
        for lead in range(lead_times):
            chances = self._fields(CHANCES, time, lead).isel(threshold=numbers)
            yield np.asarray(chances.transpose("threshold", "y", "x").values, np.float32)

    def _mm_h(self, rates: npt.NDArray[Any]) -> Rates:
        values = np.asarray(rates, np.float32)
        return values if self.factor_to_mm_h == 1 else values * np.float32(self.factor_to_mm_h)

    def _fields(self, name: str, time: pd.Timestamp, lead: int) -> xr.DataArray:
        number = self.times.get_loc(time)
        return self.dataset[name].isel({REFERENCE_TIME: number, "lead_time": lead})


def common_times(archive: ScanStore, made_before: Sequence[StoredForecasts]) -> Bools | None:
    """(time,) reference times that all stored forecasts have; None without such."""
    if not made_before:
        return None
    return np.logical_and.reduce([before.is_there(archive.times) for before in made_before])


def _mean(rates: xr.DataArray) -> npt.NDArray[Any]:
    """(y, x): the rates, or the mean of members, which are read one at a time."""
    if MEMBER not in rates.dims:
        return np.asarray(rates.transpose("y", "x").values)
    members = (
        rates.isel({MEMBER: number}).transpose("y", "x").values
        for number in range(rates.sizes[MEMBER])
    )
    first = next(members)
    total = first.astype(np.result_type(first, np.float32))
    for member in members:
        total += member
    return np.asarray(total / rates.sizes[MEMBER])


def _opened(path: Path) -> xr.Dataset:
    engine: Any = "zarr" if path.is_dir() else "netcdf4"
    try:
        return xr.open_dataset(path, engine=engine, decode_timedelta=True, chunks=None)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        kind = "Zarr" if path.is_dir() else "netCDF"
        raise DataError(f"{path}: cannot be read as {kind} ({error})") from error


def _rain_variable(path: Path, dataset: xr.Dataset) -> str:
    """Name of the rain rate: ``rain_rate``, or the only variable with the right dimensions."""
    names = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if set(DIMS) <= set(variable.dims) <= {*DIMS, MEMBER}
    ]
    if RAIN_RATE in names or len(names) == 1:
        return RAIN_RATE if RAIN_RATE in names else names[0]
    dims = "; ".join(f"{name} has {', '.join(map(str, v.dims))}" for name, v in dataset.items())
    if names:
        raise DataError(
            f"{path}: {', '.join(names)} may be the rain rate; call it {RAIN_RATE}, or keep one"
        )
    raise DataError(
        f"{path}: no variable has the dimensions {', '.join(DIMS)} (and perhaps {MEMBER}): "
        f"{dims or 'it is empty'}; rename them, like dataset.rename(time='{REFERENCE_TIME}')"
    )


def _factor_to_mm_h(path: Path, rain: xr.DataArray) -> float:
    units = rain.attrs.get("units")
    if units is None:
        raise DataError(
            f"{path}: {rain.name} has no units; if it is a rain rate in mm/h, set its attribute "
            "units to 'mm h-1'"
        )
    factor = None
    with suppress(DataError):
        quantity, factor_of_unit = parse_unit(str(units))
        factor = factor_of_unit if quantity == "rate" else None
    if factor is None:
        raise DataError(
            f"{path}: {rain.name} has units {units!r}, expected a rate like 'mm h-1'; convert it"
        )
    return factor


def _check_times(path: Path, dataset: xr.Dataset, archive: ScanStore) -> None:
    for name, kind, words in (
        (REFERENCE_TIME, "M", "dates and times, UTC"),
        ("lead_time", "m", "durations, or numbers with an attribute units like 'minutes'"),
    ):
        if name not in dataset.coords:
            raise DataError(f"{path}: has no coordinate {name}; expected {words}")
        if dataset[name].dtype.kind != kind:
            raise DataError(f"{path}: {name} is {dataset[name].dtype}, expected {words}")
        if dataset[name].to_index().has_duplicates:
            raise DataError(f"{path}: {name} has the same value twice")
    times = pd.DatetimeIndex(dataset[REFERENCE_TIME].values)
    if not times.isin(archive.times).any():
        have = f"{times.min()} to {times.max()}" if len(times) else "none"
        raise DataError(
            f"{path}: no reference time is a time of {archive.address}: {have}; the archive has "
            f"{archive.times[0]} to {archive.times[-1]}, every "
            f"{archive.step.total_seconds() / 60:g} min"
        )


def _lead_times(path: Path, dataset: xr.Dataset, archive: ScanStore) -> int:
    """Number of lead times that are those of the archive's steps, from the first step on."""
    leads = pd.TimedeltaIndex(dataset["lead_time"].values)
    count = 0
    while count < len(leads) and leads[count] == (count + 1) * archive.step:
        count += 1
    if count:
        return count
    minutes = ", ".join(f"{lead.total_seconds() / 60:g}" for lead in leads[:3])
    raise DataError(
        f"{path}: the lead times are {minutes} … min, expected the steps of {archive.address}, "
        f"{archive.step.total_seconds() / 60:g} min, from the first one on; select those with "
        "dataset.sel(lead_time=...)"
    )


def _north_up(dataset: xr.Dataset) -> xr.Dataset:
    """Rows from north to south, columns from west to east, where the coordinates say so."""
    for name, ascending in (("x", True), ("y", False)):
        if name not in dataset.coords or dataset[name].ndim != 1:
            continue
        index = dataset[name].to_index()
        rising, falling = index.is_monotonic_increasing, index.is_monotonic_decreasing
        if not (rising or falling):
            dataset = dataset.sortby(name, ascending=ascending)
        elif rising != ascending:  # a slice is read faster than chosen rows are
            dataset = dataset.isel({name: slice(None, None, -1)})
    return dataset


def _check_grid(path: Path, dataset: xr.Dataset, rain: xr.DataArray, archive: ScanStore) -> None:
    for name in ("y", "x"):
        if name not in dataset.coords or dataset[name].dtype.kind not in "fiu":
            raise DataError(
                f"{path}: has no coordinate {name}, so nobody can tell whether its pixels are "
                f"those of {archive.address}; add it, like "
                f"dataset.assign_coords({name}=open_archive(ADDRESS).grid.{name})"
            )
    mapping = rain.encoding.get("grid_mapping") or rain.attrs.get("grid_mapping") or GRID_MAPPING
    attributes = dataset[mapping].attrs if mapping in dataset.variables else {}
    try:
        crs_wkt = crs_from_attributes(dict(attributes)).to_wkt() if attributes else None
        x, y = (
            np.asarray(dataset[name].values, np.float64)
            * _PIXEL_UNITS_M.get(str(dataset[name].attrs.get("units", "m")), 1.0)
            for name in ("x", "y")
        )
        difference = archive.grid.difference(Grid(x, y, crs_wkt or archive.grid.crs_wkt))
    except ValueError as error:
        raise DataError(f"{path}: its grid cannot be used: {error}") from error
    if difference:
        raise DataError(
            f"{path}: is not on the grid of {archive.address}: {difference}; forecasts are scored "
            "on the pixels of the archive, so bring them there first"
        )


def _changes(path: Path) -> list[tuple[int, int]]:
    """When the metadata of a store last changed, and their size."""
    found = [path / name for name in _METADATA] if path.is_dir() else [path]
    return [(p.stat().st_mtime_ns, p.stat().st_size) for p in found if p.exists()]
