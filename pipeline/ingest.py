"""Radar netCDF files into an archive: each file once, in processes, one commit a batch.

A file that cannot be used is set aside with its reason and never stops the others.
"""

from __future__ import annotations

import glob
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import pandas as pd
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from pydantic import BaseModel, ConfigDict, Field
from tqdm import tqdm

from datasets.archive import Archive, Rejection, StoredScan
from datasets.archive_config import ArchiveConfig
from datasets.archive_writer import TIME_CHUNK, ArchiveWriter, write_lock
from datasets.errors import ConfigError, DataError
from datasets.grid import Grid
from datasets.radar_file import FileReport, file_digest, read_file, time_from_name
from pipeline.progress import shows_bars

log = logging.getLogger("squall.ingest")

BATCH_PIXELS = 2**28  # codes held at once, in bytes
MOST_BATCH_FILES = 12 * TIME_CHUNK
FEW_FILES = 40  # read these here: starting processes would take longer


class IngestConfig(BaseModel):
    """One ingestion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: ArchiveConfig
    archive: Path
    files: tuple[str, ...] = Field(default=(), description="globs; those of the source if empty")
    workers: int | None = Field(
        default=None, ge=0, description="reading processes; 0 = this one; none = as many as cores"
    )
    lock_timeout_s: float = Field(default=60.0, ge=0)


@dataclass
class IngestReport:
    """What one ingestion did."""

    found: int
    ingested: int = 0
    replaced: int = 0
    unchanged: int = 0
    superseded: int = 0
    rejected: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    snapshot: str | None = None

    def __str__(self) -> str:
        counts = [
            f"{self.found} files found",
            f"{self.ingested} scans ingested",
            f"{self.replaced} replaced",
            f"{self.unchanged} files unchanged",
        ]
        if self.superseded:
            counts.append(f"{self.superseded} scans superseded by a file of a later name")
        counts.append(f"{len(self.rejected)} rejected")
        return f"{', '.join(counts)} in {self.seconds:.1f} s"


def ingest(config: IngestConfig) -> IngestReport:
    """Bring an archive up to date with its files.

    Files already ingested (by content) are left alone; a file of new content replaces the scan of
    its time. Where several files hold the same time, the last by name is the one that counts.

    Raises
    ------
    DataError
        If no file is found, or the archive is locked or unusable.
    ConfigError
        If the archive at the path is of another network or step.
    """
    began = time.monotonic()
    files = find_files(config.files or config.source.files)
    report = IngestReport(found=len(files))
    with write_lock(config.archive, config.lock_timeout_s):
        writer = ArchiveWriter(config.archive, config.source.step, _attributes(config.source))
        run = _Run(config, writer, report)
        new = run.skip_known(files)
        workers = _workers(config.workers, len(new))
        with (
            _reader(config.source, workers) as read,
            tqdm(total=len(new), desc="ingest", unit="file", disable=not shows_bars()) as bar,
        ):
            while new:
                size = run.batch_size()
                batch, new = new[:size], new[size:]
                run.write(read(batch, bar))
                if bar.disable and new:
                    log.info("ingest: %d files to go", len(new))
        archive = writer.archive()
        report.snapshot = archive.snapshot if archive else None
    report.seconds = time.monotonic() - began
    return report


def find_files(globs: Sequence[str]) -> list[str]:
    """Files of all globs, each once, sorted by name and then path.

    Raises
    ------
    DataError
        If nothing matches.
    """
    if not globs:
        raise ConfigError("no files given; add --files or 'files:' in the configuration")
    found = {
        str(Path(path))
        for pattern in globs
        for path in glob.glob(os.path.expanduser(pattern), recursive=True)  # noqa: PTH111, PTH207
        if not Path(path).is_dir()
    }
    if not found:
        raise DataError(f"no file matches {', '.join(globs)}; paths are seen from {Path.cwd()}")
    return sorted(found, key=_precedence)


def _precedence(path: str) -> tuple[str, str]:
    return Path(path).name, path


def _attributes(source: ArchiveConfig) -> dict[str, str]:
    """What the archive says of itself; the recipe that made it is saved inside it."""
    return {
        **source.attributes,
        "name": source.name,
        "title": source.title or source.name,
        "configuration": source.model_dump_json(),
    }


class _Read(Protocol):
    def __call__(self, batch: Sequence[str], bar: tqdm) -> list[FileReport]: ...


def _workers(wanted: int | None, files: int) -> int:
    if wanted is not None:
        return wanted
    return 0 if files < FEW_FILES else min(files, CPU_COUNT)


@contextmanager
def _reader(source: ArchiveConfig, workers: int) -> Iterator[_Read]:
    """Reads batches of files: here, or one file a task in Dask worker processes.

    netCDF4 is not safe under threads, and a file that makes it crash takes down one worker only.
    """
    read_one = partial(read_file, config=source)
    if workers == 0:

        def read_here(batch: Sequence[str], bar: tqdm) -> list[FileReport]:
            return [_ticked(bar, read_one(path)) for path in batch]

        yield read_here
        return
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # workers come and go
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):

        def read_there(batch: Sequence[str], bar: tqdm) -> list[FileReport]:
            reports = []
            for path, future in zip(batch, client.map(read_one, batch, pure=False), strict=True):
                if future.exception() is not None:
                    # its process died, perhaps of a file beside it: alone it has another chance
                    future = client.submit(read_one, path, pure=False)
                if future.exception() is None:
                    reports.append(_ticked(bar, future.result()))
                else:
                    slot = time_from_name(path, source)
                    reason = "the process that read it died, as the netCDF library may on it"
                    broken = FileReport(path, file_digest(path), 0, rejected=[(slot, reason)])
                    reports.append(_ticked(bar, broken))
            return reports

        yield read_there


def _ticked(bar: tqdm, report: FileReport) -> FileReport:
    bar.update()
    return report


class _Run:
    """The state of one ingestion: what is known, what was written, the archive's grid."""

    def __init__(self, config: IngestConfig, writer: ArchiveWriter, report: IngestReport) -> None:
        self._writer, self._report = writer, report
        archive = writer.archive()
        self._grid = archive.grid if archive else None
        self._known = _filled_times(archive) if archive else {}
        self._stored = {time: digest for digest, times in self._known.items() for time in times}
        self._rejections = (
            {(r.file, r.digest, r.reason) for r in archive.rejections} if archive else set()
        )
        self._pending: list[Rejection] = []
        self._precedence: dict[pd.Timestamp, tuple[str, str]] = {}
        if archive:
            _check_same_network(archive, config)

    def skip_known(self, files: list[str]) -> list[str]:
        """Files that are not in the archive yet, by content."""
        set_aside = {digest for _, digest, _ in self._rejections}
        new = []
        for path in files:
            try:
                digest = file_digest(path)
            except OSError:
                digest = ""
            if digest in self._known and digest not in set_aside:
                self._report.unchanged += 1
                for slot in self._known[digest]:
                    self._precedence[slot] = max(
                        self._precedence.get(slot, ("", "")), _precedence(path)
                    )
            else:
                new.append(path)
        return new

    def batch_size(self) -> int:
        """How many files to hold at once: whole chunks along time, bounded in memory."""
        if self._grid is None:
            return TIME_CHUNK
        height, width = self._grid.shape
        chunks = BATCH_PIXELS // (height * width * TIME_CHUNK)
        return min(MOST_BATCH_FILES, TIME_CHUNK * max(1, chunks))

    def write(self, reports: list[FileReport]) -> None:
        """Commit one batch of files."""
        if self._grid is None:
            self._grid = _commonest_grid(reports)
        scans: dict[pd.Timestamp, StoredScan] = {}
        rejections: list[Rejection] = []
        for report in reports:
            off_grid = self._off_grid(report)
            for scan_time, reason in [*report.rejected, *off_grid]:
                self._report.rejected.append((report.path, reason))
                log.warning("%s: %s", report.path, reason)
                rejections.append(Rejection(report.path, report.digest, reason, scan_time))
            for scan in report.scans if not off_grid else ():
                if self._precedence.get(scan.time, ("", "")) > _precedence(report.path):
                    self._report.superseded += 1
                    continue
                self._precedence[scan.time] = _precedence(report.path)
                if scan.time in scans:
                    self._report.superseded += 1
                scans[scan.time] = StoredScan(scan.time, scan.codes, report.path, report.digest)
        scans = {t: s for t, s in scans.items() if self._stored.get(t) != s.digest}
        repeated = all((r.file, r.digest, r.reason) in self._rejections for r in rejections)
        if self._grid is None:
            self._pending += rejections  # no archive yet that could remember them
            return
        if not scans and repeated:
            return
        rejections, self._pending = self._pending + rejections, []
        replaced = len(self._stored.keys() & scans.keys())
        self._report.replaced += replaced
        self._report.ingested += len(scans) - replaced
        self._stored |= {time: scan.digest for time, scan in scans.items()}
        self._writer.commit(
            self._grid, list(scans.values()), rejections, _message(scans, rejections)
        )

    def _off_grid(self, report: FileReport) -> list[tuple[pd.Timestamp | None, str]]:
        if report.grid is None or self._grid is None:
            return []
        difference = self._grid.difference(report.grid)
        if difference is None:
            return []
        reason = f"is on another grid than the archive: {difference}"
        return [(scan.time, reason) for scan in report.scans] or [(None, reason)]


