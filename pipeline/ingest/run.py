"""The stage `ingest`: bring an archive up to date with the files of a source.

Owns the order of one pass: list new files, read them batch by batch, commit each batch, report. A
file that cannot be used is recorded with the reason and never stops the others. If the run is
stopped, every commit is complete, and the next run continues from there.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Sequence

from dask.system import CPU_COUNT

from squall.datasets.addresses import canonical_address, is_remote
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK, REDUNDANT
from squall.datasets.archive.repository import crash_mark, write_lock
from squall.datasets.archive.writer import ArchiveWriter
from squall.datasets.errors import BusyError, ConfigError
from squall.datasets.grid import Grid
from squall.datasets.public_text import public_address
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.ingest.batches import BatchQueue, parts_of
from squall.pipeline.ingest.commit import Committer
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.execution import (
    Execution,
    LocalExecution,
    ReadGroup,
    started_execution,
)
from squall.pipeline.ingest.grids import grid_for_regridding
from squall.pipeline.ingest.new_files import (
    Listing,
    first_time_of_all,
    list_files,
    newest_time,
    refuse_lost_scans,
)
from squall.pipeline.ingest.report import IngestReport, ReportedRejection
from squall.pipeline.ingest.same_configuration import (
    refuse_other_configuration,
    stored_configuration,
)
from squall.pipeline.progress import Progress
from squall.pipeline.provenance import code_version

log = logging.getLogger("squall.ingest")

# Files are read in this process until it would take this much longer than reading the others in
# processes: these need a second to start, and messages to and from them take time, too [s]
START_S = 1.5
FEW_FILES = 40  # from so many on, an archive without `crash_mark` is filled by processes at once
FIRST_GROUPS = (1, 2)  # that the first batches read; the first also imports libraries
CONFLICTS = 5  # passes of a run, if others commit at the same time to object storage
FILES_SHOWN = 20  # of the new files, in a dry run


def ingest(config: IngestConfig) -> IngestReport:
    """Bring an archive up to date with its files, in one pass.

    Files that the archive knows are not read. A file that was re-issued under its name replaces its
    scans. If several files hold the same time, the last one by name counts.

    Raises
    ------
    DataError
        If a pattern without a date matches no file, or the archive is unusable.
    SourceUnavailable
        If the source does not answer.
    BusyError
        If another ingestion is writing and does not finish in time.
    ConfigError
        If the archive at the address has another network or step.
    """
    started = time.monotonic()
    report = IngestReport(archive=config.address, dry_run=config.dry_run)
    if config.dry_run:
        _run_pass(config, report)
    else:
        with write_lock(config.address, config.lock_timeout_s):
            _run_passes(config, report)
    report.seconds = round(time.monotonic() - started, 3)
    _warn_of_names(config.source, report)
    _warn_of_formats(report)
    return report


def _warn_of_names(network: RadarNetworkConfig, report: IngestReport) -> None:
    """Warn if the time in the file and that in its name differ alike in all files."""
    steps = report.common_steps_from_name
    if not steps:
        return
    minutes = abs(steps) * network.step.total_seconds() / 60
    log.warning(
        "in all %d files the time inside is %g min %s the time in the name, and scans are stored "
        "at the time inside. A scan's time must be the end of its accumulation: if the time inside "
        "is the start, set 'time_marks: start' and 'accumulation' in the network configuration; "
        "if it is right, correct 'time_in_name' or leave it out",
        report.steps_from_name[steps],
        minutes,
        "before" if steps < 0 else "after",
        extra={"steps": steps},
    )


def _warn_of_formats(report: IngestReport) -> None:
    """Warn of files of another format than most: a pattern may match another product."""
    for title, files in report.other_formats.items():
        usual = report.formats.most_common(1)[0][0]
        log.warning(
            "%d of %d files are %s, and most are %s; their scans are stored as well: %s. If they "
            "are another product, leave them out with 'exclude' and ingest into a new archive",
            report.formats[title],
            report.formats.total(),
            title,
            usual,
            ", ".join(files),
            extra={"format": title, "files": files},
        )


def _run_passes(config: IngestConfig, report: IngestReport) -> None:
    """Repeat the pass if another ingestion has committed to the same archive meanwhile."""
    for attempt in range(1, CONFLICTS + 1):
        try:
            _run_pass(config, report)
            return
        except BusyError:
            if attempt == CONFLICTS or config.reread or not is_remote(config.address):
                raise
            log.warning("another ingestion has committed at the same time: listing files again")
            # a random delay, so that the two do not collide again
            time.sleep(random.uniform(0, 0.2 * 2**attempt))


def _run_pass(config: IngestConfig, report: IngestReport) -> None:
    """List the files, then read and commit the new ones; in a dry run only list them."""
    network = config.source
    writer = ArchiveWriter(config.address, network.step, _attributes(network))
    archive = writer.archive()
    if archive:
        _check_same_network(archive, config)
        if config.reread:
            _reread(config, writer, archive, report)
            return
        refuse_other_configuration(archive, network)
        if not (config.dry_run or is_remote(config.address)):  # the lock keeps others out
            writer.remove_unfinished()
    listing = list_files(config, archive)
    _count(listing, report)
    if config.dry_run:
        _log_new_files(listing)
    else:
        _fill(config, writer, archive, listing, report)
    _report_archive(writer, listing, report)


def _reread(
    config: IngestConfig, writer: ArchiveWriter, archive: Archive, report: IngestReport
) -> None:
    """Read all files into a new archive, and put it in place of the present one.

    A run that was interrupted goes on if files, configuration and code are the same.
    """
    since = first_time_of_all(config, archive)
    listing = list_files(config, None, since=since)
    _count(listing, report)
    refuse_lost_scans(archive, listing)
    if config.dry_run:
        _log_new_files(listing)
        return
    key = [stored_configuration(config.source), *map(public_address, config.patterns)]
    present = writer.start_again(json.dumps([*key, code_version()]))
    begun = writer.archive()
    if begun is not None:
        listing = list_files(config, begun, since=since)
        _count(listing, report)
        log.info("goes on with an interrupted --reread: %d files were read", listing.known)
    _fill(config, writer, begun, listing, report)
    _report_archive(writer, listing, report)
    scans, new_scans = _scans(archive), _scans(writer.archive())
    if report.unavailable or (scans and not new_scans):
        log.error(
            "%s: stays as it was, because not all files could be read; run again with --reread",
            config.address,
        )
        report.snapshot, report.ingested = present, 0
        return
    writer.put_in_place(present)
    log.info(
        "%s: %d scans before, %d now; snapshot %s is the archive before",
        config.address,
        scans,
        new_scans,
        present,
    )


def _scans(archive: Archive | None) -> int:
    """Number of good scans."""
    return 0 if archive is None else int((archive.status == OK).sum())


def _count(listing: Listing, report: IngestReport) -> None:
    report.found, report.new_files = len(listing.files), len(listing.new)
    report.unchanged = listing.known


def _fill(
    config: IngestConfig,
    writer: ArchiveWriter,
    archive: Archive | None,
    listing: Listing,
    report: IngestReport,
) -> None:
    """Read and commit the new files of a listing; ``archive`` is as it is before."""
    committer = Committer(config, writer, _grid(archive, listing, config.source), report)
    _read_and_commit(config, BatchQueue(listing.new, config.source, archive), committer)


def _grid(archive: Archive | None, listing: Listing, network: RadarNetworkConfig) -> Grid | None:
    """The archive's grid, if it can be known before the first batch is read."""
    if archive:
        return archive.grid
    if any(era.regrid for era in network.all_eras):
        return grid_for_regridding(listing.new, network)
    return None


