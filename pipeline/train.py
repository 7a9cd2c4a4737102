"""Train a network on archives: configuration, Lightning trainer, run folder."""

from __future__ import annotations

import json
import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pytorch_lightning.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
)
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tqdm.contrib.logging import logging_redirect_tqdm

from convgru import (
    CheckpointError,
    LossConfig,
    NetworkConfig,
    NowcastModule,
    OptimiserConfig,
    load_nowcaster,
)
from datasets.datamodule import TRAIN, VALIDATION, DataConfig, RainDataModule
from datasets.errors import ConfigError
from pipeline.forecast import PERSISTENCE
from pipeline.progress import shows_bars
from pipeline.provenance import squall_version

log = logging.getLogger("squall.train")


class TrainerConfig(BaseModel):
    """How long, on what and when to stop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_epochs: int = Field(default=30, gt=0)
    max_minutes: float | None = Field(
        default=None, gt=0, description="stop after so long, whatever the epoch [min]"
    )
    patience: int = Field(
        default=8, gt=0, description="epochs without a better validation loss before stopping"
    )
    gradient_clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | Literal["auto"] = Field(default="auto", description="how many devices to use")
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field(
        default="auto", description="auto: bf16 on a GPU that has it, 32 bits elsewhere"
    )


class ExperimentConfig(BaseModel):
    """Everything that a training run depends on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="name of the model, on maps and in tables")
    seed: int = Field(default=1, ge=0)
    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    data: DataConfig = DataConfig()
    trainer: TrainerConfig = TrainerConfig()

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentConfig:
        if self.name == PERSISTENCE:
            raise ValueError(f"name '{PERSISTENCE}' is that of the method to compare with")
        stride = self.network.total_stride
        if self.data.crop % stride:
            raise ValueError(
                f"data.crop {self.data.crop} must be a multiple of {stride}, the network's strides "
                "multiplied"
            )
        return self


