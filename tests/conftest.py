"""Shared fixtures: radar files in the producers' conventions, a small archive, a browser.

The browser is Chromium of the operating system (Debian: ``apt-get install chromium``).
"""

import shutil
import sqlite3  # noqa: F401 - before eccodes, which brings an older one for the whole process
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pyproj
import pytest
import torch
from hypothesis import settings

from squall.datasets.archive.records import Rejection
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.coding import RAIN_CODE
from squall.datasets.grid import Grid

# No deadline, because a busy machine is slow; always the same examples, so that CI repeats its
# result. Other examples: pytest --hypothesis-profile random
settings.register_profile("squall", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None)
settings.load_profile("squall")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HEIGHT, WIDTH = 48, 64
STEP = pd.Timedelta("5min")
POLAR = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 0.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
    "false_easting": 0.0,
    "false_northing": 0.0,
    "semi_major_axis": 6378137.0,
    "semi_minor_axis": 6356752.0,
}
ALBERS = {
    "grid_mapping_name": "albers_conical_equal_area",
    "standard_parallel": [-26.2, -29.3],
    "longitude_of_central_meridian": 153.24,
    "latitude_of_projection_origin": -27.7178,
    "false_easting": 0.0,
    "false_northing": 0.0,
    "semi_major_axis": 6378137.0,
    "semi_minor_axis": 6356752.31414,
}

