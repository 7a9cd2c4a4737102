"""Report of a check as text and JSON: the damage, and the files to ingest again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from squall.datasets.times import utc_text

LISTED = 20  # lines of a list in text; JSON has all


@dataclass(frozen=True)
class Damage:
    """Damage to one chunk of an array.

    Parameters
    ----------
    chunk : coordinates; None for the whole array.
    first, last : valid times of the damaged scans; None if the array has no time dimension.
    files : files that restore the scans.
    unreadable : False if the chunk can be read but its values cannot be right.
    """

    array: str
    chunk: tuple[int, ...] | None
    problem: str
    first: pd.Timestamp | None = None
    last: pd.Timestamp | None = None
    files: tuple[str, ...] = ()
    unreadable: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        times = {
            name: None if value is None else utc_text(value)
            for name, value in (("first", self.first), ("last", self.last))
        }
        return asdict(self) | times

    def __str__(self) -> str:
        chunk = "" if self.chunk is None else f" chunk {'/'.join(map(str, self.chunk))}"
        period = ""
        if self.first is not None and self.last is not None:
            last = "" if self.first == self.last else f" to {self.last:%Y-%m-%d %H:%M}"
            period = f" ({self.first:%Y-%m-%d %H:%M}{last} UTC)"
        return f"{self.array}{chunk}{period}: {self.problem}"


@dataclass(frozen=True)
class CheckReport:
    """Result of a check: how much was read, and the damage."""

    address: str
    snapshot: str
    scans: int
    chunks: int
    seconds: float
    damage: tuple[Damage, ...]

    @property
    def sound(self) -> bool:
        """Whether there is no damage."""
        return not self.damage

    @property
    def files(self) -> list[str]:
        """Files to ingest again."""
        return sorted({file for damage in self.damage for file in damage.files})

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {
            "sound": self.sound,
            "damage": [damage.as_dict() for damage in self.damage],
            "files": self.files,
        }

    def __str__(self) -> str:
        if self.sound:
            return self.listing()
        command = f"to repair: `squall archive check {self.address} --repair`"
        if not self.files:
            return f"{self.listing()}\n{command}"
        advice = f"{command}, then ingest again ({len(self.files)} of the files):"
        return f"{self.listing()}\n{advice}\n{self.file_listing()}"

    def listing(self) -> str:
        """The damage, one line each."""
        read = f"{self.scans} scans in {self.chunks} chunks read in {self.seconds:.1f} s"
        if self.sound:
            return f"{self.address}: sound; {read}"
        return f"{self.address}: {len(self.damage)} damaged; {read}\n{_few(self.damage)}"

    def file_listing(self) -> str:
        """Files to ingest again, one line each."""
        return _few(self.files)


def _few(items: Sequence[object]) -> str:
    lines = [f"  {item}" for item in items[:LISTED]]
    if len(items) > LISTED:
        lines.append(f"  … and {len(items) - LISTED} more (--json lists all)")
    return "\n".join(lines)
