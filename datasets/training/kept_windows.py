"""Windows that are computed once and kept in a folder, one byte a pixel.

Owns the layout of the folder. What is computed from the scans of a window is a `WindowFunction`
from outside: this room does not know networks.

A store is a Zarr group with three arrays: ``codes`` (window, channel, y, x) uint8 as in
`squall.datasets.coding`, ``paths`` (window, lead_time, 2, row, column) float16, and ``is_done``
(window,). It is named after its layout and all that its numbers depend on, so a store is complete,
unfinished or of other windows, but never wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import zarr
from torch import Tensor

from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.coding import RAIN_CODE
from squall.datasets.training.batches import NO_PATHS, PADDING, Sample
from squall.datasets.training.sampling import Variant
from squall.datasets.training.window_reader import WindowReader, coarsened
from squall.datasets.training.windows import window_span

CHUNK_PX = 128  # side of a chunk
LAYOUT = 2  # of a store; raise it if the arrays change


class MovingFrame(NamedTuple):
    """How windows in the frame that moves with the rain are computed, and where they are kept."""

    version: str
    """of the function that computes them"""
    folder: Path
    cell_px: int
    """side of the cells of the paths"""
    gives_paths: bool
    """whether the batches have the paths"""


class Window(NamedTuple):
    """What is computed from the scans of a window."""

    channels: npt.NDArray[np.float32]
    """(channel, y, x) mm/h; NaN = not observed or not known"""
    paths: npt.NDArray[np.float32]
    """(lead_time, 2, row, column) pixels to the right and down, in cells of `MovingFrame.cell_px`:
    from each place at the time of the last scan to the place of its rain at the lead time"""


WindowFunction = Callable[[npt.NDArray[np.float32]], Window]
"""From the scans of a window, (scan, y, x) mm/h, NaN = not observed."""


class KeptWindows:
    """The windows of one archive, at one step and pixel size.

    Parameters
    ----------
    folder : where stores are.
    archive : that the scans are read from.
    variant : of the windows.
    starts : time indices of the windows' first scans, rising.
    length : scans of a window.
    channels : that are computed from a window.
    lead_times : of the paths.
    version : of the function that computes them.
    cell_px : side of the cells of the paths.
    """

    def __init__(
        self,
        folder: Path,
        archive: ScanStore,
        variant: Variant,
        starts: npt.NDArray[np.int64],
        *,
        length: int,
        channels: int,
        lead_times: int,
        version: str,
        cell_px: int,
    ) -> None:
        self.archive, self.variant, self.starts = archive, variant, starts
        self._length = length
        height, width = (side // variant.coarsen for side in archive.grid.shape)
        self.shape = (starts.size, channels, height, width)
        cells = -(-height // cell_px), -(-width // cell_px)
        self.paths_shape = (lead_times, 2, *cells)
        self._content: dict[str, Any] = {
            "archive": archive.address,
            "snapshot": archive.snapshot,
            "every": variant.speed,
            "coarsen": variant.coarsen,
            "length": length,
            "channels": channels,
            "version": version,
            "layout": LAYOUT,
            "paths": list(self.paths_shape),
            "windows": hashlib.sha256(starts.astype("<i8").tobytes()).hexdigest(),
        }
        digest = hashlib.sha256(json.dumps(self._content, sort_keys=True).encode()).hexdigest()
        self.path = folder / f"{archive.name}-{digest[:12]}.zarr"
        self._group: zarr.Group | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of codes and paths before compression."""
        return int(np.prod(self.shape)) + 2 * self.shape[0] * int(np.prod(self.paths_shape))

    def missing(self) -> list[int]:
        """Numbers of the windows that are still to be computed."""
        return [int(number) for number in np.flatnonzero(self._array("is_done")[:] == 0)]

    def create(self) -> None:
        """Make the store, unless it exists."""
        _, channels, height, width = self.shape
        group = zarr.open_group(self.path, mode="a", attributes=self._content)
        if "is_done" not in group:
            group.create_array(
                "codes",
                shape=self.shape,
                chunks=(1, channels, min(CHUNK_PX, height), min(CHUNK_PX, width)),
                dtype="uint8",
                fill_value=RAIN_CODE.NOT_OBSERVED,
            )
            group.create_array(
                "paths",
                shape=(self.shape[0], *self.paths_shape),
                chunks=(1, *self.paths_shape),
                dtype="float16",
                fill_value=0,
            )
            # the last to be made, so that a store that was interrupted here is made again
            group.create_array("is_done", shape=self.shape[:1], dtype="uint8", fill_value=0)

    def compute(self, number: int, function: WindowFunction) -> None:
        """Compute a window and write its codes and paths."""
        start, speed = int(self.starts[number]), self.variant.speed
        codes = np.asarray(self.archive.codes[start : start + window_span(self._length, speed)])
        codes = codes[::speed]
        coarsen, (_, _, height, width) = self.variant.coarsen, self.shape
        if coarsen > 1:
            codes = coarsened(codes[:, : height * coarsen, : width * coarsen], coarsen)
        window = function(RAIN_CODE.table[codes])
        self._array("codes")[number] = RAIN_CODE.encode(window.channels)
        self._array("paths")[number] = window.paths.astype(np.float16)

    def mark_done(self, numbers: Sequence[int]) -> None:
        """Note that windows are written; only one process may do this at a time."""
        is_done = self._array("is_done")[:]
        is_done[list(numbers)] = 1
        self._array("is_done")[:] = is_done

    def crop(self, scan: int, row: int, column: int, side: int) -> npt.NDArray[np.uint8]:
        """(channel, side, side) codes of a window from an upper left pixel on."""
        number = self._number(scan)
        rows, columns = slice(row, row + side), slice(column, column + side)
        return np.asarray(self._array("codes")[number, :, rows, columns], np.uint8)

    def paths(self, scan: int) -> npt.NDArray[np.float16]:
        """(lead_time, 2, row, column) paths of a window, see `Window`."""
        return np.asarray(self._array("paths")[self._number(scan)], np.float16)

    def _number(self, scan: int) -> int:
        """The number of the window whose first scan has this time index."""
        return int(np.searchsorted(self.starts, scan))

    def _array(self, name: str) -> Any:
        if self._group is None:
            self._group = zarr.open_group(self.path, mode="r+")
        return self._group[name]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_group": None}


