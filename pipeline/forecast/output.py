"""Writing a forecast, netCDF or Zarr by the suffix of its name; complete, or not there at all.

Public: `check_output`, `output_at`, `Output`.

The members of an ensemble are written lead time by lead time, so that no more than one is in the
memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import h5py
import netCDF4
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from squall.datasets.coding import RAIN_CODE
from squall.pipeline.forecast.dataset import encoding_of
from squall.pipeline.forecast.ensemble_dataset import KEPT_BITS, member_variable
from squall.pipeline.forecast.netcdf_chunks import create_gridded, is_gridded, write_gridded
from squall.pipeline.outputs import check_output_file, check_own_folder
from squall.pipeline.provenance import atomic_folder, atomic_path

SUFFIXES = (".nc", ".nc4", ".netcdf")
ZARR = ".zarr"
_DIMS = ("realization", "lead_time", "y", "x")
_COORDINATES = {"coordinates": "time forecast_reference_time"}


class Output(Protocol):
    """A forecast that is being written."""

    def create_members(
        self, shape: tuple[int, int, int, int], codes: bool, keep_bits: int | None
    ) -> None:
        """Create the variable of the members (member, lead_time, y, x), as codes, or as rates.

        Parameters
        ----------
        keep_bits : that the rates are rounded to.
        """
        ...

    def write_members(self, index: int, rates: npt.NDArray[np.float32]) -> None:
        """Write the members (member, y, x), mm/h, of a lead time."""
        ...

    def write(self, forecast: xr.Dataset) -> None:
        """Write everything else, last."""
        ...


def check_output(path: Path) -> None:
    """Check that a forecast can be written.

    Raises
    ------
    ConfigError
        If the name has an unknown ending, or the path cannot be written to, or is a folder that
        holds something else than a forecast.
    """
    if path.suffix.lower() != ZARR:
        check_output_file(path, "--out", (*SUFFIXES, ZARR))
        return
    check_own_folder(path, "--out", _is_forecast, "a forecast")


@contextmanager
def output_at(path: Path) -> Iterator[Output]:
    """An output that replaces the path when the block succeeds."""
    if path.suffix.lower() == ZARR:
        with atomic_folder(path) as temporary_path:
            yield _Zarr(temporary_path)
    else:
        with atomic_path(path) as temporary_path:
            output = _Netcdf(temporary_path)
            try:
                yield output
            finally:
                output.close()


def _is_forecast(path: Path) -> bool:
    try:
        attributes = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return "squall_version" in attributes and (path / "rain_rate").is_dir()


class _Netcdf:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: h5py.File | None = None
        self._members = ""
        self._codes = False

    def create_members(
        self, shape: tuple[int, int, int, int], codes: bool, keep_bits: int | None
    ) -> None:
        self._members, dtype, attributes = member_variable(codes, keep_bits)
        self._codes = codes
        with netCDF4.Dataset(self._path, "w") as file:
            dims = dict(zip(_DIMS, shape, strict=True))
            shuffle = not codes
            create_gridded(
                file, self._members, dims, dtype, attributes | _COORDINATES, shuffle=shuffle
            )
        self._file = h5py.File(self._path, "r+")

    def write_members(self, index: int, rates: npt.NDArray[np.float32]) -> None:
        assert self._file is not None
        values = RAIN_CODE.encode(rates) if self._codes else rates
        write_gridded(self._file[self._members], values[:, None], (0, index, 0, 0))

    def write(self, forecast: xr.Dataset) -> None:
        mode: Any = "a" if self._file else "w"
        self.close()
        gridded = {str(k): v for k, v in forecast.data_vars.items() if is_gridded(v)}
        encoding = encoding_of(forecast)
        stored = {name: encoding.pop(name, {}) for name in gridded}
        forecast.drop_vars(gridded).to_netcdf(self._path, mode=mode, encoding=encoding)
        with netCDF4.Dataset(self._path, "a") as file:
            for name, variable in gridded.items():
                _create(file, variable, stored[name])
        with h5py.File(self._path, "r+") as file:
            for name, variable in gridded.items():
                write_gridded(file[name], variable.data)

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None


def _create(file: netCDF4.Dataset, variable: xr.DataArray, encoding: dict[str, Any]) -> None:
    """Create a gridded variable with the attributes that xarray would give it.

    Rates of an archive are few different numbers: to put their bytes in another order (shuffle)
    takes as long as to compress them, and makes larger files. Rounded rates have zeros at the end,
    and become smaller.
    """
    coordinates = sorted(str(name) for name in variable.coords if name not in variable.dims)
    attributes = variable.attrs | {"coordinates": " ".join(coordinates)}
    if "_FillValue" in encoding:
        attributes["_FillValue"] = encoding["_FillValue"]
    dims = {str(dim): size for dim, size in variable.sizes.items()}
    dtype = encoding.get("dtype", variable.dtype)
    shuffle = KEPT_BITS in variable.attrs
    create_gridded(file, str(variable.name), dims, dtype, attributes, shuffle=shuffle)


class _Zarr:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: Any = None
        self._codes = False

    def create_members(
        self, shape: tuple[int, int, int, int], codes: bool, keep_bits: int | None
    ) -> None:
        name, dtype, attributes = member_variable(codes, keep_bits)
        self._codes = codes
        fill = attributes.pop("_FillValue", None)
        self._members = zarr.open_group(self._path, mode="w", zarr_format=2).create_array(
            name,
            shape=shape,
            dtype=dtype,
            chunks=(1, 1, *shape[2:]),
            fill_value=fill,
            attributes={**attributes, **_COORDINATES, "_ARRAY_DIMENSIONS": list(_DIMS)},
        )

    def write_members(self, index: int, rates: npt.NDArray[np.float32]) -> None:
        self._members[:, index] = RAIN_CODE.encode(rates) if self._codes else rates

    def write(self, forecast: xr.Dataset) -> None:
        mode: Any = "a" if self._members is not None else "w"
        options: dict[str, Any] = {"zarr_format": 2, "consolidated": False}
        forecast.to_zarr(self._path, mode=mode, encoding=encoding_of(forecast), **options)
        zarr.consolidate_metadata(self._path, zarr_format=2)
