"""The stage `synth`: write synthetic radar as CF netCDF files, one file for each scan."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from squall import __version__
from squall.datasets.grid import GRID_MAPPING, Grid
from squall.datasets.synthetic.radar import SyntheticScan, synthetic_grid, synthetic_scans
from squall.datasets.times import now
from squall.pipeline.outputs import check_output_folder
from squall.pipeline.progress import tracked
from squall.pipeline.provenance import atomic_path
from squall.pipeline.synth.config import SynthConfig


def synth(config: SynthConfig) -> list[Path]:
    """Write the scans as ``OUT/YYYY/MM/DD/synthetic_YYYYMMDDTHHMM.nc``; returns the paths.

    Missing scans have no file. The same configuration gives the same files. A live radar waits for
    the time of each scan.
    """
    check_output_folder(config.out, "--out")
    radar = config.synthetic
    grid = synthetic_grid(radar.size)
    paths = []
    for scan in tracked(synthetic_scans(radar), "synth", len(radar.times), "scan"):
        if config.live:
            time.sleep(max(0.0, (scan.time - now()).total_seconds()))
        if scan.missing:
            continue
        path = config.out / f"{scan.time:%Y/%m/%d}" / f"synthetic_{scan.time:%Y%m%dT%H%M}.nc"
        with atomic_path(path) as partial_path:
            dataset = _dataset(scan, grid, radar.seed)
            dataset.to_netcdf(partial_path, encoding=_ENCODING)
        paths.append(path)
    return paths


_ENCODING: dict[str, dict[str, Any]] = {
    "rainfall_rate": {
        "dtype": "uint16",
        "scale_factor": 0.01,
        "_FillValue": np.uint16(65535),
        "zlib": True,
        "complevel": 4,
    },
    "time": {"units": "seconds since 1970-01-01 00:00:00", "dtype": "int64"},
}


def _dataset(scan: SyntheticScan, grid: Grid, seed: int) -> xr.Dataset:
    return xr.Dataset(
        {
            "rainfall_rate": (
                ("time", "y", "x"),
                scan.rain_rate_mm_h[None],
                {
                    "standard_name": "rainfall_rate",
                    "long_name": "rain rate",
                    "units": "mm h-1",
                    "grid_mapping": GRID_MAPPING,
                },
            )
        },
        coords={"time": ("time", [scan.time], {"standard_name": "time"}), **grid.coords()},
        attrs={
            "Conventions": "CF-1.11",
            "title": "Synthetic radar composite",
            "institution": "Squall, synthetic data",
            "source": f"squall synth {__version__}, seed {seed}",
            "license": "CC0-1.0",
        },
    )
