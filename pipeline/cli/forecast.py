"""The command `squall forecast`."""

from __future__ import annotations

import argparse

from squall.pipeline.cli.options import add_common_options, add_options, configured
from squall.pipeline.forecast.config import ForecastConfig

EXAMPLES = """\
examples:
  squall forecast --archive archives/knmi.icechunk --model squall-base --out forecast.nc
  squall forecast --archive archives/knmi.icechunk --model runs/knmi/best.ckpt --out forecast.nc \\
    --at 2010-08-26T06:00
  squall forecast --archive archives/knmi.icechunk --model squall-base --members 20 --out f.nc \\
    --thresholds 0.5 2 10 --products median percentiles chances neighbourhood times

The file of an ensemble holds the mean as rain_rate, and what --products names: each of the
members; the median and --percentiles; the chance of each threshold at the pixel, and of any rain
that heavy within 10 km (neighbourhood), which is higher; the amounts of all lead times; the times
when rain begins and ends.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall forecast`."""
    add_common_options(parser)
    add_options(parser, ForecastConfig)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the nowcast; returns the exit code."""
    config = configured(ForecastConfig, arguments)
    from squall.pipeline.forecast.run import forecast

    nowcast = forecast(config)
    times = nowcast.time.values.astype("datetime64[m]")
    highest = float(nowcast.rain_rate.max())  # NaN: nothing was observed, or all of it left
    most = f"up to {highest:.1f} mm/h" if highest == highest else "no pixel could be forecast"
    members = f"{config.members} members, mean " if config.members else ""
    print(f"{config.out}: {times.size} lead times, {times[0]} to {times[-1]} UTC, {members}{most}")
    return 0
