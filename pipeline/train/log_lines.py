"""The log lines of a training run."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytorch_lightning as pl

from squall.convgru import NowcastModule
from squall.datasets.training.batches import RainBatch
from squall.pipeline.progress import shows_bars

log = logging.getLogger("squall.train")


class EpochLines(pl.Callback):
    """Writes one plain line for each epoch, on terminals and in log files.

    Also logs ``samples_per_s`` of all ranks together, and ``data_wait``: the share of the training
    time in which this process waited for its next batch. A GPU may be working meanwhile.
    """

    def __init__(self) -> None:
        self._samples, self._waited_s, self._took_s = 0, 0.0, 0.0
        self._ended_at = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning does not call this at the start of a run that is resumed within an epoch
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._samples, self._waited_s, self._took_s = 0, 0.0, 0.0
        self._ended_at = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: RainBatch, batch_idx: int
    ) -> None:
        self._waited_s += time.perf_counter() - self._ended_at

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: RainBatch,
        batch_idx: int,
    ) -> None:
        now = time.perf_counter()
        self._took_s += now - self._ended_at
        self._ended_at = now
        self._samples += len(batch.keys) * trainer.world_size
        done, batches = batch_idx + 1, int(trainer.num_training_batches)
        quarter = done < batches and 4 * done // batches > 4 * batch_idx // batches
        if quarter and trainer.is_global_zero and not shows_bars():
            log.info("epoch %d: %d of %d batches", trainer.current_epoch + 1, done, batches)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, NowcastModule)
        speed = {
            "samples_per_s": self._samples / max(self._took_s, 1e-9),
            "data_wait": self._waited_s / max(self._took_s, 1e-9),
        }
        pl_module.log_dict(speed, sync_dist=True)
        # Lightning calls this before the module logs its training loss
        values = trainer.callback_metrics | {"train_loss": pl_module.train_loss()}
        names = ("train_loss", "val_loss", "val_csi", "val_csi_persistence")
        if trainer.is_global_zero:
            log.info(
                "epoch %d of %d: %s; %.3g samples/s, %.1f %% of the time waiting for data",
                trainer.current_epoch + 1,
                trainer.max_epochs,
                ", ".join(f"{name} {float(values[name]):.4f}" for name in names if name in values),
                speed["samples_per_s"],
                100 * speed["data_wait"],
            )
