"""Resumes a run: reads its last checkpoint and checks that the configuration fits it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from squall.convgru import CHECKPOINT_KEY, CheckpointError, read_checkpoint
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.train.experiment import ExperimentConfig


@dataclass(frozen=True)
class Position:
    """Where a run stopped.

    Attributes
    ----------
    within_epoch : whether the epoch has more samples after this position.
    provenance : of the checkpoint, see `provenance_of`.
    """

    path: Path
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
            If it has another network, or only one of run and experiment has a moving average.
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
        changed = [k for k, v in experiment.network.model_dump().items() if stored[k] != v]
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
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        provenance = checkpoint[CHECKPOINT_KEY]["provenance"]
        return cls(path, not progress["is_last_batch"], provenance)


def with_snapshots_of(position: Position, experiment: ExperimentConfig) -> ExperimentConfig:
    """Return the experiment with the run's snapshots for archives that name none."""
    snapshots = {a["path"]: a["snapshot"] for a in position.provenance["archives"]}
    shares = tuple(
        share.model_copy(
            update={"snapshot": share.snapshot or snapshots.get(share.address, share.snapshot)}
        )
        for share in experiment.data.archives
    )
    data = experiment.data.model_copy(update={"archives": shares})
    return experiment.model_copy(update={"data": data})


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


def archives_of_run(position: Position, archives: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to the archives all earlier times on which the run was trained or validated.

    Parameters
    ----------
    archives : as `provenance_of` describes them now.

    Raises
    ------
    ConfigError
        If the run in the folder was trained on other archives.
    """
    earlier = {archive["name"]: archive for archive in position.provenance["archives"]}
    names = [archive["name"] for archive in archives]
    if set(earlier) != set(names):
        raise ConfigError(
            f"{position.path}: was trained on {', '.join(earlier)}, not on {', '.join(names)}; "
            "resume with the same archives"
        )
    kinds = ("training_periods", "validation_periods")
    return [
        archive
        | {
            kind: archive[kind]
            + [p for p in earlier[archive["name"]][kind] if p not in archive[kind]]
            for kind in kinds
        }
        for archive in archives
    ]
