"""What the archive already holds at the times of a batch.

Owns the look-ups that a decision needs; never writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK
from squall.datasets.sources.access import SourceFile
from squall.pipeline.ingest.file_marks import mark_of_used_file


@dataclass(frozen=True)
class StoredSlot:
    """What the archive records for one time: status, checksum, and the file of the scan."""

    status: int
    source: str
    digest: str
    checksum: int


@dataclass(frozen=True)
class StoredScans:
    """Records of the archive at the times of a batch; empty if there is no archive yet."""

    archive: Archive | None = None
    slots: dict[pd.Timestamp, StoredSlot] = field(default_factory=dict)

    @classmethod
    def at(cls, archive: Archive | None, times: Iterable[pd.Timestamp]) -> StoredScans:
        """Look up times; those outside the archive's time axis have no slot."""
        if archive is None:
            return cls()
        if not archive.status.size:  # no scan yet, so the axis has no start
            return cls(archive)
        rows = {time: archive.index_of(time) for time in set(times)}
        rows = {time: row for time, row in rows.items() if 0 <= row < archive.status.size}
        if not rows:
            return cls(archive)
        ascending = sorted(set(rows.values()))
        records = archive.records(np.array(ascending, dtype=np.int64))
        slots = {
            row: StoredSlot(
                int(records["status"][i]),
                str(records["source"][i]),
                records["digest"][i].tobytes().hex(),
                int(records["checksum"][i]),
            )
            for i, row in enumerate(ascending)
        }
        return cls(archive, {time: slots[row] for time, row in rows.items()})

    def good(self, time: pd.Timestamp) -> StoredSlot | None:
        """The slot of a time if it holds a good scan."""
        slot = self.slots.get(time)
        return slot if slot is not None and slot.status == OK else None

    def checksum(self, time: pd.Timestamp) -> int | None:
        """Checksum at a time, also that of a rejected scan; None outside the time axis."""
        slot = self.slots.get(time)
        return None if slot is None else slot.checksum

    def is_known(self, file: SourceFile, first: pd.Timestamp) -> bool:
        """Whether another ingestion, or an earlier part of this one, has used the file.

        Parameters
        ----------
        first : valid time of the file's first scan; marks of earlier times are not read.
        """
        if self.archive is None:
            return False
        mark = mark_of_used_file(file.identity, file.version)
        if mark not in set(self.archive.marks(first).tolist()):
            return False
        return all(entry.file != file.identity for entry in self.archive.refusals)
