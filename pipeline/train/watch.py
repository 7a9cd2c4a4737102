"""Ends a training run in good order: signals, time limit, a loss that is not finite."""

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
from torch import Tensor

from squall.convgru import NowcastModule
from squall.datasets.errors import DataError
from squall.datasets.training.batches import Places, RainBatch
from squall.datasets.training.datamodule import RainDataModule
from squall.pipeline.interrupts import Terminated
from squall.pipeline.train.experiment import TrainerConfig
from squall.pipeline.train.internals import skip_sigterm_broadcast

log = logging.getLogger("squall.train")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
NAMED_WINDOWS = 8  # of a batch, in an error


class _OnHost:
    """A step's sums on their way from the device; the step's places."""

    def __init__(self, values: Tensor, places: Places) -> None:
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
        skip_sigterm_broadcast(trainer)

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
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and not trainer.is_last_batch
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

    def _not_finite(self, trainer: pl.Trainer, places: Places, loss: float) -> str:
        table = places.table().to(trainer.strategy.root_device)
        tables = trainer.strategy.all_gather(table)
        windows = self._data.describe(Places.from_table(tables.reshape(-1, table.shape[1])))
        shown = "; ".join(windows[:NAMED_WINDOWS])
        more = f" and {len(windows) - NAMED_WINDOWS} more" if len(windows) > NAMED_WINDOWS else ""
        kept = f"{self._last} is as it was" if self._last.exists() else "nothing was saved yet"
        return (
            f"the loss of step {trainer.global_step} is {loss}; its windows: {shown}{more}. "
            f"{kept}; look at these windows, resume with a lower trainer.gradient_clip, or begin "
            "anew with a lower optimiser.learning_rate"
        )
