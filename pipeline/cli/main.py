"""The command line `squall`: parses, calls a stage, prints; owns exit codes and messages.

Exit codes: 0 all well; 1 something is wrong with the data (a file set aside, a scan missing);
2 a wrong argument or configuration; 3 another process is writing the archive; 130 interrupted,
143 terminated.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from squall import __version__
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.cli import export as cli_export
from squall.pipeline.cli import ingest as cli_ingest
from squall.pipeline.cli import verify as cli_verify
from squall.pipeline.cli.archive import add_archive_parser
from squall.pipeline.cli.process import explained, set_up_logging
from squall.pipeline.interrupts import sigterm_raises

log = logging.getLogger("squall")

DESCRIPTION = """\
Precipitation nowcasting: from radar netCDF files to forecast maps.

  synth      write a synthetic radar archive to try everything with
  ingest     radar files             -> archive
  status     what an archive holds
  archive    history, tags, expiry and check of an archive
  export     archive                 -> plain Zarr store (MLCast convention)
             checkpoint              -> weights to publish
  train      archive                 -> checkpoint
  forecast   archive + method        -> forecast (CF netCDF)
  verify     archives + methods      -> scores side by side
  maps       forecast                -> maps (PNG, animation)

'squall COMMAND --help' explains each. All times are UTC.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = _parse(sys.argv[1:] if argv is None else list(argv))
    as_json = arguments.log_format == "json"
    set_up_logging(quiet=arguments.quiet, as_json=as_json)
    with sigterm_raises():
        try:
            return int(arguments.run(arguments))
        except (ConfigError, DataError, OSError, KeyboardInterrupt) as error:
            message, code = explained(error)
        except Exception as error:
            if not type(error).__module__.startswith("icechunk"):
                raise
            message, code = f"the archive cannot be read or written: {error}", 1
    if as_json:
        log.error("%s", message, extra={"exit_code": code})
    else:
        print(f"squall: {message}", file=sys.stderr)
    return code


def script() -> None:
    """What `squall` runs: as `main`, and a run that was interrupted ends at once.

    Threads that were waiting for storage may otherwise abort the process while Python ends.
    """
    code = main()
    if code in (130, 143):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if arguments.command == "train":
        # overrides may stand anywhere, also behind --archive, which takes several values
        archives = arguments.archive or []
        arguments.overrides += [a for a in archives if _is_override(a)]
        arguments.archive = [a for a in archives if not _is_override(a)]
        arguments.overrides += [a for a in rest if _is_override(a)]
        rest = [a for a in rest if not _is_override(a)]
    if rest:
        parser.error(f"unrecognised arguments: {' '.join(rest)}")
    return arguments


def _is_override(text: str) -> bool:
    key, separator, _ = text.partition("=")
    dotted = all(part.isidentifier() for part in key.split("."))
    return bool(separator) and dotted and not Path(text).exists()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="squall", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"squall {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], int], help: str, example: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=example if "\n" in example else f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _common_arguments(sub)
        sub.set_defaults(run=run)
        return sub

    synth = command(
        "synth",
        _synth,
        "write a synthetic radar archive, one CF netCDF file per scan",
        "squall synth --out synthetic --hours 6",
    )
    synth.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the files"
    )
    synth.add_argument("--hours", type=float, default=24.0, metavar="H", help="length (default 24)")
    synth.add_argument("--seed", type=int, default=1, metavar="S", help="another seed, other rain")
    synth.add_argument(
        "--episode-hours",
        type=float,
        metavar="H",
        help="new weather every so many hours, to train on (default: one weather, the demo's)",
    )
    synth.add_argument(
        "--size", type=int, default=256, metavar="PX", help="side of the domain (default 256)"
    )

    ingest = command(
        "ingest",
        cli_ingest.run,
        "bring an archive up to date with radar files, in one pass",
        cli_ingest.EXAMPLES,
    )
    cli_ingest.add_arguments(ingest, _existing)

    status = command(
        "status",
        _status,
        "show what an archive holds: period, gaps, coverage, rejected scans",
        "squall status archives/knmi.icechunk --plot coverage.png",
    )
    status.add_argument(
        "archive", type=_archive_address, metavar="ARCHIVE", help="folder or s3://…"
    )
    status.add_argument("--json", action="store_true", help="print JSON, for scripts")
    status.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw a calendar picture of the coverage, too"
    )
    add_archive_parser(commands, _archive_address, _common_arguments)

    export = command(
        "export",
        cli_export.run,
        "write an archive as a plain Zarr store, or a checkpoint as weights",
        cli_export.EXAMPLES,
    )
    cli_export.add_arguments(export)

    train = command(
        "train",
        _train,
        "train a network and write checkpoints, log and the resolved configuration",
        "squall train configs/experiments/small.yaml --archive archives/knmi.icechunk "
        "--out runs/knmi data.batch_size=8",
    )
    train.add_argument(
        "config",
        type=_existing,
        metavar="EXPERIMENT.yaml",
        help="the experiment (configs/experiments); stands first",
    )
    train.add_argument(
        "--archive",
        nargs="+",
        metavar="PATH",
        help="archives to train on (default: data.archives of the experiment)",
    )
    train.add_argument(
        "--out", type=Path, metavar="DIR", help="run folder (default: runs/NAME of the experiment)"
    )
    train.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    train.add_argument(
        "--check",
        action="store_true",
        help="validate configuration and data, print samples, weights and memory, and stop",
    )
    train.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="a.b=value",
        help="change a value of the experiment, like optimiser.learning_rate=0.001",
    )

    forecast = command(
        "forecast",
        _forecast,
        "make one nowcast and write it as CF netCDF",
        "squall forecast --archive archives/knmi.icechunk --model runs/knmi/best.ckpt "
        "--out forecast.nc",
    )
    forecast.add_argument(
        "--archive",
        type=_archive_address,
        required=True,
        metavar="ADDRESS",
        help="where the observed scans are",
    )
    forecast.add_argument(
        "--model",
        required=True,
        metavar="METHOD",
        help="checkpoint of a `squall train` run, a model of the package like squall-base, or "
        "extrapolation, persistence and other methods without training",
    )
    forecast.add_argument(
        "--out", type=Path, required=True, metavar="FILE.nc", help="what to write"
    )
    forecast.add_argument(
        "--at",
        default="latest",
        metavar="TIME",
        help="time of the last scan to use, like 2010-08-26T06:00 (default: latest)",
    )
    forecast.add_argument(
        "--lead-times",
        type=int,
        metavar="N",
        help="steps to forecast (default: as trained; an hour without a model)",
    )

    verify = command(
        "verify",
        cli_verify.run,
        "score many forecasts of several methods against what came",
        cli_verify.EXAMPLES,
    )
    cli_verify.add_arguments(verify, _archive_address)

    maps = command(
        "maps", _maps, "draw maps of a forecast", "squall maps forecast.nc --out maps --animate"
    )
    maps.add_argument(
        "forecast", type=_existing, metavar="FORECAST.nc", help="what `squall forecast` wrote"
    )
    maps.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the maps")
    maps.add_argument("--animate", action="store_true", help="write an animation, too")
    maps.add_argument(
        "--archive",
        type=_existing,
        metavar="PATH",
        help="archive with what came: shown beside the forecast in the overview",
    )
    return parser