class TrainConfig(BaseModel):
    """One training run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment: ExperimentConfig
    out: Path = Field(description="run folder")
    resume: bool = Field(default=False, description="go on with the run in the folder")


@dataclass(frozen=True)
class TrainResult:
    """What a training run left behind."""

    out: Path
    best: Path
    last: Path
    best_val_loss: float
    epochs: int


def train(config: TrainConfig) -> TrainResult:
    """Train and write checkpoints, log and the resolved configuration to a run folder.

    ``out`` receives ``config.yaml``, ``log/version_N/metrics.csv`` (N counts resumptions),
    ``best.ckpt`` (lowest validation loss) and ``last.ckpt``. With ``resume`` the run in the folder
    goes on from ``last.ckpt``.

    Raises
    ------
    ConfigError
        If the folder holds a run and ``resume`` is not set, if there is none to resume, or if the
        configuration names no archive, or archives of different steps.
    DataError
        If an archive is missing or has no window.
    """
    experiment, out = config.experiment, config.out
    last = out / "last.ckpt"
    if not experiment.data.archives:
        raise ConfigError("no archive to train on; give --archive or data.archives")
    if config.resume and not last.is_file():
        raise ConfigError(f"{out}: no last.ckpt to resume from; leave --resume out to start anew")
    if not config.resume and last.is_file():
        raise ConfigError(f"{out}: holds a run; add --resume to go on or choose another --out")
    data = RainDataModule(experiment.data, seed=experiment.seed)
    steps = {archive.step for archive in data.archives}
    if len(steps) > 1:
        raise ConfigError(
            "archives of different steps cannot be mixed: "
            + ", ".join(f"{a.address} {a.step.total_seconds() / 60:g} min" for a in data.archives)
        )
    log.info(
        "%d training and %d validation windows",
        sum(data.training.counts),
        sum(data.validation.counts),
    )
    pl.seed_everything(experiment.seed, workers=True, verbose=False)
    provenance = _provenance(experiment, data)
    if config.resume:
        provenance["archives"] = _went_before(last, experiment, provenance)
    module = NowcastModule(
        experiment.network,
        experiment.loss,
        experiment.optimiser,
        provenance=provenance,
    )
    best = ModelCheckpoint(
        dirpath=out, filename="best", monitor="val_loss", enable_version_counter=False
    )
    with _without_advice(), logging_redirect_tqdm():
        try:
            trainer = _trainer(experiment.trainer, out, best)
        except MisconfigurationException as error:
            raise ConfigError(f"trainer: {error}") from error
        if trainer.is_global_zero:
            out.mkdir(parents=True, exist_ok=True)
            resolved = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
            (out / "config.yaml").write_text(resolved, encoding="utf-8")
        try:
            trainer.fit(module, data, ckpt_path=last if config.resume else None, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl-C, after a graceful end
            if trainer.interrupted:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                raise KeyboardInterrupt from None
            raise
    best_loss = best.best_model_score
    return TrainResult(
        out=out,
        best=out / "best.ckpt",
        last=last,
        best_val_loss=float(best_loss) if best_loss is not None else float("nan"),
        epochs=trainer.current_epoch,
    )


def _went_before(
    last: Path, experiment: ExperimentConfig, provenance: dict[str, Any]
) -> list[dict[str, Any]]:
    """The archives of a resumed run with all times that it was ever trained or validated on.

    Raises
    ------
    ConfigError
        If the run in the folder has another network or other archives.
    """
    try:
        nowcaster, before = load_nowcaster(last)
    except CheckpointError as error:
        raise ConfigError(str(error)) from error
    if nowcaster.network.config != experiment.network:
        raise ConfigError(f"{last}: is of another network; resume with the run's own config.yaml")
    earlier = {archive["name"]: archive for archive in before["archives"]}
    now = {archive["name"]: archive for archive in provenance["archives"]}
    if earlier.keys() != now.keys():
        raise ConfigError(
            f"{last}: was trained on {', '.join(earlier)}, not on {', '.join(now)}; resume with "
            "the same archives"
        )
    merged = []
    for name, archive in now.items():
        kinds = ("training_periods", "validation_periods")
        both = {
            kind: archive[kind] + [p for p in earlier[name][kind] if p not in archive[kind]]
            for kind in kinds
        }
        merged.append(archive | both)
    return merged


def _trainer(config: TrainerConfig, out: Path, best: ModelCheckpoint) -> pl.Trainer:
    # save_last of `best` would write only when there is a new best: another callback for each epoch
    last = ModelCheckpoint(dirpath=out, filename="last", enable_version_counter=False)
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        precision=_precision(config),
        max_epochs=config.max_epochs,
        max_time={"seconds": round(60 * config.max_minutes)} if config.max_minutes else None,
        gradient_clip_val=config.gradient_clip,
        logger=CSVLogger(out, name="log"),
        log_every_n_steps=10,
        callbacks=[
            best,
            last,
            EarlyStopping(monitor="val_loss", patience=config.patience),
            LearningRateMonitor(logging_interval="epoch"),
            _EpochLines(),
        ],
        use_distributed_sampler=False,  # EpochSampler shards itself
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=shows_bars(),
    )


def _precision(config: TrainerConfig) -> Any:
    if config.precision != "auto":
        return config.precision
    gpu = config.accelerator != "cpu" and torch.cuda.is_available()
    return "bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true"


def _provenance(config: ExperimentConfig, data: RainDataModule) -> dict[str, Any]:
    """What a forecast needs to know and to name; plain JSON values."""
    return {
        "squall_version": squall_version(),
        "name": config.name,
        "context": config.data.context,
        "lead_times": config.data.lead_times,
        "step_s": int(data.archives[0].step.total_seconds()),
        "archives": [
            {
                "name": a.name,
                "path": a.address,
                "snapshot": a.snapshot,
                "training_periods": [list(p) for p in data.periods(a, TRAIN)],
                "validation_periods": [list(p) for p in data.periods(a, VALIDATION)],
            }
            for a in data.archives
        ],
        "experiment": json.dumps(config.model_dump(mode="json")),
    }


@contextmanager
def _without_advice() -> Iterator[None]:
    """Silence Lightning where it advises what is done on purpose, or warns of its own code."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # advertisements
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",  # crops are cut from memory
            ".*log_every_n_steps.*",
            "Checkpoint directory .* exists and is not empty",
            ".*isinstance.treespec, LeafSpec.*",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield


class _EpochLines(pl.Callback):
    """One plain line an epoch, on terminals and in log files alike."""

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = trainer.callback_metrics
        shown = ("train_loss", "val_loss", "val_csi", "val_csi_persistence")
        log.info(
            "epoch %d of %d: %s",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            ", ".join(f"{name} {float(values[name]):.4f}" for name in shown if name in values),
        )
