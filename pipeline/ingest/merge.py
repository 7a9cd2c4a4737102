"""Which scans of a batch go into the archive: re-issued, repeated, late and stuck scans.

Owns the rules for several scans of the same time:

- A file that is re-issued under its own address replaces the scans that it gave before. However its
  address is spelled, it is the same file: see `canonical_address`.
- Of two files with a scan of the same time, the file with the later name counts (`precedence`); the
  other scan is superseded. If both files have the same content, it is a duplicate.
- A scan with rain that equals its neighbour in every pixel is rejected: the radar is stuck.

The rules do not depend on the order in which files arrive, so the archive is the same however it
was filled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from squall.datasets.addresses import base_name, is_spelling_of, precedence
from squall.datasets.archive.records import Rejection
from squall.datasets.archive.writer import StoredScan
from squall.datasets.grid import Grid
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.quality import IDENTICAL, OTHER_GRID, UNREADABLE
from squall.datasets.radar.radar_file import FileReport
from squall.pipeline.ingest.file_marks import (
    mark_of_unused_file,
    mark_of_used_file,
    partial_version,
)
from squall.pipeline.ingest.identical import identical_neighbours
from squall.pipeline.ingest.reading import FilePart
from squall.pipeline.ingest.report import BatchCounts, ReportedRejection
from squall.pipeline.ingest.rules import IMPROBABLE_TIME, Rules
from squall.pipeline.ingest.stored import StoredScans

Scans = dict[pd.Timestamp, StoredScan]


@dataclass(frozen=True)
class Decision:
    """What to do with one batch.

    Attributes
    ----------
    scans : to write, in order of time.
    rejections : scans and files that a rule refused, to log.
    redundant : files of which no scan is used because other files count, to log.
    counts : for the report.
    cut_files : `Rules.cut_files` with those of this batch.
    continued_files : files of which a later batch reads the remaining scans.
    marks : marks that log entries of this batch's files may have, whole or partial.
    """

    scans: list[StoredScan]
    rejections: list[Rejection]
    redundant: list[Rejection]
    counts: BatchCounts
    cut_files: frozenset[str]
    continued_files: frozenset[str]
    marks: frozenset[int]

    @property
    def log_entries(self) -> list[Rejection]:
        """All entries for the archive's log."""
        return self.rejections + self.redundant

    def keeps(self, file: str, mark: int) -> bool:
        """Whether an earlier log entry of a file stays: it is about another part of the file."""
        return file in self.continued_files or mark in self.marks


def times_to_look_up(parts: Sequence[FilePart], network: RadarNetworkConfig) -> set[pd.Timestamp]:
    """Times whose stored records `decide` needs: those of the scans and of their neighbours."""
    times = set()
    for _, report in _reports(parts):
        for scan in report.scans:
            step = network.at(scan.time).step
            times |= {scan.time - step, scan.time, scan.time + step}
    return times


def decide(parts: Sequence[FilePart], stored: StoredScans, rules: Rules) -> Decision:
    """Decide which scans are written and which are rejected, superseded or duplicates.

    Parameters
    ----------
    parts : what was read; no two parts of the same file.
    stored : the archive's records at `times_to_look_up`.
    """
    parts = sorted(parts, key=lambda file_part: precedence(file_part.identity))
    rules = replace(rules, cut_files=rules.cut_files | _cut_files(parts, rules))
    rejections = [entry for file_part in parts for entry in _refused(file_part, rules)]
    chosen = _choose(parts, stored, rules)
    identical = identical_neighbours(chosen.scans, stored, rules.network)
    rejections += _identical_rejections(parts, chosen.scans, identical, rules)
    scans = {time: scan for time, scan in chosen.scans.items() if time not in identical}
    used_files = {scan.source for scan in scans.values()} | {entry.file for entry in rejections}
    unused = [p for p in parts if p.identity not in used_files and rules.is_complete(p)]
    redundant, duplicates = _redundant(unused, scans, stored, rules)
    stored_before = {time for time in scans if stored.good(time) is not None}
    counts = BatchCounts(
        ingested=len(scans.keys() - stored_before),
        replaced=len(stored_before - chosen.renamed),
        unchanged=duplicates,
        superseded=len(chosen.superseded),
        of_same_name=[
            files for files in chosen.superseded if base_name(files[0]) == base_name(files[1])
        ],
        rejected=[ReportedRejection.of(entry) for entry in rejections],
        unavailable=[
            (file_part.identity, file_part.unavailable)
            for file_part in parts
            if file_part.report is None
        ],
        masked_px=_masked_px(parts),
    )
    return Decision(
        [scans[time] for time in sorted(scans)],
        rejections,
        redundant,
        counts,
        rules.cut_files,
        frozenset(file_part.identity for file_part in parts if file_part.remaining is not None),
        _possible_marks(parts, rules.network),
    )


def _reports(parts: Sequence[FilePart]) -> Iterator[tuple[FilePart, FileReport]]:
    for file_part in parts:
        if file_part.report is not None:
            yield file_part, file_part.report


def _cut_files(parts: Sequence[FilePart], rules: Rules) -> set[str]:
    """Files of this batch with scans outside the period."""
    cut_files = set()
    for file_part, report in _reports(parts):
        times = [scan.time for scan in report.scans] + [entry.time for entry in report.rejected]
        if any(time is not None and not rules.is_wanted(time) for time in times):
            cut_files.add(file_part.identity)
    return cut_files


