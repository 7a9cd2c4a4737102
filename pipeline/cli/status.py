"""The command `squall status`."""

from __future__ import annotations

import argparse
import json

from squall.pipeline.cli.options import add_common_options, existing
from squall.pipeline.outputs import check_output_file, output_path

EXAMPLES = """\
example:
  squall status archives/knmi.icechunk --plot coverage.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall status`."""
    parser.add_argument("archive", type=existing, metavar="ARCHIVE", help="folder or s3://…")
    add_common_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.add_argument("--plot", metavar="FILE.png", help="also draw a calendar of the coverage")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what the archive holds; returns the exit code."""
    from squall.pipeline.status.summary import status

    if arguments.plot is not None:
        from squall.pipeline.status.calendar_plot import SUFFIXES, plot_coverage

        picture = output_path(arguments.plot)
        check_output_file(picture, "--plot", SUFFIXES)
    summary = status(arguments.archive)
    if arguments.plot is not None:
        plot_coverage(arguments.archive, picture, summary.snapshot)
    print(json.dumps(summary.as_dict(), indent=2) if arguments.json else summary)
    return 0