def _filled_times(archive: Archive) -> dict[str, list[pd.Timestamp]]:
    times = archive.times
    return {digest: [times[i] for i in rows] for digest, rows in archive.sources().items()}


def _check_same_network(archive: Archive, config: IngestConfig) -> None:
    for what, there, here in (
        ("the network", archive.name, config.source.name),
        ("the step", archive.step, config.source.step),
    ):
        if there != here:
            raise ConfigError(
                f"{archive.path} is the archive of {what} {there}, the configuration says {here}; "
                "give another --archive"
            )


def _commonest_grid(reports: Sequence[FileReport]) -> Grid | None:
    """The grid of most files: one odd file first must not decide for the archive."""
    grids: list[Grid] = []
    votes: Counter[int] = Counter()
    for report in reports:
        if report.grid is None or not report.scans:
            continue
        same = next((i for i, g in enumerate(grids) if g.difference(report.grid) is None), None)
        if same is None:
            same = len(grids)
            grids.append(report.grid)
        votes[same] += 1
    return grids[votes.most_common(1)[0][0]] if votes else None


def _message(scans: dict[pd.Timestamp, StoredScan], rejections: Sequence[Rejection]) -> str:
    if not scans:
        return f"ingest: {len(rejections)} rejected"
    span = f"{min(scans):%Y-%m-%dT%H:%M} to {max(scans):%Y-%m-%dT%H:%M}"
    return f"ingest: {len(scans)} scans, {span}; {len(rejections)} rejected"
