"""A store of many forecasts: a Zarr group that grows by one reference time after the other.

Public: `ForecastStore`, `StoreRow`, `store_row`, `REFERENCE_TIME`.

A forecast counts when the metadata of the group say so, which are one file. It is replaced, in one
moment, when the data of the forecast are on the disk. What a killed writer leaves behind lies
beyond the length that the metadata say, and is overwritten. A row is one file for each variable
(and each member), so that a worker can encode it and another process can write it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
import zarr
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from squall.pipeline.forecast.forecast_file import timestamp
from squall.pipeline.provenance import atomic_folder

REFERENCE_TIME = "reference_time"
LEFT_OUT, LEFT_OUT_REASON = "left_out_time", "left_out_reason"
_OF_ONE_FORECAST = ("time", "forecast_reference_time", "context_time", "observed_rain_rate")
_SECONDS = {"units": "seconds since 1970-01-01 00:00:00", "calendar": "proleptic_gregorian"}
_TIMES_CHUNK = 4096
# Measured on KNMI (decision 29): smaller than with bit shuffling; level 7 is 2 % smaller and takes
# twice the time
_COMPRESSOR = BloscCodec(cname="zstd", clevel=5, shuffle="shuffle", typesize=4)
_BYTES_COMPRESSOR = BloscCodec(cname="zstd", clevel=5, shuffle="noshuffle", typesize=1)
_LONGEST_PART_BYTES = 2**28  # of a file before compression


class LeftOut(NamedTuple):
    """A reference time that the store has no forecast of."""

    time: pd.Timestamp
    reason: str


@dataclass(frozen=True)
class StoreRow:
    """One forecast, encoded.

    Parameters
    ----------
    time : reference time.
    files : what its files hold, by their names in a store that has this forecast alone.
    empty : the dataset without any forecast, as `ForecastStore.create` takes it.
    """

    time: pd.Timestamp
    files: dict[str, bytes]
    empty: xr.Dataset


def store_row(forecast: xr.Dataset) -> StoreRow:
    """Encode one forecast.

    Parameters
    ----------
    forecast : as `squall.pipeline.forecast.output.Output` gets it, with encoded chances and times,
        and the members, if the store keeps them.
    """
    reference = timestamp(forecast["forecast_reference_time"])
    kept = forecast.drop_vars(_OF_ONE_FORECAST, errors="ignore")
    fields = {
        name: _with_common_times(variable, reference).variable.expand_dims(REFERENCE_TIME)
        for name, variable in kept.items()
    }
    times = {
        "standard_name": "forecast_reference_time",
        "long_name": "reference time: the last observed scan",
        **_SECONDS,
    }
    seconds = np.array([reference.timestamp()], np.int64)
    coords = {
        **kept.coords,
        REFERENCE_TIME: (REFERENCE_TIME, seconds, times),
    }
    row = xr.Dataset(fields, coords, kept.attrs)
    held: dict[str, Any] = {}
    _write(row, MemoryStore(held))
    files = {
        name: buffer.to_bytes()
        for name, buffer in held.items()
        if "/c/" in name and name.partition("/")[0] in row.data_vars
    }
    return StoreRow(reference, files, row.isel({REFERENCE_TIME: slice(0)}))


class ForecastStore:
    """A store on this machine, open for one writer.

    Parameters
    ----------
    times : reference times of its forecasts, in the order of time.
    left_out : reference times without a forecast.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._group = zarr.open_group(path, mode="r+", zarr_format=3, use_consolidated=True)
        self._arrays: dict[str, Any] = dict(self._group.arrays())
        with xr.open_zarr(path, chunks=None) as opened:
            self.attributes = dict(opened.attrs)
            self.times = pd.DatetimeIndex(opened[REFERENCE_TIME].values)
            reasons = opened[LEFT_OUT_REASON].values
            self.left_out = [
                LeftOut(pd.Timestamp(time), str(reason))
                for time, reason in zip(opened[LEFT_OUT].values, reasons, strict=True)
            ]
        self._rows = [
            name
            for name, array in self._arrays.items()
            if (array.metadata.dimension_names or ("",))[0] == REFERENCE_TIME
        ]
        for beyond in self._files(len(self.times)):  # of a writer that was killed
            beyond.unlink()

    @classmethod
    def create(cls, path: Path, row: StoreRow, attributes: Mapping[str, Any]) -> ForecastStore:
        """Create a store without any forecast.

        Parameters
        ----------
        row : any forecast; the store has its variables, and its attributes where no others are
            given.
        """
        dataset = row.empty.assign_attrs(attributes)
        described = {"long_name": "reference time without a forecast", **_SECONDS}
        dataset = dataset.assign(
            {
                LEFT_OUT: ("left_out", np.array([], np.int64), described),
                LEFT_OUT_REASON: (
                    "left_out",
                    np.array([], dtype=np.dtypes.StringDType()),
                    {"long_name": "why there is no forecast of this reference time"},
                ),
            }
        )
        with atomic_folder(path) as temporary:
            _write(dataset, temporary)
        return cls(path)

    def append(self, row: StoreRow) -> None:
        """Add a forecast after those that are there."""
        assert not len(self.times) or row.time > self.times[-1]
        count = len(self.times)
        for name, content in row.files.items():
            variable, _, place = name.partition("/c/")
            rest = place.partition("/")[2]
            _write_file(self.path / variable / "c" / str(count) / rest, content)
        seconds = int(row.time.timestamp())
        for name in self._rows:
            array = self._arrays[name]
            array.resize((count + 1, *array.shape[1:]))
            if name == REFERENCE_TIME:
                array[count] = seconds
        self._commit()
        self.times = pd.DatetimeIndex(np.append(self.times.values, row.time.to_datetime64()))

    def leave_out(self, left_out: Sequence[LeftOut]) -> None:
        """Set the list of reference times without a forecast."""
        if list(left_out) == self.left_out:
            return
        self.left_out = list(left_out)
        for name, values in (
            (LEFT_OUT, np.array([int(item.time.timestamp()) for item in left_out], np.int64)),
            (LEFT_OUT_REASON, np.array([item.reason for item in left_out], "T")),
        ):
            array = self._arrays[name]
            array.resize((len(left_out),))
            array[:] = values
        self._commit()

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Replace some attributes of the store."""
        self.attributes |= attributes
        self._group.update_attributes(dict(attributes))
        self._commit()

    def _commit(self) -> None:
        """Put the lengths of all arrays into the metadata that readers use, one file."""
        with _without_warnings():
            zarr.consolidate_metadata(self.path, zarr_format=3)

    def _files(self, first: int) -> Iterator[Path]:
        """Files of the rows from a number on, and unfinished files."""
        for name in self._rows:
            if name != REFERENCE_TIME:
                for folder in (self.path / name / "c").glob("*"):
                    if folder.name.isdecimal() and int(folder.name) >= first:
                        yield from (path for path in folder.rglob("*") if path.is_file())
        yield from self.path.glob("**/*.partial")


def is_store(path: Path) -> bool:
    """Whether a folder is a store that `ForecastStore` wrote."""
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
    except (OSError, ValueError, KeyError):
        return False
    return "recipe" in group.attrs and REFERENCE_TIME in group


def _write(dataset: xr.Dataset, target: Any) -> None:
    encoding = {str(name): _encoding(variable) for name, variable in dataset.variables.items()}
    with _without_warnings():
        dataset.to_zarr(target, mode="w-", zarr_format=3, consolidated=True, encoding=encoding)


def _encoding(variable: xr.Variable) -> dict[str, Any]:
    """How a variable is stored; a field (y, x) is a chunk, and the lead times of a row one file."""
    if variable.dims[:1] in ((REFERENCE_TIME,), ("left_out",)) and variable.ndim == 1:
        return {"chunks": (_TIMES_CHUNK,)}
    if variable.dtype.kind == "m":
        # xarray then reads durations without being told to
        return {"dtype": "int64", "units": "seconds"}
    if variable.dims[:1] != (REFERENCE_TIME,):
        return {"_FillValue": None}
    *outer, rows, columns = variable.shape[1:]
    last = outer.pop() if outer else 1
    size = max(1, rows * columns * variable.dtype.itemsize)
    together = max(1, min(last, _LONGEST_PART_BYTES // size))
    ones = (1,) * len(outer)
    is_bytes = variable.dtype.itemsize == 1
    encoding: dict[str, Any] = {
        "chunks": (1, *ones, 1, rows, columns)[-variable.ndim :],
        "compressors": (_BYTES_COMPRESSOR if is_bytes else _COMPRESSOR,),
    }
    if variable.ndim > 3:
        encoding["shards"] = (1, *ones, together, rows, columns)
    if variable.dtype.kind == "f":
        encoding["_FillValue"] = np.float32(np.nan)
    return encoding


def _with_common_times(variable: xr.DataArray, reference: pd.Timestamp) -> xr.DataArray:
    """A variable of times, whose units begin at the reference time, with units for all of them."""
    units = str(variable.attrs.get("units", ""))
    if not units.startswith("seconds since"):
        return variable
    missing = variable.attrs["_FillValue"]
    start = int((reference - pd.Timestamp(0)) / pd.Timedelta(seconds=1))
    values = variable.values.astype(np.int64)
    values = np.where(values == missing, np.int64(missing), values + start)
    attributes = variable.attrs | _SECONDS | {"_FillValue": np.int64(missing)}
    return variable.copy(data=values).assign_attrs(attributes)


def _write_file(path: Path, content: bytes) -> None:
    """Write a file that is complete on the disk, or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.partial")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """One file with all metadata: readers of format 3 know it, the specification does not yet."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        yield
