"""Train a network on archives: trainer, run folder, resumption."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    TQDMProgressBar,
)
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from tqdm.contrib.logging import logging_redirect_tqdm

from squall.convgru import NowcastModule, compile_network
from squall.datasets.errors import ConfigError
from squall.datasets.training.datamodule import RainDataModule
from squall.pipeline.progress import shows_bars
from squall.pipeline.provenance import atomic_path, code_version, now_utc
from squall.pipeline.train.checkpoints import AtomicCheckpoints, LastCheckpoint, RunCheckpoint
from squall.pipeline.train.experiment import ExperimentConfig, TrainConfig, TrainerConfig
from squall.pipeline.train.log_lines import EpochLines
from squall.pipeline.train.moving_average import MovingAverage
from squall.pipeline.train.resume import Position, archives_of_run, check_order, with_snapshots_of
from squall.pipeline.train.trackers import trackers
from squall.pipeline.train.validation_pictures import ValidationPictures
from squall.pipeline.train.watch import Stopped, Watch

log = logging.getLogger("squall.train")


@dataclass(frozen=True)
class TrainResult:
    """What a training run left behind; without validation the best is the last, its loss NaN."""

    out: Path
    best: Path
    last: Path
    best_val_loss: float
    epochs: int


def train(config: TrainConfig) -> TrainResult:
    """Train and write checkpoints, metrics and the resolved configuration to a run folder.

    ``out`` receives ``config.yaml`` (with the archives' snapshots: the same run can be had again
    from it), ``log/version_N/metrics.csv`` (N counts resumptions) and what other trackers write,
    ``best.ckpt`` (lowest validation loss; not without validation) and ``last.ckpt``. With
    ``resume`` the run in the folder goes on from ``last.ckpt``, within the epoch where it was.

    On several devices every process calls this; rank 0 alone writes.

    Raises
    ------
    ConfigError
        If the folder holds a run and ``resume`` is not set, if there is none to resume, if it
        cannot go on with this configuration, or if the configuration names no archive.
    DataError
        If an archive is missing or has no window, or the loss is not finite.
    KeyboardInterrupt
        After SIGTERM (`pipeline.interrupts.Terminated`) or Ctrl-C, once ``last.ckpt`` is written.
    """
    experiment, out = config.experiment, config.out
    last = out / "last.ckpt"
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; --out names the run's folder")
    if config.resume and not last.is_file():
        raise ConfigError(f"{out}: no last.ckpt to resume from; leave --resume out to start anew")
    if not config.resume and last.is_file():
        raise ConfigError(f"{out}: holds a run; add --resume to go on or choose another --out")
    before = Position.of(last, experiment) if config.resume else None
    if before:
        experiment = with_snapshots_of(before, experiment)
    data = RainDataModule(experiment.data, seed=experiment.seed)
    validates = bool(data.validation.samples and any(data.validation.counts))
    log.info(
        "%d training and %d validation windows",
        sum(data.training.counts),
        sum(data.validation.counts),
    )
    pl.seed_everything(experiment.seed, workers=True, verbose=False)
    best = RunCheckpoint(
        dirpath=out, filename="best", monitor="val_loss", enable_version_counter=False
    )
    watch = Watch(data, last, experiment.trainer)
    with _without_advice(), logging_redirect_tqdm():
        try:
            validating = [ValidationPictures(data), best] if validates else []
            trainer = _trainer(experiment, out, [watch, *validating], validates=validates)
        except MisconfigurationException as error:
            raise ConfigError(f"trainer: {error}") from error
        provenance = provenance_of(experiment, data, trainer.world_size)
        if before:
            check_order(before, provenance["order"])
            provenance["archives"] = archives_of_run(before, provenance["archives"])
        module = NowcastModule(
            experiment.network,
            experiment.loss,
            experiment.optimiser,
            provenance=provenance,
            seed=experiment.seed,
        )
        if experiment.trainer.compile:
            compile_network(module.network)
        if trainer.is_global_zero:
            _write_config(out, experiment, data)
        log.info(
            "%s %s: %s on %d %s, %s",
            "goes on in" if before else "begins in",
            out,
            experiment.name,
            trainer.world_size,
            trainer.strategy.root_device.type,
            trainer.precision,
        )
        try:
            with watch.listening():
                trainer.fit(module, data, ckpt_path=last if before else None, weights_only=True)
        except (Stopped, SystemExit):  # the latter is what Lightning makes of Ctrl-C
            if watch.interruption is not None:
                raise watch.interruption from None
            raise
        finally:
            data.close()
    best_loss = best.best_model_score
    return TrainResult(
        out=out,
        best=out / "best.ckpt" if validates else last,
        last=last,
        best_val_loss=float(best_loss) if best_loss is not None else float("nan"),
        epochs=trainer.current_epoch,
    )


def _write_config(out: Path, experiment: ExperimentConfig, data: RainDataModule) -> None:
    resolved = experiment.model_dump(mode="json")
    for share, archive in zip(resolved["data"]["archives"], data.archives, strict=True):
        share["snapshot"] = archive.snapshot
    text = f"# squall {code_version()}, {now_utc()}\n{yaml.safe_dump(resolved, sort_keys=False)}"
    with atomic_path(out / "config.yaml") as part:
        part.write_text(text, encoding="utf-8")


def _trainer(
    experiment: ExperimentConfig, out: Path, watching: list[pl.Callback], *, validates: bool
) -> pl.Trainer:
    config = experiment.trainer
    stopping = [EarlyStopping(monitor="val_loss", patience=config.patience)] if validates else []
    # one callback writes either every epoch or every so many steps; both write one file
    written: dict[str, Any] = {"dirpath": out, "filename": "last", "enable_version_counter": False}
    average = [MovingAverage(config.ema_decay)] if config.ema_decay else []
    plugins: list[Any] = [AtomicCheckpoints()]
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    distributed = config.num_nodes > 1 or device_count(config) > 1
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=DDPStrategy(gradient_as_bucket_view=True) if distributed else "auto",
        plugins=plugins,
        precision=precision(config),
        max_epochs=config.max_epochs,
        min_epochs=0,  # when the time is up, it is up
        gradient_clip_val=config.gradient_clip,
        accumulate_grad_batches=config.accumulate,
        logger=trackers(experiment.trackers, out, experiment.name),
        log_every_n_steps=10,
        callbacks=[
            *average,
            *watching,
            *stopping,
            LearningRateMonitor(logging_interval="step"),
            EpochLines(),
            *([TQDMProgressBar(refresh_rate=10)] if shows_bars() else []),  # each waits for a GPU
            LastCheckpoint(**written),
            LastCheckpoint(**written, every_n_train_steps=config.save_every_steps),
        ],
        use_distributed_sampler=False,  # the loader shards itself
        limit_val_batches=None if validates else 0,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=shows_bars(),
    )


def device_count(config: TrainerConfig) -> int:
    """How many devices of each node a configuration means on this machine."""
    if config.devices != "auto":
        return config.devices
    return max(1, torch.cuda.device_count()) if config.accelerator != "cpu" else 1


def precision(config: TrainerConfig) -> Any:
    """The precision that a configuration means on this machine."""
    if config.precision != "auto":
        return config.precision
    gpu = config.accelerator != "cpu" and torch.cuda.is_available()
    return "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"


def provenance_of(config: ExperimentConfig, data: RainDataModule, world: int) -> dict[str, Any]:
    """What a forecast and a resumption need to know and to name; plain JSON values.

    Parameters
    ----------
    world : processes that train together.
    """
    splits = zip(data.periods("training"), data.periods("validation"), strict=True)
    order = config.data.model_dump(mode="json", exclude={"archives", "workers", "batch_size"})
    return {
        "squall_version": code_version(),
        "name": config.name,
        "context": config.data.context,
        "lead_times": config.data.lead_times,
        "steps_s": data.steps_s,
        "spacings_m": data.spacings_m,
        "archives": [
            {
                "name": archive.name,
                "path": archive.address,
                "snapshot": archive.snapshot,
                "training_periods": [list(period) for period in training],
                "validation_periods": [list(period) for period in validation],
            }
            for archive, (training, validation) in zip(data.archives, splits, strict=True)
        ],
        "order": order
        | {
            "seed": config.seed,
            "samples of a batch on all devices": config.data.batch_size * world,
            "accumulate": config.trainer.accumulate,
            "snapshots": [archive.snapshot for archive in data.archives],
            "weight": [share.weight for share in config.data.archives],
            "speeds": [share.speeds or config.data.speeds for share in config.data.archives],
            "coarsen": [share.coarsen or config.data.coarsen for share in config.data.archives],
        },
        "experiment": json.dumps(config.model_dump(mode="json")),
    }


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence Lightning where it advises what is done on purpose, or warns of its own code."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)  # advertisements
    with warnings.catch_warnings():
        for message in (
            ".*log_every_n_steps.*",
            "Checkpoint directory .* exists and is not empty",
            ".*isinstance.treespec, LeafSpec.*",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
