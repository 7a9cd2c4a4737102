"""Stores of the MLCast convention, as other tools write them and as an export writes them."""

import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from squall.datasets.archive.archive import Archive
from squall.datasets.coding import RAIN_CODE
from squall.datasets.grid import grid_mapping_attributes
from squall.datasets.mlcast.store import MlcastStore
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.export.run import export
from tests.datasets.mlcast.store_size import HEIGHT, SCANS, TIMES, WIDTH


@pytest.fixture(scope="module")
def rate():
    """(time, y, x) mm/h, north up, with a blind corner; the values are those of codes."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 255, (SCANS, HEIGHT, WIDTH), dtype=np.uint8)
    codes[:, :4, :5] = RAIN_CODE.NOT_OBSERVED
    return RAIN_CODE.decode(codes)


@pytest.fixture
def write_store(tmp_path, grid):
    """Function that writes a store as another tool might, and returns its address."""

    def write(
        values,
        *,
        times=TIMES,
        variable="rainfall_rate",
        units="kg m-2 h-1",
        x=None,
        y=None,
        coordinate_units="m",
        dims=("time", "y", "x"),
        chunks=None,
        zarr_format=2,
        consolidated=True,
        missing=None,
        attrs=None,
        encoding=None,
        more=None,
        name="store.zarr",
    ):
        rows, columns = values.shape[1:]
        axes = {
            "y": grid.y[:rows] if y is None else y,
            "x": grid.x[:columns] if x is None else x,
        }
        coords = {
            axis: (
                axis,
                numbers,
                {
                    "standard_name": f"projection_{axis}_coordinate",
                    "units": coordinate_units,
                    "axis": axis.upper(),
                },
            )
            for axis, numbers in axes.items()
        } | {"time": ("time", pd.DatetimeIndex(times), {"standard_name": "time"})}
        if missing is not None:
            coords["missing_times"] = ("missing_times", pd.DatetimeIndex(missing))
        attributes = {"units": units, "grid_mapping": "crs"}
        dataset = xr.Dataset(
            {
                variable: (dims, values, attributes),
                "crs": ((), 0, grid_mapping_attributes(grid.crs)),
                **(more or {}),
            },
            coords=coords,
            attrs=attrs or {},
        )
        path = tmp_path / name
        shutil.rmtree(path, ignore_errors=True)
        dataset.to_zarr(
            path,
            zarr_format=zarr_format,
            consolidated=consolidated,
            encoding={variable: {"chunks": chunks or (1, rows, columns), **(encoding or {})}},
        )
        return str(path)

    return write


@pytest.fixture
def exported(rain_archive, tmp_path):
    """The fixture archive and an export of it."""
    out = tmp_path / "rain.zarr"
    export(ExportConfig(archive=str(rain_archive), out=str(out)))
    return Archive.open(rain_archive), MlcastStore.open(out)
