"""Radar files into an archive: each file once, in workers, one commit a batch.

One pass finds what is new, reads it, commits and reports. A file that cannot be used is set aside
with its reason and never stops the others; whatever stops the run, what was committed is whole
and the next run goes on from there.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from dask.system import CPU_COUNT
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tqdm import tqdm

from squall.datasets.addresses import Address, is_remote
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import TIME_CHUNK
from squall.datasets.archive.records import OK, REDUNDANT, Rejection
from squall.datasets.archive.repository import crash_mark, write_lock
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.errors import BusyError, ConfigError, DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.file_times import time_from_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file
from squall.datasets.sources.fetch import local_copy
from squall.datasets.sources.find import find_files
from squall.pipeline.ingest.merge import Merge, mark_aside, mark_in_use, precedence, unfinished
from squall.pipeline.ingest.report import IngestReport
from squall.pipeline.ingest.workers import Group, Part, Reading, Unit, Workers, workers
from squall.pipeline.progress import shows_bars

log = logging.getLogger("squall.ingest")

TASK_PIXELS = 2**28  # codes that one task may hold, bytes
BATCH_PIXELS = 2**28  # codes of one commit, but two groups for each worker at least
MOST_BATCH_GROUPS = 12
FEW_FILES = 40  # read these here: starting processes would take longer
CONFLICTS = 5  # commits of others that a run starts over for, on object storage


class IngestConfig(BaseModel):
    """One pass of ingestion."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    source: RadarNetworkConfig
    archive: Address = Field(default="", description="address; that of the source if empty")
    files: tuple[str, ...] = Field(default=(), description="patterns; those of the source if empty")
    since: pd.Timestamp | None = Field(default=None, description="first valid time, UTC")
    until: pd.Timestamp | None = Field(default=None, description="last valid time, UTC")
    dry_run: bool = False
    scheduler: str = Field(
        default="processes",
        pattern=r"^(processes|threads|(tcp|tls|ucx|wss?)://.+)$",
        description="processes or threads here, or the address of a Dask scheduler",
    )
    workers: int | None = Field(
        default=None, ge=0, description="0 = this process alone; none = as many as cores"
    )
    lock_timeout_s: float = Field(default=60.0, ge=0)

    @model_validator(mode="after")
    def _complete(self) -> IngestConfig:
        if not self.address:
            raise ValueError("no archive given; add --archive or 'archive:' in the configuration")
        if not self.patterns:
            raise ValueError("no files given; add --files or 'source:' in the configuration")
        return self

    @property
    def address(self) -> str:
        """Where the archive is."""
        return self.archive or self.source.archive or ""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Where the files are."""
        return self.files or self.source.source


def ingest(config: IngestConfig) -> IngestReport:
    """Bring an archive up to date with its files, in one pass.

    Files that the archive knows are left alone; one re-issued under its name replaces its scans.
    Where several files hold the same time, the last by name is the one that counts.

    Raises
    ------
    DataError
        If a pattern without a date matches nothing, or the archive is unusable.
    SourceUnavailable
        If the source does not answer.
    BusyError
        If another ingestion is writing, and goes on to.
    ConfigError
        If the archive at the address is of another network or step.
    """
    began = time.monotonic()
    report = IngestReport(archive=config.address, dry_run=config.dry_run)
    if config.dry_run:
        _Pass(config, report).look()
    else:
        with write_lock(config.address, config.lock_timeout_s):
            for attempt in range(1, CONFLICTS + 1):
                try:
                    _Pass(config, report).run()
                    break
                except BusyError:
                    if attempt == CONFLICTS or not is_remote(config.address):
                        raise
                    log.warning("another ingestion committed meanwhile: looking again")
                    time.sleep(random.uniform(0, 0.2 * 2**attempt))  # not both at once again
    report.seconds = round(time.monotonic() - began, 3)
    return report


class _Pass:
    """One look at the source, and what follows from it."""

    def __init__(self, config: IngestConfig, report: IngestReport) -> None:
        self._config, self._report, self._source = config, report, config.source
        self._writer = ArchiveWriter(config.address, self._source.step, _attributes(self._source))
        self._archive = self._writer.archive()
        self._grid = self._archive.grid if self._archive else None
        self._pending: list[Rejection] = []  # before there is an archive that could record them
        self._cut: set[str] = set()  # files with scans outside the period that was asked for
        if self._archive:
            _check_same_network(self._archive, config)

    def look(self) -> None:
        """Find what is new, and stop."""
        new = self._new_files()
        for unit in new[:20]:
            log.info("new: %s", unit.file.address)
        if len(new) > 20:
            log.info("… and %d more", len(new) - 20)
        self._describe_archive()

    def run(self) -> None:
        """Find what is new, read and commit it."""
        new = self._new_files()
        if self._grid is None and any(era.regrid for era in self._source.all_eras):
            self._grid = self._grid_of_the_archive(new)
        with (
            crash_mark(self._config.address) as died,
            workers(self._config.scheduler, self._worker_count(len(new), died)) as pool,
            tqdm(total=len(new), desc="ingest", unit="file", disable=not shows_bars()) as bar,
        ):
            self._read_and_commit(pool, new, bar)
        self._describe_archive()

    def _worker_count(self, files: int, died: bool) -> int:
        if self._config.workers is not None:
            return self._config.workers
        alone = files < FEW_FILES and not died and self._config.scheduler == "processes"
        return 0 if alone else min(files, CPU_COUNT)

    def _describe_archive(self) -> None:
        archive = self._writer.archive()
        if archive is None:
            return
        self._report.snapshot = archive.snapshot
        good = np.flatnonzero(archive.status == OK)
        self._report.newest = archive.times[good[-1]] if good.size else None

    # -- what is new ---------------------------------------------------------------------------

    def _new_files(self) -> list[Unit]:
        config = self._config
        files = find_files(
            config.patterns, self._source.source_options, since=self._since(), until=config.until
        )
        if not files and not any("{" in pattern for pattern in config.patterns):
            raise DataError(f"no file matches {', '.join(config.patterns)}")
        listed = [Unit(file, time_from_name(file.address, self._source)) for file in files]
        listed = [unit for unit in listed if self._may_hold_wanted(unit.named)]
        self._report.found = len(listed)
        known = self._known(listed)
        self._report.unchanged = int(known.sum())
        new = [listed[i] for i in np.flatnonzero(~known).tolist()]
        self._report.new_files = len(new)
        last = pd.Timestamp.max
        new.sort(key=lambda unit: (unit.named or last, precedence(unit.file.address)))
        return new

    def _since(self) -> pd.Timestamp | None:
        """From when on the source is looked through, where its address tells the time."""
        if self._config.since is not None:
            return self._config.since
        if self._archive is not None:
            good = np.flatnonzero(self._archive.status == OK)
            if good.size:
                newest: pd.Timestamp = self._archive.times[good[-1]]
                return newest - self._source.lookback
        return self._source.begins

    def _may_hold_wanted(self, named: pd.Timestamp | None) -> bool:
        """By the time in its name, from which on the file may hold scans of a longer span."""
        since, until = self._config.since, self._config.until
        if named is None:
            return True
        late_enough = since is None or named + self._source.file_span >= since
        return late_enough and (until is None or named <= until)

    def _known(self, listed: Sequence[Unit]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which files need not be read, by address and version alone."""
        if self._archive is None or not listed:
            return np.zeros(len(listed), dtype=bool)
        files, times = [unit.file for unit in listed], [unit.named for unit in listed]
        oldest = None
        if None not in times:
            oldest = min(t for t in times if t is not None) - self._source.file_span
            oldest -= max(era.quality.name_tolerance for era in self._source.all_eras)
        in_use = np.array([mark_in_use(f.address, f.version) for f in files], dtype=np.uint64)
        aside = np.array(
            [mark_aside(f.address, f.version, self._source) for f in files], dtype=np.uint64
        )
        log_entries = self._archive.rejections
        marks = {entry.file_mark for entry in log_entries}
        current = set(aside.tolist()) | {
            mark_aside(f.address, unfinished(f.version), self._source) for f in files
        }
        retry = {
            entry.file
            for entry in log_entries
            if entry.rule not in REDUNDANT and entry.file_mark not in current
        }
        again = np.array([file.address in retry for file in files])
        is_aside = np.isin(aside, np.array(sorted(marks), dtype=np.uint64))
        return (np.isin(in_use, self._archive.marks(oldest)) & ~again) | is_aside

    def _grid_of_the_archive(self, new: Sequence[Unit]) -> Grid:
        """The grid that eras are brought to: that of a file of an era which is not."""
        for unit in new:
            if self._source.at(unit.named).regrid is None:
                with local_copy(unit.file, self._source.source_options) as path:
                    found = read_file(str(path), self._source, count=1)
                if found.grid is not None:
                    return found.grid
        raise ConfigError(
            "eras with 'regrid' need the archive's own grid: let the first run include a file of "
            "a period without 'regrid'"
        )

    # -- reading and committing ----------------------------------------------------------------

    def _read_and_commit(self, pool: Workers, todo: list[Unit], bar: tqdm) -> None:
        """Batch by batch; while one is finished and committed, the next is being read."""
        ahead = self._started_batch(pool, todo)
        while ahead[1] or todo:
            reading, started = ahead
            ahead = self._started_batch(pool, todo)
            groups = [done for group in started for done in pool.finish(group, reading)]
            parts = [part for group in groups for part in group.parts]
            bar.update(sum(part.unit.first == 0 for part in parts))
            todo[:0] = _left_over(groups)
            if self._grid is None:
                self._grid = _commonest_grid(parts)
            self._commit(pool, groups, parts)
            del started, groups, parts  # codes of three batches would be one too many
            if bar.disable and todo:
                log.info("ingest: %d files to go", len(todo))

    def _started_batch(self, pool: Workers, todo: list[Unit]) -> tuple[Reading, list[Group]]:
        reading = Reading(self._source, self._grid, TASK_PIXELS)
        groups = self._groups(todo, self._batch_groups(pool.count))
        del todo[: sum(len(group) for group in groups)]
        return reading, pool.start(groups, reading)

    def _batch_groups(self, worker_count: int) -> int:
        """How many groups make one commit: bounded in memory, enough for every worker."""
        if self._grid is None:
            return worker_count
        height, width = self._grid.shape
        affordable = min(MOST_BATCH_GROUPS, BATCH_PIXELS // (height * width * TIME_CHUNK))
        return max(2 * worker_count, affordable)

    def _groups(self, todo: Sequence[Unit], most: int) -> list[list[Unit]]:
        """Units that one task reads, cut where a chunk of the archive ends if names tell."""
        groups: list[list[Unit]] = []
        last = None
        for unit in todo:
            chunk = None if unit.named is None else self._chunk(unit.named)
            if not groups or chunk != last or len(groups[-1]) == TIME_CHUNK:
                if len(groups) == most:
                    break
                groups.append([])
            groups[-1].append(unit)
            last = chunk
        return groups

    def _chunk(self, named: pd.Timestamp) -> int:
        start = self._archive.start if self._archive else pd.Timestamp(0)
        return int((named - start) // (TIME_CHUNK * self._source.step))

    def _commit(self, pool: Workers, groups: Sequence[Group], parts: Sequence[Part]) -> None:
        report = self._report
        for part in parts:
            if part.report is not None and part.unit.first == 0:
                report.bytes_read += part.report.size
        merge = Merge(
            self._source,
            self._writer.archive(),
            self._grid,
            (self._config.since, self._config.until),
            self._cut,
        )
        scans = merge.decide(parts)
        if self._grid is None:
            self._pending += merge.rejections
        elif scans or merge.rejections or self._pending:
            rejections = self._pending + merge.rejections
            snapshot = self._writer.commit(
                self._grid,
                scans,
                rejections,
                _message(scans, rejections),
                write_elsewhere=pool.writer(groups),
                keeps=merge.keeps,
            )
            self._pending = []
            report.commits += 1
            log.debug("committed", extra={"scans": len(scans), "snapshot": snapshot})
        report.add(merge.tally)
        for rejected in merge.tally.rejected:
            described = {"file": rejected.file, "rule": rejected.rule, "time": rejected.time}
            log.warning("%s: %s", rejected.file, rejected.reason, extra=described)
        for file, reason in merge.tally.unavailable:
            log.warning("%s", reason, extra={"file": file})


def _left_over(groups: Sequence[Group]) -> Iterator[Unit]:
    """What groups did not come to: the rest of a file with many scans, files beyond the bound."""
    for group in groups:
        if group.parts and group.parts[-1].rest is not None:
            yield group.parts[-1].rest
        yield from group.units[len(group.parts) :]


def _attributes(source: RadarNetworkConfig) -> dict[str, str]:
    """What the archive says of itself; the recipe that made it is saved inside it."""
    return {
        **source.attributes,
        "name": source.name,
        "title": source.title or source.name,
        "configuration": source.model_dump_json(exclude={"source_options"}),
    }


def _check_same_network(archive: Archive, config: IngestConfig) -> None:
    for what, there, here in (
        ("the network", archive.name, config.source.name),
        ("the step", archive.step, config.source.step),
    ):
        if there != here:
            raise ConfigError(
                f"{archive.address} is the archive of {what} {there}, the configuration says "
                f"{here}; give another --archive"
            )


def _commonest_grid(parts: Sequence[Part]) -> Grid | None:
    """The grid of most files: one odd file first must not decide for the archive."""
    grids: list[Grid] = []
    votes: Counter[int] = Counter()
    for part in parts:
        report = part.report
        if report is None or report.grid is None or not report.scans:
            continue
        same = next((i for i, g in enumerate(grids) if g.difference(report.grid) is None), None)
        if same is None:
            same = len(grids)
            grids.append(report.grid)
        votes[same] += 1
    return grids[votes.most_common(1)[0][0]] if votes else None


def _message(scans: Sequence[StoredScan], rejections: Sequence[Rejection]) -> str:
    if not scans:
        return f"ingest: {len(rejections)} set aside"
    span = f"{scans[0].time:%Y-%m-%dT%H:%M} to {scans[-1].time:%Y-%m-%dT%H:%M}"
    count = "1 scan" if len(scans) == 1 else f"{len(scans)} scans"
    return f"ingest: {count}, {span}; {len(rejections)} set aside"
