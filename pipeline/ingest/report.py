"""What an ingestion did, for people, for logs and for monitors."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from squall.datasets.archive.records import Rejection

MOST_EXAMPLES = 5  # files of a format that a report names


@dataclass(frozen=True)
class ReportedRejection:
    """A rejected scan, or a whole rejected file if ``time`` is None."""

    file: str
    time: str | None
    rule: str
    reason: str

    @classmethod
    def of(cls, entry: Rejection) -> ReportedRejection:
        """The same as in the archive's log."""
        time = entry.time.isoformat() if entry.time is not None else None
        return cls(entry.file, time, entry.rule, entry.reason)


@dataclass(frozen=True)
class BatchCounts:
    """Counts of one batch; the names are explained at `IngestReport`."""

    ingested: int
    replaced: int
    unchanged: int
    superseded: int
    of_same_name: list[tuple[str, str]]
    rejected: list[ReportedRejection]
    unavailable: list[tuple[str, str]]
    masked_px: Counter[str]


@dataclass
class IngestReport:
    """Counts of one run.

    Attributes
    ----------
    found : files that the source lists.
    new_files : files among them that the archive did not know; they were read.
    ingested, replaced : scans.
    unchanged : files that the archive knew already, or whose content it has already.
    superseded : scans that do not count because another file has the same time.
    of_same_name : of these, the file that does not count and the file that counts, where both have
        the same name and lie in different folders.
    rejected : scans and files that a rule refused in this run; recorded in the archive.
    standing : scans and files among those found that an earlier run rejected, and that are still
        not in the archive.
    unavailable : files that could not be fetched, with the reason; the next run tries again.
    masked_px : pixels marked as not observed, by rule.
    steps_from_name : files by how many steps after the time in their name their scan is, among
        files with one scan and a time in their name.
    formats : files by the format that their content told, where the configuration names none.
    format_examples : the first files of each format.
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
    of_same_name: list[tuple[str, str]] = field(default_factory=list)
    rejected: list[ReportedRejection] = field(default_factory=list)
    standing: list[ReportedRejection] = field(default_factory=list)
    unavailable: list[tuple[str, str]] = field(default_factory=list)
    masked_px: Counter[str] = field(default_factory=Counter)
    steps_from_name: Counter[int] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    format_examples: dict[str, list[str]] = field(default_factory=dict)
    bytes_read: int = 0
    commits: int = 0
    seconds: float = 0.0
    dry_run: bool = False
    newest: pd.Timestamp | None = None
    snapshot: str | None = None

    def add(self, counts: BatchCounts) -> None:
        """Add the counts of one batch."""
        self.ingested += counts.ingested
        self.replaced += counts.replaced
        self.unchanged += counts.unchanged
        self.superseded += counts.superseded
        self.of_same_name += counts.of_same_name
        self.rejected += counts.rejected
        self.unavailable += counts.unavailable
        self.masked_px += counts.masked_px

    def add_format(self, title: str, file: str) -> None:
        """Count a file whose content told its format."""
        self.formats[title] += 1
        examples = self.format_examples.setdefault(title, [])
        if len(examples) < MOST_EXAMPLES:
            examples.append(file)

    @property
    def other_formats(self) -> dict[str, list[str]]:
        """The first files of each format but the most frequent one."""
        usual = self.formats.most_common(1)
        return {
            title: files for title, files in self.format_examples.items() if title != usual[0][0]
        }

    @property
    def rejected_by_rule(self) -> dict[str, int]:
        """Number of rejections of each rule, those of earlier runs that still stand included."""
        return dict(Counter(rejected.rule for rejected in self.rejected + self.standing))

    @property
    def complete(self) -> bool:
        """Whether everything in the files that were found is in the archive."""
        return not (self.rejected or self.standing or self.unavailable)

    @property
    def common_steps_from_name(self) -> int:
        """By how many steps all files differ from the time in their name; 0 if not all alike."""
        return next(iter(self.steps_from_name)) if len(self.steps_from_name) == 1 else 0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self)
        values["newest"] = self.newest.isoformat() if self.newest is not None else None
        values["unavailable"] = [{"file": f, "reason": reason} for f, reason in self.unavailable]
        values["masked_px"] = dict(self.masked_px)
        values["steps_from_name"] = dict(self.steps_from_name)
        values["formats"] = dict(self.formats)
        del values["format_examples"]
        values["other_formats"] = self.other_formats
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
            counts.append(f"{self.superseded} scans superseded by another file of the same time")
        counts.append(self._rejected_text())
        if self.unavailable:
            counts.append(f"{len(self.unavailable)} could not be fetched")
        counts += [
            f"{self.formats[title]} of another format ({title})" for title in self.other_formats
        ]
        counts += [f"{n} pixels hidden by {rule}" for rule, n in self.masked_px.items()]
        return f"{', '.join(counts)} in {self.seconds:.1f} s"

    def _rejected_text(self) -> str:
        text = f"{len(self.rejected) + len(self.standing)} rejected"
        if self.rejected_by_rule:
            text += f" ({', '.join(f'{rule}: {n}' for rule, n in self.rejected_by_rule.items())}"
            text += f"; {len(self.standing)} of them by earlier runs)" if self.standing else ")"
        return text
