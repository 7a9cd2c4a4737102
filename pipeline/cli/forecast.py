"""The command `squall forecast`."""

from __future__ import annotations

import argparse

from squall.pipeline.cli.options import add_common_options, add_options, configured
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.period_config import OF_PERIOD, PeriodConfig

EXAMPLES = """\
examples:
  squall forecast --archive archives/knmi.icechunk --model squall-base --out forecast.nc
  squall forecast --archive archives/knmi.icechunk --model runs/knmi/best.ckpt --out forecast.nc \\
    --at 2010-08-26T06:00
  squall forecast --archive archives/knmi.icechunk --model squall-base --members 20 --out f.nc \\
    --thresholds 0.5 2 10 --products median percentiles chances neighbourhood times
  squall forecast --archive archives/knmi.icechunk --model squall-base --out summer.zarr \\
    --period 2010-06-01/2010-08-31 --every 10

The file of an ensemble holds the mean as rain_rate, and what --products names: each of the
members; the median and --percentiles; the chance of each threshold at the pixel, and of any rain
that heavy within 10 km (neighbourhood), which is higher; the amounts of all lead times; the times
when rain begins and ends.

With --period all forecasts of a period go into one Zarr store. A run that was stopped goes on.
Reference times whose context has a missing scan are left out, and the store lists them. Exit code
1 if a forecast failed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall forecast`."""
    add_common_options(parser)
    add_options(parser, PeriodConfig)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the nowcast, or many; returns the exit code."""
    if any(hasattr(arguments, name) for name in OF_PERIOD):
        return _run_period(configured(PeriodConfig, arguments))
    config = configured(ForecastConfig, arguments)
    from squall.pipeline.forecast.run import forecast

    nowcast = forecast(config)
    times = nowcast.time.values.astype("datetime64[m]")
    highest = float(nowcast.rain_rate.max())  # NaN: nothing was observed, or all of it left
    most = f"up to {highest:.1f} mm/h" if highest == highest else "no pixel could be forecast"
    members = f"{config.members} members, mean " if config.members else ""
    print(f"{config.out}: {times.size} lead times, {times[0]} to {times[-1]} UTC, {members}{most}")
    return 0


def _run_period(config: PeriodConfig) -> int:
    from squall.pipeline.forecast.period import forecast_period

    result = forecast_period(config)
    first, last = (f"{time:%Y-%m-%d %H:%M}" for time in (result.times[0], result.times[-1]))
    print(
        f"{result.out}: {len(result.times)} forecasts, {first} to {last} UTC, {result.made} new; "
        f"{len(result.left_out)} reference times left out, {len(result.failed)} of them failed"
    )
    return 1 if result.failed else 0
