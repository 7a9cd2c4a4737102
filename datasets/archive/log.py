"""The log of an archive: files and scans that are not in it, and the slots that they concern.

Owns the group ``set_aside``, the status *rejected*, and when an entry of the log is settled. Scans
and their records are written by `squall.datasets.archive.writer`.

A slot is one time of the archive's regular axis. What a commit does to it:

====================================== ============= ============ ==============================
event                                  status before status after log
====================================== ============= ============ ==============================
(none yet)                                           missing      no entry
a scan is stored                       any           ok           entries of this time are
                                                                  settled, redundant ones stay
a scan or file is rejected             missing,      rejected     new entry
                                       rejected
a scan or file is rejected             ok            ok           new entry
a file is superseded or a duplicate    any           unchanged    new entry (redundant), kept
                                                                  with the slot
a file without a known time is         no slot       no slot      new entry without a time
rejected
a rejected time lies more than         no slot       no slot      new entry
`writer.REJECTED_MARGIN` off the axis
====================================== ============= ============ ==============================

If a commit both stores and rejects a scan of one time, the slot is ok and the entry stays open.

An open entry is *settled*, which means that it no longer holds, when

- the same file and time is rejected again: the new entry replaces it;
- its file delivers a scan or a rejection in a later commit, unless ``keeps`` says that the entry
  concerns another part of the same file;
- a scan is stored for its time, whichever file it comes from, unless the entry is redundant.

Rows of settled entries are used again, so that a file which is rejected at each pass takes one row.
Redundant entries, which may be as many as the scans, are not in the log but in ``not_needed``, by
the slot of the file's first scan: neither a commit nor a look reads them all. An entry without a
slot is in the log.
A rejected slot keeps the checksum of the rejected scan: a radar that repeats one scan for hours is
recognised by the scan before, rejected or not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from squall.datasets.addresses import canonical_address
from squall.datasets.archive.layout import (
    LOG,
    NOT_NEEDED,
    create_text,
    first_row_of,
    put_rows,
    row_of,
    start_of,
)
from squall.datasets.archive.records import NO_TIME, OK, REDUNDANT, REJECTED, Rejection
from squall.datasets.runs import Bools

KeepsEntry = Callable[[str, int], bool]  # of a file and its mark


def write_log(
    group: zarr.Group,
    step: pd.Timedelta,
    rejections: Sequence[Rejection],
    *,
    sources: Collection[str],
    filled: Collection[pd.Timestamp],
    keeps: KeepsEntry,
) -> None:
    """Mark rejected slots, settle entries that no longer hold, add new ones.

    Parameters
    ----------
    rejections : of this commit.
    sources, filled : files and valid times of the scans that this commit stores.
    keeps : whether a log entry with a file mark stays open when the file is read again.
    """
    _mark_rejected_slots(group, step, rejections)
    log: dict[str, Any] = dict(group[LOG].arrays())  # type: ignore[union-attr]
    before = np.asarray(log["settled"][:])
    files_of_commit = {*sources, *(rejection.file for rejection in rejections)}
    settled = before | _newly_settled(log, before, rejections, files_of_commit, filled, keeps)
    old = _redundant_of_older_releases(group, log, settled)
    slots = Slots(group, step)
    redundant = list(old)
    others: list[Rejection] = []
    for entry in rejections:
        kept_with_slot = entry.rule in REDUNDANT and slots.holds(entry.time)
        (redundant if kept_with_slot else others).append(entry)
    times = {entry.time for entry in (*rejections, *old)} | {*filled}
    slots.write(redundant, [t for t in times if slots.holds(t)], files_of_commit, keeps)
    if others:
        settled = _add_entries(log, settled, others)
    _write_settled(log, before, settled)


def _write_settled(log: dict[str, Any], before: Bools, settled: Bools) -> None:
    """Write what is settled; rows behind the last open entry are dropped."""
    open_rows = np.flatnonzero(~settled)
    length = int(open_rows[-1]) + 1 if open_rows.size else 0
    if length < settled.size:
        for array in log.values():
            array.resize((length,))
    elif np.array_equal(settled, before):
        return
    if length:
        log["settled"][:] = settled[:length]


def _redundant_of_older_releases(
    group: zarr.Group, log: dict[str, Any], settled: Bools
) -> list[Rejection]:
    """Entries about files that are not needed and have a slot; they are settled in the log."""
    if settled.all():
        return []
    slots = Slots(group, pd.Timedelta(seconds=int(group.attrs["step_s"])))  # type: ignore[arg-type]
    is_redundant = np.isin(log["rule"][:], np.array(REDUNDANT, dtype="T")) & ~settled
    entries = []
    for i, entry in _entries(log, np.flatnonzero(is_redundant)):
        if slots.holds(entry.time):
            settled[i] = True
            entries.append(entry)
    return entries


def _mark_rejected_slots(
    group: zarr.Group, step: pd.Timedelta, rejections: Sequence[Rejection]
) -> None:
    """Set status and checksum of the slots on the axis whose scan was rejected and is not ok."""
    status: Any = group["status"]
    if not status.shape[0]:  # no scan yet, so the axis has no start
        return
    start = start_of(group)
    checksums = {
        row_of(rejection.time, start, step): rejection.checksum
        for rejection in rejections
        if rejection.time is not None and rejection.rule not in REDUNDANT
    }
    first_row = first_row_of(group)
    on_axis = sorted(row for row in checksums if first_row <= row < status.shape[0])
    if not on_axis:
        return
    rows = np.array(on_axis, dtype=np.int64)
    rows = rows[np.asarray(status.oindex[rows]) != OK]
    put_rows(status, rows, np.full(rows.size, REJECTED, dtype=np.uint8))
    values = np.array([checksums[row] for row in rows.tolist()], dtype=np.uint64)
    put_rows(group["checksum"], rows, values)


def _newly_settled(
    log: dict[str, Any],
    settled: Bools,
    rejections: Sequence[Rejection],
    files_again: Collection[str],
    filled: Collection[pd.Timestamp],
    keeps: KeepsEntry,
) -> Bools:
    """(entry,) which open entries this commit settles; see the module's docstring."""
    result = np.zeros_like(settled)
    if settled.all():
        return result
    files, rules, times, marks = (
        log[name][:].tolist() for name in ("file", "rule", "time", "seen")
    )
    filled_s = {_seconds(time) for time in filled}
    rejected_again = {(r.file, _seconds(r.time)) for r in rejections if r.time is not None}
    base_names = {_base_name(file) for file in (*files_again, *(r.file for r in rejections))}
    for i in np.flatnonzero(~settled).tolist():
        file = files[i]
        # Earlier releases named a file as it was typed. Resolving all open entries would take
        # seconds, so only those are resolved that may be files of this commit.
        may_be_typed = not (file.startswith("/") or file in files_again)
        if may_be_typed and _base_name(file) in base_names:
            file = canonical_address(file)
        replaced = (file, times[i]) in rejected_again
        file_came_again = file in files_again and not keeps(file, marks[i])
        slot_filled = times[i] in filled_s and rules[i] not in REDUNDANT
        result[i] = replaced or file_came_again or slot_filled
    return result


