"""The command `squall calibrate`."""

from __future__ import annotations

import argparse

from squall.pipeline.calibrate.config import CalibrateConfig
from squall.pipeline.cli.options import add_common_options, add_options, configured

EXAMPLES = """\
examples:
  squall calibrate --archive archives/knmi.icechunk --model runs/knmi/best.ckpt \\
    --out knmi.safetensors
  squall forecast --archive archives/knmi.icechunk --model knmi.safetensors:best-csi \\
    --out forecast.nc
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall calibrate`."""
    add_common_options(parser)
    add_options(parser, CalibrateConfig)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Calibrate the model; returns the exit code."""
    config = configured(CalibrateConfig, arguments)
    from squall.pipeline.calibrate.report import table
    from squall.pipeline.calibrate.run import calibrate

    result = calibrate(config)
    print(table(result))
    print(f"{config.out}: calibrated on {result.forecasts} forecasts of {config.archive}")
    return 0
