"""The command `squall live`."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path

from squall.datasets.errors import ConfigError
from squall.pipeline.cli.options import add_common_options, add_options, configured, existing_path
from squall.pipeline.config import load_config
from squall.pipeline.live.config import LiveConfig, LiveOptions

EXAMPLES = """\
examples:
  squall live configs/live/synthetic.yaml
  squall live mine.yaml --once
  squall live mine.yaml --replay archives/knmi.icechunk --speed 60

With --once it runs from cron. A replay with --speed 60 plays an hour in a minute.
The folder publish_to gets runs/ID/ (forecast.nc, frames, manifest.json), latest.json, which names
the newest run, and status.json and metrics.prom, which are written in each cycle.

exit codes with --once: 0 the forecast is fresh, late, or made with a gap; 1 it is stale, made by
extrapolation in place of the model, or there is none
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall live`."""
    parser.add_argument(
        "config",
        type=existing_path,
        metavar="CONFIG.yaml",
        help="the service: radar network, model, where to publish (configs/live)",
    )
    add_common_options(parser)
    add_options(parser, LiveOptions)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve; returns the exit code."""
    options = configured(LiveOptions, arguments)
    config = load_config(Path(arguments.config), LiveConfig)
    if options.replay is None and config.network is None:
        raise ConfigError(f"{arguments.config}: needs 'network', or give --replay ARCHIVE")
    if options.replay is None and config.network is not None:
        from squall.datasets.addresses import is_remote
        from squall.datasets.radar.network_config import RadarNetworkConfig
        from squall.pipeline.outputs import check_output_folder

        # both are refused before any work
        network = load_config(config.network, RadarNetworkConfig)
        archive = config.archive or network.archive
        if archive and not is_remote(archive):
            check_output_folder(Path(archive), "archive")
    from squall.pipeline.live.child import Child, ChildError
    from squall.pipeline.live.clock import Clock, ReplayClock
    from squall.pipeline.live.factory import WorkerFactory, start_of_replay, watch_of
    from squall.pipeline.live.run import live
    from squall.pipeline.live.states import FRESH, GAP, LATE

    clock = Clock()
    watch = watch_of(config) if config.watch and options.replay is None else None
    child = Child(WorkerFactory(config, options.replay))
    if options.replay is not None:
        start = start_of_replay(options.replay) if options.start is None else options.start
        with suppress(ChildError):  # the service says why, again and again
            child.start()  # before the clock, which runs fast
        clock = ReplayClock(start, options.speed)
    state = live(config, child, clock, once=options.once, end=options.end, watch=watch)
    print(f"{config.publish_to}: {state.name}, {state.reason}")
    return 0 if state.name in (FRESH, GAP, LATE) else 1
