"""The command `squall verify`: parse, call `squall.pipeline.verify.run`, print."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

EXAMPLES = """\
examples:
  squall verify --archive archives/knmi.icechunk --model runs/knmi/best.ckpt --out scores --every 15
  squall verify --archive archives/knmi.icechunk archives/fmi.icechunk --minutes 60 --out scores \\
    --model squall-base --model extrapolation --model s-prog \\
    --period 2010-08-26T04:00/2010-08-26T07:35 --period 2017-05-09/2017-05-10

A run that was stopped goes on where it was. Exit code 1 if a method could not forecast some cases.
"""


def add_arguments(verify: argparse.ArgumentParser, address: Callable[[str], str]) -> None:
    """Declare the arguments of `squall verify`; ``address`` parses an archive's."""
    verify.add_argument(
        "--archive",
        type=address,
        required=True,
        nargs="+",
        action="extend",
        metavar="ADDRESS",
        help="where the scans are; several are scored apart and pooled",
    )
    verify.add_argument(
        "--model",
        required=True,
        action="append",
        metavar="METHOD",
        help="checkpoint, packaged model, extrapolation, pysteps-extrapolation, s-prog, linda or "
        "steps; may be repeated. persistence comes with them",
    )
    verify.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for scores")
    times = verify.add_argument_group("which forecasts")
    times.add_argument("--start", metavar="T", help="first reference time (default: the first)")
    times.add_argument("--end", metavar="T", help="last reference time (default: the last)")
    times.add_argument(
        "--period",
        action="append",
        default=[],
        metavar="START/END",
        help="in place of --start and --end; may be repeated",
    )
    times.add_argument(
        "--every", type=float, metavar="MIN", help="minutes between reference times (default: all)"
    )
    times.add_argument(
        "--include-training",
        action="store_true",
        help="score times that a model was trained or validated on, too",
    )
    leads = verify.add_mutually_exclusive_group()
    leads.add_argument(
        "--lead-times",
        type=int,
        metavar="N",
        help="steps to forecast (default: as trained; an hour without a model)",
    )
    leads.add_argument("--minutes", type=float, metavar="MIN", help="how far to forecast")
    scores = verify.add_argument_group("how to score")
    scores.add_argument(
        "--thresholds", type=float, nargs="+", metavar="MM/H", help="default 0.1 0.5 1 2 5 10 20 30"
    )
    scores.add_argument(
        "--scales", type=float, nargs="+", metavar="KM", help="of the FSS, default 1 2 4 … 64"
    )
    scores.add_argument(
        "--pixels",
        choices=("reachable", "observed"),
        default="reachable",
        help="of those observed and known to every method, count only the ones that the motion of "
        "rain reaches from inside what the last scan observed (the default), or all",
    )
    scores.add_argument(
        "--block", type=float, metavar="MIN", help="blocks of the bootstrap (default 60)"
    )
    scores.add_argument(
        "--members", type=int, metavar="N", help="of the STEPS ensemble (default 20)"
    )
    scores.add_argument(
        "--cases", type=int, metavar="N", help="forecasts to draw for each archive (default 3)"
    )
    verify.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core)")
    verify.add_argument(
        "--fresh", action="store_true", help="make anew what an earlier run has finished"
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify; returns the exit code."""
    from squall.pipeline.config import validated
    from squall.pipeline.verify.config import VerifyConfig
    from squall.pipeline.verify.run import verify

    renamed = {
        "archives": arguments.archive,
        "models": arguments.model,
        "periods": arguments.period,
        "every_minutes": arguments.every,
        "thresholds_mm_h": arguments.thresholds,
        "scales_km": arguments.scales,
        "block_minutes": arguments.block,
    }
    given = vars(arguments) | renamed
    values = {
        name: given[name]
        for name in VerifyConfig.model_fields
        if given[name] is not None  # the configuration has the defaults
    }
    result = verify(validated(VerifyConfig, values, "squall verify"))
    files = "\n".join(str(path) for path in (result.netcdf, result.csv, result.report))
    print(f"{result.table}\n\n{files}")
    return 1 if result.failures else 0