def _base_name(file: str) -> str:
    """What resolving an address leaves as it is: its last name, without a query."""
    return file.partition("?")[0].rpartition("/")[2]


def _add_entries(log: dict[str, Any], settled: Bools, rejections: Sequence[Rejection]) -> Bools:
    """Write entries into settled rows, then behind the last row; returns what is settled then."""
    free = np.flatnonzero(settled)[: len(rejections)]
    rows = np.concatenate([free, settled.size + np.arange(len(rejections) - free.size)])
    length = max(settled.size, int(rows[-1]) + 1)
    if length > settled.size:
        settled = np.concatenate([settled, np.ones(length - settled.size, dtype=bool)])
        for array in log.values():
            array.resize((length,))
    for name in ("file", "digest", "reason", "rule"):
        put_rows(log[name], rows, np.array([getattr(r, name) for r in rejections], dtype="T"))
    times = [NO_TIME if r.time is None else _seconds(r.time) for r in rejections]
    put_rows(log["time"], rows, np.array(times, dtype=np.int64))
    put_rows(log["seen"], rows, np.array([r.file_mark for r in rejections], dtype=np.uint64))
    settled[rows] = False
    return settled


def read_log(group: zarr.Group) -> list[Rejection]:
    """The open entries of a log."""
    log: dict[str, Any] = dict(group[LOG].arrays())  # type: ignore[union-attr]
    open_rows = np.flatnonzero(~np.asarray(log["settled"][:]))
    return [entry for _, entry in _entries(log, open_rows)]


