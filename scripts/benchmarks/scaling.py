"""Training throughput of `squall train` with 1 and 2 processes on the CPU (gloo).

Each process computes with one thread, so that two have twice the arithmetic of one, on synthetic
radar or an archive of yours. The numbers are the run's own (metrics.csv): samples per second of
all processes together and the share of the time spent waiting for data.
"""

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tables import keep, parser, show

ROOT = Path(__file__).parents[2]
SQUALL = Path(sys.executable).with_name("squall")
SAMPLES = 192


def main() -> None:
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--archive", type=Path, help="default: 12 hours of synthetic radar")
    options.add_argument("--rounds", type=int, default=3)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        archive = arguments.archive or _synthetic(folder)
        rates: dict[int, list[float]] = {1: [], 2: []}
        waits: dict[int, list[float]] = {1: [], 2: []}
        for number in range(arguments.rounds):
            for processes in rates:
                out = folder / f"run-{processes}-{number}"
                rate, wait = _train(archive, out, processes)
                rates[processes].append(rate)
                waits[processes].append(wait)
    best = {processes: max(values) for processes, values in rates.items()}
    rows = [
        {
            "processes": processes,
            "samples/s": best[processes],
            "of 1 process": best[processes] / best[1],
            "waiting for data": f"{100 * min(waits[processes]):.1f} %",
        }
        for processes in rates
    ]
    show(rows)
    keep(arguments, {"samples_per_s": rates, "data_wait": waits})


def _synthetic(folder: Path) -> Path:
    files, archive = folder / "files", folder / "synthetic.icechunk"
    config = ROOT / "configs" / "archives" / "synthetic.yaml"
    _squall("synth", "--out", files, "--hours", "12")
    _squall("ingest", config, "--archive", archive, "--files", f"{files}/**/*.nc")
    return archive


def _train(archive: Path, out: Path, processes: int) -> tuple[float, float]:
    """Samples per second and share of time waiting for data in the second epoch."""
    _squall(
        *("train", ROOT / "configs" / "experiments" / "small.yaml"),
        *("--archive", archive, "--out", out, "trainer.accelerator=cpu"),
        *(f"trainer.devices={processes}", f"data.samples_per_epoch={SAMPLES * processes}"),
        *("data.validation_samples=8", "trainer.max_epochs=2", "data.split.guard_minutes=0"),
    )
    with (out / "log" / "version_0" / "metrics.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row["samples_per_s"]][-1]
    return float(last["samples_per_s"]), float(last["data_wait"])


def _squall(*command: object) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [str(SQUALL), *map(str, command), "--quiet"]
    subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
