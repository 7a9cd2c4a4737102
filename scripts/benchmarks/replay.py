"""A day of an archive played as if it came live: time in each state, latency, scores."""

from __future__ import annotations

import json
import math
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import psutil
from tables import keep, parser, show

from squall.datasets.times import parse_time
from squall.pipeline.live.child import Child
from squall.pipeline.live.clock import ReplayClock
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.factory import WorkerFactory
from squall.pipeline.live.run import Service
from squall.pipeline.live.states import STATES


def play(arguments: Namespace, site: Path) -> dict[str, Any]:
    """Run the service, and look at its status after each cycle.

    Returns
    -------
    Seconds of the service's clock in each state, seconds to each run, the parent's memory [GB], and
    the last status.
    """
    config = LiveConfig.model_validate(
        {
            "publish_to": str(site),
            "model": arguments.model,
            "members": arguments.members,
            "usual_latency": "1min",
            "keep": "3h",
        }
    )
    child = Child(WorkerFactory(config, arguments.archive))
    child.start()
    clock = ReplayClock(parse_time(arguments.start), arguments.speed)
    service = Service(config, child, clock)
    end = clock.now() + pd.Timedelta(hours=arguments.hours)
    in_state = dict.fromkeys(STATES, 0.0)
    latency_s: dict[str, float] = {}  # of each run
    before = clock.now()
    while clock.now() < end:
        service.cycle()
        status = json.loads((site / "status.json").read_text())
        if status["run"] and status["run_s"]:
            latency_s.setdefault(status["run"], status["run_s"])
        clock.sleep(config.poll_s)
        now = clock.now()
        in_state[status["state"]] += (now - before).total_seconds()
        before = now
    memory = psutil.Process().memory_info().rss / 1e9
    child.stop()
    return {
        "in_state": in_state,
        "latency_s": list(latency_s.values()),
        "memory": memory,
        "status": status,
    }


def arguments() -> ArgumentParser:
    """The options."""
    result = parser(__doc__)
    result.add_argument("archive")
    result.add_argument("--start", required=True, help="UTC")
    result.add_argument("--hours", type=float, default=24.0)
    result.add_argument("--speed", type=float, default=60.0)
    result.add_argument("--model", default="squall-base")
    result.add_argument("--members", type=int)
    return result


def main() -> None:
    """Play, and print three tables."""
    given = arguments().parse_args()
    began = time.monotonic()
    with TemporaryDirectory() as name:
        played = play(given, Path(name))
    total = sum(played["in_state"].values())
    states = [
        {"state": state, "share of time [%]": round(100 * seconds / total, 1)}
        for state, seconds in played["in_state"].items()
    ]
    show(states)
    latency: dict[str, Any] = {"runs": len(played["latency_s"])}
    for percent in (50, 90, 99):
        latency[f"p{percent} [s]"] = round(float(np.percentile(played["latency_s"], percent)), 2)
    latency["parent [GB]"] = played["memory"]
    latency["took [min]"] = (time.monotonic() - began) / 60
    show([latency])
    scores = _scores(played["status"]["self_check"])
    if scores:
        show(scores)
    keep(given, {"states": states, "latency": latency, "scores": scores})


def _scores(check: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A row for some lead times."""
    if check is None:
        return []
    every = math.ceil(len(check["by_lead_time"]) / 6)
    return [
        {
            "lead [min]": row["lead_min"],
            **{
                f"{method}, CSI ≥ {threshold:g}": csi
                for method in ("forecast", "extrapolation")
                for threshold, csi in zip(check["thresholds_mm_h"], row[method]["csi"], strict=True)
                if threshold <= 5
            },
        }
        for row in check["by_lead_time"][every - 1 :: every]
    ]


if __name__ == "__main__":
    main()
