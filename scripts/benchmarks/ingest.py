"""Speed of ingestion beside `open_mfdataset` and beside the bare libraries, and its memory.

Every contender reads the same files, copies of a network's archive shifted in time, on the same
cores, one after the other. Starting Dask's processes is part of Squall's time.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import netCDF4
import numcodecs
import numpy as np
import pandas as pd
import psutil
import xarray as xr
from tables import keep, parser, show

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import TIME_CHUNK
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.sources.find import find_files
from squall.datasets.synthetic.config import SyntheticConfig
from squall.pipeline.config import load_config
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.run import ingest
from squall.pipeline.synth.config import SynthConfig
from squall.pipeline.synth.run import synth

ROOT = Path(__file__).parents[2]
MEMORY_SCANS = (200, 2000)


def configuration(network: str) -> RadarNetworkConfig:
    return load_config(ROOT / "configs" / "archives" / f"{network}.yaml", RadarNetworkConfig)


def copies(network: str, folder: Path, count: int) -> list[str]:
    """Files of a network, repeated every eight hours up to the number wanted."""
    (pattern,) = configuration(network).source
    originals = [file.address for file in find_files([str(ROOT / pattern)])]
    if not originals:
        raise SystemExit(f"{pattern}: no file; this benchmark needs the radar archives beside it")
    folder.mkdir()
    paths: list[str] = []
    for round_ in range(-(-count // len(originals))):
        for original in originals[: count - len(paths)]:
            with netCDF4.Dataset(original) as file:
                scan_time = netCDF4.num2date(file["time"][0], file["time"].units)
            shift = pd.Timedelta("8h") * round_
            path = folder / f"{network}_{pd.Timestamp(str(scan_time)) + shift:%Y%m%d%H%M}.nc"
            shutil.copyfile(original, path)
            with netCDF4.Dataset(path, "a") as file:
                unit = pd.Timedelta(1, file["time"].units.split()[0])
                file["time"][0] = file["time"][0] + shift // unit
            paths.append(str(path))
    for path_ in paths:  # so that all contenders read files from the page cache
        Path(path_).read_bytes()
    return paths


# -- the contenders --------------------------------------------------------------------------------


def naive(files: list[str], out: Path, variable: str) -> None:
    """The obvious code of a user: `open_mfdataset` and `to_zarr`."""
    warnings.simplefilter("ignore")
    with xr.open_mfdataset(files, combine="nested", concat_dim="time") as dataset:
        field = dataset[[variable]].astype("float32")
        field[variable].encoding.clear()
        field.to_zarr(out, mode="w")


def squall(files: list[str], out: Path, network: str) -> None:
    report = ingest(IngestConfig(source=configuration(network), archive=out, files=tuple(files)))
    assert report.ingested == len(files), report


def read_bare(path: str, variable: str) -> int:
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        return int(np.asarray(file[variable][:]).size)


def floor(files: list[str], archive: Archive, variable: str) -> float:
    """Reading, inflating and compressing with the bare libraries, on all cores; seconds."""
    where = archive.status == 1
    codes = archive.codes[:][where]
    _, tile_y, tile_x = archive.codes.chunks
    blocks = [
        np.ascontiguousarray(codes[t : t + TIME_CHUNK, y : y + tile_y, x : x + tile_x])
        for t in range(0, len(codes), TIME_CHUNK)
        for y in range(0, codes.shape[1], tile_y)
        for x in range(0, codes.shape[2], tile_x)
    ]
    (stored,) = archive.codes.array.compressors
    codec = numcodecs.Zstd(stored.level, checksum=stored.checksum)
    cores = os.cpu_count() or 1
    context = multiprocessing.get_context("fork")  # forked processes share the blocks
    with context.Pool(cores) as pool:
        pool.map(partial(read_bare, variable=variable), files[:cores])
        began = time.perf_counter()
        pool.map(partial(read_bare, variable=variable), files, chunksize=TIME_CHUNK)
        reading = time.perf_counter() - began
    global _blocks
    _blocks = blocks
    with context.Pool(cores) as pool:
        began = time.perf_counter()
        pool.map(partial(compress_bare, codec=codec), range(len(blocks)), chunksize=4)
        return reading + time.perf_counter() - began


_blocks: list[np.ndarray] = []


def compress_bare(index: int, codec: Any) -> int:
    return len(codec.encode(_blocks[index]))


def speed(network: str, folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """Scans per second; the contenders take turns, and the best round of each counts."""
    variable = configuration(network).variable
    files = copies(network, folder / f"files-{network}", count)
    best: dict[str, float] = {}
    for _ in range(rounds):
        archive, store = folder / f"{network}.icechunk", folder / f"{network}.zarr"
        taken = {
            "squall": in_a_process(partial(squall, files, archive, network)),
            "naive": in_a_process(partial(naive, files, store, variable)),
            "bare": floor(files, Archive.open(archive), variable),
        }
        best = {name: min(seconds, best.get(name, np.inf)) for name, seconds in taken.items()}
        shutil.rmtree(archive)
        shutil.rmtree(store)
    shutil.rmtree(folder / f"files-{network}")
    return {
        "network": network,
        "scans": count,
        "open_mfdataset [scans/s]": count / best["naive"],
        "squall [scans/s]": count / best["squall"],
        "bare libraries [scans/s]": count / best["bare"],
        "squall / open_mfdataset": best["naive"] / best["squall"],
        "squall / bare libraries": best["bare"] / best["squall"],
    }


def in_a_process(run: Callable[[], None]) -> float:
    """Seconds of a call in a new process, imports not included."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe()
    process = context.Process(target=_timed, args=(run, sender))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"a contender ended with exit code {process.exitcode}")
    return float(receiver.recv())


