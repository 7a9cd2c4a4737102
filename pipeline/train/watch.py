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
TRAINED_S = "trained_s"
NAMED_WINDOWS = 8  # most windows that an error names


class _OnHost:
    """The sums of a step while they are copied from the device, with the step's places."""

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
        """Return the sums; waits until the device has computed them."""
        if self.copied:
            self.copied.synchronize()
        return list(self._values.tolist())


class Stopped(Exception):
    """Ends the trainer after the run has been saved."""


class Watch(pl.Callback):
    """Ends a run in good order, on all ranks after the same step.

    After SIGTERM or Ctrl-C the run finishes the step, saves and stops. Before the first step, and
    after a second Ctrl-C, it stops at once without saving. When the time is up, the run saves,
    validates and ends; the time of all sessions of the run counts, and the module's learning rate
    follows it. If a loss is not finite, the run stops without saving, and the error names the
    windows.

    Parameters
    ----------
    data : describes windows.
    last : path of the checkpoint to write when the run stops.
    config : how long to train, and after which steps a checkpoint is written.

    Attributes
    ----------
    interruption : the exception to raise after the run has stopped; None without a signal.
    """

    def __init__(self, data: RainDataModule, last: Path, config: TrainerConfig) -> None:
        self.interruption: KeyboardInterrupt | None = None
        self._data, self._last, self._config = data, last, config
        self._module: NowcastModule | None = None
        self._unchecked: list[_OnHost] = []
        self._trained_before_s = 0.0  # in earlier sessions of the run
        self._started_s: float | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle SIGTERM and Ctrl-C, if this is the main thread; others cannot handle signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, NowcastModule)
        self._module = pl_module
        pl_module.schedule_time_share = self._time_share()  # of earlier sessions
        self._started_s = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:  # Lightning has replaced the handlers
                signal.signal(number, self._on_signal)
        skip_sigterm_broadcast(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: RainBatch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, NowcastModule)
        pl_module.time_share = self._time_share()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: RainBatch,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, NowcastModule)
        latest = _OnHost(pl_module.step_sums, batch.places)
        # On a GPU the sums of a step are read after the next step, so that nothing waits for the
        # device. They are read at once if a checkpoint or a validation follows this step.
        saves = trainer.is_last_batch or trainer.global_step % self._config.save_every_steps == 0
        read_later = latest.copied is not None and not saves
        steps = [*self._unchecked, *([] if read_later else [latest])]
        self._unchecked = [latest] if read_later else []
        interrupted = time_is_up = False
        for step in steps:
            loss, told_to_stop, time_share = step.read()
            if not math.isfinite(loss):
                raise DataError(self._not_finite(trainer, step.places, loss))
            interrupted |= told_to_stop > 0
            time_is_up |= time_share >= 1
            pl_module.schedule_time_share = time_share
        # a step has all its batches, and the last step of an epoch is complete after validation
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and not trainer.is_last_batch
        if (interrupted or time_is_up) and whole:
            trainer.save_checkpoint(self._last)
            log.info("stopped after step %d, saved %s", trainer.global_step, self._last)
            if interrupted:
                self.interruption = self.interruption or Terminated()
                raise Stopped
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {TRAINED_S: self._trained_s()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._trained_before_s = state_dict[TRAINED_S]

    def _trained_s(self) -> float:
        """Time that the run has taken so far, over all its sessions, seconds."""
        session_s = 0.0 if self._started_s is None else time.monotonic() - self._started_s
        return self._trained_before_s + session_s

    def _time_share(self) -> float:
        """Share of the time limit that is over; 0 without a limit."""
        limit = self._config.max_minutes
        return self._trained_s() / (60 * limit) if limit else 0.0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # schedulers may send SIGTERM twice; a second Ctrl-C is meant
        is_second_interrupt = self.interruption is not None and number == signal.SIGINT
        if self.interruption is None:
            self.interruption = KeyboardInterrupt() if number == signal.SIGINT else Terminated()
        if self._module is None or is_second_interrupt:
            raise self.interruption
        if number == signal.SIGINT and sys.stderr.isatty():
            # not through logging, which the signal may have interrupted
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once, without saving\n")
        self._module.interrupted = True

    def _not_finite(self, trainer: pl.Trainer, places: Places, loss: float) -> str:
        table = places.table().to(trainer.strategy.root_device)
        tables = trainer.strategy.all_gather(table)
        windows = self._data.describe(Places.from_table(tables.reshape(-1, table.shape[1])))
        named = "; ".join(windows[:NAMED_WINDOWS])
        more = f" and {len(windows) - NAMED_WINDOWS} more" if len(windows) > NAMED_WINDOWS else ""
        saved = f"{self._last} is unchanged" if self._last.exists() else "nothing was saved yet"
        return (
            f"the loss of step {trainer.global_step} is {loss}; its windows: {named}{more}. "
            f"{saved}; look at these windows, resume with a lower trainer.gradient_clip, or start "
            "a new run with a lower optimiser.learning_rate"
        )
