"""Resumes a run: reads its last checkpoint and checks that the configuration fits it.

Every key of an experiment is refused if it changes, unless a table here says that it may.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from squall.convgru import CHECKPOINT_KEY, CheckpointError, read_checkpoint
from squall.datasets.addresses import is_remote
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.train.experiment import ExperimentConfig
from squall.pipeline.train.watch import TRAINED_S, Watch

MAY_CHANGE = frozenset(
    {
        "network.checkpoint_activations",
        "network.place_grid",  # of a checkpoint: found by the training
        "optimiser.learning_rate",
        "optimiser.weight_decay",
        "optimiser.warmup_fraction",
        "data.workers",
        "trainer.max_epochs",
        "trainer.max_minutes",
        "trainer.patience",
        "trainer.gradient_clip",
        "trainer.ema_decay",
        "trainer.save_every_steps",
        "trainer.accelerator",
        "trainer.devices",
        "trainer.num_nodes",
        "trainer.precision",
        "trainer.compile",
        "trackers.tensorboard",
        "trackers.mlflow",
        "trackers.wandb",
        "trial",
    }
)
"""Keys that take effect when a run is resumed."""

MAY_CHANGE_BETWEEN_EPOCHS = frozenset(
    {
        "data.batch_size",
        "data.samples_per_epoch",
        "data.crops_per_read",
        "data.augment",
        "data.intensity",
        "data.drop_scan",
        "data.speeds",
        "data.coarsen",
        "trainer.accumulate",
    }
)
"""Keys that change the training samples, but not those of validation (see `check_order`)."""

_SECTIONS = ("network", "optimiser", "data", "trainer", "trackers")
_CHECKED_ELSEWHERE = ("data.archives",)  # see `archives_of_run`


@dataclass(frozen=True)
class Position:
    """Where a run stopped.

    Attributes
    ----------
    step : optimiser steps so far.
    trained_s : time that the run has taken over all its sessions, seconds.
    within_epoch : whether the epoch has more samples after this position.
    provenance : of the checkpoint, see `provenance_of`.
    """

    path: Path
    step: int
    trained_s: float
    within_epoch: bool
    provenance: dict[str, Any]

    @classmethod
    def of(cls, path: Path, experiment: ExperimentConfig) -> Position:
        """Read a checkpoint of the experiment's network.

        Raises
        ------
        DataError
            If the checkpoint cannot be read.
        ConfigError
            If it has another network, only one of run and experiment has a moving average, or the
            run's time is up.
        """
        try:
            nowcaster, checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            advice = (
                "Start a new run in another folder"  # a run without validation has no best.ckpt
            )
            if path.with_name("best.ckpt").is_file():
                advice = f"To go on from the best epoch so far, copy best.ckpt to {path.name}"
            raise DataError(f"{error}. {advice}") from error
        stored = nowcaster.network.config.model_dump()
        changed = [
            k
            for k, v in experiment.network.model_dump().items()
            if stored[k] != v and f"network.{k}" not in MAY_CHANGE
        ]
        if changed:
            settings = ", ".join(f"{k} {stored[k]}" for k in changed)
            raise ConfigError(
                f"{path}: has another network ({settings}); resume with the run's own config.yaml"
            )
        averaged = "averaging_state" in checkpoint
        if averaged != (experiment.trainer.ema_decay is not None):
            raise ConfigError(
                f"{path}: was written {'with' if averaged else 'without'} a moving average of the "
                "weights; resume with the run's own trainer.ema_decay"
            )
        trained_s = float(checkpoint["callbacks"].get(Watch.__name__, {}).get(TRAINED_S, 0))
        limit = experiment.trainer.max_minutes
        if limit and trained_s >= 60 * limit:
            raise ConfigError(
                f"{path}: the run has already trained for {trained_s / 60:.3g} minutes, and "
                f"trainer.max_minutes {limit:g} counts all its sessions; give more minutes, or "
                "null for no limit, to go on"
            )
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        return cls(
            path,
            int(checkpoint["global_step"]),
            trained_s,
            not progress["is_last_batch"],
            checkpoint[CHECKPOINT_KEY]["provenance"],
        )


def changed_settings(position: Position, experiment: ExperimentConfig) -> dict[str, list[Any]]:
    """Keys of the experiment that differ from those of the run so far: was, is.

    Raises
    ------
    ConfigError
        If a key has changed that a run keeps from its first step to its last.
    """
    try:
        earlier = ExperimentConfig.model_validate_json(position.provenance["experiment"])
    except ValidationError as error:
        raise ConfigError(
            f"{position.path}: was written by Squall {position.provenance['squall_version']}, "
            f"whose experiments this version cannot read ({error.error_count()} keys differ); "
            "resume with that version, or start a new run in another folder"
        ) from error
    was, now = dict(_settings(earlier)), dict(_settings(experiment))
    changed = {key: [was[key], now[key]] for key in now if was[key] != now[key]}
    may_change = MAY_CHANGE | MAY_CHANGE_BETWEEN_EPOCHS
    refused = [key for key in changed if key not in may_change]
    for key in ("data.speeds", "data.coarsen"):  # validation uses the first number
        if key in changed and was[key][0] != now[key][0]:
            refused.append(key)
    if refused:
        changes = "; ".join(f"{key} was {was[key]}, is {now[key]}" for key in refused)
        raise ConfigError(
            f"{position.path}: a run keeps these values from its first step to its last "
            f"({changes}); resume with the run's own config.yaml, or start a new run in another "
            "folder"
        )
    return changed


def _settings(experiment: ExperimentConfig) -> Iterator[tuple[str, Any]]:
    """Keys and values as JSON has them; the sections are taken apart."""
    for section, values in experiment.model_dump(mode="json").items():
        if section not in _SECTIONS:
            yield section, values
            continue
        for name, value in values.items():
            if f"{section}.{name}" not in _CHECKED_ELSEWHERE:
                yield f"{section}.{name}", value


def with_snapshots_of(position: Position, experiment: ExperimentConfig) -> ExperimentConfig:
    """Return the experiment with the run's snapshots for archives that name none."""
    snapshots = {_real(a["path"]): a["snapshot"] for a in position.provenance["archives"]}
    shares = tuple(
        share.model_copy(update={"snapshot": share.snapshot or snapshots.get(_real(share.address))})
        for share in experiment.data.archives
    )
    data = experiment.data.model_copy(update={"archives": shares})
    return experiment.model_copy(update={"data": data})


