"""Time from the arrival of a scan to the published forecast, by stage, and memory."""

from __future__ import annotations

import shutil
import time
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import psutil
from tables import keep, parser, show

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.times import parse_time
from squall.pipeline.config import load_config
from squall.pipeline.live.child import Child
from squall.pipeline.live.clock import Clock
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.factory import WorkerFactory
from squall.pipeline.live.run import Service


class AtTime(Clock):
    """A clock that stands a minute after the scan that has arrived."""

    def __init__(self) -> None:
        self.time = pd.Timestamp(0)

    def now(self) -> pd.Timestamp:
        return self.time


def timed(child: Child, seconds: dict[str, float]) -> Any:
    """A child whose calls are timed."""
    call = child.call

    def measured(method: str, *arguments: Any, deadline_s: float) -> Any:
        began = time.perf_counter()
        try:
            return call(method, *arguments, deadline_s=deadline_s)
        finally:
            seconds[method] = time.perf_counter() - began

    child.call = measured  # type: ignore[method-assign]
    return child


def measure(arguments: Namespace, folder: Path, members: int) -> dict[str, Any]:
    """Let scans arrive one after the other; the medians over all but the first forecast."""
    network = load_config(arguments.network, RadarNetworkConfig)
    pattern = network.time_in_name
    assert pattern is not None, "the network has no time_in_name"
    radar = folder / "radar"
    radar.mkdir()
    config = LiveConfig(
        network=arguments.network,
        archive=str(folder / "archive.icechunk"),
        files=(f"{radar}/*",),
        publish_to=str(folder / "site"),
        model=arguments.model,
        members=members or None,
        deadline_s=600,
    )
    first = parse_time(arguments.start)
    files = {
        pd.to_datetime(path.stem, format=Path(pattern).stem): path
        for path in sorted(arguments.radar.rglob("*"))
        if path.is_file()
    }
    times = [scan for scan in sorted(files) if scan >= first]
    times = times[: arguments.context + arguments.scans]
    clock, seconds = AtTime(), {}
    child = timed(Child(WorkerFactory(config)), seconds)
    service = Service(config, child, clock)
    rows: list[dict[str, float]] = []
    for scan in times[: arguments.context - 1]:
        shutil.copy(files[scan], radar)
    clock.time = times[arguments.context - 2] + pd.Timedelta("1min")
    service.cycle()
    try:
        for scan in times[arguments.context - 1 :]:
            shutil.copy(files[scan], radar)
            clock.time = scan + pd.Timedelta("1min")
            began = time.perf_counter()
            state = service.cycle()
            whole = time.perf_counter() - began
            assert state.name in ("fresh", "gap"), state
            rows.append({"published": whole - seconds["check"], **seconds})
        assert child.process_id is not None
        of_child = psutil.Process(child.process_id).memory_info().rss / 1e9
    finally:
        child.stop()
    run = max((folder / "site" / "runs").iterdir())
    size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) / 1e6
    return {
        "members": members,
        "scan to latest.json [s]": float(np.median([row["published"] for row in rows])),
        "ingest [s]": float(np.median([row["look"] for row in rows])),
        "forecast, products [s]": float(np.median([row["make"] for row in rows])),
        "self-check [s]": float(np.median([row["check"] for row in rows])),
        "child [GB]": of_child,
        "a run [MB]": size,
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("network", type=Path, help="configuration of the radar network")
    options.add_argument("radar", type=Path, help="folder of its files")
    options.add_argument("--start", required=True, help="first scan")
    options.add_argument("--context", type=int, default=6, help="scans before the first forecast")
    options.add_argument("--scans", type=int, default=4, help="forecasts to time")
    options.add_argument("--model", default="squall-base")
    options.add_argument("--members", type=int, nargs="+", default=[0, 20])
    arguments = options.parse_args()
    table = []
    for members in arguments.members:
        with TemporaryDirectory() as name:
            table.append(measure(arguments, Path(name), members))
    parent = psutil.Process().memory_info().rss / 1e9
    print(f"parent {parent:.2f} GB")
    show(table)
    keep(arguments, {"parent [GB]": parent, "rows": table})


if __name__ == "__main__":
    main()
