"""What happens around the training steps: good ends, moving average, log lines, pictures."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor

from convgru import NowcastModule
from datasets.datamodule import RainBatch, RainDataModule
from datasets.errors import DataError
from pipeline.cli_run import Terminated
from pipeline.forecast_picture import forecast_picture
from pipeline.trackers import log_picture

log = logging.getLogger("squall.train")

NAMED_WINDOWS = 8  # of a batch, in an error


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights: it validates and is saved.

    Its decay begins short, ``(1 + n) / (10 + n)`` after n steps, so that the first weights are
    soon forgotten.
    """

    def __init__(self, decay: float) -> None:
        def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
            steps = torch.as_tensor(count, dtype=torch.float32, device=averaged.device)
            return averaged.lerp(current, 1 - ((1 + steps) / (10 + steps)).clamp(max=decay))

        super().__init__(avg_fn=average)


@dataclass
class RunEnds:
    """Why a run ended before its time, for whoever called the trainer."""

    interruption: KeyboardInterrupt | None = None


class _OnHost:
    """A step's sums on their way from the device; the step's places."""

    def __init__(self, values: Tensor, places: Tensor) -> None:
        self.places = places
        self.copied = None
        self._values = values
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self.copied = torch.cuda.Event()
            self.copied.record()

    def read(self) -> list[float]:
        """The sums; waits for the device where it has not come so far."""
        if self.copied:
            self.copied.synchronize()
        return list(self._values.tolist())


class _Stopped(Exception):
    """Leaves the trainer after an orderly stop."""


class Watch(pl.Callback):
    """Ends a run in good order, on all ranks with the same step.

    SIGTERM and Ctrl-C let the step end, save and stop; a second Ctrl-C stops at once. A loss that
    is not finite stops without saving, and names the windows.

    Parameters
    ----------
    data : names windows.
    last : the checkpoint to write on a stop.
    ends : is told why.
    """

    def __init__(self, data: RainDataModule, last: Path, ends: RunEnds) -> None:
        self._data, self._last, self._ends = data, last, ends
        self._signal: int | None = None
        self._module: NowcastModule | None = None
        self._before: dict[int, Any] = {}
        self._unchecked: _OnHost | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, NowcastModule)
        self._module = pl_module
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._asked)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: RainBatch,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, NowcastModule)
        now = _OnHost(pl_module.step_sums, batch.places)
        # a GPU is asked about the step before, which it has done, and need not be waited for
        asked, self._unchecked = (self._unchecked, now) if now.copied else (now, None)
        if asked is None:
            return
        _, loss, stop = asked.read()
        if not math.isfinite(loss):
            raise DataError(self._not_finite(trainer, asked.places, loss))
        # the last step of an epoch is not done before its validation is
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        whole = batches % trainer.accumulate_grad_batches == 0 and not trainer.is_last_batch
        if stop > 0 and whole:
            trainer.save_checkpoint(self._last)
            log.info("stopped after step %d, saved %s", trainer.global_step, self._last)
            self._ends.interruption = (
                KeyboardInterrupt() if self._signal == signal.SIGINT else Terminated()
            )
            raise _Stopped

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _asked(self, number: int, frame: FrameType | None) -> None:
        # schedulers may send SIGTERM twice, people press Ctrl-C again when they mean it
        if self._signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = number
        assert self._module is not None
        self._module.stop_requested = True

    def _not_finite(self, trainer: pl.Trainer, places: Tensor, loss: float) -> str:
        everywhere = trainer.strategy.all_gather(places.to(trainer.strategy.root_device))
        windows = self._data.describe(everywhere.reshape(-1, places.shape[-1]))
        shown = "; ".join(windows[:NAMED_WINDOWS])
        more = f" and {len(windows) - NAMED_WINDOWS} more" if len(windows) > NAMED_WINDOWS else ""
        kept = f"{self._last} is as it was" if self._last.exists() else "nothing was saved yet"
        return (
            f"the loss of step {trainer.global_step} is {loss}; its windows: {shown}{more}. "
            f"{kept}; look at these windows, or resume with a lower optimiser.learning_rate or "
            "trainer.gradient_clip"
        )


class EpochLines(pl.Callback):
    """One plain line an epoch, on terminals and in log files alike.

    Logs ``samples_per_s``, of all ranks together, and ``data_wait``, the share of the training
    time in which this process waited for its next batch (a GPU may still be at work then).
    """

    def __init__(self) -> None:
        self._samples, self._waited_s, self._took_s = 0, 0.0, 0.0
        self._ended_at = 0.0

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
        self._samples += len(batch.places) * trainer.world_size

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        speed = {
            "samples_per_s": self._samples / max(self._took_s, 1e-9),
            "data_wait": self._waited_s / max(self._took_s, 1e-9),
        }
        pl_module.log_dict(speed, sync_dist=True)
        values = trainer.callback_metrics
        shown = ("train_loss", "val_loss", "val_csi", "val_csi_persistence")
        if trainer.is_global_zero:
            log.info(
                "epoch %d of %d: %s; %.3g samples/s, %.1f %% of the time waiting for data",
                trainer.current_epoch + 1,
                trainer.max_epochs,
                ", ".join(f"{name} {float(values[name]):.4f}" for name in shown if name in values),
                speed["samples_per_s"],
                100 * speed["data_wait"],
            )


class Pictures(pl.Callback):
    """Hands the trackers a forecast of the first validation sample in each validation.

    Parameters
    ----------
    data : knows the step of the sample's archive.
    """

    def __init__(self, data: RainDataModule) -> None:
        self._data = data

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: RainBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0:
            observed, forecast, last = (
                rain[0, :, 0].float().cpu().numpy()
                for rain in (batch.target, outputs, batch.context[:, -1:])
            )
            step = self._data.archives[int(batch.places[0, 1])].step
            minutes = step.total_seconds() / 60
            picture = forecast_picture(observed, forecast, last, minutes)
            log_picture(trainer.loggers, "forecast", picture, trainer.global_step)