def _read_and_commit(config: IngestConfig, queue: BatchQueue, committer: Committer) -> None:
    with (
        crash_mark(config.address) as crashed_before,
        Progress("ingest", len(queue), "file") as progress,
    ):
        worker_count = config.workers
        if worker_count is None:
            if _starts_in_this_process(config, len(queue), crashed_before):
                _read_while_quick(queue, committer, progress)
            worker_count = CPU_COUNT
        if queue:
            with started_execution(config.scheduler, min(len(queue), worker_count)) as execution:
                _read_batches(execution, queue, committer, progress)


def _starts_in_this_process(config: IngestConfig, files: int, crashed_before: bool) -> bool:
    """Whether this process may read files: not after a crash, since a file may have killed it."""
    if config.scheduler != "processes" or crashed_before:
        return False
    return files < FEW_FILES or not is_remote(config.address)


def _read_while_quick(queue: BatchQueue, committer: Committer, progress: Progress) -> None:
    """Read and commit files in this process, until the others would be read sooner in processes."""
    execution = LocalExecution()
    files_before, batch_count = len(queue), 0
    while queue:
        most_groups = FIRST_GROUPS[batch_count] if batch_count < len(FIRST_GROUPS) else None
        batch = queue.start_batch(execution, committer.grid, most_groups)
        began = time.monotonic()
        groups = _finished(execution, batch)
        seconds = time.monotonic() - began
        _commit(execution, groups, queue, committer, progress)
        del batch, groups  # memory must not hold the codes of two batches
        read = files_before - len(queue)
        files_before -= read
        batch_count += 1
        if batch_count > 1 and _gain_of_processes(seconds / max(read, 1), len(queue)) > START_S:
            return


