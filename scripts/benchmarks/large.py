"""CPU time and peak memory of forecasts of large grids, beside another commit."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
from ensemble import scans
from tables import keep, parser, show

STEP = pd.Timedelta("5min")
SCANS = 8
FIRST = pd.Timestamp("2024-06-01T12:00")
# a projection in metres, of the KNMI composite
PROJECTION = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 0.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
    "false_easting": 0.0,
    "false_northing": 0.0,
    "semi_major_axis": 6378137.0,
    "semi_minor_axis": 6356752.0,
}
CONFIGURATION = """name: large
title: rain on a large grid
step: 5min
source: FOLDER/scan_*.nc
variable: rainfall_rate
"""
# the command line of a commit from its root: with and without a source folder
COMMAND_LINES = {
    "src": "from squall.pipeline.cli.main import script",
    ".": "from pipeline.cli import script",
}
COMMANDS = {
    "squall-base": ("forecast", "--model", "squall-base", "--lead-times", "12"),
    "20 members": (
        *("forecast", "--model", "squall-base", "--lead-times", "12", "--members", "20"),
        *("--products", "median", "chances", "times", "--thresholds", "0.5", "2", "5"),
    ),
    "extrapolation": ("forecast", "--model", "extrapolation", "--lead-times", "12"),
}


def write_scans(folder: Path, rows: int, columns: int) -> None:
    """Write scans as CF netCDF, one file each."""
    rain = scans(rows, columns).clamp(max=100).numpy()
    for number in range(SCANS):
        time = FIRST + number * STEP
        with netCDF4.Dataset(folder / f"scan_{time:%Y%m%d%H%M}.nc", "w") as file:
            file.Conventions = "CF-1.8"
            for name, size, step in (("y", rows, -1000.0), ("x", columns, 1000.0)):
                file.createDimension(name, size)
                axis = file.createVariable(name, "f8", (name,))
                axis.setncatts({"standard_name": f"projection_{name}_coordinate", "units": "m"})
                axis[:] = step * (np.arange(size) - size / 2) - (3_500_000 if name == "y" else 0)
            file.createVariable("crs", "i4").setncatts(PROJECTION)
            valid = file.createVariable("time", "f8")
            valid.setncatts({"standard_name": "time", "units": "seconds since 1970-01-01"})
            valid[...] = time.timestamp()
            rate = file.createVariable("rainfall_rate", "f4", ("y", "x"), zlib=True, complevel=1)
            rate.setncatts({"units": "mm h-1", "grid_mapping": "crs"})
            # the scans of the benchmark of ensembles go on by three pixels in a step
            rate[:] = np.roll(rain[0], 3 * number, axis=1)


def squall(root: Path, words: Sequence[str], threads: int) -> tuple[float, float]:
    """CPU time [s] and peak memory [GB] of a command of the checkout at a folder.

    Raises
    ------
    subprocess.CalledProcessError
        If the command fails.
    """
    source = "src" if (root / "src").is_dir() else "."
    environment = os.environ | {
        "PYTHONPATH": str(root / source),
        "OMP_NUM_THREADS": str(threads),
    }
    command = [sys.executable, "-c", f"{COMMAND_LINES[source]}; script()", *words]
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, env=environment, cwd=root, stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            sys.stderr.write(said.read().decode(errors="replace")[-2000:])
            raise subprocess.CalledProcessError(child.returncode, words)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def rows(arguments: Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """One row for each grid and command."""
    roots = {"this": Path(__file__).parents[2]}
    if arguments.against:
        roots["other"] = arguments.against.resolve()
    for grid in arguments.grid:
        height, width = (int(side) for side in grid.split("x"))
        files = folder / grid
        files.mkdir()
        write_scans(files, height, width)
        configuration = files / "large.yaml"
        configuration.write_text(CONFIGURATION.replace("FOLDER", str(files)))
        first: float | None = None
        for name in arguments.command:
            row: dict[str, Any] = {"grid": grid, "forecast": name}
            for which, root in roots.items():
                archive = files / f"{which}.icechunk"
                if not archive.exists():
                    ingest = ("ingest", str(configuration), "--archive", str(archive))
                    squall(root, ingest, arguments.threads)
                out = ("--archive", str(archive), "--out", str(files / f"{which}.nc"))
                cpu, memory = squall(root, (*COMMANDS[name], *out), arguments.threads)
                row |= {f"{which} CPU [s]": cpu, f"{which} peak [GB]": memory}
            if len(roots) == 2:
                for unit in ("CPU [s]", "peak [GB]"):
                    row[f"ratio {unit.split()[0]}"] = row[f"this {unit}"] / row[f"other {unit}"]
            first = first or row["this CPU [s]"]
            row["times the first"] = row["this CPU [s]"] / first
            print(row, file=sys.stderr, flush=True)
            yield row


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--grid", nargs="+", default=["765x700", "2048x2048", "3500x7000"])
    options.add_argument("--command", nargs="+", choices=COMMANDS, default=["squall-base"])
    options.add_argument("--against", type=Path, help="checkout of another commit (git worktree)")
    options.add_argument("--threads", type=int, default=1)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        table = list(rows(arguments, Path(folder).resolve()))
    show(table)
    keep(arguments, {"rows": table})


if __name__ == "__main__":
    main()
