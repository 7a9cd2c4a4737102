"""Builds the Lightning trainer of an experiment: devices, precision, callbacks.

What this machine offers decides where the configuration says "auto".
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, TQDMProgressBar
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from squall.datasets.errors import ConfigError
from squall.pipeline.progress import shows_bars
from squall.pipeline.train.checkpoints import AtomicCheckpoints, EarlyStopping, LastCheckpoint
from squall.pipeline.train.experiment import ExperimentConfig, TrainerConfig
from squall.pipeline.train.log_lines import EpochLines
from squall.pipeline.train.moving_average import MovingAverage
from squall.pipeline.train.trackers import trackers


def build_trainer(
    experiment: ExperimentConfig, out: Path, callbacks: Sequence[pl.Callback], *, validates: bool
) -> pl.Trainer:
    """Build the trainer of a run.

    Parameters
    ----------
    out : the run folder.
    callbacks : of this run, besides those that every run has.
    validates : whether there are validation samples.

    Raises
    ------
    ConfigError
        If this machine does not have the configured devices, or a tracker cannot be used.
    """
    config = experiment.trainer
    distributed = config.num_nodes > 1 or device_count(config) > 1
    try:
        return pl.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=DDPStrategy(gradient_as_bucket_view=True) if distributed else "auto",
            plugins=_plugins(),
            precision=precision(config),
            max_epochs=config.max_epochs,
            min_epochs=0,  # so that the time limit may end a run in its first epoch
            gradient_clip_val=config.gradient_clip,
            accumulate_grad_batches=config.accumulate,
            logger=trackers(experiment.trackers, out, experiment.name),
            log_every_n_steps=10,
            callbacks=_callbacks(config, out, callbacks, validates=validates),
            use_distributed_sampler=False,  # the loader gives each rank its own samples
            limit_val_batches=None if validates else 0,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            enable_progress_bar=shows_bars(),
        )
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {error}") from error


def device_count(config: TrainerConfig) -> int:
    """Return the number of devices on each node that a configuration means on this machine."""
    if config.devices != "auto":
        return config.devices
    return max(1, torch.cuda.device_count()) if config.accelerator != "cpu" else 1


def precision(config: TrainerConfig) -> Any:
    """Return the precision that a configuration means on this machine."""
    if config.precision != "auto":
        return config.precision
    gpu = config.accelerator != "cpu" and torch.cuda.is_available()
    return "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"


@contextmanager
def without_advice() -> Iterator[None]:
    """Silence Lightning's advice against what Squall does on purpose, and about its own code."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)  # advertisements
    with warnings.catch_warnings():
        for message in (
            ".*log_every_n_steps.*",
            "Checkpoint directory .* exists and is not empty",
            ".*isinstance.treespec, LeafSpec.*",
            "Be aware that when using `ckpt_path`",  # last.ckpt of an earlier version of Squall
        ):
            warnings.filterwarnings("ignore", message=message)
        yield


def _plugins() -> list[Any]:
    plugins: list[Any] = [AtomicCheckpoints()]
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))  # scripts/train.slurm requeues
    return plugins


def _callbacks(
    config: TrainerConfig, out: Path, callbacks: Sequence[pl.Callback], *, validates: bool
) -> list[pl.Callback]:
    average = [MovingAverage(config.ema_decay)] if config.ema_decay else []
    stopping = [EarlyStopping(monitor="val_loss", patience=config.patience)] if validates else []
    # each update of the bar waits for the GPU, so there are few
    bars = [TQDMProgressBar(refresh_rate=10)] if shows_bars() else []
    # a Lightning callback saves either after epochs or after steps: two callbacks, one file
    last: dict[str, Any] = {"dirpath": out, "filename": "last", "enable_version_counter": False}
    return [
        *average,
        *callbacks,
        *stopping,
        LearningRateMonitor(logging_interval="step"),
        EpochLines(),
        *bars,
        LastCheckpoint(**last),
        LastCheckpoint(**last, every_n_train_steps=config.save_every_steps),
    ]
