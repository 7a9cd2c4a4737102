"""What travels from the archives to the device: samples, and batches of their windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from squall.datasets.training.windows import Crop

NO_PATHS = torch.empty(0)  # for networks that do not ask for the paths of the rain
PADDING = -1  # number of a sample that only fills a batch up and observes nothing


class Sample(NamedTuple):
    """What to cut, and how to change it.

    Parameters
    ----------
    epoch, number : the sample's address: its epoch, and its number in the epoch.
    archive : number of the archive.
    crop : where the window lies.
    speed : the window takes every ``speed``-th scan.
    coarsen : its pixels are means over ``coarsen`` × ``coarsen`` pixels of the archive.
    turn : quarter turns from 0 to 3; plus 4 if the turned window is mirrored. Done on the device.
    gain : factor for the rain rates. Applied on the device.
    dropped : scans of the window that are set to not observed.
    ahead : crops of the samples ``number + 1, number + 2, …``, to be read now and used later.
    """

    epoch: int
    number: int
    archive: int = 0
    crop: Crop = Crop(0, 0, 0)
    speed: int = 1
    coarsen: int = 1
    turn: int = 0
    gain: float = 1.0
    dropped: tuple[int, ...] = ()
    ahead: tuple[Crop, ...] = ()


class Places(NamedTuple):
    """Where the samples of a batch lie in the archives: columns of (B,) int64 on the host."""

    number: Tensor
    """of the sample in its epoch; `PADDING` for a sample that only fills the batch up"""
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
        """Return the places of samples."""
        return cls.from_table(
            torch.tensor([(s.number, s.archive, *s.crop, s.speed, s.coarsen) for s in samples])
        )

    @classmethod
    def from_table(cls, table: Tensor) -> Places:
        """Return the columns of a table that `table` made."""
        return cls(*table.unbind(dim=1))

    def table(self) -> Tensor:
        """Return the columns side by side, (B, 7): one tensor to send to another process."""
        return torch.stack(self, dim=1)


class CodeBatch(NamedTuple):
    """Windows of codes on their way to the device."""

    codes: Tensor
    """(B, T + L, crop, crop) uint8"""
    turns: Tensor
    """(B,) int64, see `Sample.turn`"""
    gains: Tensor
    """(B,) float32, see `Sample.gain`"""
    places: Places
    paths: Tensor = NO_PATHS
    """(B, L, 2, h, w) float16 of kept windows, if they are asked for"""


class SlotBatch(NamedTuple):
    """A batch whose codes a worker has written to memory that the main process shares.

    The other fields are arrays, which travel through a pipe. Torch would send a tensor in a piece
    of shared memory of its own; if that is full, the batch would be lost without an error.
    """

    worker: int
    slot: int
    turns: npt.NDArray[np.int64]
    gains: npt.NDArray[np.float32]
    places: npt.NDArray[np.int64]
    """(B, 7), see `Places.table`"""
    paths: npt.NDArray[np.float16]
    """see `CodeBatch`"""


class RainBatch(NamedTuple):
    """Windows of rain rate on the device, mm/h, NaN = not observed."""

    context: Tensor
    """(B, T, 1, H, W), oldest scan first"""
    target: Tensor
    """(B, L, 1, H, W)"""
    places: Places
    """on the host"""

    @property
    def keys(self) -> Tensor:
        """(B,) numbers of the samples in their epoch, the same on any rank."""
        return self.places.number


class MovingBatch(NamedTuple):
    """Windows in the frame that moves with the rain, on the device; mm/h, NaN = not known."""

    context: Tensor
    """(B, T, 1, H, W), oldest scan first"""
    smoothed: Tensor
    """(B, L, 1, H, W): the smoothed last scan at the lead times"""
    staying: Tensor
    """(B, L, 3, H, W): the scans at rest where the rain is at the lead times"""
    target: Tensor
    """(B, L, 1, H, W)"""
    resolution: Tensor
    """(B, 2): time step [min] and grid spacing [km]"""
    places: Places
    """on the host"""
    paths: Tensor
    """(B, L, 2, h, w) pixels: how far the rain moves until each lead time (`KeptWindows`); empty if
    not asked for"""
    corner: Tensor
    """(B, 2) column and row of the windows on the grid of the kept windows"""

    @property
    def keys(self) -> Tensor:
        """(B,) numbers of the samples in their epoch, the same on any rank."""
        return self.places.number
