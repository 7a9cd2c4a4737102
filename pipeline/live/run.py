"""The loop of the stage `live`: look, forecast, publish, say how things are, delete old runs.

Public: `live`, `Service`.

Whatever goes wrong in a cycle is logged and told in ``status.json``, and the loop goes on.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from squall.datasets.addresses import is_remote
from squall.datasets.errors import BusyError, ConfigError, DataError, first_line
from squall.pipeline.live.alerts.desk import AlertDesk
from squall.pipeline.live.alerts.webhook import TIMEOUT_S, Deliveries
from squall.pipeline.live.child import Child, ChildError
from squall.pipeline.live.clock import Clock
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.page import MISSING_PAGE, page_files
from squall.pipeline.live.self_check import RollingScores
from squall.pipeline.live.states import (
    DOWN,
    FRESH,
    Arrivals,
    Order,
    Run,
    State,
    state_of,
    wanted_run,
)
from squall.pipeline.live.status import Status, latest_text, metrics_text, run_from, status_text
from squall.pipeline.live.store import BASE_MAP, MANIFEST, RUNS, open_store, reference_of
from squall.pipeline.live.watch import FileWatch
from squall.pipeline.outputs import check_output_folder

log = logging.getLogger("squall.live")

PRUNE_EVERY = pd.Timedelta("1h")  # at least; and after each run
RETRY_S = 60.0  # after a scan that no method could forecast from


def live(
    config: LiveConfig,
    child: Child,
    clock: Clock,
    *,
    once: bool = False,
    end: pd.Timestamp | None = None,
    watch: FileWatch | None = None,
) -> State:
    """Publish forecasts for as long as the process lives; with ``once`` for one cycle.

    Parameters
    ----------
    child : does the heavy work, see `squall.pipeline.live.work`. It is stopped at the end.
    end : time of the clock at which the service ends; None: never.
    watch : ends the pause between two cycles when a radar file comes.

    Returns
    -------
    The last state, with ``once`` or ``end``.

    Raises
    ------
    BusyError
        If another process publishes to the same folder.
    ConfigError
        If the folder cannot be written to.
    """
    with _alone(config.publish_to):
        service = Service(config, child, clock, once=once)
        log.info("publishing to %s; the first forecast takes some 20 s", config.publish_to)
        try:
            while True:
                state = service.cycle()
                if once or (end is not None and clock.now() >= end):
                    service.post_alerts(wait_s=2 * TIMEOUT_S)
                    return state
                watch = _pause(config, clock, watch)
        finally:
            child.stop()
            if not once:
                service.say_stopped()


def _pause(config: LiveConfig, clock: Clock, watch: FileWatch | None) -> FileWatch | None:
    """Wait for the next cycle; returns the watch, if it works."""
    if watch is not None:
        try:
            watch.wait()
            return watch
        except (OSError, RuntimeError) as error:  # for example too many watched folders
            log.error("folders cannot be watched, polling instead: %s", first_line(error))
    clock.sleep(config.poll_s)
    return None


@contextmanager
def _alone(address: str) -> Iterator[None]:
    """Keep other services from a folder; on object storage nothing keeps them."""
    if is_remote(address):
        yield
        return
    folder = Path(address)
    check_output_folder(folder, "publish_to")
    lock = FileLock(folder / ".lock", blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"{address}: another `squall live` publishes here") from error
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder}: cannot be written ({error.strerror}); give this user the "
            "right to write there, or choose another publish_to"
        ) from error
    try:
        yield
    finally:
        lock.release()


class Service:
    """What the loop remembers from one cycle to the next."""

    def __init__(
        self, config: LiveConfig, child: Child, clock: Clock, *, once: bool = False
    ) -> None:
        self.config, self.clock, self._once = config, clock, once
        self._child = child
        self._store = open_store(config.publish_to)
        self._run: Run | None = None
        self._step: pd.Timedelta | None = None
        self._newest: pd.Timestamp | None = None
        self._state: State | None = None
        self._since = clock.now()
        self._failure, self._retry_at = "", clock.now()
        self._failed_scan: pd.Timestamp | None = None
        self._runs_made = self._failures = 0
        self._run_s: float | None = None
        self._scores = RollingScores(config.thresholds_mm_h)
        self._alerts = AlertDesk(self._store, config)
        self._is_remembered = self._is_page_published = self._is_map_published = False
        self._runs: list[str] = []  # that ``runs.json`` names
        self._prune_at = clock.now()
        self._notes: tuple[str, ...] = ()
        self._after_publication: list[str] = []  # problems that the next status tells

    def cycle(self) -> State:
        """One cycle; nothing that goes wrong in it is raised."""
        began = time.monotonic()
        problems: list[str] = []
        self._remember(problems)
        if self._is_remembered:  # of a run that an earlier process published, before a newer one is
            self._alerts.take_up(self._run, self.clock.now())
        arrivals = self._look(problems)
        now = self.clock.now()
        order = wanted_run(now, arrivals, self._run, self.config)
        is_new = (
            order is not None and self._may_try(order, now) and self._run_order(order, problems)
        )
        if is_new:
            self._run_s = time.monotonic() - began
            self._alerts.take_up(self._run, self.clock.now())
        state = self._tell(tuple(problems), time.monotonic() - began)
        if is_new:
            self._check()
        self.post_alerts()
        if is_new or now >= self._prune_at:
            self._prune(now)
        self._publish_page()
        return state

    def post_alerts(self, wait_s: float = 0.0) -> None:
        """Have messages about alerts posted; what has arrived is known now or in a later cycle."""
        if not self._alerts.is_posting:
            return
        try:
            postings = self._alerts.postings()
            deadline_s = self.config.deadline_s + wait_s
            deliveries = self._child.call("deliver", postings, wait_s, deadline_s=deadline_s)
            assert isinstance(deliveries, Deliveries)
            self._alerts.posted(deliveries)
        except (ChildError, OSError, DataError) as error:
            self._failures += 1
            self._alerts.not_posted(first_line(error))

    def say_stopped(self) -> None:
        """Publish that the service does not run any more."""
        now = self.clock.now()
        self._since = now
        with suppress(OSError, DataError):
            state = State(DOWN, "the service was stopped", None)
            self._publish_status(replace(self._status(state, (), 0.0), is_stopped=True))

    def _remember(self, problems: list[str]) -> None:
        """Take up what an earlier process published."""
        if self._is_remembered:
            return
        try:
            latest, status, scores, runs = (
                self._store.read(f"{name}.json")
                for name in ("latest", "status", "self_check", "runs")
            )
            if latest is not None:
                run = run_from(latest)
                is_whole = self._store.read(f"{RUNS}/{run.id}/{MANIFEST}") is not None
                # a replay may begin before the end of the one before it
                if is_whole and run.reference <= self.clock.now():
                    self._run = run
            if status is not None:
                before = json.loads(status)
                since = pd.Timestamp(before["since"]).tz_localize(None)
                self._state, self._since = State(before["state"], before["reason"], None), since
            if runs is not None:
                held = set(self._store.runs())
                self._runs = [run for run in json.loads(runs)["runs"] if run in held]
            if scores is not None:
                self._scores = RollingScores.from_text(scores, self.config.thresholds_mm_h)
        except (OSError, DataError) as error:
            problems.append(first_line(error))
            return
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"what was published before cannot be read: {first_line(error)}")
        self._is_remembered = True

    def _look(self, problems: list[str]) -> Arrivals:
        try:
            arrivals = self._child.call("look", self.clock.now(), deadline_s=self.config.deadline_s)
        except ChildError as error:
            self._failures += 1
            problems.append(f"looking for scans: {error}")
            return Arrivals(None, None)
        assert isinstance(arrivals, Arrivals)
        problems += arrivals.problems
        self._step = arrivals.step or self._step
        self._newest = arrivals.newest or self._newest
        if arrivals.step is not None:  # the archive could be opened
            for note in arrivals.notes:
                if note not in self._notes:
                    log.warning("%s", note)
            self._notes = arrivals.notes
        return arrivals

    def _may_try(self, order: Order, now: pd.Timestamp) -> bool:
        return order.reference != self._failed_scan or now >= self._retry_at

    def _run_order(self, order: Order, problems: list[str]) -> bool:
        """Make and publish a run, that of extrapolation if the model fails; whether one is new."""
        reasons: list[str] = []
        for attempt in (order, None):
            wanted = attempt or order._replace(fallback=reasons[0])
            try:
                run = self._child.call(
                    "make", wanted, self.clock.now(), deadline_s=self.config.deadline_s
                )
                self._store.write("latest.json", latest_text(run))
            except (ChildError, OSError, DataError) as error:
                self._failures += 1
                reasons.append(first_line(error))
                log.error("the forecast of %s failed: %s", order.reference, reasons[-1])
                continue
            assert isinstance(run, Run)
            self._run, self._failure, self._failed_scan = run, "", None
            self._runs_made += 1
            log.info("published %s", run.id)
            problems += reasons
            return True
        self._failure, self._failed_scan = reasons[-1], order.reference
        self._retry_at = self.clock.now() + pd.Timedelta(seconds=RETRY_S)
        return False

    def _check(self) -> None:
        """Score what was forecast for the newest scans. The run is published already."""
        try:
            scored = self._child.call("check", deadline_s=self.config.deadline_s)
            for time_of_scan, counts, step in scored:
                self._scores.add(time_of_scan, counts, step)
            if scored:
                self._store.write("self_check.json", self._scores.as_text())
        except (ChildError, OSError, DataError) as error:
            self._failures += 1
            self._note("the forecasts cannot be scored", error)

    def _tell(self, problems: tuple[str, ...], cycle_s: float) -> State:
        """Find the state and publish it."""
        now = self.clock.now()
        state = state_of(
            *(now, self._run, self._step, self.config), problems=problems, failure=self._failure
        )
        if self._state is None or state.name != self._state.name:
            self._since = now
            log.log(
                logging.INFO if state.name == FRESH else logging.WARNING,
                "state: %s, %s",
                state.name,
                state.reason,
            )
        self._state = state
        others = (*self._alerts.problems, *self._notes, *self._after_publication)
        self._after_publication = []
        status = self._status(state, (*problems, *others), cycle_s)
        try:
            self._publish_status(status)
        except (OSError, DataError) as error:
            log.error("the status cannot be published: %s", first_line(error))
        return state

    def _publish_status(self, status: Status) -> None:
        self._store.write("status.json", status_text(status))
        self._store.write("metrics.prom", metrics_text(status))

    def _status(self, state: State, problems: tuple[str, ...], cycle_s: float) -> Status:
        return Status(
            state=state,
            since=self._since,
            now=self.clock.now(),
            machine_now=Clock().now(),
            speed=self.clock.speed,
            run=self._run,
            newest=self._newest,
            problems=problems,
            cycle_s=cycle_s,
            run_s=self._run_s,
            poll_s=self.config.poll_s,
            heartbeat_due_s=self._heartbeat_due_s(),
            stale_after_s=self.config.stale_after.total_seconds(),
            runs_made=self._runs_made,
            failures=self._failures,
            alerts_active=self._alerts.active,
            self_check=self._scores.summary(),
        )

    def _note(self, what: str, error: Exception) -> None:
        """Log what failed after the forecast was published, and tell it in the next status."""
        self._after_publication.append(f"{what}: {first_line(error)}")
        log.warning("%s", self._after_publication[-1])

    def _heartbeat_due_s(self) -> float:
        """Age of the heartbeat at which the service counts as dead."""
        due_s = self.config.poll_s + 2 * self.config.deadline_s
        if self._once and self._step is not None:  # it is started for each scan
            due_s += 2 * self._step.total_seconds()
        return due_s

    def _prune(self, now: pd.Timestamp) -> None:
        """Delete old runs, but never the one that ``latest.json`` names; tell which are left."""
        self._prune_at = now + PRUNE_EVERY
        limit = now - self.config.keep
        shown = self._run.id if self._run else None
        try:
            old = [run for run in self._store.runs() if _is_before(run, limit) and run != shown]
            kept = [run for run in self._runs if run not in old and run != shown]
            self._runs = [*kept, shown] if shown else kept
            # a run is no longer named when it is deleted
            self._store.write("runs.json", json.dumps({"runs": self._runs}) + "\n")
            for run in old:
                self._store.remove(run)
            self._alerts.prune(limit)
        except (OSError, DataError) as error:
            self._note("old runs cannot be deleted", error)

    def _publish_page(self) -> None:
        """Publish the page, and the map under the rain when the grid is known; once a process."""
        try:
            if not self._is_page_published:
                page = page_files()
                if not page:
                    log.warning(MISSING_PAGE)
                for name, content in page.items():
                    self._store.write(name, content)
                self._is_page_published = True
            if self._run is not None and not self._is_map_published:
                shapes = self._child.call("base_map", deadline_s=self.config.deadline_s)
                self._store.write(BASE_MAP, json.dumps(shapes, separators=(",", ":")))
                self._is_map_published = True
        except (ChildError, OSError, DataError) as error:
            self._note("the page cannot be published", error)


def _is_before(run: str, limit: pd.Timestamp) -> bool:
    reference = reference_of(run)
    return reference is not None and reference < limit