def _timed(run: Callable[[], None], answer: Any) -> None:
    began = time.perf_counter()
    run()
    answer.send(time.perf_counter() - began)


# -- memory ----------------------------------------------------------------------------------------


def memory(folder: Path) -> list[dict[str, Any]]:
    """Peak memory of a process with its children, for few and for many scans."""
    most = max(MEMORY_SCANS)
    radar = SyntheticConfig(hours=most * 5 / 60, size=512, missing_fraction=0.0)
    files = [str(path) for path in synth(SynthConfig(out=folder / "synthetic", radar=radar))]
    rows: list[dict[str, Any]] = []
    for count in MEMORY_SCANS:
        listed = folder / f"{count}.txt"
        listed.write_text("\n".join(files[:count]))
        peak = peak_memory(
            [sys.executable, __file__, "--ingest-synthetic", str(listed), str(folder / str(count))]
        )
        rows.append({"scans": count, "pixels": "512 × 512", "peak memory [MB]": peak / 1e6})
    for row in rows:
        row["ratio"] = row["peak memory [MB]"] / rows[0]["peak memory [MB]"]
    return rows


def peak_memory(command: list[str]) -> int:
    """Peak resident memory of a command with its children, sampled 20 times a second."""
    process = subprocess.Popen(command)
    family = psutil.Process(process.pid)
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, sum(_resident(p) for p in [family, *_children(family)]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code != 0:
        raise SystemExit(f"the ingestion ended with exit code {code}")
    return peak


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def main() -> None:
    if sys.argv[1:2] == ["--ingest-synthetic"]:
        squall(Path(sys.argv[2]).read_text().split("\n"), Path(sys.argv[3]), "synthetic")
        return
    options = parser(__doc__ or "")
    options.add_argument("--scans", type=int, default=1840, help="files of each network")
    options.add_argument("--rounds", type=int, default=3, help="of which the best counts")
    options.add_argument("--networks", nargs="+", default=["knmi", "fmi"])
    options.add_argument("--parts", nargs="+", default=["speed", "memory"])
    arguments = options.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    results: dict[str, Any] = {}
    try:
        if "speed" in arguments.parts:
            results["speed"] = [
                speed(network, folder, arguments.scans, arguments.rounds)
                for network in arguments.networks
            ]
            show(results["speed"])
        if "memory" in arguments.parts:
            results["memory"] = memory(folder)
            show(results["memory"])
        keep(arguments, results)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
