"""Cost of one operational append in archives of growing length, and bytes left on disk."""

from __future__ import annotations

import logging
import shutil
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
from tables import keep, parser, show

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.snapshots import expire
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.grid import Grid
from squall.pipeline.progress import tracked

SIDE = 128
STEP = pd.Timedelta("5min")
START = pd.Timestamp("2010-01-01")
APPENDS = 25


class Radar:
    """Scans with some rain; two consecutive scans always differ."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.grid = Grid(
            x=np.arange(SIDE) * 1000.0,
            y=-np.arange(SIDE) * 1000.0,
            crs_wkt=pyproj.CRS.from_epsg(3067).to_wkt(),
        )
        wet = rng.random((97, SIDE, SIDE)) < 0.1
        self._codes = np.where(wet, rng.integers(1, 255, wet.shape), 0).astype(np.uint8)

    def scan(self, index: int) -> StoredScan:
        """The scan of a time step, from a file with an operational name."""
        when = START + index * STEP
        source = f"/data/radar/{when:%Y/%m/%d}/composite_{when:%Y%m%d%H%M}.nc"
        codes = self._codes[index % len(self._codes)]
        return StoredScan(when, codes, source, f"{index:032x}", file_mark=index + 1)


def writer(path: Path) -> ArchiveWriter:
    return ArchiveWriter(path, STEP, {"name": "bench", "title": "Benchmark"})


def bulk(path: Path, radar: Radar, count: int) -> float:
    """Write an archive in large commits; returns seconds."""
    began = time.perf_counter()
    into = writer(path)
    for first in range(0, count, 10_000):
        scans = [radar.scan(i) for i in range(first, min(first + 10_000, count))]
        into.commit(radar.grid, scans, [], "bulk")
    return time.perf_counter() - began


def append(path: Path, radar: Radar, index: int) -> float:
    """One scheduled pass with one new file: open, look, write, commit; returns seconds."""
    began = time.perf_counter()
    into = writer(path)
    archive = into.archive()
    assert archive is not None
    archive.marks(START + (index - 576) * STEP)
    archive.rejections  # noqa: B018
    assert archive.status.size == index
    into.commit(radar.grid, [radar.scan(index)], [], "one scan")
    return time.perf_counter() - began


def opened(path: Path) -> float:
    """Open for training: read the status and the rain of all blocks; returns seconds."""
    began = time.perf_counter()
    archive = Archive.open(path)
    archive.block_statistics("rain_rate", archive.status == 1)
    return time.perf_counter() - began


def growth(folder: Path, radar: Radar, steps: list[int]) -> list[dict[str, Any]]:
    """Cost of one append for each archive length; the lengths take turns."""
    paths = {count: folder / f"growth-{count}" for count in steps}
    seconds = {count: bulk(path, radar, count) for count, path in paths.items()}
    appends: dict[int, list[float]] = {count: [] for count in steps}
    for i in range(APPENDS):
        for count, path in paths.items():
            appends[count].append(1e3 * append(path, radar, count + i))
    first = statistics.median(appends[steps[0]])
    return [
        {
            "time steps": count,
            "append [ms]": statistics.median(appends[count]),
            "slowest [ms]": max(appends[count]),
            "append / first": statistics.median(appends[count]) / first,
            "open [ms]": 1e3 * statistics.median(opened(path) for _ in range(5)),
            "bulk [scans/s]": count / seconds[count],
        }
        for count, path in paths.items()
    ]


def on_disk(folder: Path, radar: Radar, count: int) -> list[dict[str, Any]]:
    """Bytes on disk of the same scans: appended one by one, and written at once."""
    logging.getLogger("squall").setLevel(logging.INFO)
    singly, at_once = folder / "singly", folder / "at-once"
    for index in tracked(range(count), "single appends", count):
        writer(singly).commit(radar.grid, [radar.scan(index)], [], "one scan")
    before = size(singly)
    expire(str(singly), timedelta(0))
    bulk(at_once, radar, count)
    assert np.array_equal(Archive.open(singly).codes[:], Archive.open(at_once).codes[:])
    rows = [
        {"written": f"{count} at once", "bytes/scan": size(at_once) / count},
        {"written": f"{count} appends", "bytes/scan": before / count},
        {"written": f"{count} appends, expired", "bytes/scan": size(singly) / count},
    ]
    for row in rows:
        row["ratio"] = row["bytes/scan"] / rows[0]["bytes/scan"]
    return rows


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--steps", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options.add_argument("--appends", type=int, default=1_000, help="for the size on disk")
    arguments = options.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        radar = Radar()
        of_growth = growth(folder, radar, arguments.steps)
        print(f"One append to an archive of {SIDE} × {SIDE} pixels (median of {APPENDS})")
        show(of_growth)
        of_size = on_disk(folder, radar, arguments.appends)
        show(of_size)
        keep(arguments, {"growth": of_growth, "on_disk": of_size})
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
