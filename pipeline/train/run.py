"""Train a network on archives: the run folder, the training, its result."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from tqdm.contrib.logging import logging_redirect_tqdm

from squall.convgru import ExceedanceModule, NowcastModule, compile_network
from squall.datasets.errors import ConfigError
from squall.datasets.orphans import as_launcher, end_with_launcher
from squall.datasets.training.datamodule import RainDataModule
from squall.pipeline.forecast.radar_network import MAP_OF
from squall.pipeline.outputs import check_output_folder
from squall.pipeline.provenance import atomic_path
from squall.pipeline.train.checkpoints import RunCheckpoint
from squall.pipeline.train.experiment import ExperimentConfig, TrainConfig
from squall.pipeline.train.first_weights import begin
from squall.pipeline.train.map_of_place import map_provenance, network_of
from squall.pipeline.train.moving_windows import keep_windows, moving_frame_of
from squall.pipeline.train.resume import (
    Position,
    archives_of_run,
    changed_settings,
    check_order,
    with_snapshots_of,
)
from squall.pipeline.train.run_provenance import provenance_of, sessions_of
from squall.pipeline.train.trainer import build_trainer, without_advice
from squall.pipeline.train.validation_pictures import ValidationPictures
from squall.pipeline.train.watch import Stopped, Watch

log = logging.getLogger("squall.train")


@dataclass(frozen=True)
class TrainResult:
    """The outputs of a training run.

    Without validation ``best`` is the last checkpoint and ``best_val_loss`` is NaN.
    ``test_periods`` has for each archive the periods [start, end) of the test, ISO format, UTC.
    """

    out: Path
    best: Path
    last: Path
    best_val_loss: float
    epochs: int
    test_periods: tuple[tuple[tuple[str, str], ...], ...]


def train(config: TrainConfig) -> TrainResult:
    """Train and write checkpoints, metrics and the resolved configuration to a run folder.

    The folder ``out`` gets ``config.yaml`` (with the archives' snapshots, so that it repeats the
    run), ``log/version_N/metrics.csv`` (N counts resumptions), the files of other trackers,
    ``best.ckpt`` (lowest validation loss; only with validation) and ``last.ckpt``. With
    ``resume`` the run in the folder goes on from ``last.ckpt``, also within an epoch.

    On several devices every process calls this function; only rank 0 writes.

    Raises
    ------
    ConfigError
        If the folder holds a run and ``resume`` is not set, if it holds no run to resume, if the
        run cannot go on with this configuration, or if no archive is configured.
    DataError
        If an archive is missing or has no window, or the loss is not finite.
    KeyboardInterrupt
        After SIGTERM (`pipeline.interrupts.Terminated`) or Ctrl-C, once ``last.ckpt`` is written.
    """
    end_with_launcher()
    experiment, out, last = config.experiment, config.out, config.out / "last.ckpt"
    _check_folder(out, last, resume=config.resume)
    position = Position.of(last, experiment) if config.resume else None
    changed = {}
    if position:
        changed = changed_settings(position, experiment)
        experiment = with_snapshots_of(position, experiment)
    moving_frame = moving_frame_of(experiment, out)
    data = RainDataModule(experiment.data, seed=experiment.seed, moving_frame=moving_frame)
    windows = sum(data.training.counts), sum(data.validation.counts)
    log.info("%d training and %d validation windows", *windows)
    pl.seed_everything(experiment.seed, workers=True, verbose=False)
    validates = bool(data.validation.samples and any(data.validation.counts))
    best = RunCheckpoint(
        dirpath=out, filename="best", monitor="val_loss", enable_version_counter=False
    )
    watch = Watch(data, last, experiment.trainer)
    callbacks: list[pl.Callback] = [watch]
    if validates:
        # drawing takes longer than the validation of a small network
        callbacks += [ValidationPictures(data)] if experiment.trackers.show_pictures else []
        callbacks += [best]
    with without_advice(), logging_redirect_tqdm():
        trainer = build_trainer(experiment, out, callbacks, validates=validates)
        module = _module(experiment, data, trainer, position)
        # minutes of work: whatever the module may refuse is refused before
        keep_windows(data.kept_windows(), experiment.data.context)
        module.provenance["sessions"] = sessions_of(position, changed)
        if trainer.is_global_zero:
            _write_config(out, experiment, data, module.provenance["sessions"])
        _log_start(experiment, out, trainer, resumed=position is not None)
        _fit(trainer, module, data, watch, last if position else None)
    best_loss = best.best_model_score
    return TrainResult(
        out=out,
        best=out / "best.ckpt" if validates else last,
        last=last,
        best_val_loss=float("nan") if best_loss is None else float(best_loss),
        epochs=trainer.current_epoch,
        test_periods=tuple(tuple(periods) for periods in data.periods("test")),
    )


def _check_folder(out: Path, last: Path, *, resume: bool) -> None:
    check_output_folder(out, "--out")
    if resume and not last.is_file():
        raise ConfigError(f"{out}: no last.ckpt to resume from; omit --resume for a new run")
    if not resume and last.is_file():
        raise ConfigError(f"{out}: holds a run; add --resume to go on or choose another --out")


def _module(
    experiment: ExperimentConfig,
    data: RainDataModule,
    trainer: pl.Trainer,
    position: Position | None,
) -> NowcastModule:
    """Build the network with its loss, optimiser and provenance."""
    provenance = provenance_of(experiment, data, trainer.world_size)
    if position:
        check_order(position, provenance["order"])
        provenance["archives"] = archives_of_run(position, provenance["archives"], experiment)
        if "init" in position.provenance:
            provenance["init"] = position.provenance["init"]
    provenance |= map_provenance(experiment, data)
    kind = ExceedanceModule if experiment.network.head == "exceedance" else NowcastModule
    module = kind(
        network_of(experiment, data),
        experiment.loss,
        experiment.optimiser,
        provenance=provenance,
        seed=experiment.seed,
    )
    map_of = provenance.get(MAP_OF)
    origin = begin(module.network, experiment, resumed=position is not None, map_of=map_of)
    module.provenance.update(origin)
    if experiment.trainer.compile:
        compile_network(module.network)
    return module


def _write_config(
    out: Path, experiment: ExperimentConfig, data: RainDataModule, sessions: list[dict[str, Any]]
) -> None:
    """Write all values of the run, and as comments when it went on and what changed then."""
    resolved: dict[str, Any] = experiment.model_dump(mode="json")
    for share, archive in zip(resolved["data"]["archives"], data.archives, strict=True):
        share["snapshot"] = archive.snapshot
    comments = [
        f"# from step {session['from_step']}: squall {session['squall_version']}, "
        f"{session['started']}"
        + "".join(f"; {key} was {was}, is {now}" for key, (was, now) in session["changed"].items())
        for session in sessions
    ]
    text = "\n".join([*comments, yaml.safe_dump(resolved, sort_keys=False)])
    with atomic_path(out / "config.yaml") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _log_start(
    experiment: ExperimentConfig, out: Path, trainer: pl.Trainer, *, resumed: bool
) -> None:
    log.info(
        "%s %s: %s on %d %s, %s",
        "goes on in" if resumed else "begins in",
        out,
        experiment.name,
        trainer.world_size,
        trainer.strategy.root_device.type,
        trainer.precision,
    )


def _fit(
    trainer: pl.Trainer,
    module: NowcastModule,
    data: RainDataModule,
    watch: Watch,
    checkpoint: Path | None,
) -> None:
    """Train until the end or until the watch stops the run, and end the loader processes."""
    try:
        with watch.listening(), as_launcher():
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
    except (Stopped, SystemExit):  # Lightning makes SystemExit of Ctrl-C
        if watch.interruption is not None:
            raise watch.interruption from None
        raise
    finally:
        data.close()
