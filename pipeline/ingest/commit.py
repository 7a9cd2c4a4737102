"""Committing one batch: decide, write, report.

Owns what a run remembers from one commit to the next. The decision itself is
`squall.pipeline.ingest.merge`, the commit is `squall.datasets.archive.writer`.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

from squall.datasets.archive.records import Rejection
from squall.datasets.archive.writer import ArchiveWriter, StoredScan, WriteCodes
from squall.datasets.grid import Grid
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.grids import commonest_grid
from squall.pipeline.ingest.merge import Decision, decide, times_to_look_up
from squall.pipeline.ingest.reading import FilePart
from squall.pipeline.ingest.report import BatchCounts, IngestReport
from squall.pipeline.ingest.rules import Rules
from squall.pipeline.ingest.stored import StoredScans

log = logging.getLogger("squall.ingest")


class Committer:
    """Commits the batches of one run, one after the other.

    Parameters
    ----------
    grid : the archive's; None if the first batch with a scan decides it.
    report : gets the counts of each batch.
    """

    def __init__(
        self, config: IngestConfig, writer: ArchiveWriter, grid: Grid | None, report: IngestReport
    ) -> None:
        self.grid = grid
        self._config, self._writer, self._report = config, writer, report
        self._postponed: list[Rejection] = []  # of batches before there was an archive
        self._cut_files: frozenset[str] = frozenset()

    def commit(self, parts: Sequence[FilePart], write_elsewhere: WriteCodes | None) -> None:
        """Decide on a batch and commit the result, if it changes the archive.

        Parameters
        ----------
        write_elsewhere : writes the codes if other processes hold them.

        Raises
        ------
        DataError, BusyError
            As `ArchiveWriter.commit`.
        """
        self._report.bytes_read += sum(
            file_part.report.size
            for file_part in parts
            if file_part.report is not None and file_part.request.first_scan == 0
        )
        self._report.steps_from_name.update(
            file_part.report.steps_from_name
            for file_part in parts
            if file_part.report is not None and file_part.report.steps_from_name is not None
        )
        self._count_formats(parts)
        if self.grid is None:
            self.grid = commonest_grid(parts)
        decision = self._decide(parts)
        self._cut_files = decision.cut_files
        if self.grid is None:
            self._postponed += decision.log_entries
        else:
            self._write(self.grid, decision, write_elsewhere)
        self._report.add(decision.counts)
        _log_failures(decision.counts)

    def _count_formats(self, parts: Sequence[FilePart]) -> None:
        for part in parts:
            title = None if part.report is None else part.report.recognised
            if title is not None and part.request.first_scan == 0:
                self._report.add_format(title, part.identity)

    def _decide(self, parts: Sequence[FilePart]) -> Decision:
        network, archive = self._config.source, self._writer.archive()
        stored = StoredScans.at(archive, times_to_look_up(parts, network))
        rules = Rules(
            network,
            self.grid,
            self._config.since,
            self._config.until,
            self._cut_files,
            stored_from=archive.start if archive is not None and archive.times.size else None,
        )
        return decide(parts, stored, rules)

    def _write(self, grid: Grid, decision: Decision, write_elsewhere: WriteCodes | None) -> None:
        scans, log_entries = decision.scans, self._postponed + decision.log_entries
        if not (scans or log_entries):
            return
        snapshot = self._writer.commit(
            grid,
            scans,
            log_entries,
            _message(scans, log_entries),
            write_elsewhere=write_elsewhere,
            keeps=decision.keeps,
        )
        self._postponed = []
        self._report.commits += 1
        log.debug("committed", extra={"scans": len(scans), "snapshot": snapshot})


def _log_failures(counts: BatchCounts) -> None:
    alike = defaultdict(list)  # a file may hold hundreds of scans with the same fault
    for rejected in counts.rejected:
        alike[rejected.file, rejected.rule].append(rejected)
    for first, *others in alike.values():
        fields = {"file": first.file, "rule": first.rule, "time": first.time}
        more = f" (and {len(others):,} more of its scans: {first.rule})" if others else ""
        log.warning("%s: %s%s", first.file, first.reason, more, extra=fields)
    for file, reason in counts.unavailable:
        log.warning("%s", reason, extra={"file": file})
    if counts.of_same_name:
        unused, used = counts.of_same_name[0]
        log.warning(
            "%d scans of files with the same name in different folders: %s is not used, because %s "
            "counts; take one folder out of the patterns, or give the corrected file a later name",
            len(counts.of_same_name),
            unused,
            used,
            extra={"file": unused},
        )


def _message(scans: Sequence[StoredScan], log_entries: Sequence[Rejection]) -> str:
    """Commit message: number and period of the scans, number of log entries."""
    if not scans:
        return f"ingest: {len(log_entries)} not used"
    period = f"{scans[0].time:%Y-%m-%dT%H:%M} to {scans[-1].time:%Y-%m-%dT%H:%M}"
    count = "1 scan" if len(scans) == 1 else f"{len(scans)} scans"
    return f"ingest: {count}, {period}; {len(log_entries)} not used"
