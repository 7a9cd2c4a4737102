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
a file is superseded or a duplicate    any           unchanged    new entry (redundant)
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
A rejected slot keeps the checksum of the rejected scan: a radar that repeats one scan for hours is
recognised by the scan before, rejected or not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr

from squall.datasets.archive.layout import LOG, put_rows, row_of, start_of
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
    if rejections:
        settled = _add_entries(log, settled, rejections)
    if not np.array_equal(settled, before):
        log["settled"][:] = settled


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
    on_axis = sorted(row for row in checksums if 0 <= row < status.shape[0])
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
    for i in np.flatnonzero(~settled).tolist():
        replaced = (files[i], times[i]) in rejected_again
        file_came_again = files[i] in files_again and not keeps(files[i], marks[i])
        slot_filled = times[i] in filled_s and rules[i] not in REDUNDANT
        result[i] = replaced or file_came_again or slot_filled
    return result


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
    log: dict[str, npt.NDArray[Any]] = {
        name: np.asarray(array[:])
        for name, array in group[LOG].arrays()  # type: ignore[union-attr]
    }
    return [
        Rejection(
            file=str(log["file"][i]),
            digest=str(log["digest"][i]),
            reason=str(log["reason"][i]),
            time=None if log["time"][i] == NO_TIME else pd.Timestamp(log["time"][i], unit="s"),
            rule=str(log["rule"][i]),
            file_mark=int(log["seen"][i]),
        )
        for i in np.flatnonzero(~log["settled"])
    ]


def _seconds(time: pd.Timestamp) -> int:
    return int(time.timestamp())
