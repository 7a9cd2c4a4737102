"""Points and tiles that `squall serve` answers per second on one core, and its memory over runs."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import xarray as xr
from pyproj import CRS
from scipy.ndimage import gaussian_filter
from tables import keep, parser, show

from squall.datasets.grid import Grid
from squall.datasets.times import now, utc_text
from squall.pipeline.forecast.ensemble_dataset import CHANCES
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.products import write_products
from squall.pipeline.live.states import FRESH, Run, State
from squall.pipeline.live.status import Status, latest_text, status_text
from squall.pipeline.live.store import MANIFEST, RUNS, open_store, run_id

STEP = pd.Timedelta("5min")
REFERENCE = pd.Timestamp("2024-06-01T12:00")
KNMI = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378140 +b=6356752 +units=m"
CONTEXT, LEADS, THRESHOLDS = 4, 12, (0.5, 2.0, 5.0, 10.0)
KEPT_RUNS = 30


def grid_of(rows: int, columns: int) -> Grid:
    """A grid of 1 km over the Netherlands."""
    x = 1000.0 * (np.arange(columns) + 0.5)
    y = -3_650_000 - 1000.0 * (np.arange(rows) + 0.5)
    return Grid(x, y, CRS.from_user_input(KNMI).to_wkt())


def publish(site: Path, grid: Grid) -> Run:
    """Publish a run with rain on a fifth of the grid and chances of four thresholds."""
    noise = np.random.default_rng(1).normal(size=grid.shape)
    field = gaussian_filter(noise, min(grid.shape) / 40)
    wet = np.maximum(0, field / np.quantile(field, 0.8) - 1)
    fields = np.stack([np.roll(wet, 2 * k, axis=1) for k in range(CONTEXT + LEADS)])
    fields = (20 * fields).astype(np.float32)
    fields[:, :, : grid.x.size // 10] = np.nan
    rain = fields[CONTEXT:]
    chances = np.stack([np.where(np.isnan(rain), np.nan, rain >= t) * 0.8 for t in THRESHOLDS])
    leads = pd.TimedeltaIndex([k * STEP for k in range(1, LEADS + 1)])
    dims = ("lead_time", "y", "x")
    forecast = xr.Dataset(
        {
            "rain_rate": (dims, rain),
            "observed_rain_rate": (("context_time", "y", "x"), fields[:CONTEXT]),
            CHANCES: (("threshold", *dims), chances.astype(np.float32)),
        },
        {
            "lead_time": leads,
            "time": ("lead_time", REFERENCE + leads),
            "context_time": [REFERENCE - k * STEP for k in reversed(range(CONTEXT))],
            "threshold": list(THRESHOLDS),
            "forecast_reference_time": REFERENCE,
        },
        {"title": "Benchmark", "institution": "", "missing_context": ""},
    )
    store, run = open_store(str(site)), Run(run_id(REFERENCE), REFERENCE, LEADS, "benchmark")
    config = LiveConfig.model_validate({"publish_to": str(site), "thresholds_mm_h": THRESHOLDS})
    archive: Any = SimpleNamespace(grid=grid, title="Benchmark", step=STEP, attributes={})
    with store.new_run(run.id) as folder:
        write_products(folder, forecast, archive, run, config)
    name(site, run)
    return run


def name(site: Path, run: Run) -> None:
    """Let ``latest.json`` and ``status.json`` name a run."""
    store = open_store(str(site))
    store.write("latest.json", latest_text(run))
    status = Status(
        state=State(FRESH, "", None), since=run.reference, now=run.reference, machine_now=now(),
        speed=1.0, run=run, newest=run.reference, problems=(), cycle_s=1.0, run_s=1.0,
        poll_s=10.0, heartbeat_due_s=1e6, stale_after_s=1e6, runs_made=1, failures=0,
    )  # fmt: skip
    store.write("status.json", status_text(status))


@contextmanager
def serving(site: Path, *options: str) -> Iterator[tuple[str, psutil.Process]]:
    """The address and the process of a server, which has the first core for itself."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "squall.pipeline.cli", "serve", str(site), "--quiet"]
    command += ["--port", str(port), "--requests-per-minute", "0", *options]
    with subprocess.Popen(command) as started:
        process = psutil.Process(started.pid)
        process.cpu_affinity([0])
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                try:
                    get(f"{address}/health")
                    break
                except OSError:
                    time.sleep(0.1)
            yield address, process
        finally:
            started.terminate()


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read()


