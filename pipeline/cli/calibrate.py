"""The command `squall calibrate`."""

from __future__ import annotations

import argparse

from squall.pipeline.calibrate.config import CalibrateConfig
from squall.pipeline.cli.options import add_common_options, add_options, configured
from squall.pipeline.outputs import check_output_file, output_path

EXAMPLES = """\
examples:
  squall calibrate --archive archives/knmi.icechunk --model runs/knmi/best.ckpt \\
    --out knmi.safetensors
  squall calibrate --archive archives/knmi.icechunk --model runs/knmi/best.ckpt \\
    --out knmi.safetensors --members 10
  squall forecast --archive archives/knmi.icechunk --model knmi.safetensors:best-csi \\
    --out forecast.nc
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall calibrate`."""
    add_common_options(parser)
    add_options(parser, CalibrateConfig)
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        help="also draw how reliable the chances are, before and after",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Calibrate the model; returns the exit code."""
    config = configured(CalibrateConfig, arguments)
    from squall.pipeline.calibrate.figure import SUFFIXES, draw_reliability
    from squall.pipeline.calibrate.report import ensemble_table, table
    from squall.pipeline.calibrate.run import calibrate

    picture = output_path(arguments.plot) if arguments.plot is not None else None
    if picture:
        check_output_file(picture, "--plot", SUFFIXES)
    result = calibrate(config)
    print(table(result))
    if config.members and result.calibration.ensemble:
        print(ensemble_table(result.calibration.ensemble))
    if picture:
        draw_reliability(result, picture)
    print(f"{config.out}: calibrated on {result.forecasts} forecasts of {config.archive}")
    return 0
