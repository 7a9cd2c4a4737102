"""Iterates the batches of one rank, and can resume within an epoch.

Owns the loader processes: how they start, which signals they ignore, and how they end.
"""

from __future__ import annotations

import atexit
import signal
import threading
from collections.abc import Iterator
from multiprocessing import forkserver, get_context
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from squall.datasets.orphans import end_with_parent
from squall.datasets.training.batches import CodeBatch, Sample, SlotBatch
from squall.datasets.training.loader_internals import end_workers
from squall.datasets.training.samples import SampleSource
from squall.datasets.training.window_reader import SLOTS, WindowReader

if TYPE_CHECKING:  # each loader process imports this module, and this library takes seconds
    import pytorch_lightning as pl


class BatchLoader:
    """Iterates the batches of this rank, from where the trainer is in its epoch.

    Parameters
    ----------
    source : decides which samples an epoch has.
    reader : cuts the samples' windows.
    trainer : knows this process's rank, the epoch and the next batch. None: rank 0 of 1, from the
        start of the first epoch.
    batch_size : samples of a batch of this rank.
    workers : loader processes besides this process.
    same_every_epoch : whether all epochs have the samples of the first, as in validation.
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
        self._trainer, self._batch_size = trainer, batch_size
        self._same_every_epoch = same_every_epoch
        self._batches = _EpochBatches()
        self._closes_at_exit = False
        if workers:
            _start_forkserver()
        self._loader: DataLoader[CodeBatch | SlotBatch] = DataLoader(
            reader,
            batch_sampler=self._batches,
            num_workers=workers,
            collate_fn=_unchanged,
            # Zarr's event loop does not survive a fork
            multiprocessing_context="forkserver" if workers else None,
            persistent_workers=workers > 0,
            worker_init_fn=_start_worker,
            prefetch_factor=SLOTS - 1 if workers else None,
        )

    def __len__(self) -> int:
        return self._source.count_batches(self._batch_size, self._world)

    def __iter__(self) -> Iterator[CodeBatch]:
        epoch, start = self._position()
        self._batches.samples = self._source.batches(
            epoch, self._batch_size, rank=self._rank, world=self._world, start=start
        )
        batches = iter(self._loader)
        if self._loader.num_workers and not self._closes_at_exit:
            # Registered after torch's own handler, so that it runs before torch's. It also keeps
            # this loader until it is closed: if the garbage collector took it, the queues' own
            # finalisers would run before the workers get the message to end.
            atexit.register(self.close)
            self._closes_at_exit = True
        for batch in batches:
            yield self._reader.receive(batch)

    def close(self) -> None:
        """End the worker processes, which ignore signals."""
        end_workers(self._loader)
        atexit.unregister(self.close)
        self._closes_at_exit = False

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the trainer's own progress says where to resume."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing; Lightning looks for this method before it resumes within an epoch."""

    def _position(self) -> tuple[int, int]:
        """Return the epoch and the number of its next batch."""
        if self._trainer is None or self._same_every_epoch:
            return 0, 0
        loop: Any = self._trainer.fit_loop
        return loop.epoch_progress.current.processed, loop.epoch_loop.batch_idx + 1

    @property
    def _rank(self) -> int:
        return self._trainer.global_rank if self._trainer else 0

    @property
    def _world(self) -> int:
        return self._trainer.world_size if self._trainer else 1


class _EpochBatches:
    """The batch sampler of the torch loader; it gets new batches for each epoch."""

    samples: Iterator[list[Sample]] = iter(())

    def __iter__(self) -> Iterator[list[Sample]]:
        return self.samples


def _unchanged(batch: Any) -> Any:
    return batch


def _start_forkserver() -> None:
    """Start the process that workers are forked from; it has imported what they need.

    It ignores SIGTERM, which reaches whole process groups: its end would end the workers.
    """
    get_context("forkserver").set_forkserver_preload([__name__])
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may set handlers; the first worker starts the process
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGTERM, handler)


def _start_worker(worker: int) -> None:
    """Ignore signals, which reach whole process groups, so that the last step can be saved.

    A worker ends when its loader is closed, or when the process of the loader is gone.
    """
    end_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
