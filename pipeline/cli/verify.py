"""The command `squall verify`."""

from __future__ import annotations

import argparse

from squall.pipeline.cli.options import add_common_options, add_options, configured
from squall.pipeline.verify.config import VerifyConfig

EXAMPLES = """\
examples:
  squall verify --archive archives/knmi.icechunk --model runs/knmi/best.ckpt --out scores --every 15
  squall verify --archive archives/knmi.icechunk archives/fmi.icechunk --minutes 60 --out scores \\
    --model squall-base --model extrapolation --model s-prog \\
    --period 2010-08-26T04:00/2010-08-26T07:35 --period 2017-05-09/2017-05-10
  squall verify --archive archives/knmi.icechunk --forecasts summer.zarr pysteps.nc --out scores

A run that was stopped continues where it stopped. Exit code 1 if a method failed on some cases.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall verify`."""
    add_common_options(parser)
    add_options(parser, VerifyConfig)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify and print the table of scores; returns the exit code."""
    config = configured(VerifyConfig, arguments)
    from squall.pipeline.verify.run import verify

    result = verify(config)
    files = "\n".join(str(path) for path in (result.netcdf, result.csv, result.report))
    print(f"{result.table}\n\n{files}")
    return 1 if result.failures else 0
