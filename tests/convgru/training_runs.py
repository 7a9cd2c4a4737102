"""What tests of training share: batches and a quiet trainer on the CPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from squall.convgru import NowcastModule


class RainBatch(NamedTuple):
    """Context (B, T, 1, H, W) and target (B, L, 1, H, W), mm/h."""

    context: Tensor
    target: Tensor

    @property
    def keys(self) -> Tensor:
        return torch.arange(len(self.context))


class Batches:
    """An iterable of batches like a loader's; the trainer takes a list for several loaders."""

    def __init__(self, *batches: RainBatch) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[RainBatch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False
    )
    quiet["num_sanity_val_steps"] = 0
    return pl.Trainer(accelerator="cpu", default_root_dir=folder, **quiet, **options)


def fit(module: NowcastModule, trainer: pl.Trainer, batches: list[RainBatch]) -> pl.Trainer:
    trainer.fit(module, Batches(*batches), val_dataloaders=Batches(batches[0]))
    return trainer
