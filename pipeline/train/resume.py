"""Going on with a run: what its last checkpoint says, and whether a configuration fits it."""

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
    within_epoch : whether samples of the epoch were still to come.
    provenance : as stored with the checkpoint.
    """

    path: Path
    within_epoch: bool
    provenance: dict[str, Any]

    @classmethod
    def of(cls, path: Path, experiment: ExperimentConfig) -> Position:
        """Read a checkpoint; it must be one of this network.

        Raises
        ------
        DataError
            If it cannot be read.
        ConfigError
            If it is of another network, or of a run with or without a moving average.
        """
        try:
            nowcaster, checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            way_out = "Begin anew in another folder"  # a run without validation has no best
            if path.with_name("best.ckpt").is_file():
                way_out = f"To go on from the best epoch so far, copy best.ckpt to {path.name}"
            raise DataError(f"{error}. {way_out}") from error
        stored = nowcaster.network.config.model_dump()
        changed = [k for k, v in experiment.network.model_dump().items() if stored[k] != v]
        if changed:
            found = ", ".join(f"{k} {stored[k]}" for k in changed)
            raise ConfigError(
                f"{path}: is of another network ({found}); resume with the run's own config.yaml"
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
    """The experiment on the snapshots that the run was trained on, where it names no others."""
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
    """Refuse to go on within an epoch whose samples are others now.

    Raises
    ------
    ConfigError
        If anything that decides samples and their order has changed within an epoch.
    """
    before = position.provenance["order"]
    changed = [key for key in order if order[key] != before.get(key)]
    if position.within_epoch and changed:
        found = "; ".join(f"{key} was {before.get(key)}, is {order[key]}" for key in changed)
        raise ConfigError(
            f"{position.path}: stopped within an epoch, whose samples would now be others ({found})"
            "; resume with the run's own config.yaml and, on another number of devices, the "
            "data.batch_size that makes up for it"
        )


def archives_of_run(position: Position, now: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The archives with all times that the run was ever trained or validated on.

    Raises
    ------
    ConfigError
        If the run in the folder has other archives.
    """
    earlier = {archive["name"]: archive for archive in position.provenance["archives"]}
    names = [archive["name"] for archive in now]
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
        for archive in now
    ]
