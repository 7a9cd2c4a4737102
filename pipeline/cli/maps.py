"""The command `squall maps`."""

from __future__ import annotations

import argparse

from squall.pipeline.cli.options import add_common_options, add_options, configured, existing
from squall.pipeline.maps.config import MapsConfig

EXAMPLES = """\
examples:
  squall maps forecast.nc --out maps --animate
  squall maps forecast.nc --out maps --extent 4 8 51 54 --timezone Europe/Amsterdam --accumulation
  squall maps ensemble.nc --out maps --thresholds 0.5 5

Of an ensemble, the map of each lead time is that of the mean; further pictures show the chances at
the pixel and within 10 km, percentiles, members, and the times when rain begins and ends.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall maps`."""
    add_common_options(parser)
    add_options(parser, MapsConfig)
    parser.add_argument(
        "--archive",
        type=existing,
        metavar="ADDRESS",
        help="archive with the scans that were observed later; overview and animation show them "
        "beside the forecast",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw the maps; returns the exit code."""
    config = configured(MapsConfig, arguments)
    from squall.pipeline.maps.observed import observed_at_valid_times
    from squall.pipeline.maps.run import maps

    observed = None
    if arguments.archive is not None:
        observed = observed_at_valid_times(config.forecast, arguments.archive)
    result = maps(config, observed=observed)
    print(f"{len(result.maps)} maps in {config.out}, overview {result.overview}")
    if result.ensemble:
        print(f"{len(result.ensemble)} pictures of the ensemble: chances, members, times of rain")
    if result.animation:
        print(f"animation {result.animation}")
    return 0
