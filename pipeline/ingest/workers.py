"""Reading radar files and writing their codes, here or in Dask workers.

Owns where the work is done. A group of files is read by one task, and its codes stay in the
worker that read them until they are written; only what describes them travels.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import dask
import icechunk
import pandas as pd
import zarr
from dask.sizeof import sizeof
from distributed import Client, Future, LocalCluster, wait
from distributed.utils import get_mp_context

from squall.datasets.archive.layout import TIME_CHUNK
from squall.datasets.archive.writer import StoredScan, WriteCodes, write_codes
from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.quality import UNREADABLE
from squall.datasets.radar.radar_file import FileReport, RejectedScan, read_file
from squall.datasets.sources.access import SourceFile
from squall.datasets.sources.fetch import local_copy

_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
_LOCAL = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.profile.enabled": False,
    # what a worker needs is imported once, in a process without threads, and then forked
    "distributed.worker.multiprocessing-method": "forkserver",
    # Dask has freed memory given back at once; arrays of a megabyte that come and go are then
    # paged in anew each time, which took as long as reading the files
    f"{_ENVIRONMENT}.MALLOC_TRIM_THRESHOLD_": 2**29,
    f"{_ENVIRONMENT}.MALLOC_MMAP_THRESHOLD_": 2**25,
    f"{_ENVIRONMENT}.MALLOC_TOP_PAD_": 2**26,
}
SCANS_AT_ONCE = 12 * TIME_CHUNK  # of one file with many
ANSWER_TIMEOUT_S, JOIN_TIMEOUT_S = 10, 300
WRITE_ATTEMPTS = 3  # of a batch, where workers die meanwhile


@dataclass(frozen=True)
class Unit:
    """A file to read, from one of its scans on; ``named`` is the time in its name."""

    file: SourceFile
    named: pd.Timestamp | None = None
    first: int = 0


@dataclass(frozen=True)
class Part:
    """What one unit gave; where nothing was read, why."""

    unit: Unit
    report: FileReport | None
    unavailable: str = ""

    @property
    def rest(self) -> Unit | None:
        """What is left of the file for another time."""
        if self.report is None:
            return None
        end = self.unit.first + len(self.report.scans) + len(self.report.rejected)
        return replace(self.unit, first=end) if end < self.report.scan_count else None


@sizeof.register(Part)
def _size_of_part(part: Part) -> int:
    """Bytes that Dask would have to move: it runs tasks where their data are."""
    scans = part.report.scans if part.report else []
    return 1000 + sum(scan.codes.nbytes for scan in scans if scan.codes is not None)


@dataclass(frozen=True)
class Reading:
    """How to read: the same for all files of a run.

    ``onto`` is the archive's grid, for eras that are brought to it; ``most_px`` bounds the codes
    that one task holds.
    """

    config: RadarNetworkConfig
    onto: Grid | None
    most_px: int


@dataclass
class Group:
    """Units read by one task: parts as far as the bound on memory let it come."""

    units: Sequence[Unit]
    parts: list[Part] = field(default_factory=list)
    held: Any = None  # the parts with their codes: a list, or a future of one


def read_units(units: Sequence[Unit], reading: Reading) -> list[Part]:
    """Read files until the bound on memory; what comes after is for another task."""
    parts: list[Part] = []
    held_px = 0
    for unit in units:
        if parts and held_px >= reading.most_px:
            break
        part = _read(unit, reading)
        parts.append(part)
        if part.report is not None and part.report.grid is not None:
            height, width = part.report.grid.shape
            held_px += len(part.report.scans) * height * width
    return parts


def _read(unit: Unit, reading: Reading) -> Part:
    try:
        with local_copy(unit.file, reading.config.source_options) as path:
            report = read_file(
                str(path),
                reading.config,
                first=unit.first,
                count=SCANS_AT_ONCE,
                max_px=reading.most_px,
                target_grid=reading.onto,
            )
        return Part(unit, replace(report, path=unit.file.address))
    except DataError as error:  # an outage, or a zip or tar that is broken as a whole
        return Part(unit, None, str(error))
    except OSError as error:
        return Part(unit, None, f"{unit.file.address}: {error.strerror or error}")


class Workers(Protocol):
    """Where groups are read, and how their codes come into a session."""

    count: int

    def start(self, groups: Sequence[Sequence[Unit]], reading: Reading) -> list[Group]:
        """Begin to read; `finish` waits."""
        ...

    def finish(self, group: Group, reading: Reading) -> list[Group]:
        """Wait for a group; more than one come back where a file killed its reader."""
        ...

    def writer(self, groups: Sequence[Group]) -> WriteCodes | None:
        """Function that puts codes held elsewhere into a session; None where they are here."""
        ...


class Here:
    """Reads in this process, one file after the other."""

    count = 1

    def start(self, groups: Sequence[Sequence[Unit]], reading: Reading) -> list[Group]:
        return [Group(units) for units in groups]

    def finish(self, group: Group, reading: Reading) -> list[Group]:
        group.parts = read_units(group.units, reading)
        return [group]

    def writer(self, groups: Sequence[Group]) -> WriteCodes | None:
        return None


class InDask:
    """Reads in the workers of a Dask cluster; codes are written where they were read."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._under_way: list[Future] = []
        self.count = max(1, sum(client.nthreads().values()))

    def start(self, groups: Sequence[Sequence[Unit]], reading: Reading) -> list[Group]:
        started = [self._started(units, reading) for units in groups]
        self._under_way = [future for future in self._under_way if not future.done()]
        self._under_way += [group.held for group in started]
        return started

    def finish(self, group: Group, reading: Reading) -> list[Group]:
        if self._described(group):
            return [group]
        # its process died, of one of its files or of another group's: alone each shows what it does
        wait(self._under_way)
        alone = []
        for unit in group.units:
            one = self._started([unit], reading)
            if not self._described(one):
                one.parts = [_deadly(unit)]
            alone.append(one)
        return alone

    def _described(self, group: Group) -> bool:
        """Wait for the parts of a group; False if the process that read it died."""
        described = self._client.submit(_without_codes, group.held, pure=False, priority=1)
        error = described.exception()
        if error is None:
            group.parts = described.result()
        elif not _died(error):
            raise error
        return error is None

    def writer(self, groups: Sequence[Group]) -> WriteCodes | None:
        held = {
            (part.unit, i): (group.held, p, i)
            for group in groups
            for p, part in enumerate(group.parts)
            for i in range(len(part.report.scans) if part.report else 0)
        }

        def write(session: icechunk.Session, scans: Mapping[int, StoredScan], length: int) -> None:
            jobs: dict[int, list[tuple[int, Future, int, int]]] = {}
            for row, scan in scans.items():
                jobs.setdefault(row // TIME_CHUNK, []).append((row, *held[scan.held_as]))
            futures = []
            for job in jobs.values():
                sources = list({future.key: future for _, future, _, _ in job}.values())
                keys = [future.key for future in sources]
                places = [(row, keys.index(future.key), p, i) for row, future, p, i in job]
                futures.append(
                    self._client.submit(
                        _write, session.fork(), length, places, sources, pure=False, priority=1
                    )
                )
            for _ in range(WRITE_ATTEMPTS):
                wait(futures)
                lost = [f for f in futures if f.status == "error" and _died(f.exception())]
                if not lost:
                    break
                wait(self._under_way)  # a file among them kills its process, and what is beside it
                self._client.retry(lost)
            session.merge(*self._client.gather(futures))

        return write

    def _started(self, units: Sequence[Unit], reading: Reading) -> Group:
        held = self._client.submit(read_units, list(units), reading, pure=False)
        return Group(units, held=held)


def _deadly(unit: Unit) -> Part:
    reason = "the process that read it died, as the library that reads it may on damaged files"
    rejected = [RejectedScan(unit.named, UNREADABLE, reason)]
    return Part(unit, FileReport(unit.file.address, "", 0, rejected=rejected))


def _without_codes(parts: list[Part]) -> list[Part]:
    return [
        replace(part, report=part.report.without_codes()) if part.report else part for part in parts
    ]


def _write(
    fork: icechunk.session.ForkSession,
    length: int,
    places: Sequence[tuple[int, int, int, int]],
    sources: Sequence[list[Part]],
) -> icechunk.session.ForkSession:
    codes = {}
    for row, source, p, i in places:
        report = sources[source][p].report
        assert report is not None
        codes[row] = report.scans[i].codes
    array: Any = zarr.open_group(fork.store, mode="r+")["rain_rate_code"]
    if array.shape[0] < length:
        array.resize((length, *array.shape[1:]))
    write_codes(array, codes)
    return fork


def _died(error: BaseException) -> bool:
    return type(error).__name__ in ("KilledWorker", "CancelledError", "FutureCancelledError")


@contextmanager
def workers(scheduler: str, count: int) -> Iterator[Workers]:
    """Processes or threads on this machine, or an existing cluster at a ``tcp://`` address.

    Raises
    ------
    DataError
        If the cluster does not answer or has no worker.
    """
    if scheduler in ("processes", "threads"):
        if count == 0:
            yield Here()
            return
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # workers come and go
        # the process that forks has the environment of the first run; credentials may be new
        environment = {"distributed.nanny.environ": dict(os.environ)}
        with dask.config.set(_LOCAL | environment):
            get_mp_context().set_forkserver_preload([__name__])
            with (
                LocalCluster(
                    n_workers=count if scheduler == "processes" else 1,
                    threads_per_worker=1 if scheduler == "processes" else count,
                    processes=scheduler == "processes",
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                ) as cluster,
                Client(cluster) as client,
            ):
                yield InDask(client)
        return
    try:
        client = Client(scheduler, timeout=ANSWER_TIMEOUT_S)
    except (OSError, ValueError, TimeoutError) as error:
        raise DataError(f"{scheduler}: no Dask scheduler answers there ({error})") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=JOIN_TIMEOUT_S)
        except TimeoutError as error:
            raise DataError(
                f"{scheduler}: no worker joined within {JOIN_TIMEOUT_S} s; start some"
            ) from error
        yield InDask(client)
