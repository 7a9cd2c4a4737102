"""Time and memory of the ensembles by engine, members and grid."""

from __future__ import annotations

import multiprocessing
import resource
import time
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import Any

import numpy as np
import torch
from tables import keep, parser, show

from squall.convgru.ensemble import EnsembleRun, marginal_members, mixed_members, stochastic_members
from squall.convgru.heads.cascade import scale_bands
from squall.convgru.thresholds import THRESHOLDS_MM_H

SCANS, STEP_MIN, SPACING_KM = 4, 5.0, 1.0


def scans(rows: int, columns: int) -> torch.Tensor:
    """(T, H, W) mm/h: rain on a fifth of the grid, moving by three pixels in a step."""
    generator = torch.Generator().manual_seed(0)
    white = torch.randn(1, 1, rows, columns, generator=generator)
    bands = scale_bands(white, torch.ones_like(white))
    weights = bands.std(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    field = (bands / weights)[0, 1:6].sum(dim=0)
    rain = torch.exp(field - field.quantile(0.8) if field.numel() < 2**24 else field - 2.0) - 1
    return torch.stack([rain.clamp(min=0).roll(3 * t, 1) for t in range(SCANS)])


def chances(last_HW: torch.Tensor) -> torch.Tensor:
    """(K, H, W): made-up chances of exceeding thresholds; a network's own time is not measured."""
    logarithm = last_HW.clamp(min=0.02).log()
    return torch.stack([torch.sigmoid(2 * (logarithm - np.log(t))) for t in THRESHOLDS_MM_H])


def measure(engine: str, members: int, rows: int, columns: int, lead_times: int) -> dict[str, Any]:
    """Make an ensemble in this process."""
    context = scans(rows, columns)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = EnsembleRun(STEP_MIN, SPACING_KM, np.datetime64("2024-06-01T12:00"))
    of_lead = chances(context[-1]).to(device)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, began_cpu = time.perf_counter(), time.process_time()
    if engine == "marginal":
        ensemble = marginal_members(context.to(device), [of_lead] * lead_times, members, run)
    elif engine == "mixed":
        of_leads = [of_lead] * lead_times
        ensemble = mixed_members(context.to(device), of_leads, lead_times, members, run)
    else:
        ensemble = stochastic_members(context.to(device), lead_times, members, run)
    for rain in ensemble:
        rain.cpu()
    return {
        "engine": engine,
        "members": members,
        "grid": f"{rows}x{columns}",
        "lead times": lead_times,
        "time [s]": time.perf_counter() - began,
        "CPU time [s]": time.process_time() - began_cpu,
        "peak memory [GB]": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "of it before [GB]": before / 1e6,
    }


def rows(arguments: Namespace) -> list[dict[str, Any]]:
    """One row for each ensemble, each measured in a process of its own."""
    table = []
    context = multiprocessing.get_context("spawn")
    for grid in arguments.grid:
        height, width = (int(side) for side in grid.split("x"))
        for engine, members in product(arguments.engine, arguments.members):
            with ProcessPoolExecutor(1, mp_context=context) as process:
                task = process.submit(measure, engine, members, height, width, arguments.lead_times)
                table.append(task.result())
    return table


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--engine", nargs="+", default=["stochastic", "marginal", "mixed"])
    options.add_argument("--members", type=int, nargs="+", default=[5, 20, 50])
    options.add_argument("--grid", nargs="+", default=["765x700"], help="rows x columns")
    options.add_argument("--lead-times", type=int, default=12)
    arguments = options.parse_args()
    table = rows(arguments)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    threads = torch.get_num_threads()
    print(f"{where}, {threads} threads, torch {torch.__version__}")
    show(table)
    keep(arguments, {"device": where, "threads": threads, "rows": table})


if __name__ == "__main__":
    main()
