"""The moving average of the weights, which validates and is saved."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights: it validates and is saved.

    Its decay begins short, ``n / (10 + n)`` after n steps, so that the first weights are soon
    forgotten.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self._decay = decay

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """As Lightning's, in one operation that needs nothing from the device."""
        if trainer.global_step <= self._latest_update_step:
            return
        self._latest_update_step = trainer.global_step
        assert self._average_model is not None
        averaged: list[Tensor] = list(self._average_model.module.parameters())
        current: list[Tensor] = list(pl_module.parameters())
        steps = trainer.global_step - 1
        weight = 1 - min(self._decay, steps / (10 + steps))
        torch._foreach_lerp_(averaged, current, weight)
        self._average_model.n_averaged += 1
