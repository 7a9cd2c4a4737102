"""What people and monitors watch: ``status.json``, ``metrics.prom`` and ``latest.json``.

Public: `Status`, `status_text`, `metrics_text`, `latest_text`, `run_from`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from squall import __version__
from squall.datasets.times import utc_text
from squall.pipeline.live.self_check import METHODS
from squall.pipeline.live.states import STATES, Run, State
from squall.pipeline.live.store import MANIFEST, RUNS


@dataclass(frozen=True)
class Status:
    """One cycle of the loop.

    Parameters
    ----------
    state, since : the state, and when it began.
    now : of the service's clock.
    machine_now, speed : of the machine's clock, and how much faster the service's clock runs: 1
        except in a replay.
    heartbeat_due_s, stale_after_s : age of the heartbeat at which the service counts as dead, and
        age of the last scan at which the forecast is stale.
    newest : valid time of the newest scan.
    problems : what went wrong, in words.
    alerts_active : number of alerts that are not ended; None if it is not known.
    cycle_s, run_s : time that the cycle took, and that the last run took from the scan on.
    """

    state: State
    since: pd.Timestamp
    now: pd.Timestamp
    machine_now: pd.Timestamp
    speed: float
    run: Run | None
    newest: pd.Timestamp | None
    problems: tuple[str, ...]
    cycle_s: float
    run_s: float | None
    poll_s: float
    heartbeat_due_s: float
    stale_after_s: float
    runs_made: int
    failures: int
    alerts_active: int | None = None
    self_check: dict[str, Any] | None = None
    is_stopped: bool = False


def status_text(status: Status) -> str:
    """``status.json``."""
    state = status.state
    values = {
        "state": state.name,
        "since": _iso(status.since),
        "reason": state.reason,
        "is_stopped": status.is_stopped,
        "next_expected": _iso(state.next_expected),
        "heartbeat": _iso(status.now),
        "machine_time": _iso(status.machine_now),
        "speed": status.speed,
        "poll_s": status.poll_s,
        "heartbeat_due_s": status.heartbeat_due_s,
        "stale_after_s": status.stale_after_s,
        "newest_scan": _iso(status.newest),
        "run": status.run.id if status.run else None,
        "reference_time": _iso(status.run.reference) if status.run else None,
        "problems": list(status.problems),
        "alerts_active": status.alerts_active,
        "cycle_s": round(status.cycle_s, 3),
        "run_s": None if status.run_s is None else round(status.run_s, 3),
        "self_check": status.self_check,
        "squall_version": __version__,
    }
    return json.dumps(values, indent=1) + "\n"


def metrics_text(status: Status) -> str:
    """``metrics.prom`` in the text format of Prometheus."""
    seconds = (status.now - pd.Timestamp(0)).total_seconds()
    lines = ["# TYPE squall_state gauge"]
    lines += [f'squall_state{{state="{n}"}} {int(n == status.state.name)}' for n in STATES]
    gauges: dict[str, float | None] = {
        "squall_heartbeat_timestamp_seconds": seconds,
        "squall_scan_age_seconds": _age(status.now, status.newest),
        "squall_forecast_age_seconds": _age(
            status.now, status.run.reference if status.run else None
        ),
        "squall_cycle_seconds": status.cycle_s,
        "squall_run_seconds": status.run_s,
        "squall_alerts_active": status.alerts_active,
    }
    for name, value in gauges.items():
        if value is not None:
            lines += [f"# TYPE {name} gauge", f"{name} {value:.3f}"]
    for name, count in (
        ("squall_runs_total", status.runs_made),
        ("squall_failures_total", status.failures),
    ):
        lines += [f"# TYPE {name} counter", f"{name} {count}"]
    lines += _scores(status.self_check)
    return "\n".join(lines) + "\n"


def _scores(self_check: dict[str, Any] | None) -> list[str]:
    """CSI and CRPS of the last day by method and lead time, CSI by threshold too."""
    if self_check is None:
        return []
    lines = ["# TYPE squall_csi gauge"]
    for row in self_check["by_lead_time"]:
        for method in METHODS:
            for threshold, csi in zip(
                self_check["thresholds_mm_h"], row[method]["csi"], strict=True
            ):
                if csi is not None:
                    labels = (
                        f'method="{method}",threshold_mm_h="{threshold:g}",'
                        f'lead_min="{row["lead_min"]:g}"'
                    )
                    lines.append(f"squall_csi{{{labels}}} {csi:.4f}")
    crps = [
        f'squall_crps_mm_h{{method="{method}",lead_min="{row["lead_min"]:g}"}} '
        f"{row[method]['crps_mm_h']:.5f}"
        for row in self_check["by_lead_time"]
        for method in METHODS
        if row[method]["crps_mm_h"] is not None
    ]
    return [*lines, "# TYPE squall_crps_mm_h gauge", *crps] if crps else lines


def latest_text(run: Run) -> str:
    """``latest.json``: the run to show."""
    values = {
        "id": run.id,
        "manifest": f"{RUNS}/{run.id}/{MANIFEST}",
        "reference_time": _iso(run.reference),
        "lead_times": run.lead_times,
        "model": run.model,
        "missing_context": [_iso(time) for time in run.missing],
        "fallback": run.fallback or None,
    }
    return json.dumps(values, indent=1) + "\n"


def run_from(text: str) -> Run:
    """The run of a ``latest.json``.

    Raises
    ------
    ValueError
        If the text is not from `latest_text`.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        missing = tuple(_time(time) for time in values["missing_context"])
        return Run(
            str(values["id"]),
            _time(values["reference_time"]),
            int(values["lead_times"]),
            str(values["model"]),
            missing,
            values["fallback"] or "",
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"latest.json is not of this version of Squall: {error}") from error


def _iso(time: pd.Timestamp | None) -> str | None:
    """A time in ISO format, UTC; None stays None."""
    return None if time is None else utc_text(time)


def _time(text: str) -> pd.Timestamp:
    return pd.Timestamp(text).tz_localize(None)


def _age(now: pd.Timestamp, then: pd.Timestamp | None) -> float | None:
    return None if then is None else (now - then).total_seconds()
