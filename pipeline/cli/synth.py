"""The command `squall synth`."""

from __future__ import annotations

import argparse

from squall.pipeline.cli.options import add_common_options, add_options, configured
from squall.pipeline.synth.config import SynthConfig

EXAMPLES = """\
examples:
  squall synth --out synthetic --hours 6
  squall synth --out synthetic --start 3h --hours 12 --live
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall synth`."""
    add_common_options(parser)
    add_options(parser, SynthConfig)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the scans; returns the exit code."""
    config = configured(SynthConfig, arguments)
    from squall.pipeline.synth.run import synth

    files = synth(config)
    print(f"{len(files)} scans in {config.out}, one every {config.radar.step_minutes} minutes")
    return 0
