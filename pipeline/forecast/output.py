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

import netCDF4
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from squall.datasets.coding import RAIN_CODE
from squall.pipeline.forecast.dataset import netcdf_encoding
from squall.pipeline.forecast.ensemble_dataset import member_variable
from squall.pipeline.outputs import check_output_file, check_own_folder
from squall.pipeline.provenance import atomic_folder, atomic_path

SUFFIXES = (".nc", ".nc4", ".netcdf")
ZARR = ".zarr"
_DIMS = ("realization", "lead_time", "y", "x")
_NETCDF_ONLY = ("zlib", "complevel", "shuffle", "chunksizes")
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
        self._file: netCDF4.Dataset | None = None
        self._members: Any = None
        self._codes = False

    def create_members(
        self, shape: tuple[int, int, int, int], codes: bool, keep_bits: int | None
    ) -> None:
        name, dtype, attributes = member_variable(codes, keep_bits)
        self._file, self._codes = netCDF4.Dataset(self._path, "w"), codes
        for dim, size in zip(_DIMS, shape, strict=True):
            self._file.createDimension(dim, size)
        fill = attributes.pop("_FillValue", None)
        options: dict[str, Any] = {} if fill is None else {"fill_value": fill}
        self._members = self._file.createVariable(
            name, dtype, _DIMS, zlib=True, complevel=1, chunksizes=(1, 1, *shape[2:]), **options
        )
        self._members.setncatts(attributes | _COORDINATES)
        self._members.set_auto_maskandscale(False)

    def write_members(self, index: int, rates: npt.NDArray[np.float32]) -> None:
        self._members[:, index] = RAIN_CODE.encode(rates) if self._codes else rates

    def write(self, forecast: xr.Dataset) -> None:
        mode: Any = "a" if self._file else "w"
        self.close()
        forecast.to_netcdf(self._path, mode=mode, encoding=netcdf_encoding(forecast))

    def close(self) -> None:
        if self._file and self._file.isopen():
            self._file.close()


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
        encoding = {
            name: {key: value for key, value in how.items() if key not in _NETCDF_ONLY}
            for name, how in netcdf_encoding(forecast).items()
        }
        mode: Any = "a" if self._members is not None else "w"
        options: dict[str, Any] = {"zarr_format": 2, "consolidated": False, "encoding": encoding}
        forecast.to_zarr(self._path, mode=mode, **options)
        zarr.consolidate_metadata(self._path, zarr_format=2)
