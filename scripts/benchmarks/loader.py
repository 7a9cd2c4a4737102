"""Speed of the training loader beside other loaders, and ways to read a chunk.

Measured are batches of eight windows of 24 × 256 × 256 pixels from real KNMI and FMI scans, which
are repeated in time to ``--gib`` of codes and lie in the page cache. Contenders with the same
number of workers are started together and take turns; each figure is the best turn, without the
start of the workers and without batches that were made while others had their turn. Bytes are what
the kernel counts as read by a contender's processes; CPU is the time of its processes.

``mlcast`` and ``plain`` (the same written plainly: xarray ``isel``, normalised with NumPy) read
what ``squall export`` writes: float32, one compressed chunk a scan. They deliver normalised floats
and Squall delivers codes, which it turns and decodes on the device; ``squall, decoded`` does that,
too, on this CPU. Figures are those of a long epoch: the first batches of an epoch are slower,
since nothing has been read ahead yet. The floor copies a window of codes out of a larger array.

The environment of mlcast, which wants other packages than Squall::

    python -m venv FOLDER && FOLDER/bin/pip install torch==2.13.0 xarray zarr cf_xarray beartype \
        jaxtyping loguru pytorch-lightning fiddle s3fs dask
    FOLDER/bin/pip install --no-deps mlcast==0.1.0
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from loader_contender import CONTEXT, CROP, LEAD_TIMES
from loader_data import archives, float_store
from loader_reads import reads
from tables import keep, parser, show

from squall.datasets.archive.archive import Archive
from squall.datasets.training.config import DataConfig

WINDOW = (CONTEXT + LEAD_TIMES, CROP, CROP)
LOADER = Path(__file__).with_name("loader_contender.py")


class Contender:
    """A loader in its process, waiting for its turn; the best turn counts."""

    def __init__(self, label: str, python: str, name: str, options: dict[str, Any]) -> None:
        self.label, self.workers = label, options["workers"]
        self.process = subprocess.Popen(
            [python, str(LOADER), name, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self.start_s: float = self._answer()["start [s]"]
        self.samples_s = 0.0
        self.cpu_ms = self.read_mib = float("inf")

    def turn(self, seconds: float) -> None:
        before = self._used()
        assert self.process.stdin is not None
        print(seconds, file=self.process.stdin, flush=True)
        answer = self._answer()
        cpu_s, read = (b - a for a, b in zip(before, self._used(), strict=True))
        self.samples_s = max(self.samples_s, answer["samples/s"])
        self.cpu_ms = min(self.cpu_ms, 1e3 * cpu_s / answer["samples"])
        self.read_mib = min(self.read_mib, read / answer["samples"] / 2**20)

    def row(self, reference: float) -> dict[str, Any]:
        return {
            "loader": self.label,
            "workers": self.workers,
            "samples/s": self.samples_s,
            "codes [MB/s]": self.samples_s * np.prod(WINDOW) / 1e6,
            "read/sample [MiB]": self.read_mib,
            "CPU/sample [ms]": self.cpu_ms,
            "start [s]": self.start_s,
            "ratio": self.samples_s / reference,
        }

    def end(self) -> None:
        family = [self._root(), *self._root().children(recursive=True)]
        for process in family:
            process.kill()
        self.process.wait()

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.label}: its process ended; see its error above")
        return dict(json.loads(line))

    def _root(self) -> psutil.Process:
        return psutil.Process(self.process.pid)

    def _used(self) -> tuple[float, float]:
        """CPU seconds and bytes read so far by the process and its workers."""
        family = [self._root(), *self._root().children(recursive=True)]
        times = [process.cpu_times() for process in family]
        return (
            sum(t.user + t.system for t in times),
            sum(process.io_counters().read_chars for process in family),
        )


def compare(
    stores: dict[str, Any], workers: int, arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of all loaders with a number of workers; ratios are to mlcast or to the plain one."""
    options = stores | {"workers": workers}
    mlcast = arguments.mlcast_python
    contenders = []
    try:
        if mlcast is not None:
            contenders.append(Contender("mlcast", mlcast, "mlcast", options))
        contenders.append(Contender("plain", sys.executable, "plain", options))
        for crops, decoded in product(arguments.crops_per_read, (False, True)):
            label = f"squall, {crops} crops/read" + (", decoded" if decoded else "")
            described = options | {"decoded": decoded, "crops_per_read": crops}
            contenders.append(Contender(label, sys.executable, "squall", described))
        for _ in range(arguments.rounds):
            for contender in contenders:
                contender.turn(arguments.seconds)
        return [contender.row(contenders[0].samples_s) for contender in contenders]
    finally:
        for contender in contenders:
            contender.end()


def floor(reference: float) -> dict[str, Any]:
    """Speed of copying the codes of one window from a larger array."""
    box = np.random.default_rng(0).integers(0, 256, [2 * side for side in WINDOW], dtype=np.uint8)
    window = np.empty(WINDOW, dtype=np.uint8)
    best = float("inf")
    for _ in range(200):
        began = time.perf_counter()
        np.copyto(window, box[5:29, 77 : 77 + CROP, 33 : 33 + CROP])
        best = min(best, time.perf_counter() - began)
    return {
        "loader": "floor: copy of the codes",
        "workers": 0,
        "samples/s": 1 / best,
        "codes [MB/s]": window.size / best / 1e6,
        "read/sample [MiB]": 0.0,
        "CPU/sample [ms]": 1e3 * best,
        "start [s]": 0.0,
        "ratio": 1 / best / reference,
    }


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--gib", type=float, default=4.0, help="codes of both archives together")
    options.add_argument("--seconds", type=float, default=5.0, help="of each turn")
    options.add_argument("--rounds", type=int, default=5, help="turns of each loader")
    options.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    usual = DataConfig.model_fields["crops_per_read"].default
    options.add_argument("--crops-per-read", type=int, nargs="+", default=[usual])
    options.add_argument("--mlcast-python", metavar="PATH", help="Python that mlcast is in")
    arguments = options.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        paths = archives(folder, arguments.gib)
        opened = [Archive.open(path) for path in paths]
        of_reads = reads(opened)
        print("Reading chunks of 24 × 256 × 256 codes, best of several turns [ms per chunk]")
        show(of_reads)
        stores = {
            "archives": paths,
            "stores": [float_store(path) for path in paths],
            "scans": [archive.codes.shape[0] for archive in opened],
        }
        rows: list[dict[str, Any]] = []
        for workers in arguments.workers:
            rows += compare(stores, workers, arguments)
        rows.append(floor(rows[0]["samples/s"]))
        reference = "mlcast" if arguments.mlcast_python else "plain"
        print(f"Windows of {' × '.join(map(str, WINDOW))}; ratio to {reference}, as many workers")
        show(rows)
        keep(arguments, {"reads": of_reads, "loaders": rows})
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
