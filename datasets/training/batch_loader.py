"""Iterates the batches of one rank, cut by processes of its own; goes on within an epoch.

Owns the loader processes: how they start, what signals they take, and how they end.
"""

from __future__ import annotations

import atexit
import signal
import threading
import weakref
from collections.abc import Iterator
from multiprocessing import forkserver, get_context
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from squall.datasets.training.samples import SampleSource
from squall.datasets.training.window_reader import (
    IN_TURN,
    CodeBatch,
    Sample,
    SlotBatch,
    WindowReader,
)


class BatchLoader:
    """Iterates the batches of this rank; knows where in an epoch it goes on.

    Parameters
    ----------
    source, reader : which samples, and who cuts them.
    batch_size : samples of a batch of this rank.
    workers : loader processes besides this one.
    trainer : says which rank this is, which epoch comes and which batch of it; without one, rank
        0 of 1 from the start.
    same_every_epoch : for validation.
    """

    def __init__(
        self,
        source: SampleSource,
        reader: WindowReader,
        trainer: pl.Trainer | None,
        *,
        batch_size: int,
        workers: int,
        same_every_epoch: bool,
    ) -> None:
        self._source, self._reader = source, reader
        self._trainer, self._batch_size, self._same = trainer, batch_size, same_every_epoch
        self._batches = _Batches()
        self._closes_at_exit = False
        if workers:
            _start_forkserver()
        self._loader: DataLoader[CodeBatch | SlotBatch] = DataLoader(
            reader,
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=_as_is,
            # Zarr's event loop and fork do not mix
            multiprocessing_context="forkserver" if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=_left_to_the_parent,
            prefetch_factor=IN_TURN - 1 if workers else None,
        )

    def __len__(self) -> int:
        return self._source.count_batches(self._batch_size, self._world)

    def __iter__(self) -> Iterator[CodeBatch]:
        epoch, start = self._position()
        self._batches.samples = self._source.batches(
            epoch, self._batch_size, rank=self._rank, world=self._world, start=start
        )
        iterator = iter(self._loader)
        if not self._closes_at_exit:  # last registered, first to run: before torch ends workers
            atexit.register(_close, weakref.ref(self))
            self._closes_at_exit = True
        for batch in iterator:
            yield self._reader.received(batch)

    def close(self) -> None:
        """End the worker processes; they take no notice of signals."""
        iterator = self._loader._iterator
        if isinstance(iterator, _MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()
            self._loader._iterator = None

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the trainer's own progress says where to go on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """For Lightning to know that this loader can go on within an epoch."""

    def _position(self) -> tuple[int, int]:
        if self._trainer is None or self._same:
            return 0, 0
        loop: Any = self._trainer.fit_loop
        return loop.epoch_progress.current.processed, loop.epoch_loop.batch_progress.current.ready

    @property
    def _rank(self) -> int:
        return self._trainer.global_rank if self._trainer else 0

    @property
    def _world(self) -> int:
        return self._trainer.world_size if self._trainer else 1


class _Batches:
    """What the torch loader takes its batches of samples from, new for each epoch."""

    samples: Iterator[list[Sample]] = iter(())

    def __iter__(self) -> Iterator[list[Sample]]:
        return self.samples


def _close(loader: weakref.ref[BatchLoader]) -> None:
    """End a loader's workers when Python ends, if the loader is still there."""
    found = loader()
    if found is not None:
        found.close()


def _as_is(batch: Any) -> Any:
    return batch


def _start_forkserver() -> None:
    """Start the process that workers are forked from, which has imported all that they need.

    It takes no notice of SIGTERM, which reaches whole process groups: without it the workers end.
    """
    get_context("forkserver").set_forkserver_preload([WindowReader.__module__])
    if threading.current_thread() is not threading.main_thread():
        return  # it starts with the first worker
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGTERM, before)


def _left_to_the_parent(worker: int) -> None:
    """Signals reach whole process groups; a worker must not die before the last step is saved."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
