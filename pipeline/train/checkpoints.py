"""When a run writes its checkpoints, and how: completely or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import callbacks
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from squall.pipeline.provenance import atomic_path


class EarlyStopping(callbacks.EarlyStopping):
    """Keeps the configured patience when a run is resumed; Lightning restores the earlier one.

    It has Lightning's name, by which a checkpoint finds its state.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict | {"patience": self.patience})


class RunCheckpoint(ModelCheckpoint):
    """Remembers the checkpoints that it wrote and the best score, also if the run folder moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.dirpath is not None
        folder = Path(self.dirpath)

        def in_folder(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        best = {in_folder(path): score for path, score in state_dict["best_k_models"].items()}
        moved: dict[str, Any] = {"dirpath": self.dirpath, "best_k_models": best}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[name] = in_folder(state_dict[name])
        super().load_state_dict(state_dict | moved)


class LastCheckpoint(RunCheckpoint):
    """Writes last.ckpt, from which a run goes on exactly where it was.

    Its state has the same name for any number of steps between two writes, so that this number
    may change when a run is resumed.

    It is not written after the last step of an epoch, because the validation follows. It is not
    written after the validation of a run that stops within an epoch, because `Watch` has saved
    that run before.
    """

    def __init__(self, *, every_n_train_steps: int | None = None, **options: Any) -> None:
        self._writes_after = "epochs" if every_n_train_steps is None else "steps"
        super().__init__(every_n_train_steps=every_n_train_steps, **options)

    @property
    def state_key(self) -> str:
        return f"LastCheckpoint after {self._writes_after}"

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, *args, **kwargs)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_last_batch:
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_last_batch:
            super().on_train_epoch_end(trainer, pl_module)


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints completely or not at all, on any file system."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)