class KeptWindowReader(WindowReader):
    """Batches of kept windows.

    Parameters
    ----------
    windows : of each variant.
    channels : of a window.
    gives_paths : whether a batch has the paths of its windows, which then have one shape.
    """

    def __init__(
        self,
        windows: Mapping[Variant, KeptWindows],
        channels: int,
        crop: int,
        *,
        gives_paths: bool = False,
        batch_size: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__([], channels, crop, batch_size=batch_size, workers=workers)
        self._windows, self._gives_paths = dict(windows), gives_paths

    def _paths(self, samples: Sequence[Sample]) -> Tensor:
        if not self._gives_paths:
            return NO_PATHS
        (shape,) = {store.paths_shape for store in self._windows.values()}
        paths = np.zeros((len(samples), *shape), np.float16)
        for number, sample in enumerate(samples):
            if sample.number != PADDING:
                variant = Variant(sample.archive, sample.speed, sample.coarsen)
                paths[number] = self._windows[variant].paths(sample.crop.scan)
        return torch.from_numpy(paths)

    def _fill_window(self, window: npt.NDArray[np.uint8], sample: Sample) -> None:
        variant = Variant(sample.archive, sample.speed, sample.coarsen)
        scan, row, column = sample.crop
        row, column = row // sample.coarsen, column // sample.coarsen
        window[:] = self._windows[variant].crop(scan, row, column, self._crop)
