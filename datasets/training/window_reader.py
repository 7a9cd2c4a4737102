"""Cuts windows of codes out of archives; runs in the loader's worker processes.

Owns reading a box of the archive once for all the crops that lie in it. Knows nothing of rain
statistics, splits or the order of an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.coding import RAIN_CODE
from squall.datasets.training.windows import Crop, window_span

IN_TURN = 3  # batches that a worker keeps apart
PADDING = -1  # number of a sample that only fills a batch up: nothing observed


class Sample(NamedTuple):
    """What to cut, and how to turn it.

    Parameters
    ----------
    epoch, number : the sample's address: which epoch, and its number in it.
    archive : number of the archive.
    crop : where it lies.
    speed : it takes every ``speed``-th scan.
    coarsen : its pixels are means over squares of ``coarsen`` × ``coarsen``.
    turn : quarter turns, and 4 more where it is mirrored after them; done on the device.
    gain : factor of its rain rates; applied on the device.
    lost : time steps to blank.
    ahead : crops of the samples ``number + 1, number + 2, …``, to be asked for later: read now.
    """

    epoch: int
    number: int
    archive: int = 0
    crop: Crop = Crop(0, 0, 0)
    speed: int = 1
    coarsen: int = 1
    turn: int = 0
    gain: float = 1.0
    lost: tuple[int, ...] = ()
    ahead: tuple[Crop, ...] = ()


class Places(NamedTuple):
    """Where the samples of a batch lie in the archives: columns of (B,) int64 on the host."""

    number: Tensor
    """of the sample in its epoch; `PADDING` for a sample that only fills the batch"""
    archive: Tensor
    scan: Tensor
    """time index of the window's first scan"""
    row: Tensor
    column: Tensor
    """of the upper left pixel"""
    speed: Tensor
    coarsen: Tensor
    """see `Sample`"""

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Places:
        """The places of samples."""
        return cls.from_table(
            torch.tensor([(s.number, s.archive, *s.crop, s.speed, s.coarsen) for s in samples])
        )

    @classmethod
    def from_table(cls, table: Tensor) -> Places:
        """The columns of a table that `table` made."""
        return cls(*table.unbind(dim=1))

    def table(self) -> Tensor:
        """(B, 7), the columns side by side: one tensor to send to another process."""
        return torch.stack(self, dim=1)


class CodeBatch(NamedTuple):
    """Windows as they travel to the device."""

    codes: Tensor
    """(B, T + L, crop, crop) uint8"""
    turns: Tensor
    """(B,) int64, see `Sample.turn`"""
    gains: Tensor
    """(B,) float32, see `Sample.gain`"""
    places: Places


class SlotBatch(NamedTuple):
    """A batch whose codes a worker left in memory that it shares with the main process."""

    worker: int
    slot: int
    turns: Tensor
    gains: Tensor
    places: Tensor
    """(B, 7), see `Places.table`"""