def _masked_px(parts: Sequence[FilePart]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for _, report in _reports(parts):
        counts.update(report.masked_px)
    return counts


def _possible_marks(parts: Sequence[FilePart], network: RadarNetworkConfig) -> frozenset[int]:
    files = [file_part.request.file for file_part, _ in _reports(parts)]
    return frozenset(
        mark_of_unused_file(file.address, version, network)
        for file in files
        for version in (file.version, partial_version(file.version))
    )


# -- what the reader or the grid refuses -----------------------------------------------------------


def _refused(file_part: FilePart, rules: Rules) -> Iterator[Rejection]:
    """Log entries of the scans that the reader refused, and of those on another grid."""
    report = file_part.report
    if report is None:
        return
    for entry in report.rejected:
        if entry.time is None or rules.is_wanted(entry.time):
            yield rules.rejection(file_part, entry.time, entry.rule, entry.reason)
    if not report.scans and not report.rejected:
        yield rules.rejection(file_part, None, UNREADABLE, "holds no scan")
    for scan in report.scans:
        problem = rules.improbable(scan.time) if rules.is_wanted(scan.time) else None
        if problem is not None:
            yield rules.rejection(file_part, scan.time, IMPROBABLE_TIME, problem)
    difference = _grid_difference(report, rules.grid)
    if difference is None:
        return
    reason = (
        f"is on another grid than the archive: {difference}; if the product has changed, describe "
        "the period under 'eras' in the configuration"
    )
    for scan in report.scans:
        if rules.is_wanted(scan.time) and rules.improbable(scan.time) is None:
            yield rules.rejection(file_part, scan.time, OTHER_GRID, reason)


def _grid_difference(report: FileReport, grid: Grid | None) -> str | None:
    if grid is None or report.grid is None:
        return None
    return grid.difference(report.grid)


# -- several scans of the same time ----------------------------------------------------------------


@dataclass(frozen=True)
class _Choice:
    """The scan that counts at each time.

    ``renamed`` has the times whose stored scan has the same content under an earlier name;
    ``superseded`` has the file that does not count and the file that counts, for each scan.
    """

    scans: Scans
    renamed: set[pd.Timestamp]
    superseded: list[tuple[str, str]]


def _choose(parts: Sequence[FilePart], stored: StoredScans, rules: Rules) -> _Choice:
    """Choose for each time the scan of the file with the greatest `precedence`.

    ``parts`` are sorted by precedence, so that a later part replaces the scan of an earlier one.
    """
    choice: Scans = {}
    renamed: set[pd.Timestamp] = set()
    superseded: list[tuple[str, str]] = []
    for file_part, report in _reports(parts):
        if _grid_difference(report, rules.grid) is not None:
            continue
        for index, scan in enumerate(report.scans):
            if not rules.is_wanted(scan.time) or rules.improbable(scan.time) is not None:
                continue
            slot = stored.good(scan.time)
            is_same = slot is not None and slot.digest == report.digest
            if slot is not None and _counts_more(slot.source, file_part.identity):
                if not is_same:
                    superseded.append((file_part.identity, slot.source))
                continue
            if slot is not None and is_same:
                if slot.source == file_part.identity:
                    continue
                # the archive gets the later name, so that it does not depend on the order
                renamed.add(scan.time)
            earlier = choice.get(scan.time)
            if earlier is not None and earlier.digest != report.digest:
                superseded.append((earlier.source, file_part.identity))
            choice[scan.time] = _to_store(file_part, report, index, rules)
    return _Choice(choice, renamed, superseded)


def _counts_more(stored: str, new: str) -> bool:
    """Whether a stored scan stays although another file has a scan of its time."""
    return not is_spelling_of(stored, new) and precedence(stored) > precedence(new)


def _to_store(file_part: FilePart, report: FileReport, index: int, rules: Rules) -> StoredScan:
    scan = report.scans[index]
    return StoredScan(
        scan.time,
        scan.codes,
        file_part.identity,
        report.digest,
        mark_of_used_file(file_part.identity, rules.version(file_part)),
        scan.measures,
        codes_key=(file_part.request, index),
    )


# -- a stuck radar ---------------------------------------------------------------------------------


def _identical_rejections(
    parts: Sequence[FilePart],
    scans: Scans,
    identical: Mapping[pd.Timestamp, pd.Timestamp],
    rules: Rules,
) -> Iterator[Rejection]:
    part_of_request = {file_part.request: file_part for file_part in parts}
    for time, neighbour in identical.items():
        scan = scans[time]
        assert scan.measures is not None
        request, _ = scan.codes_key
        reason = f"equals the scan of {neighbour:%Y-%m-%d %H:%M} in every pixel"
        file_part = part_of_request[request]
        yield rules.rejection(file_part, time, IDENTICAL, reason, scan.measures.checksum)


# -- files that are not needed ---------------------------------------------------------------------


def _redundant(
    unused: Sequence[FilePart], scans: Scans, stored: StoredScans, rules: Rules
) -> tuple[list[Rejection], int]:
    """Log entries of files that gave no scan because others count; and the number of duplicates.

    A file that the archive knows already gets no entry.
    """
    entries, duplicates = [], 0
    for file_part, report in _reports(unused):
        if not report.scans:
            continue
        times = [scan.time for scan in report.scans]
        counting = [_counting_file(time, scans, stored) for time in times]
        is_duplicate = all(digest == report.digest for _, digest in counting)
        duplicates += is_duplicate
        if stored.is_known(file_part.request.file, min(times)):
            continue
        rule = "duplicate" if is_duplicate else "superseded"
        cause = "the same as" if is_duplicate else "another file of the same time counts:"
        entries.append(rules.rejection(file_part, times[0], rule, f"{cause} {counting[0][0]}"))
    return entries, duplicates


def _counting_file(time: pd.Timestamp, scans: Scans, stored: StoredScans) -> tuple[str, str]:
    """Address and digest of the file whose scan counts at a time; empty if there is none."""
    if time in scans:
        return scans[time].source, scans[time].digest
    slot = stored.good(time)
    return ("", "") if slot is None else (slot.source, slot.digest)