def _gain_of_processes(seconds_a_file: float, files: int) -> float:
    """How much sooner processes read files that this process needs a known time for, seconds."""
    return seconds_a_file * (files - files / min(max(files, 1), CPU_COUNT))


def _read_batches(
    execution: Execution, queue: BatchQueue, committer: Committer, progress: Progress
) -> None:
    """Commit batch by batch; the next batch is read meanwhile."""
    next_batch = queue.start_batch(execution, committer.grid)
    while next_batch or queue:
        batch = next_batch
        next_batch = queue.start_batch(execution, committer.grid)
        # memory must not hold the codes of three batches, so nothing here keeps the groups
        _commit(execution, _finished(execution, batch), queue, committer, progress)
        del batch


def _finished(execution: Execution, batch: Sequence[ReadGroup]) -> list[ReadGroup]:
    return [finished for group in batch for finished in execution.finish(group)]


def _commit(
    execution: Execution,
    groups: Sequence[ReadGroup],
    queue: BatchQueue,
    committer: Committer,
    progress: Progress,
) -> None:
    """Commit what was read; what was not read goes back to the queue."""
    parts = parts_of(groups)
    queue.put_back(groups)
    committer.commit(parts, execution.codes_writer(groups))
    progress.advance(sum(file_part.remaining is None for file_part in parts))


def _log_new_files(listing: Listing) -> None:
    for request in listing.new[:FILES_SHOWN]:
        log.info("new: %s", request.file.identity)
    if len(listing.new) > FILES_SHOWN:
        log.info("… and %d more", len(listing.new) - FILES_SHOWN)


def _report_archive(writer: ArchiveWriter, listing: Listing, report: IngestReport) -> None:
    archive = writer.archive()
    if archive is None:
        return
    report.snapshot = archive.snapshot
    report.newest = newest_time(archive)
    of_this_run = {(rejected.file, rejected.time) for rejected in report.rejected}
    logged = [
        (entry, ReportedRejection.of(entry))
        for entry in archive.refusals
        if entry.rule not in REDUNDANT
    ]
    report.standing = [
        rejected
        for entry, rejected in logged
        if canonical_address(entry.file) in listing.files
        and (rejected.file, rejected.time) not in of_this_run
    ]


def _attributes(network: RadarNetworkConfig) -> dict[str, str]:
    """Attributes of the archive; the configuration that it was made with is stored in it."""
    return {
        **network.attributes,
        "name": network.name,
        "title": network.title or network.name,
        "configuration": stored_configuration(network),
    }


def _check_same_network(archive: Archive, config: IngestConfig) -> None:
    for name, stored, configured in (
        ("the network", archive.name, config.source.name),
        ("the step", archive.step, config.source.step),
    ):
        if stored != configured and not (config.reread and name == "the step"):
            raise ConfigError(
                f"{archive.address} is the archive of {name} {stored}, the configuration says "
                f"{configured}; give another --archive"
            )
