"""The moving average of the weights, which validates and is saved."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage(pl.Callback):
    """Exponential moving average of the weights; it validates and is saved.

    After optimiser step n = 1, 2, … the average a of the weights w is::

        a_n = d_n a_(n-1) + (1 - d_n) w_n,    d_n = min(decay, (n - 1) / (n + 9))

    The decay d_n is small at first, so that the first weights are soon forgotten.

    A checkpoint has the average in ``state_dict``, the weights in training in
    ``current_model_state`` and the number of updates in ``averaging_state``, as those of
    Lightning's ``WeightAveraging``. That callback asks the device for the number of updates in
    each step, and so waits for the device; this one does not.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._updates = 0
        self._latest_step = 0
        self._average: list[Tensor] = []  # in the order of the module's parameters

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self._average = [parameter.detach().clone() for parameter in pl_module.parameters()]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow the weights, which Lightning has moved to the device since `setup`."""
        weights = pl_module.parameters()
        self._average = [a.to(w.device) for a, w in zip(self._average, weights, strict=True)]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if trainer.global_step <= self._latest_step:
            return  # gradients are still accumulating
        self._latest_step = trainer.global_step
        decay = min(self._decay, (self._latest_step - 1) / (self._latest_step + 9))
        get_ema_multi_avg_fn(decay)(self._average, list(pl_module.parameters()), self._updates)
        self._updates += 1

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap(pl_module)

    @torch.no_grad()
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for average, weight in zip(self._average, pl_module.parameters(), strict=True):
            weight.copy_(average)

    def state_dict(self) -> dict[str, Any]:
        return {"latest_update_step": self._latest_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._latest_step = state_dict["latest_update_step"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        weights = checkpoint["state_dict"]
        names = [name for name, _ in pl_module.named_parameters()]
        checkpoint["current_model_state"] = weights
        checkpoint["state_dict"] = weights | dict(zip(names, self._average, strict=True))
        checkpoint["averaging_state"] = {"n_averaged": torch.tensor(self._updates)}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        averages = checkpoint["state_dict"]
        self._average = [
            averages[name].to(weight.device, copy=True)
            for name, weight in pl_module.named_parameters()
        ]
        self._updates = int(checkpoint["averaging_state"]["n_averaged"])
        pl_module.load_state_dict(checkpoint["current_model_state"])

    @torch.no_grad()
    def _swap(self, pl_module: pl.LightningModule) -> None:
        """Exchange the average and the weights in training."""
        for average, weight in zip(self._average, pl_module.parameters(), strict=True):
            kept = average.clone()
            average.copy_(weight)
            weight.copy_(kept)
