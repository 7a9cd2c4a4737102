"""A small published run, by the real code: rain whose amount says where it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from squall.datasets.grid import Grid
from squall.datasets.times import now
from squall.pipeline.forecast.ensemble_dataset import CHANCES
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.products import write_products
from squall.pipeline.live.states import FRESH, Run, State
from squall.pipeline.live.status import Status, latest_text, metrics_text, run_from, status_text
from squall.pipeline.live.store import open_store, run_id

STEP = pd.Timedelta("5min")
REFERENCE = pd.Timestamp("2024-06-01T12:00")
CONTEXT, LEADS = 3, 4
ROWS, COLUMNS = 40, 50
# as KNMI's composite: polar stereographic, so that rows are not parallels
CRS = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378140 +b=6356752 +units=m"
THRESHOLDS = (0.5, 2.0)


def grid() -> Grid:
    from pyproj import CRS as Crs

    x = 100_000 + 2000.0 * np.arange(COLUMNS)
    y = -3_900_000 - 2000.0 * np.arange(ROWS)
    return Grid(x, y, Crs.from_user_input(CRS).to_wkt())


def rain(seed: int) -> np.ndarray:
    """(y, x) mm/h: a third dry, rates of all sizes, the left columns not observed."""
    random = np.random.default_rng(seed)
    field = np.exp(random.uniform(np.log(0.1), np.log(100), (ROWS, COLUMNS)))
    field[random.random((ROWS, COLUMNS)) < 0.33] = 0
    field[:, :6] = np.nan
    return field.astype(np.float32)


def forecast_of(reference: pd.Timestamp, seed: int, context: int = CONTEXT) -> xr.Dataset:
    """What `squall forecast` gives; an observed field depends on its time alone."""
    scans = pd.DatetimeIndex([reference - k * STEP for k in reversed(range(context))])
    leads = pd.TimedeltaIndex([k * STEP for k in range(1, LEADS + 1)])
    fields = np.stack([rain(1000 * seed + k) for k in range(LEADS)])
    chance = np.stack([np.where(np.isnan(fields), np.nan, fields >= t) * 0.75 for t in THRESHOLDS])
    dims = ("lead_time", "y", "x")
    observed = np.stack([rain(int(scan.timestamp())) for scan in scans])
    return xr.Dataset(
        {
            "rain_rate": (dims, fields),
            "observed_rain_rate": (("context_time", "y", "x"), observed),
            CHANCES: (("threshold", *dims), chance.astype(np.float32)),
        },
        {
            "lead_time": leads,
            "time": ("lead_time", reference + leads),
            "context_time": scans,
            "threshold": list(THRESHOLDS),
            "forecast_reference_time": reference,
        },
        {"missing_context": "", "title": "Forecast", "institution": "Nobody"},
    )


def publish(
    address: Any,
    reference: pd.Timestamp = REFERENCE,
    *,
    seed: int = 0,
    forecast: xr.Dataset | None = None,
    fallback: str = "",
) -> Run:
    """Publish a run and name it as the newest one."""
    store = open_store(str(address))
    run = Run(run_id(reference), reference, LEADS, "squall-base", fallback=fallback)
    config = LiveConfig.model_validate({"publish_to": str(address), "thresholds_mm_h": THRESHOLDS})
    archive: Any = SimpleNamespace(
        grid=grid(), title="Test radar", step=STEP, attributes={"institution": "Nobody"}
    )
    with store.new_run(run.id) as folder:
        forecast = forecast_of(reference, seed) if forecast is None else forecast
        write_products(folder, forecast, archive, run, config)
    store.write("latest.json", latest_text(run))
    say(address, run=run)
    return run


def say(
    address: Any,
    state: str = FRESH,
    *,
    age: str = "0s",
    run: Run | None = None,
    speed: float = 1.0,
    scan_age: str = "2min",
) -> None:
    """Write the status as if the live service had written it some time ago.

    Parameters
    ----------
    scan_age : of the newest scan at that time.
    """
    store, reason = open_store(str(address)), f"it is {state}"
    latest = run or run_from(store.read("latest.json") or "")
    status = Status(
        state=State(state, reason, None),
        since=latest.reference,
        now=latest.reference + pd.Timedelta(scan_age),
        machine_now=now() - pd.Timedelta(age),
        speed=speed,
        run=latest,
        newest=latest.reference,
        problems=(),
        cycle_s=1.0,
        run_s=1.0,
        poll_s=10.0,
        heartbeat_due_s=300.0,
        stale_after_s=3600.0,
        runs_made=1,
        failures=0,
    )
    store.write("status.json", status_text(status))
    store.write("metrics.prom", metrics_text(status))


def folder_of(address: Any, run: Run) -> Path:
    return Path(str(address)) / "runs" / run.id
