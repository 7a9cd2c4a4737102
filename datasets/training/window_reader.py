"""Cuts windows of codes out of archives; runs in the loader's worker processes.

Reads a box of the archive once for all crops that lie in it. Knows nothing of rain statistics,
splits or the order of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.grid import is_wide_pixel_known
from squall.datasets.training.batches import NO_PATHS, PADDING, CodeBatch, Places, Sample, SlotBatch
from squall.datasets.training.windows import window_span

SLOTS = 3  # batches of a worker that exist at the same time


class WindowReader(Dataset[CodeBatch | SlotBatch]):
    """Batches of windows, addressed by samples. The same sample always gives the same codes.

    Crops that are read ahead are kept until they are asked for, for one epoch at most.

    A worker process writes its batches into `SLOTS` slots in rotation. It shares the slots with
    the main process, and `receive` copies a batch out of them: this takes a tenth of the time that
    fresh shared memory for each batch would take. A torch loader has at most two batches in
    progress in a worker, so a slot is not overwritten before it is received.

    Parameters
    ----------
    archives : to read from; reopened at the same snapshots in worker processes.
    length : scans of a window.
    crop : pixels of a side.
    batch_size : samples of a batch; needed only with workers.
    workers : number of processes that read; 0 for the main process alone.
    """

    def __init__(
        self,
        archives: Sequence[ScanStore],
        length: int,
        crop: int,
        *,
        batch_size: int = 0,
        workers: int = 0,
    ) -> None:
        self._archives, self._length, self._crop = list(archives), length, crop
        shape = (workers, SLOTS, batch_size, length, crop, crop)
        self._slots = torch.empty(shape, dtype=torch.uint8)
        if workers:
            _share(self._slots)
        self._batches_written = 0
        self._windows_ahead: dict[int, npt.NDArray[np.uint8]] = {}  # by sample number
        # arrays to reuse: fresh memory would cost as much time as the copy
        self._spare_windows: list[npt.NDArray[np.uint8]] = []
        self._epoch = 0

    def __getitems__(self, samples: Sequence[Sample]) -> CodeBatch | SlotBatch:
        """Cut one batch. In a worker it has the configured batch size."""
        turns = torch.tensor([s.turn for s in samples])
        gains = torch.tensor([s.gain for s in samples])
        places = Places.of(samples)
        worker = get_worker_info()
        if worker is None:
            shape = (len(samples), self._length, self._crop, self._crop)
            codes = torch.empty(shape, dtype=torch.uint8)
            self._fill_batch(codes, samples)
            return CodeBatch(codes, turns, gains, places, self._paths(samples))
        slot = self._batches_written % SLOTS
        self._batches_written += 1
        self._fill_batch(self._slots[worker.id, slot], samples)
        others = turns, gains, places.table(), self._paths(samples)
        return SlotBatch(worker.id, slot, *(values.numpy() for values in others))

    def receive(self, batch: CodeBatch | SlotBatch) -> CodeBatch:
        """Take over a batch in the main process, before the next batch is asked for.

        If there is a GPU, codes and paths are in pinned memory.
        """
        pinned = torch.cuda.is_available()
        if isinstance(batch, CodeBatch):
            if not pinned:
                return batch
            return batch._replace(codes=batch.codes.pin_memory(), paths=_pinned(batch.paths))
        codes = self._slots[batch.worker, batch.slot]
        copy = torch.empty_like(codes, pin_memory=pinned).copy_(codes)
        turns, gains, places, paths = (
            torch.from_numpy(values)
            for values in (batch.turns, batch.gains, batch.places, batch.paths)
        )
        paths = _pinned(paths) if pinned else paths
        return CodeBatch(copy, turns, gains, Places.from_table(places), paths)

    def _paths(self, samples: Sequence[Sample]) -> Tensor:
        """The paths of the rain in the samples' windows (`CodeBatch.paths`); archives have none."""
        return NO_PATHS

    def _fill_batch(self, codes: Tensor, samples: Sequence[Sample]) -> None:
        for window, sample in zip(codes.numpy(), samples, strict=True):
            if sample.number == PADDING:
                window[:] = RAIN_CODE.NOT_OBSERVED
            else:
                self._fill_window(window, sample)
                if sample.dropped:
                    window[list(sample.dropped)] = RAIN_CODE.NOT_OBSERVED

    def _fill_window(self, window: npt.NDArray[np.uint8], sample: Sample) -> None:
        if sample.epoch != self._epoch:
            self._spare_windows += self._windows_ahead.values()
            self._windows_ahead.clear()
            self._epoch = sample.epoch
        read_before = self._windows_ahead.pop(sample.number, None)
        if read_before is None:
            window[:] = self._read(sample)
        else:
            window[:] = read_before
            self._spare_windows.append(read_before)

    def _read(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Read the box around a sample's crop and the crops ahead, and keep the crops ahead."""
        crops = (sample.crop, *sample.ahead)
        span, side = window_span(self._length, sample.speed), self._crop * sample.coarsen
        first_scan, top, left = (min(values) for values in zip(*crops, strict=True))
        last_scan, bottom, right = (max(values) for values in zip(*crops, strict=True))
        box = np.asarray(
            self._archives[sample.archive].codes[
                first_scan : last_scan + span,
                top : bottom + side,
                left : right + side,
            ]
        )
        windows = []
        for crop in crops:
            t, y, x = crop.scan - first_scan, crop.row - top, crop.column - left
            window = box[t : t + span : sample.speed, y : y + side, x : x + side]
            windows.append(window if sample.coarsen == 1 else coarsened(window, sample.coarsen))
        for number, window in enumerate(windows[1:], start=sample.number + 1):
            spare = self._spare_windows
            self._windows_ahead[number] = spare.pop() if spare else np.empty_like(window, order="C")
            self._windows_ahead[number][:] = window
        return windows[0]


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if tensor.numel() else tensor


def _share(slots: Tensor) -> None:
    """Move the slots to shared memory; torch reserves all of it at once.

    Raises
    ------
    DataError
        If there is no room.
    """
    try:
        slots.share_memory_()
    except (RuntimeError, OSError) as error:
        if "shared memory" not in str(error) and "No space left" not in str(error):
            raise
        raise DataError(
            f"/dev/shm has no room for {slots.nbytes / 1e6:.0f} MB of batches from "
            f"{slots.shape[0]} loader processes; make it larger (docker run --shm-size=4g), delete "
            "files there, or choose fewer data.workers (0: none) or a smaller data.batch_size"
        ) from error


def coarsened(codes: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Return the codes of mean rain rates over squares of pixels.

    Parameters
    ----------
    codes : (time, y, x), both sides multiples of ``factor``.
    factor : pixels of a square's side.

    Returns
    -------
    (time, y / factor, x / factor): mean over the observed pixels of a square; not observed if
    too few of its pixels are (`is_wide_pixel_known`).
    """
    time, height, width = codes.shape
    # 64 bits: with 32 bits the mean of pixels that all have code 1 could become dry
    total = np.zeros((time, height // factor, width // factor), dtype=np.float64)
    observed = np.zeros(total.shape, dtype=np.uint16)
    for row in range(factor):
        for column in range(factor):
            pixels = codes[:, row::factor, column::factor]
            total += _RATE_OR_ZERO.take(pixels)
            observed += pixels != RAIN_CODE.NOT_OBSERVED
    total /= np.maximum(observed, 1)
    total[~is_wide_pixel_known(observed, factor**2)] = np.nan
    return RAIN_CODE.encode(total)


_RATE_OR_ZERO = np.nan_to_num(RAIN_CODE.table)
