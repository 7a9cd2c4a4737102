"""When a run writes its checkpoints, and how: whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from squall.pipeline.provenance import atomic_path


class RunCheckpoint(ModelCheckpoint):
    """Remembers what it wrote, the best score above all, in a run folder that was moved, too."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.dirpath is not None
        folder = Path(self.dirpath)

        def here(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        moved: dict[str, Any] = {"dirpath": self.dirpath, "best_k_models": best}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[name] = here(state_dict[name])
        super().load_state_dict(state_dict | moved)


class LastCheckpoint(RunCheckpoint):
    """Writes last.ckpt so that a run goes on from it exactly where it was.

    Not after an epoch's last step, whose validation is still to come; nor after the validation of
    a run that stops within an epoch, which `Watch` has saved before it.
    """

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
    """Checkpoints that are there whole or not at all, whatever file system they lie on."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        with atomic_path(Path(path)) as part:
            torch.save(checkpoint, part)