class WindowReader(Dataset[CodeBatch | SlotBatch]):
    """Batches of windows, addressed by samples; the same sample gives the same codes always.

    Crops that are read ahead are held until they are asked for, at most for one epoch.

    A worker process writes its batches into three places in turn, which it shares with the main
    process: fresh shared memory for each batch would cost ten times the copy that ``received``
    makes instead. A torch loader has at most two batches under way in a worker.

    Parameters
    ----------
    archives : reopened at the same snapshots in worker processes.
    length : scans of a window.
    crop : pixels of a side.
    batch_size : samples of a batch, where there are workers.
    workers : how many processes will read, 0 for the main one.
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
        shape = (workers, IN_TURN, batch_size, length, crop, crop)
        self._slots = torch.empty(shape, dtype=torch.uint8)
        if workers:
            self._slots.share_memory_()
        self._made = 0
        self._held: dict[int, npt.NDArray[np.uint8]] = {}
        self._spare: list[npt.NDArray[np.uint8]] = []  # fresh memory costs as much as a copy
        self._epoch = 0

    def __getitems__(self, samples: Sequence[Sample]) -> CodeBatch | SlotBatch:
        """One batch; of the configured size in a worker."""
        turns = torch.tensor([s.turn for s in samples])
        gains = torch.tensor([s.gain for s in samples])
        places = Places.of(samples)
        worker = get_worker_info()
        if worker is None:
            shape = (len(samples), self._length, self._crop, self._crop)
            codes = torch.empty(shape, dtype=torch.uint8)
            self._fill_all(codes, samples)
            return CodeBatch(codes, turns, gains, places)
        slot = self._made % IN_TURN
        self._made += 1
        self._fill_all(self._slots[worker.id, slot], samples)
        return SlotBatch(worker.id, slot, turns, gains, places.table())

    def received(self, batch: CodeBatch | SlotBatch) -> CodeBatch:
        """A batch as the main process hands it on; to be called before the next one is taken.

        Where there is a GPU the codes lie in pinned memory.
        """
        pinned = torch.cuda.is_available()
        if isinstance(batch, CodeBatch):
            return batch._replace(codes=batch.codes.pin_memory()) if pinned else batch
        codes = self._slots[batch.worker, batch.slot]
        copy = torch.empty_like(codes, pin_memory=pinned).copy_(codes)
        return CodeBatch(copy, batch.turns, batch.gains, Places.from_table(batch.places))

    def _fill_all(self, codes: Tensor, samples: Sequence[Sample]) -> None:
        for out, sample in zip(codes.numpy(), samples, strict=True):
            if sample.number == PADDING:
                out[:] = RAIN_CODE.NOT_OBSERVED
            else:
                self._fill(out, sample)

    def _fill(self, out: npt.NDArray[np.uint8], sample: Sample) -> None:
        if sample.epoch != self._epoch:
            self._spare += self._held.values()
            self._held.clear()
            self._epoch = sample.epoch
        held = self._held.pop(sample.number, None)
        if held is None:
            out[:] = self._read(sample)
        else:
            out[:] = held
            self._spare.append(held)
        if sample.lost:
            out[list(sample.lost)] = RAIN_CODE.NOT_OBSERVED

    def _read(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Read the box around a sample's crop and those ahead of it, and hold the latter."""
        crops = (sample.crop, *sample.ahead)
        span, side = window_span(self._length, sample.speed), self._crop * sample.coarsen
        scan, row, column = (min(values) for values in zip(*crops, strict=True))
        end, low, right = (max(values) for values in zip(*crops, strict=True))
        box = np.asarray(
            self._archives[sample.archive].codes[
                scan : end + span,
                row : low + side,
                column : right + side,
            ]
        )
        cuts = []
        for crop in crops:
            t, y, x = crop.scan - scan, crop.row - row, crop.column - column
            cut = box[t : t + span : sample.speed, y : y + side, x : x + side]
            cuts.append(cut if sample.coarsen == 1 else coarsened(cut, sample.coarsen))
        for number, cut in enumerate(cuts[1:], start=1):
            held = self._spare.pop() if self._spare else np.empty(cut.shape, dtype=np.uint8)
            held[:] = cut
            self._held[sample.number + number] = held
        return cuts[0]


def coarsened(codes: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Codes of the mean rain rates over squares of pixels.

    Parameters
    ----------
    codes : (time, y, x), both sides multiples of ``factor``.
    factor : pixels of a square's side.

    Returns
    -------
    (time, y / factor, x / factor): means of the observed pixels; not observed where fewer than
    half of a square's pixels are.
    """
    time, height, width = codes.shape
    # with sums of 32 bits the mean of nothing but code 1 could be dry
    total = np.zeros((time, height // factor, width // factor), dtype=np.float64)
    observed = np.zeros(total.shape, dtype=np.uint16)
    for row in range(factor):
        for column in range(factor):
            part = codes[:, row::factor, column::factor]
            total += _RATE_OR_ZERO.take(part)
            observed += part != RAIN_CODE.NOT_OBSERVED
    total /= np.maximum(observed, 1)
    total[2 * observed < factor**2] = np.nan
    return RAIN_CODE.encode(total)


_RATE_OR_ZERO = np.nan_to_num(RAIN_CODE.table)
