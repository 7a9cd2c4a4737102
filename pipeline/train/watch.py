"""What happens around the training steps: good ends, moving average, log lines, pictures."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, WeightAveraging
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor

from squall.convgru import NowcastModule
from squall.datasets.errors import DataError
from squall.datasets.training.datamodule import RainBatch, RainDataModule
from squall.pipeline.interrupts import Terminated
from squall.pipeline.progress import shows_bars
from squall.pipeline.provenance import atomic_path
from squall.pipeline.train.experiment import TrainerConfig
from squall.pipeline.train.forecast_picture import forecast_picture
from squall.pipeline.train.trackers import log_picture

log = logging.getLogger("squall.train")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
NAMED_WINDOWS = 8  # of a batch, in an error


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


class Stopped(Exception):
    """Leaves the trainer after an orderly stop, everything saved."""


class Watch(pl.Callback):
    """Ends a run in good order, on all ranks with the same step.

    SIGTERM and Ctrl-C let the step end, save and stop; before the first step, or with a second
    Ctrl-C, they stop at once. When the time is up, the run saves, validates and ends. A loss that
    is not finite stops without saving, and names the windows.

    Parameters
    ----------
    data : names windows.
    last : the checkpoint to write on a stop.
    config : how long to train, and after which steps others save.
    """

    def __init__(self, data: RainDataModule, last: Path, config: TrainerConfig) -> None:
        self.interruption: KeyboardInterrupt | None = None
        self._data, self._last, self._config = data, last, config
        self._module: NowcastModule | None = None
        self._unchecked: list[_OnHost] = []
        self._until = math.inf

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and Ctrl-C; in the main thread, where alone signals can be taken."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._asked) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, NowcastModule)
        self._module = pl_module
        if self._config.max_minutes:
            self._until = time.monotonic() + 60 * self._config.max_minutes
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:  # Lightning has put handlers of its own before them
                signal.signal(number, self._asked)
        # Lightning asks all ranks before each batch whether one got SIGTERM, and waits for the
        # answer; here that goes with what they tell each other anyway
        vars(trainer.fit_loop.epoch_loop)["_broadcast_sigterm_tensor"] = lambda: None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: RainBatch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, NowcastModule)
        pl_module.time_is_up = time.monotonic() > self._until

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
        # a GPU is asked about the step before, which it has done, and need not be waited for,
        # unless others will look at or save what this step made
        saves = trainer.is_last_batch or trainer.global_step % self._config.save_every_steps == 0
        later = now.copied is not None and not saves
        asked = [*self._unchecked, *([] if later else [now])]
        self._unchecked = [now] if later else []
        interrupted = time_is_up = False
        for step in asked:
            loss, told_to_stop, timed_out = step.read()
            if not math.isfinite(loss):
                raise DataError(self._not_finite(trainer, step.places, loss))
            interrupted |= told_to_stop > 0
            time_is_up |= timed_out > 0
        # the last step of an epoch is not done before its validation is
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        whole = batches % trainer.accumulate_grad_batches == 0 and not trainer.is_last_batch
        if (interrupted or time_is_up) and whole:
            trainer.save_checkpoint(self._last)
            log.info("stopped after step %d, saved %s", trainer.global_step, self._last)
            if interrupted:
                self.interruption = self.interruption or Terminated()
                raise Stopped
            trainer.should_stop = True

    def _asked(self, number: int, frame: FrameType | None) -> None:
        # schedulers may send SIGTERM twice, people press Ctrl-C again when they mean it
        again = self.interruption is not None and number == signal.SIGINT
        if self.interruption is None:
            self.interruption = KeyboardInterrupt() if number == signal.SIGINT else Terminated()
        if self._module is None or again:
            raise self.interruption
        if number == signal.SIGINT and sys.stderr.isatty():  # logging may be what was interrupted
            os.write(2, b"\nstops after this step; Ctrl-C again stops at once and unsaved\n")
        self._module.interrupted = True

    def _not_finite(self, trainer: pl.Trainer, places: Tensor, loss: float) -> str:
        everywhere = trainer.strategy.all_gather(places.to(trainer.strategy.root_device))
        windows = self._data.describe(everywhere.reshape(-1, places.shape[-1]))
        shown = "; ".join(windows[:NAMED_WINDOWS])
        more = f" and {len(windows) - NAMED_WINDOWS} more" if len(windows) > NAMED_WINDOWS else ""
        kept = f"{self._last} is as it was" if self._last.exists() else "nothing was saved yet"
        return (
            f"the loss of step {trainer.global_step} is {loss}; its windows: {shown}{more}. "
            f"{kept}; look at these windows, resume with a lower trainer.gradient_clip, or begin "
            "anew with a lower optimiser.learning_rate"
        )


class EpochLines(pl.Callback):
    """One plain line an epoch, on terminals and in log files alike.

    Logs ``samples_per_s``, of all ranks together, and ``data_wait``, the share of the training
    time in which this process waited for its next batch (a GPU may still be at work then).
    """

    def __init__(self) -> None:
        self._samples, self._waited_s, self._took_s = 0, 0.0, 0.0
        self._ended_at = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # which a run that goes on has had before

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
        done, batches = batch_idx + 1, int(trainer.num_training_batches)
        quarter = done < batches and 4 * done // batches > 4 * batch_idx // batches
        if quarter and trainer.is_global_zero and not shows_bars():
            log.info("epoch %d: %d of %d batches", trainer.current_epoch + 1, done, batches)

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
            minutes = int(batch.places[0, 5]) * step.total_seconds() / 60
            picture = forecast_picture(observed, forecast, last, minutes)
            log_picture(trainer.loggers, "forecast", picture, trainer.global_step)
