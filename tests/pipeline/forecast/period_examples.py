"""An archive with a gap, periods of it, and what a store of forecasts holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xarray as xr

from squall.pipeline.forecast.period_config import PeriodConfig

GAP = "2024-06-01T01:00"
PERIOD = "2024-06-01T00:00/2024-06-01T02:00"
LEADS = 3


def period_config(archive: Path, out: Path, **changes: Any) -> PeriodConfig:
    values = {
        "archive": archive,
        "model": "extrapolation",
        "out": out,
        "period": PERIOD,
        "every_minutes": 10,
        "lead_times": LEADS,
        "workers": 1,
    }
    return PeriodConfig(**values | changes)


def contents(store: Path) -> dict[str, Any]:
    """Bytes of all files of a store; of the metadata, all but the history."""
    files: dict[str, Any] = {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }
    metadata = json.loads(files["zarr.json"])
    del metadata["attributes"]["history"]
    return files | {"zarr.json": metadata}


def opened(store: Path) -> xr.Dataset:
    with xr.open_zarr(store, chunks=None) as dataset:
        return dataset.load()
