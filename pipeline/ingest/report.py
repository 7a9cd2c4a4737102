"""What an ingestion did, for people, for logs and for monitors."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class RejectedScan:
    """One scan, or a whole file where ``time`` is None, that was set aside."""

    file: str
    time: str | None
    rule: str
    reason: str


@dataclass
class IngestReport:
    """Counts of one run; files and scans are told apart by name.

    Attributes
    ----------
    found : files that the source lists.
    new_files : files among them that the archive did not know, and that were read.
    ingested, replaced : scans.
    unchanged : files known already, or of content that is there already.
    superseded : scans for which another file of the same time counts.
    rejected : scans and files that a rule refused; recorded in the archive.
    unavailable : files that could not be fetched, with the cause; the next run tries again.
    masked_px : pixels taken as not observed, by rule.
    bytes_read : size of the files that were read.
    newest : valid time of the archive's newest scan, UTC.
    """

    archive: str
    found: int = 0
    new_files: int = 0
    ingested: int = 0
    replaced: int = 0
    unchanged: int = 0
    superseded: int = 0
    rejected: list[RejectedScan] = field(default_factory=list)
    unavailable: list[tuple[str, str]] = field(default_factory=list)
    masked_px: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    commits: int = 0
    seconds: float = 0.0
    dry_run: bool = False
    newest: pd.Timestamp | None = None
    snapshot: str | None = None

    def add(self, tally: IngestReport) -> None:
        """Take over the counts of one batch."""
        self.ingested += tally.ingested
        self.replaced += tally.replaced
        self.unchanged += tally.unchanged
        self.superseded += tally.superseded
        self.rejected += tally.rejected
        self.unavailable += tally.unavailable
        self.masked_px += tally.masked_px

    @property
    def rejected_by_rule(self) -> dict[str, int]:
        """Number of rejections of each rule."""
        return dict(Counter(rejected.rule for rejected in self.rejected))

    @property
    def complete(self) -> bool:
        """Whether every new file could be read and used."""
        return not self.rejected and not self.unavailable

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self)
        values["newest"] = self.newest.isoformat() if self.newest is not None else None
        values["unavailable"] = [{"file": f, "reason": why} for f, why in self.unavailable]
        values["masked_px"] = dict(self.masked_px)
        return values | {"rejected_by_rule": self.rejected_by_rule}

    def __str__(self) -> str:
        if self.dry_run:
            return f"{self.found} files found, {self.new_files} to read (dry run, nothing was read)"
        counts = [
            f"{self.found} files found",
            f"{self.ingested} scans ingested",
            f"{self.replaced} replaced",
            f"{self.unchanged} files unchanged",
        ]
        if self.superseded:
            counts.append(f"{self.superseded} scans superseded by a file of a later name")
        rules = ", ".join(f"{rule}: {n}" for rule, n in self.rejected_by_rule.items())
        counts.append(f"{len(self.rejected)} rejected" + (f" ({rules})" if rules else ""))
        if self.unavailable:
            counts.append(f"{len(self.unavailable)} could not be fetched")
        counts += [f"{n} pixels hidden by {rule}" for rule, n in self.masked_px.items()]
        return f"{', '.join(counts)} in {self.seconds:.1f} s"
