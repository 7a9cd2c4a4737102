"""Follows what is published: the newest run and the observed frames before it, in memory.

Public: `Published`, `Snapshot`, `Unavailable`.

A request uses a `Snapshot`, which does not change under it. Files are read in one thread of their
own, at most once in ``check_s``; a request waits for it only if there is nothing recent in memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pandas as pd

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.times import now
from squall.pipeline.live.store import Store, reference_of
from squall.pipeline.serve.condition import Condition, Report, report_of
from squall.pipeline.serve.published_run import (
    OBSERVED,
    Codes,
    Frame,
    PublishedRun,
    observed_frames,
    read_frame,
    read_manifest,
    read_run,
)

log = logging.getLogger("squall.serve")

KEPT_RUNS = 3  # before the newest one: clients still ask for frames that an older list named
PATIENCE_S = 5.0
GRACE_S = 60.0  # what is in memory is not served for longer if the store does not answer
WAIT_S = 10.0


class Unavailable(Exception):
    """What is asked for cannot be given now; it may be later."""

    def __init__(self, message: str, retry_after_s: int = 10) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Snapshot:
    """What is published at one moment.

    Parameters
    ----------
    run : the newest run; None if there is none.
    earlier : runs that were the newest one before, without chances.
    past : observed frames, oldest first, each time once; without those that have no observed pixel.
    """

    run: PublishedRun | None = None
    earlier: tuple[PublishedRun, ...] = ()
    past: tuple[Frame, ...] = ()
    report: Report = field(default_factory=lambda: report_of(None))
    metrics_text: str | None = None

    @property
    def condition(self) -> Condition:
        """The state, by the clock of this machine."""
        reference = self.run.reference if self.run else None
        return self.report.condition(now(), reference)

    @property
    def newest(self) -> PublishedRun:
        """The newest run.

        Raises
        ------
        Unavailable
            If there is none.
        """
        if self.run is None:
            raise Unavailable(f"there is no forecast: {self.condition.reason}", 30)
        return self.run


class Published:
    """What lies in a store, looked at again when it is asked for.

    Parameters
    ----------
    past : span of the observed frames before the newest scan.
    check_s : a look at the store is not repeated within this time.
    patience_s : a request waits for a look if what is in memory is older.
    wait_s : how long it waits.
    """

    def __init__(
        self,
        store: Store,
        *,
        past: pd.Timedelta,
        check_s: float = 1.0,
        patience_s: float = PATIENCE_S,
        wait_s: float = WAIT_S,
    ) -> None:
        self.store = store
        self._past = past
        self._check_s, self._patience_s, self._wait_s = check_s, patience_s, wait_s
        self._snapshot = Snapshot()
        self._checked: float | None = None
        self._problem = ""
        self._seen_runs: set[str] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="published")
        self._lock = threading.Lock()
        self._look: Future[None] | None = None
        self._look_began = -1e9

    async def snapshot(self) -> Snapshot:
        """What is published now.

        Raises
        ------
        Unavailable
            If the store does not answer, and nothing recent is in memory.
        """
        look = self._look_again()
        if look is not None and self._age_s() > self._patience_s:
            # the look goes on in its thread when the request does not wait for it any longer
            await asyncio.wait([asyncio.wrap_future(look)], timeout=self._wait_s)
        if self._age_s() > GRACE_S:
            raise Unavailable("the published files cannot be read now; the server's log says why")
        return self._snapshot

    def _age_s(self) -> float:
        """Time since the last look that was successful [s]."""
        return float("inf") if self._checked is None else time.monotonic() - self._checked

    def _look_again(self) -> Future[None] | None:
        """The look at the store that runs, a new one if it is time; else None."""
        with self._lock:
            if self._look is not None and not self._look.done():
                return self._look
            began = time.monotonic()
            if began - self._look_began < self._check_s:
                return None
            self._look_began = began
            self._look = self._thread.submit(self._update)
            return self._look

    def _update(self) -> None:
        """Take up what has changed; a problem leaves the snapshot as it is."""
        try:
            snapshot = self._read()
        except (DataError, OSError, ValueError) as error:
            if str(error) != self._problem:
                log.warning("%s", error)
            self._problem = str(error)
            return
        self._snapshot, self._problem = snapshot, ""
        self._checked = time.monotonic()

    def _read(self) -> Snapshot:
        names = ("latest.json", "status.json", "metrics.prom")
        latest_text, status_text, metrics_text = (self._text(name) for name in names)
        before = self._snapshot
        run, earlier, past = before.run, before.earlier, before.past
        if latest_text is None:
            run, earlier, past = None, (), ()
            self._seen_runs.clear()
        else:
            id_ = _id_of(latest_text)
            if run is None or id_ != run.id:
                loaded = read_run(self.store, id_)
                if loaded is None:
                    raise DataError(f"latest.json names the run {id_}, which is not there")
                past = self._observed(loaded, past)
                if run is not None:
                    earlier = (run.without_chances(), *earlier)[:KEPT_RUNS]
                run = loaded
        report = report_of(status_text)
        return Snapshot(run, earlier, past, report, metrics_text)

    def _text(self, name: str) -> str | None:
        """A small file; bytes that are no text are for its reader to refuse."""
        content = self.store.read_bytes(name)
        return None if content is None else content.decode(errors="replace")

    def _observed(self, newest: PublishedRun, past: tuple[Frame, ...]) -> tuple[Frame, ...]:
        """Observed frames up to those of a run: of the newest run that has a frame."""
        scans = newest.frames(OBSERVED)
        end = scans[-1].time
        first = end - self._past
        frames = {
            frame.time: frame
            for frame in past
            if first <= frame.time <= end and frame.grid is newest.grid
        }
        runs = self.store.runs()
        for run in reversed(runs):
            reference = reference_of(run)
            if run in self._seen_runs or run == newest.id or reference is None:
                continue
            if first <= reference <= end:
                try:
                    self._add_frames_of(run, newest.grid, first, frames)
                except DataError as error:  # an old run must not keep the newest one back
                    log.warning("%s", error)
                    continue
            self._seen_runs.add(run)
        self._seen_runs.intersection_update(runs)
        for scan in scans:
            if scan.time >= first and _is_observed(scan.codes):
                # a copy: the other frames of the run's array need not stay in memory with it
                frames[scan.time] = replace(scan, codes=scan.codes.copy())
        return tuple(frames[time_] for time_ in sorted(frames))

    def _add_frames_of(
        self, run: str, grid: Grid, first: pd.Timestamp, frames: dict[pd.Timestamp, Frame]
    ) -> None:
        """Add the observed frames of an earlier run that are not known yet."""
        manifest = read_manifest(self.store, run)
        if manifest is None:  # it is being deleted
            return
        for time_, file in observed_frames(manifest):
            if time_ in frames or time_ < first:
                continue
            codes = read_frame(self.store, run, file, grid)
            if codes is not None and _is_observed(codes):
                frames[time_] = Frame(time_, codes, grid)


def _is_observed(codes: Codes) -> bool:
    return bool((codes != RAIN_CODE.NOT_OBSERVED).any())


def _id_of(latest_text: str) -> str:
    """The run that a ``latest.json`` names."""
    try:
        id_ = str(json.loads(latest_text)["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"latest.json cannot be read ({error})") from error
    if reference_of(id_) is None:
        raise DataError(f"latest.json names '{id_}', which is no name of a run")
    return id_
