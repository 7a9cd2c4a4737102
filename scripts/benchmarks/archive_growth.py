"""Cost of one operational append in archives of growing length, and bytes left on disk."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyproj
import zarr
from tables import keep, parser, show

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import first_row_of
from squall.datasets.archive.records import OK
from squall.datasets.archive.repository import BRANCH, open_repository
from squall.datasets.archive.snapshots import expire
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.grid import Grid
from squall.pipeline.progress import tracked
from squall.pipeline.status.summary import status

SIDE = 128
STEP = pd.Timedelta("5min")
START = pd.Timestamp("2010-01-01")
APPENDS = 25
# scans of a large domain every two minutes, in a month and in 20 years
LONG_SHAPE, LONG_STEP, LONG_STEPS = (3500, 7000), pd.Timedelta("2min"), (21_600, 5_259_600)
CONTEXT = 4  # scans of a forecast's context


class Radar:
    """Scans with some rain; two consecutive scans always differ."""

    def __init__(
        self,
        shape: tuple[int, int] = (SIDE, SIDE),
        step: pd.Timedelta = STEP,
        different: int = 97,
    ) -> None:
        rng = np.random.default_rng(0)
        self.step = step
        self.grid = Grid(
            x=np.arange(shape[1]) * 1000.0,
            y=-np.arange(shape[0]) * 1000.0,
            crs_wkt=pyproj.CRS.from_epsg(3067).to_wkt(),
        )
        wet = rng.random((different, *shape), dtype=np.float32) < 0.1
        self._codes = np.where(wet, rng.integers(1, 255, wet.shape), 0).astype(np.uint8)

    def scan(self, index: int) -> StoredScan:
        """The scan of a time step, from a file with an operational name."""
        when = START + index * self.step
        source = f"/data/radar/{when:%Y/%m/%d}/composite_{when:%Y%m%d%H%M}.nc"
        codes = self._codes[index % len(self._codes)]
        return StoredScan(when, codes, source, f"{index:032x}", file_mark=index + 1)


def writer(path: Path, step: pd.Timedelta = STEP) -> ArchiveWriter:
    return ArchiveWriter(path, step, {"name": "bench", "title": "Benchmark"})


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
    into = writer(path, radar.step)
    archive = into.archive()
    assert archive is not None
    since = START + (index - 576) * radar.step
    archive.marks(since)
    archive.refusals  # noqa: B018
    archive.redundant(since)
    assert archive.status.size == index
    into.commit(radar.grid, [radar.scan(index)], [], "one scan")
    return time.perf_counter() - began


def opened(path: Path) -> float:
    """Open for training: read the status and the rain of all blocks; returns seconds."""
    began = time.perf_counter()
    archive = Archive.open(path)
    archive.block_statistics("rain_rate", archive.status == 1)
    return time.perf_counter() - began


# -- 20 years of a large domain --------------------------------------------------------------------


def make_up(path: Path, radar: Radar, steps: int) -> None:
    """An archive whose first and last scans are real; of the others it has the records only."""
    numbers = [0, *range(steps - CONTEXT, steps)]
    writer(path, radar.step).commit(radar.grid, [radar.scan(i) for i in numbers], [], "ends")
    session = open_repository(str(path)).writable_session(BRANCH)
    arrays: Any = zarr.open_group(session.store, mode="r+")
    digests = np.random.default_rng(0)
    for low in range(1, steps - CONTEXT, 2**17):
        high = min(low + 2**17, steps - CONTEXT)
        rows = slice(first_row_of(arrays) + low, first_row_of(arrays) + high)
        times = pd.date_range(START + low * radar.step, periods=high - low, freq=radar.step)
        sources = times.strftime("/data/radar/%Y/%m/%d/composite_%Y%m%d%H%M.nc")
        arrays["status"][rows] = OK
        arrays["seen"][rows] = np.arange(low, high, dtype=np.uint64) + 1
        arrays["checksum"][rows] = digests.integers(0, 2**63, high - low, dtype=np.uint64)
        arrays["digest"][rows] = digests.integers(0, 256, (high - low, 16), dtype=np.uint8)
        arrays["source"][rows] = np.array(sources, dtype="T")
    session.commit("records")


def open_long(path: Path, radar: Radar, steps: int) -> None:
    assert (Archive.open(path).status == OK).sum() >= steps


def append_long(path: Path, radar: Radar, steps: int) -> None:
    append(path, radar, int(Archive.open(path).status.size))


def status_long(path: Path, radar: Radar, steps: int) -> None:
    assert status(str(path)).present >= steps


def context_long(path: Path, radar: Radar, steps: int) -> None:
    archive = Archive.open(path)
    newest = int(np.flatnonzero(archive.status == OK)[-1])
    assert archive.times[newest] >= START + (steps - 1) * radar.step
    assert archive.codes[newest - CONTEXT + 1 : newest + 1].shape == (CONTEXT, *LONG_SHAPE)


def marks_long(path: Path, radar: Radar, steps: int) -> None:
    assert Archive.open(path).marks().size >= steps


def rain_long(path: Path, radar: Radar, steps: int) -> None:
    archive = Archive.open(path)
    archive.mean_rain(np.arange(archive.status.size) >= archive.status.size - 2000)


LONG = {
    "open, read the status": open_long,
    "append a scan": append_long,
    "squall status": status_long,
    "codes of a forecast's context": context_long,
    "marks of all files": marks_long,
    "mean rain of 2,000 scans": rain_long,
}


def long_archives(folder: Path) -> list[dict[str, Any]]:
    """CPU time and memory of what is done with a month and with 20 years of a large domain."""
    rows = []
    for steps in LONG_STEPS:
        path = folder / f"long-{steps}"
        make_up(path, Radar(LONG_SHAPE, LONG_STEP, CONTEXT + 1), steps)
        for name, run in LONG.items():
            seconds, megabytes = alone(run, path, steps)
            rows.append(
                {
                    "what": name,
                    "time steps": steps,
                    "CPU [ms]": 1e3 * seconds,
                    "memory [MB]": megabytes,
                }
            )
        rows.append(
            {
                "what": "bytes on disk",
                "time steps": steps,
                "CPU [ms]": "",
                "memory [MB]": size(path) / 1e6,
            }
        )
    return rows


def alone(run: Callable[..., None], path: Path, steps: int) -> tuple[float, float]:
    """CPU seconds and growth of memory in MB of a call in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (run, path, steps))


def _measured(run: Callable[..., None], path: Path, steps: int) -> tuple[float, float]:
    radar = Radar(LONG_SHAPE, LONG_STEP, CONTEXT + 1)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of memory
    before = _memory_kb("VmRSS")
    run(path, radar, steps)  # imports what is needed, too
    began = time.process_time()
    run(path, radar, steps)
    return time.process_time() - began, (_memory_kb("VmHWM") - before) / 1e3


def _memory_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


# -- growth and size -------------------------------------------------------------------------------


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
    options.add_argument("--parts", nargs="+", default=["growth", "disk", "long"])
    arguments = options.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        results: dict[str, Any] = {}
        if "growth" in arguments.parts:
            results["growth"] = growth(folder, Radar(), arguments.steps)
            print(f"One append to an archive of {SIDE} × {SIDE} pixels (median of {APPENDS})")
            show(results["growth"])
        if "disk" in arguments.parts:
            results["on_disk"] = on_disk(folder, Radar(), arguments.appends)
            show(results["on_disk"])
        if "long" in arguments.parts:
            results["long"] = long_archives(folder)
            print("A month and 20 years of scans every 2 min, 3500 × 7000 pixels")
            show(results["long"])
        keep(arguments, results)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
