"""The command `squall train`."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from squall.pipeline.cli.options import add_common_options, add_options, configured, existing_path
from squall.pipeline.train.config import TrainConfig

EXAMPLES = """\
example:
  squall train configs/experiments/small.yaml --archive archives/knmi.icechunk --out runs/knmi \\
    data.batch_size=8
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `squall train`."""
    parser.add_argument(
        "config",
        type=existing_path,
        metavar="EXPERIMENT.yaml",
        help="the experiment (configs/experiments); write it first",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="a.b=value",
        help="change a value of the experiment, like optimiser.learning_rate=0.001",
    )
    add_common_options(parser)
    parser.add_argument(
        "--archive",
        nargs="+",
        action="extend",
        default=[],
        metavar="ADDRESS",
        help="archives to train on (default: data.archives of the experiment)",
    )
    parser.add_argument(
        "--init",
        metavar="MODEL",
        help="begin with the weights of a checkpoint, of exported weights or of a packaged model, "
        "as far as they fit (default: init of the experiment)",
    )
    add_options(parser, TrainConfig)
    parser.add_argument(
        "--check",
        action="store_true",
        help="check configuration and data, print samples, weights and memory, and stop",
    )
    parser.set_defaults(run=run, take_unknown=take_overrides)


def take_overrides(arguments: argparse.Namespace, unknown: list[str]) -> list[str]:
    """Move overrides that argparse put elsewhere to ``overrides``; returns the other words.

    Overrides may stand anywhere: those behind ``--archive`` become archives, because it takes
    several values, and those behind other flags stay unknown.
    """
    arguments.overrides += [word for word in arguments.archive if _is_override(word)]
    arguments.archive = [word for word in arguments.archive if not _is_override(word)]
    arguments.overrides += [word for word in unknown if _is_override(word)]
    return [word for word in unknown if not _is_override(word)]


def _is_override(text: str) -> bool:
    key, separator, _ = text.partition("=")
    dotted = all(name.isidentifier() for name in key.split("."))
    return bool(separator) and dotted and not Path(text).exists()


def run(arguments: argparse.Namespace) -> int:
    """Train, or only check; returns the exit code."""
    from pytorch_lightning.utilities.rank_zero import rank_zero_only

    from squall.pipeline.config import load_config
    from squall.pipeline.train.experiment import ExperimentConfig
    from squall.pipeline.train.run import train

    rank = getattr(rank_zero_only, "rank", 0)  # of the processes that train together
    if rank:
        logging.getLogger("squall").setLevel(logging.WARNING)
    overrides = list(arguments.overrides)
    if arguments.archive:
        overrides.append(f"data.archives={json.dumps(arguments.archive)}")
    if arguments.init:
        overrides.append(f"init={json.dumps(arguments.init)}")
    experiment = load_config(arguments.config, ExperimentConfig, overrides)
    if experiment.trial:
        from squall.pipeline.trial.run import check_trial

        check_trial(experiment)
    if arguments.check:
        from squall.pipeline.train.check import check_training

        print(check_training(experiment))
        return 0
    try:
        result = train(configured(TrainConfig, arguments, experiment=experiment))
    except KeyboardInterrupt:
        if not rank:
            raise
        return 0  # rank 0 reports for all; Lightning kills it if another rank ends in an error
    if not rank:
        loss = f"best validation loss {result.best_val_loss:.4f}"
        if result.best == result.last:
            loss = "no validation"
        print(f"{result.epochs} epochs, {loss}: {result.best}")
        if experiment.trial:
            from squall.pipeline.trial.run import trial

            tried = trial(result, experiment)
            print("\n\n".join([f"model: {tried.model}", *tried.reports]))
    return 0