def load(
    address: str, process: psutil.Process, paths: list[str], seconds: int, connections: int
) -> dict[str, float]:
    """Requests per second and latency while `wrk` asks for paths, from the last core.

    Requests per second of processor time of the server do not depend on what else runs.
    """
    with TemporaryDirectory() as folder:
        script = Path(folder) / "paths.lua"
        lines = ",".join(f'"{path}"' for path in paths)
        script.write_text(
            f"local paths = {{{lines}}}\nlocal i = 0\n"
            "request = function()\n  i = i % #paths + 1\n"
            "  return wrk.format('GET', paths[i])\nend\n"
        )
        core = str((os.cpu_count() or 1) - 1)
        command = ["taskset", "-c", core, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
        command += ["--latency", "-s", str(script), address]
        before = process.cpu_times()
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        after = process.cpu_times()
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    assert failed is None, printed
    rate = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    count = re.search(r"(\d+) requests in", printed)
    assert rate is not None, printed
    assert count is not None, printed
    used_s = after.user + after.system - before.user - before.system
    latency = {
        f"p{part} [ms]": float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
        for part, value, unit in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)", printed, re.M)
    }
    rates = {"per second": float(rate[1]), "per processor second": int(count[1]) / used_s}
    return rates | latency


def measure_load(arguments: Namespace, site: Path) -> list[dict[str, Any]]:
    """Points, tiles and files under load."""
    run = publish(site, grid_of(*arguments.size))
    chosen = random.Random(0)
    points = [
        f"/forecast?lat={chosen.uniform(51, 53):.4f}&lon={chosen.uniform(3, 7):.4f}"
        for _ in range(500)
    ]
    rows = []
    with serving(site) as (address, process):
        maps = json.loads(get(f"{address}/public/weather-maps.json"))["radar"]
        frames = [frame["path"] for frame in maps["past"] + maps["nowcast"]]
        tiles = [(8, 128 + i, 82 + j) for i in range(6) for j in range(5)]
        paths = [f"{f}/256/{z}/{x}/{y}/2/1_1.png" for f in frames for z, x, y in tiles]
        # pixels of 512 tiles are remembered; this is a walk over other ones
        new = [f"{frames[0]}/256/12/{2048 + i}/{1300 + j}/2/1_1.png"
               for i in range(150) for j in range(60)]  # fmt: skip
        for kind, asked in (
            ("point", points),
            ("tile in a new place", new),
            ("tile of 256 pixels", paths),
            ("latest.json", ["/latest.json"]),
            ("health", ["/health"]),
        ):
            for connections in (1, 16):
                row = load(address, process, asked, arguments.seconds, connections)
                rows.append({"answers": kind, "connections": connections, **row})
        size = process.memory_info().rss / 1e6
    print(f"{run.id}: the server has {size:.0f} MB after it")
    return rows


def switched(folder: Path, run: Run, number: int) -> Run:
    """Publish a copy of a run whose times are later by some steps; old copies are deleted."""
    later = run.reference + number * STEP
    copy = run._replace(id=run_id(later), reference=later)
    target = folder / RUNS / copy.id
    shutil.copytree(folder / RUNS / run.id, target, copy_function=os.link)
    manifest = json.loads((target / MANIFEST).read_text())
    (target / MANIFEST).unlink()
    manifest |= {"id": copy.id, "reference_time": utc_text(later)}
    for layer in manifest["layers"]:
        for frame in layer["frames"]:
            moved = pd.Timestamp(frame["time"]).tz_localize(None) + number * STEP
            frame["time"] = utc_text(moved)
    (target / MANIFEST).write_text(json.dumps(manifest))
    name(folder, copy)
    store = open_store(str(folder))
    for old in [id_ for id_ in store.runs() if id_ != run.id][:-KEPT_RUNS]:
        store.remove(old)
    return copy


def measure_memory(arguments: Namespace, site: Path) -> list[dict[str, Any]]:
    """Memory while new runs are published, one after the other, and asked for."""
    run, rows = publish(site, grid_of(200, 200)), []
    marks = {round(share * arguments.switches) for share in (0, 0.1, 0.25, 0.5, 0.75, 1)}
    with serving(site, "--check-s", "0") as (address, process):
        for number in range(arguments.switches + 1):
            wanted = switched(site, run, number).id if number else run.id
            while wanted not in get(f"{address}/forecast?lat=55&lon=1").decode():
                time.sleep(0.005)
            get(f"{address}/v2/radar/latest/256/7/{64 + number % 3}/40/2/1_1.png")
            if number in marks:
                rows.append({"runs": number, "memory [MB]": process.memory_info().rss / 1e6})
    return rows


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--size", type=int, nargs=2, default=(765, 700), metavar="N")
    options.add_argument("--seconds", type=int, default=10, help="of each measurement")
    options.add_argument("--switches", type=int, default=1000, help="runs of the memory test")
    arguments = options.parse_args()
    missing = [program for program in ("wrk", "taskset") if shutil.which(program) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} not found; on Debian: apt-get install wrk util-linux")
    with TemporaryDirectory(dir=arguments.folder) as folder:
        speed = measure_load(arguments, Path(folder) / "load")
        show(speed)
        memory = measure_memory(arguments, Path(folder) / "memory")
        show(memory)
    keep(arguments, {"speed": speed, "memory": memory})


if __name__ == "__main__":
    main()
