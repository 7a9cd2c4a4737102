"""``forecast.zarr``: the forecast as Zarr, format 3.

Public: `write_zarr`.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import xarray as xr


def write_zarr(path: Path, netcdf: Path) -> None:
    """Write what a forecast file holds, with the same codes and attributes.

    A chunk is one field (y, x). The chunks of all lead times are one file, so that a run has few.
    """
    with xr.open_dataset(netcdf, decode_cf=False) as opened, warnings.catch_warnings():
        # one file with all metadata: readers of format 3 know it, the specification does not yet
        warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)
        forecast = opened.load().drop_encoding()
        encoding = {str(name): _chunks(values) for name, values in forecast.variables.items()}
        forecast.to_zarr(path, mode="w", zarr_format=3, consolidated=True, encoding=encoding)


def _chunks(values: xr.Variable) -> dict[str, Any]:
    if values.ndim < 3:
        return {}
    *outer, leads, rows, columns = values.shape
    ones = [1] * len(outer)
    return {"chunks": (*ones, 1, rows, columns), "shards": (*ones, leads, rows, columns)}