def _entries(log: dict[str, Any], rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, Rejection]]:
    """Rows of the log and what they hold."""
    if not rows.size:
        return
    columns = {name: np.asarray(array[:]) for name, array in log.items()}
    for i in rows.tolist():
        time = int(columns["time"][i])
        yield (
            i,
            Rejection(
                file=str(columns["file"][i]),
                digest=str(columns["digest"][i]),
                reason=str(columns["reason"][i]),
                time=None if time == NO_TIME else pd.Timestamp(time, unit="s"),
                rule=str(columns["rule"][i]),
                file_mark=int(columns["seen"][i]),
            ),
        )


# -- files that are not needed ---------------------------------------------------------------------


class Slots:
    """Files that are not needed, by the slot of their first scan.

    Each slot has one text with a line of JSON for each file, so a commit reads and writes only the
    slots that it concerns, and a look only those of the files that it compares.
    """

    def __init__(self, group: zarr.Group, step: pd.Timedelta) -> None:
        self._group, self._step = group, step
        self._start, self._first_row = start_of(group), first_row_of(group)
        self._length = int(group["status"].shape[0])  # type: ignore[union-attr]

    def holds(self, time: pd.Timestamp | None) -> TypeGuard[pd.Timestamp]:
        """Whether a time has a slot."""
        if time is None or not self._length:  # without a scan the axis has no start
            return False
        return self._first_row <= self._row_of(time) < self._length

    def write(
        self,
        entries: Sequence[Rejection],
        touched: Collection[pd.Timestamp],
        files_again: Collection[str],
        keeps: KeepsEntry,
    ) -> None:
        """Add entries; drop those of slots at ``touched`` times whose file came again."""
        if NOT_NEEDED not in self._group:  # an archive of an older release
            if not entries:
                return
            create_text(self._group, NOT_NEEDED, self._length)
        array: Any = self._group[NOT_NEEDED]
        rows = np.array(sorted({self._row_of(time) for time in touched}), dtype=np.int64)
        if not rows.size:
            return
        before = [str(text) for text in array.oindex[rows]]
        added: dict[int, list[str]] = {}
        for entry in entries:
            assert entry.time is not None
            added.setdefault(self._row_of(entry.time), []).append(_line_of(entry))
        after = []
        for row, text in zip(rows.tolist(), before, strict=True):
            lines = [
                line
                for line in text.splitlines()
                if _file_and_mark(line)[0] not in files_again or keeps(*_file_and_mark(line))
            ]
            after.append("\n".join(dict.fromkeys(lines + added.get(row, []))))
        if after != before:
            put_rows(array, rows, np.array(after, dtype="T"))

    def _row_of(self, time: pd.Timestamp) -> int:
        return row_of(time, self._start, self._step)


def read_not_needed(group: zarr.Group, step: pd.Timedelta, first_row: int) -> list[Rejection]:
    """Files that are not needed, whose slots lie from a row on."""
    if NOT_NEEDED not in group:
        return []
    texts = np.asarray(group[NOT_NEEDED][first_row:])  # type: ignore[index]
    start = start_of(group)
    return [
        _entry_of(line, start + (first_row + row) * step)
        for row in np.flatnonzero(texts != "").tolist()
        for line in str(texts[row]).splitlines()
    ]


def _line_of(entry: Rejection) -> str:
    return json.dumps([entry.file, entry.file_mark, entry.rule, entry.digest, entry.reason])


def _entry_of(line: str, time: pd.Timestamp) -> Rejection:
    file, mark, rule, digest, reason = json.loads(line)
    return Rejection(file, digest, reason, time, rule, mark)


def _file_and_mark(line: str) -> tuple[str, int]:
    file, mark, *_ = json.loads(line)
    return file, mark


def _seconds(time: pd.Timestamp) -> int:
    return int(time.timestamp())
