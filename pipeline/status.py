"""What an archive holds, for people and for scripts."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from datasets.archive import MISSING, OK, REJECTED, Archive


@dataclass(frozen=True)
class ArchiveStatus:
    """Contents of an archive at its newest snapshot; times are UTC, sizes bytes."""

    path: str
    name: str
    title: str
    snapshot: str
    first: str | None
    last: str | None
    step_minutes: float
    height: int
    width: int
    pixel_size_m: float
    projection: str
    present: int
    missing: int
    rejected: int
    size_bytes: int
    size_uncompressed_bytes: int
    rejections: list[dict[str, str | None]]

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        period = f"{self.first} to {self.last} UTC" if self.first else "no scan yet"
        lines = [
            f"{self.title} ({self.name})",
            f"  archive    {self.path}, snapshot {self.snapshot}",
            f"  period     {period}",
            f"  step       {self.step_minutes:g} min",
            f"  grid       {self.height} × {self.width} pixels of "
            f"{self.pixel_size_m / 1000:.3g} km, {self.projection}",
            f"  scans      {self.present} present, {self.missing} missing, "
            f"{self.rejected} rejected",
            f"  size       {_size(self.size_bytes)} on disk, "
            f"{_size(self.size_uncompressed_bytes)} uncompressed",
        ]
        for rejection in self.rejections:
            lines.append(f"  rejected   {rejection['file']}: {rejection['reason']}")
        return "\n".join(lines)


def status(path: Path) -> ArchiveStatus:
    """Look at an archive; ``missing`` counts the gaps between the first and the last scan.

    Raises
    ------
    DataError
        If there is no archive at the path.
    """
    archive = Archive.open(path)
    flags = archive.status
    held = np.flatnonzero(flags != MISSING)
    flags = flags[held[0] : held[-1] + 1] if held.size else flags[:0]
    good = np.flatnonzero(archive.status == OK)
    times = archive.times
    height, width = archive.grid.shape
    return ArchiveStatus(
        path=str(path),
        name=archive.name,
        title=archive.title,
        snapshot=archive.snapshot,
        first=f"{times[good[0]]:%Y-%m-%d %H:%M}" if good.size else None,
        last=f"{times[good[-1]]:%Y-%m-%d %H:%M}" if good.size else None,
        step_minutes=archive.step.total_seconds() / 60,
        height=height,
        width=width,
        pixel_size_m=archive.grid.pixel_size_m,
        projection=archive.grid.projection_name,
        present=int((flags == OK).sum()),
        missing=int((flags == MISSING).sum()),
        rejected=int((flags == REJECTED).sum()),
        size_bytes=archive.bytes_on_disk(),
        size_uncompressed_bytes=int((flags == OK).sum()) * height * width,
        rejections=[
            {"file": r.file, "reason": r.reason, "time": r.time.isoformat() if r.time else None}
            for r in archive.rejections
        ],
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