def _real(address: str) -> str:
    """An address for comparison: the same for all spellings of a local path."""
    return address if is_remote(address) else os.path.realpath(address)


def check_order(position: Position, order: dict[str, Any]) -> None:
    """Check that an epoch that has begun goes on with the same samples.

    Parameters
    ----------
    order : what decides the samples and their order now, see `provenance_of`.

    Raises
    ------
    ConfigError
        If the run stopped within an epoch and ``order`` has changed.
    """
    earlier = position.provenance["order"]
    changed = [key for key in order if order[key] != earlier.get(key)]
    if position.within_epoch and changed:
        changes = "; ".join(f"{key} was {earlier.get(key)}, is {order[key]}" for key in changed)
        raise ConfigError(
            f"{position.path}: the run stopped within an epoch, and its samples have changed "
            f"({changes}); resume with the run's own config.yaml; on another number of devices "
            "change data.batch_size so that the batch on all devices stays the same"
        )


def archives_of_run(
    position: Position, archives: list[dict[str, Any]], experiment: ExperimentConfig
) -> list[dict[str, Any]]:
    """Add to the archives all earlier times on which the run was trained or validated.

    Parameters
    ----------
    archives : as `provenance_of` describes them now.

    Raises
    ------
    ConfigError
        If the run in the folder was trained on other archives, on another state of them, or in
        other shares.
    """
    earlier = position.provenance["archives"]
    names = [archive["name"] for archive in archives]
    if [archive["name"] for archive in earlier] != names:
        raise ConfigError(
            f"{position.path}: was trained on {', '.join(a['name'] for a in earlier)}, not on "
            f"{', '.join(names)}; resume with the same archives in the same order"
        )
    earlier_shares = json.loads(position.provenance["experiment"])["data"]["archives"]
    shares = experiment.model_dump(mode="json")["data"]["archives"]
    for number, name in enumerate(names):
        was = earlier_shares[number] | {"snapshot": earlier[number]["snapshot"]}
        now = shares[number] | {"snapshot": archives[number]["snapshot"]}
        changed = [key for key in now if key != "address" and was.get(key) != now[key]]
        if changed:
            changes = "; ".join(f"{key} was {was.get(key)}, is {now[key]}" for key in changed)
            raise ConfigError(
                f"{position.path}: the archive {name} differs from that of the run ({changes}); "
                "resume with the run's own config.yaml, or start a new run in another folder"
            )
    kinds = ("training_periods", "validation_periods")
    return [
        archive
        | {
            kind: before[kind] + [p for p in archive[kind] if p not in before[kind]]
            for kind in kinds
        }
        for archive, before in zip(archives, earlier, strict=True)
    ]