# How each network packs its numbers, which configs/archives/NAME.yaml must be able to read.
NETWORKS: dict[str, dict[str, Any]] = {
    "bom_brisbane": {
        "variable": "precipitation",
        "dims": ("y", "x"),
        "units": "kg m-2",
        "attributes": {"scale_factor": 0.05, "add_offset": 0.0},
        "fill": np.int16(-1),
        "time_name": "valid_time",
        "scalar_time": True,
        "interval": "10min",
        "grid_mapping": ALBERS,
        "coordinate_units": "km",
    },
    "bom_melbourne": {
        "variable": "precipitation",
        "dims": ("y", "x"),
        "units": "kg m-2",
        "attributes": {"scale_factor": 0.05, "add_offset": 0.0},
        "fill": np.int16(-32768),
        "time_name": "valid_time",
        "scalar_time": True,
        "interval": "6min",
        "grid_mapping": ALBERS,
        "coordinate_units": "km",
    },
    "knmi": {
        "variable": "rainfall_rate",
        "units": "mm h-1",
        "attributes": {"scale_factor": 0.01, "add_offset": 0.0},
        "fill": np.uint16(65535),
    },
    "fmi": {
        "variable": "dbz",
        "units": "dBZ",
        "attributes": {"scale_factor": 0.5, "add_offset": 0.0},
        "fill": np.int16(-32768),
    },
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """The tensors of the tests are small; more threads would only slow down other processes."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One for the tests of a file.

    While Playwright runs, the thread has an asyncio loop: it cannot be started a second time, and
    tests of other files could not call asyncio.run.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def networks() -> Mapping[str, dict[str, Any]]:
    """Keyword arguments of `write_radar` for files as each real network writes them."""
    return NETWORKS


@pytest.fixture(scope="session")
def write_radar() -> Callable[..., str]:
    """Function that writes packed numbers into a CF file and returns its path."""
    return _write_radar


def _write_radar(
    path: Path,
    numbers: Any,
    *,
    times: Sequence[str] = ("2024-06-01T12:00",),
    variable: str = "rain",
    dims: tuple[str, ...] = ("time", "y", "x"),
    units: str | None = "mm h-1",
    attributes: Mapping[str, Any] | None = None,
    fill: Any = None,
    time_name: str | None = "time",
    time_attributes: Mapping[str, Any] | None = None,
    scalar_time: bool = False,
    interval: str | None = None,
    bounds: bool = False,
    grid_mapping: Mapping[str, Any] | None = POLAR,
    x: Any = None,
    y: Any = None,
    coordinate_units: str | None = "m",
    coordinate_attributes: Mapping[str, Mapping[str, Any]] | None = None,
    format: str = "NETCDF4",
    unlimited: bool = False,
) -> str:
    """Write a file; no time if ``time_name`` is None, starts or bounds if ``interval`` is given."""
    numbers = np.asarray(numbers)
    if numbers.ndim < len(dims):
        numbers = numbers.reshape((1,) * (len(dims) - numbers.ndim) + numbers.shape)
    sizes = dict(zip(dims, numbers.shape, strict=True))
    length = 1000.0 if coordinate_units == "m" else 1.0
    axes = {
        name: np.arange(sizes[name]) * spacing if coordinates is None else np.asarray(coordinates)
        for name, coordinates, spacing in (("x", x, length), ("y", y, -length))
        if name in sizes
    }
    with netCDF4.Dataset(path, "w", format=format) as file:
        for dim, size in sizes.items():
            file.createDimension(dim, None if unlimited and dim == dims[0] else size)
        if time_name is not None:
            if not scalar_time and "time" not in sizes:
                file.createDimension("time", len(times))
            time_dims = () if scalar_time else ("time",)
            seconds = [pd.Timestamp(t).timestamp() if t != "NaT" else -9e9 for t in times]
            described = {
                "standard_name": "time",
                "units": "seconds since 1970-01-01 00:00:00 UTC",
                **(time_attributes or {}),
            }
            _put(file, time_name, time_dims, np.array(seconds), described, fill=-9e9)
            if interval is not None:
                starts = np.array(seconds) - pd.Timedelta(interval).total_seconds()
                plain = {"units": described["units"]}
                if bounds:
                    file.createDimension("bound", 2)
                    file[time_name].bounds = "time_bounds"
                    both = np.stack([starts, seconds], axis=-1)
                    both = np.where(both < -1e9, -9e9, both)
                    _put(file, "time_bounds", (*time_dims, "bound"), both, {}, fill=-9e9)
                else:
                    _put(file, "start_time", time_dims, starts, plain)
        for name, values in axes.items():
            described = {"standard_name": f"projection_{name}_coordinate"}
            if coordinate_units is not None:
                described["units"] = coordinate_units
            described = (coordinate_attributes or {}).get(name, described)
            _put(file, name, (name,), values, described)
        described = {} if units is None else {"units": units}
        if grid_mapping is not None:
            _put(file, "proj", (), np.int32(0), grid_mapping)
            described["grid_mapping"] = "proj"
        _put(file, variable, dims, numbers, described | dict(attributes or {}), fill=fill)
    return str(path)


def _put(
    file: netCDF4.Dataset,
    name: str,
    dims: tuple[str, ...],
    values: Any,
    attributes: Mapping[str, Any],
    fill: Any = None,
) -> None:
    values = np.asarray(values)
    created = file.createVariable(name, values.dtype, dims, fill_value=fill)
    created.setncatts(dict(attributes))
    created.set_auto_maskandscale(False)
    created[:] = values.reshape(()) if not dims else values


@pytest.fixture(scope="session")
def grid() -> Grid:
    """48 × 64 pixels of 1 km, polar stereographic."""
    crs = pyproj.CRS.from_cf(POLAR)
    return Grid(
        x=np.arange(WIDTH) * 1000.0,
        y=-4_000_000.0 - np.arange(HEIGHT) * 1000.0,
        crs_wkt=crs.to_wkt(),
    )


@pytest.fixture(scope="session")
def rain_codes() -> Callable[..., np.ndarray]:
    """Function of (count, seed): showers that move one pixel a scan, with a blind corner."""
    return _rain_codes


def _rain_codes(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    rate = np.zeros((count, HEIGHT, WIDTH), dtype=np.float32)
    for _ in range(6):
        row, column, radius = rng.uniform(0, HEIGHT), rng.uniform(0, WIDTH), rng.uniform(2, 6)
        for step in range(count):
            square = (rows - row) ** 2 + ((columns - column - step) % WIDTH) ** 2
            rate[step] += 30 * np.exp(-square / radius**2)
    rate[:, :6, :6] = np.nan
    return RAIN_CODE.encode(rate)


@pytest.fixture(scope="session")
def scans_of() -> Callable[..., list[StoredScan]]:
    """Function of (codes, first time, source): scans one step of five minutes apart."""
    return _scans_of


def _scans_of(
    codes: np.ndarray, first: str | pd.Timestamp, source: str = "file"
) -> list[StoredScan]:
    start = pd.Timestamp(first)
    return [
        StoredScan(
            start + i * STEP, scan, f"{source}{i}.nc", f"{source}{i}".encode().hex().zfill(32)
        )
        for i, scan in enumerate(codes)
    ]


@pytest.fixture(scope="session")
def rain_archive(tmp_path_factory: pytest.TempPathFactory, grid: Grid) -> Path:
    """80 time steps from 2024-06-01 00:00; 30 to 33 are missing, 50 was rejected. Read only."""
    path = tmp_path_factory.mktemp("archives") / "rain.icechunk"
    scans = _scans_of(_rain_codes(80), "2024-06-01")
    writer = ArchiveWriter(path, STEP, {"name": "rain", "title": "Rain", "license": "CC0-1.0"})
    stored = [scan for i, scan in enumerate(scans) if i not in (30, 31, 32, 33, 50)]
    broken = Rejection("file50.nc", "f" * 32, "is cut off", scans[50].time)
    writer.commit(grid, stored, [broken], "fixture")
    return path
