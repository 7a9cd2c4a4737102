"""The command `squall init`."""

from __future__ import annotations

import argparse
import shlex
import sys

from squall.pipeline.cli.options import add_common_options, add_options, configured
from squall.pipeline.init.config import InitConfig

EXAMPLES = """\
examples:
  squall init 'radar/**/*.nc' --out mynetwork.yaml --plot scan.png
  squall init radar/2024/06/01/scan_202406011200.h5
  squall init 's3://noaa-mrms-pds/CONUS/PrecipRate_00.00/20240601/*-12*.grib2.gz' --anonymous
  squall init radolan.tar.bz2 --out radolan.yaml
  squall init --config mynetwork.yaml --plot scan.png

Each line of the configuration says what was found, and what is a guess. A line with ??? is for you
to fill in. Then see a scan with --config, as in the last example. Without --out the configuration
is printed, and the summary goes to standard error.

exit codes: 0 the configuration can be used as it is; 1 something is missing, or a file cannot be
read; 2 wrong arguments
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall init`."""
    add_common_options(parser)
    add_options(parser, InitConfig)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look at the files and write the configuration; returns the exit code."""
    config = configured(InitConfig, arguments)
    from squall.pipeline.init.run import init, try_configuration

    if config.config is not None:
        print(try_configuration(config))
        return 0
    result = init(config)
    about = sys.stderr if config.out is None else sys.stdout
    if config.out is None:
        print(result.text, end="")
    else:
        print(f"{config.out} is written")
    print(result.summary, file=about)
    for problem in result.problems:
        print(f"squall: {problem}", file=sys.stderr)
    if result.missing:
        see = shlex.join(["squall", "init", "--config", str(config.out or "NETWORK.yaml")])
        print(f"still to fill in: {', '.join(result.missing)}", file=about)
        print(f"then see a scan: {see} --plot scan.png", file=about)
    return 0 if result.is_complete else 1
