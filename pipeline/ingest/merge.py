"""What of a batch of files goes into the archive: repeated, re-issued, late and stuck scans.

Owns the rules by which one scan counts where several files have the same time: a file re-issued
under its own name replaces what it gave before, of two files the later by name counts. The rules
do not depend on the order in which files come, so an archive is the same however it was filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK, Rejection, file_mark
from squall.datasets.archive.writer import StoredScan
from squall.datasets.grid import Grid
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.quality import IDENTICAL, OTHER_GRID, UNREADABLE
from squall.datasets.radar.radar_file import FileReport, FileScan
from squall.datasets.sources.access import SourceFile
from squall.pipeline.ingest.report import IngestReport, RejectedScan
from squall.pipeline.ingest.workers import Part, Unit
from squall.pipeline.provenance import squall_version


def mark_in_use(address: str, version: str) -> int:
    """Mark of a file that gave scans: it need not be read again."""
    return file_mark(address, version)


def mark_aside(address: str, version: str, config: RadarNetworkConfig) -> int:
    """Mark of a file that was set aside: another configuration or release may want it again."""
    return file_mark(address, f"{version}\0{config.reading_key}\0{squall_version()}")


def unfinished(version: str) -> str:
    """Version to mark a file with of which not all scans were looked at: it is read again."""
    return f"{version}\0part"


def precedence(address: str) -> tuple[str, str]:
    """Of two files with the same time, the one that is higher here counts."""
    return PurePosixPath(address).name, address


class Merge:
    """Sorts the parts of one batch into scans to write and rejections to record.

    ``grid`` is the archive's, None while there is none; scans outside the period are left alone,
    and ``cut`` gathers the files that have such, from one batch of a run to the next.
    """

    def __init__(
        self,
        config: RadarNetworkConfig,
        archive: Archive | None,
        grid: Grid | None,
        period: tuple[pd.Timestamp | None, pd.Timestamp | None],
        cut: set[str],
    ) -> None:
        self._config, self._archive, self._grid = config, archive, grid
        self._period, self._cut = period, cut
        self._parts: dict[Unit, Part] = {}
        self._going_on: set[str] = set()
        self._own_marks: set[int] = set()
        self._renamed: set[pd.Timestamp] = set()
        self.tally = IngestReport("")
        self._scans: dict[pd.Timestamp, StoredScan] = {}
        self.rejections: list[Rejection] = []

    def decide(self, parts: Sequence[Part]) -> list[StoredScan]:
        """Scans to write, in the order of time; fills ``rejections`` and ``tally``."""
        parts = sorted(parts, key=lambda part: precedence(part.unit.file.address))
        stored = self._stored([s.time for p in parts if p.report for s in p.report.scans])
        for part in parts:
            if part.report is None:
                self.tally.unavailable.append((part.unit.file.address, part.unavailable))
            else:
                self._note(part, part.report)
                self._add(part, part.report, stored)
        self._refuse_identical()
        redundant = self._redundant(parts, stored)
        self.rejections += redundant
        self.tally.replaced += len(self._scans.keys() & stored.keys() - self._renamed)
        self.tally.ingested += len(self._scans.keys() - stored.keys())
        return [self._scans[time] for time in sorted(self._scans)]

    def keeps(self, file: str, mark: int) -> bool:
        """Whether a log entry of a file in this batch holds: it is of another part of the file."""
        return file in self._going_on or mark in self._own_marks

    def _note(self, part: Part, report: FileReport) -> None:
        """Keep in mind whether this part ends its file, with nothing left out."""
        file = part.unit.file
        self._parts[part.unit] = part
        if part.rest is not None:
            self._going_on.add(file.address)
        times = [s.time for s in report.scans] + [r.time for r in report.rejected]
        for time in times:
            if time is not None and not self._wanted(time):
                self._cut.add(file.address)
        for version in (file.version, unfinished(file.version)):
            self._own_marks.add(mark_aside(file.address, version, self._config))

    def _ends_file(self, part: Part) -> bool:
        return part.rest is None and part.unit.file.address not in self._cut

    def _version(self, part: Part) -> str:
        version = part.unit.file.version
        return version if self._ends_file(part) else unfinished(version)

    def _add(
        self, part: Part, report: FileReport, stored: dict[pd.Timestamp, tuple[str, str]]
    ) -> None:
        address = part.unit.file.address
        for rejected in report.rejected:
            self._reject(part, rejected.time, rejected.rule, rejected.reason)
        if not report.scans and not report.rejected:
            self._reject(part, None, UNREADABLE, "holds no scan")
        self.tally.masked_px.update(report.masked_px)
        difference = None
        if self._grid is not None and report.grid is not None:
            difference = self._grid.difference(report.grid)
        if difference is not None:
            reason = (
                f"is on another grid than the archive: {difference}; if the product has changed, "
                "describe the period under 'eras' in the configuration"
            )
            for scan in report.scans:
                self._reject(part, scan.time, OTHER_GRID, reason)
            return
        for i, scan in enumerate(report.scans):
            if not self._wanted(scan.time):
                continue
            source, digest = stored.get(scan.time, ("", ""))
            if digest == report.digest:
                if precedence(source) >= precedence(address):
                    continue
                self._renamed.add(scan.time)  # so that the order of coming does not matter
            if source not in ("", address) and precedence(source) > precedence(address):
                self.tally.superseded += 1
                continue
            if scan.time in self._scans and self._scans[scan.time].digest != report.digest:
                self.tally.superseded += 1
            self._scans[scan.time] = self._to_store(part, report, scan, i)

    def _to_store(self, part: Part, report: FileReport, scan: FileScan, i: int) -> StoredScan:
        file = part.unit.file
        return StoredScan(
            scan.time,
            scan.codes,
            file.address,
            report.digest,
            mark_in_use(file.address, self._version(part)),
            scan.measures,
            held_as=(part.unit, i),
        )

    def _wanted(self, time: pd.Timestamp) -> bool:
        since, until = self._period
        return (since is None or time >= since) and (until is None or time <= until)

    def _reject(
        self, part: Part, time: pd.Timestamp | None, rule: str, reason: str, checksum: int = 0
    ) -> None:
        if time is not None and not self._wanted(time):
            return
        file = part.unit.file
        digest = part.report.digest if part.report else ""
        mark = mark_aside(file.address, self._version(part), self._config)
        self.rejections.append(Rejection(file.address, digest, reason, time, rule, mark, checksum))
        self.tally.rejected.append(
            RejectedScan(file.address, time.isoformat() if time is not None else None, rule, reason)
        )

    def _refuse_identical(self) -> None:
        """Refuse scans with rain that equal the one before, or a later one that came earlier."""
        checksums = {time: _checksum(scan) for time, scan in self._scans.items()}
        steps = {time: self._config.at(time).step for time in self._scans}
        before = self._checksums_at([time - step for time, step in steps.items()])
        after = self._checksums_at([time + step for time, step in steps.items()], good=True)
        for time in sorted(self._scans):
            scan, step = self._scans[time], steps[time]
            if not (_has_rain(scan) and self._config.at(time).quality.reject_identical):
                continue
            if checksums.get(time - step, before.get(time - step)) == checksums[time]:
                other = time - step
            elif time + step not in checksums and after.get(time + step) == checksums[time]:
                other = time + step
            else:
                continue
            unit, _ = scan.held_as
            reason = f"equals the scan of {other:%Y-%m-%d %H:%M} in every pixel"
            self._reject(self._parts[unit], time, IDENTICAL, reason, checksums[time])
            del self._scans[time]

    def _redundant(
        self, parts: Sequence[Part], stored: dict[pd.Timestamp, tuple[str, str]]
    ) -> list[Rejection]:
        """Log entries of files that gave nothing because others stand for them."""
        used = {scan.source for scan in self._scans.values()}
        used |= {rejection.file for rejection in self.rejections}
        entries = []
        for part in parts:
            file, report = part.unit.file, part.report
            if report is None or not report.scans or file.address in used:
                continue
            if not self._ends_file(part):
                continue
            wanted = [scan.time for scan in report.scans]
            same = all(self._digest_at(t, stored) == report.digest for t in wanted)
            rule = "duplicate" if same else "superseded"
            self.tally.unchanged += same
            if self._is_known(file, min(wanted)):
                continue
            stands = self._source_at(wanted[0], stored)
            reason = (
                f"{'the same as' if same else 'another file of the same time counts:'} {stands}"
            )
            mark = mark_aside(file.address, file.version, self._config)
            entries.append(Rejection(file.address, report.digest, reason, wanted[0], rule, mark))
        return entries

    def _is_known(self, file: SourceFile, first: pd.Timestamp) -> bool:
        """Whether another ingestion, or an earlier part of this one, has put the file in."""
        if self._archive is None or mark_in_use(file.address, file.version) not in set(
            self._archive.marks(first).tolist()
        ):
            return False
        return all(entry.file != file.address for entry in self._archive.rejections)

    def _digest_at(self, time: pd.Timestamp, stored: dict[pd.Timestamp, tuple[str, str]]) -> str:
        return self._scans[time].digest if time in self._scans else stored.get(time, ("", ""))[1]

    def _source_at(self, time: pd.Timestamp, stored: dict[pd.Timestamp, tuple[str, str]]) -> str:
        return self._scans[time].source if time in self._scans else stored.get(time, ("", ""))[0]

    def _stored(self, times: Sequence[pd.Timestamp]) -> dict[pd.Timestamp, tuple[str, str]]:
        """Source and digest of the good scans that the archive holds at these times."""
        rows = self._rows(times)
        if self._archive is None or not rows:
            return {}
        records = self._archive.records(np.array(sorted(rows), dtype=np.int64))
        return {
            rows[row]: (str(records["source"][i]), records["digest"][i].tobytes().hex())
            for i, row in enumerate(sorted(rows))
            if records["status"][i] == OK
        }

    def _checksums_at(
        self, times: Sequence[pd.Timestamp], *, good: bool = False
    ) -> dict[pd.Timestamp, int]:
        """Checksums that the archive holds at these times; of good scans alone if so wanted."""
        rows = self._rows(times)
        if self._archive is None or not rows:
            return {}
        ascending = sorted(rows)
        records = self._archive.records(np.array(ascending, dtype=np.int64))
        return {
            rows[row]: int(records["checksum"][i])
            for i, row in enumerate(ascending)
            if not good or records["status"][i] == OK
        }

    def _rows(self, times: Sequence[pd.Timestamp]) -> dict[int, pd.Timestamp]:
        if self._archive is None:
            return {}
        rows = {self._archive.index_of(time): time for time in set(times)}
        return {row: time for row, time in rows.items() if 0 <= row < self._archive.status.size}


def _checksum(scan: StoredScan) -> int:
    assert scan.measures is not None
    return scan.measures.checksum


def _has_rain(scan: StoredScan) -> bool:
    assert scan.measures is not None
    wet: npt.NDArray[np.float32] = scan.measures.blocks[1]
    return bool((wet > 0).any())