def _common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="print errors and results only")
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="lines for people, or one JSON object a line (default text)",
    )


def _existing(text: str) -> Path:
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder")
    return Path(text)


def _archive_address(text: str) -> str:
    return text if "://" in text else str(_existing(text))


# The stages are imported where they run: `squall --help` must not wait for torch.


def _synth(arguments: argparse.Namespace) -> int:
    from squall.pipeline.config import validated
    from squall.pipeline.synth.config import SynthConfig
    from squall.pipeline.synth.run import synth

    radar = {name: getattr(arguments, name) for name in ("hours", "seed", "episode_hours", "size")}
    config = validated(SynthConfig, {"out": arguments.out, "radar": radar}, "squall synth")
    written = synth(config)
    print(f"{len(written)} scans in {arguments.out}, one every {config.radar.step_minutes} minutes")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from squall.pipeline.status.summary import status

    found = status(arguments.archive)
    if arguments.plot is not None:
        from squall.pipeline.status.calendar_plot import plot_coverage

        plot_coverage(arguments.archive, arguments.plot, found.snapshot)
    print(json.dumps(found.as_dict(), indent=2) if arguments.json else found)
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from pytorch_lightning.utilities.rank_zero import rank_zero_only

    from squall.pipeline.config import load_config
    from squall.pipeline.train.experiment import ExperimentConfig, TrainConfig
    from squall.pipeline.train.run import train

    rank = getattr(rank_zero_only, "rank", 0)  # of the processes that train together
    if rank:
        log.setLevel(logging.WARNING)
    overrides = list(arguments.overrides)
    if arguments.archive:
        overrides.append(f"data.archives={json.dumps(arguments.archive)}")
    experiment = load_config(arguments.config, ExperimentConfig, overrides)
    if arguments.check:
        from squall.pipeline.train.check import check_training

        print(check_training(experiment))
        return 0
    out = arguments.out or Path("runs") / experiment.name
    try:
        result = train(TrainConfig(experiment=experiment, out=out, resume=arguments.resume))
    except KeyboardInterrupt:
        if not rank:
            raise
        return 0  # rank 0 says it for all; Lightning kills it where another one ends in error
    if not rank:
        loss = f"best validation loss {result.best_val_loss:.4f}"
        if result.best == result.last:
            loss = "no validation"
        print(f"{result.epochs} epochs, {loss}: {result.best}")
    return 0


def _forecast(arguments: argparse.Namespace) -> int:
    from squall.pipeline.config import validated
    from squall.pipeline.forecast.config import ForecastConfig
    from squall.pipeline.forecast.run import forecast

    values = {name: getattr(arguments, name) for name in ForecastConfig.model_fields}
    made = forecast(validated(ForecastConfig, values, "squall forecast"))
    times = made.time.values.astype("datetime64[m]")
    print(
        f"{arguments.out}: {times.size} lead times, {times[0]} to {times[-1]} UTC, "
        f"up to {float(made.rain_rate.max().fillna(0)):.1f} mm/h"
    )
    return 0


def _maps(arguments: argparse.Namespace) -> int:
    from squall.pipeline.config import validated
    from squall.pipeline.maps.config import MapsConfig
    from squall.pipeline.maps.run import maps, observed_at_valid_times

    values = {name: getattr(arguments, name) for name in ("forecast", "out", "animate")}
    config = validated(MapsConfig, values, "squall maps")
    observed = None
    if arguments.archive is not None:
        observed = observed_at_valid_times(config.forecast, arguments.archive)
    result = maps(config, observed=observed)
    print(f"{len(result.maps)} maps in {arguments.out}, overview {result.overview}")
    if result.animation:
        print(f"animation {result.animation}")
    return 0


if __name__ == "__main__":
    script()
