"""Which windows an archive holds, and which of them to take: pure index arithmetic.

Owns contiguity, importance sampling by rain and crop positions. Reads no frames: the archive's
block statistics say where it rains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from squall.datasets.runs import Bools

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def window_starts(usable: Bools, length: int) -> Integers:
    """Indices where ``length`` consecutive time steps are all usable."""
    if usable.size < length:
        return np.zeros(0, dtype=np.int64)
    broken = np.concatenate([[0], np.cumsum(~usable)])
    return np.flatnonzero(broken[length:] == broken[:-length])


def window_span(length: int, speed: int) -> int:
    """Time steps from a window's first scan to its last, where it takes every ``speed``-th."""
    return (length - 1) * speed + 1


class Crop(NamedTuple):
    """Where a sample lies: the time index of its first scan and its upper left pixel."""

    scan: int
    row: int
    column: int


@dataclass(frozen=True, eq=False)
class RainBlocks:
    """Where and when it rains, block by block, of an archive's good scans.

    Parameters
    ----------
    scans : (scan,) time index of each good scan, ascending.
    score : (scan, block_y, block_x), ``1 - exp(-R / 1 mm h-1)`` of the block's mean rain rate,
        times its observed share: 0..1.
    observed : (scan, block_y, block_x), share of observed pixels.
    shape, block : pixels of the domain (H, W), of a block's side.
    """

    scans: Integers
    score: npt.NDArray[np.float16]
    observed: npt.NDArray[np.float16]
    shape: tuple[int, int]
    block: int

    @classmethod
    def of(
        cls,
        scans: Integers,
        rain_mm_h: npt.NDArray[np.float32],
        observed_share: npt.NDArray[np.float32],
        *,
        shape: tuple[int, int],
        block: int,
    ) -> RainBlocks:
        """From block statistics as an archive keeps them, each (scan, block_y, block_x)."""
        score = observed_share * -np.expm1(-rain_mm_h)
        half = np.float16  # years of blocks are held in memory
        return cls(scans, score.astype(half), observed_share.astype(half), shape, block)


class RainSampler:
    """Draws windows and crops that prefer rain, several that lie close together at a time.

    A window has a probability proportional to ``1 + strength * score``, and a crop inside it the
    same times its observed share; the score is the mean over the window's (the crop's) blocks,
    scaled to mean 1, as in the importance sampling of Ravuri et al. (2021,
    doi:10.1038/s41586-021-03854-z), here from the archive's block statistics.

    Crops come from one cell at a time: the windows that start in one chunk of time and lie, by
    their upper left block, in one tile. They share the archive's chunks, so that these are read
    and decoded once for all of them. The cell is drawn with the sum of its crops' probabilities,
    and so every single crop has the probability above.

    Parameters
    ----------
    blocks : the archive's rain.
    starts : numbers of the good scans that windows to draw from start with, ascending.
    length : scans of a window.
    crop : side of the crop, pixels; at most that of the domain.
    strength : 0 draws evenly; 10 makes rain ten times as likely as its share.
    cell : scans and pixels of a cell, those of the archive's chunks.
    """

    def __init__(
        self,
        blocks: RainBlocks,
        starts: Integers,
        length: int,
        *,
        crop: int,
        strength: float,
        cell: tuple[int, int],
    ) -> None:
        self._blocks, self._starts, self._length = blocks, starts, length
        self._crop, self._strength = crop, strength
        self._tile = max(1, cell[1] // blocks.block)  # blocks of a tile's side
        per_scan = blocks.score.mean(axis=(1, 2), dtype=np.float64)
        sums = np.concatenate([[0.0], np.cumsum(per_scan)])
        score = sums[starts + length] - sums[starts]
        self.rains = bool((score > 1e-9).any())
        self._window_weights = _weights(score, strength)
        chunk = blocks.scans[starts] // cell[0]
        self._chunk_ends = np.flatnonzero(np.diff(chunk, append=chunk[-1:] + 1)) + 1
        self._cumulated = np.cumsum(self._window_weights)

    def draw(self, rng: np.random.Generator, count: int = 1) -> list[Crop]:
        """So many crops of one cell; the same generator state gives the same crops."""
        drawn = np.searchsorted(self._cumulated, rng.random() * self._cumulated[-1], side="right")
        chunk = int(np.searchsorted(self._chunk_ends, min(drawn, self._starts.size - 1), "right"))
        first = self._chunk_ends[chunk - 1] if chunk else 0
        windows = slice(first, self._chunk_ends[chunk])
        weights = self._crop_weights(windows)
        edges = [np.arange(0, size, self._tile) for size in weights.shape[1:]]
        tiles = np.add.reduceat(weights.sum(axis=0), edges[0], axis=0)
        tiles = np.add.reduceat(tiles, edges[1], axis=1)
        tile_row, tile_column = divmod(_choose(rng, tiles.ravel(), 1)[0], tiles.shape[1])
        top, left = tile_row * self._tile, tile_column * self._tile
        inside = weights[:, top : top + self._tile, left : left + self._tile]
        places = np.unravel_index(_choose(rng, inside.ravel(), count), inside.shape)
        block, (height, width) = self._blocks.block, self._blocks.shape
        rows, columns = (top + places[1]) * block, (left + places[2]) * block
        rows = rng.integers(rows, np.minimum(rows + block, height - self._crop + 1))
        columns = rng.integers(columns, np.minimum(columns + block, width - self._crop + 1))
        scans = self._blocks.scans[self._starts[windows][places[0]]]
        return [
            Crop(*crop)
            for crop in zip(scans.tolist(), rows.tolist(), columns.tolist(), strict=True)
        ]

    def _crop_weights(self, windows: slice) -> Floats:
        """(window, block_y, block_x): probabilities of crops by their upper left block."""
        starts = self._starts[windows]
        scans = slice(starts[0], starts[-1] + self._length)
        block, (height, width) = self._blocks.block, self._blocks.shape
        side = max(1, self._crop // block)
        offsets_y, offsets_x = (_offsets(size - self._crop, block) for size in (height, width))

        def sums(field: npt.NDArray[np.float16]) -> Floats:
            values = np.cumsum(field[scans], axis=0, dtype=np.float64)
            values = np.concatenate([np.zeros_like(values[:1]), values])
            offsets = starts - starts[0]
            boxes = _box_sums(values[offsets + self._length] - values[offsets], side)
            return boxes[:, : offsets_y.size, : offsets_x.size]  # where a whole crop fits in

        rain = sums(self._blocks.score)
        weights = _weights(rain.reshape(starts.size, -1), self._strength).reshape(rain.shape)
        weights *= (sums(self._blocks.observed) + 1e-6) * np.outer(offsets_y, offsets_x)
        weights /= weights.sum(axis=(1, 2), keepdims=True)
        return weights * self._window_weights[windows, None, None]


def _offsets(last: int, block: int) -> Integers:
    """How many pixels from 0 to ``last`` each block holds; the last block is cut off."""
    first = np.arange(0, last + 1, block)
    return np.minimum(first + block, last + 1) - first


def _choose(rng: np.random.Generator, weights: Floats, count: int) -> Integers:
    cumulated = np.cumsum(weights)
    found = np.searchsorted(cumulated, rng.random(count) * cumulated[-1], side="right")
    return np.minimum(found, weights.size - 1)


def _weights(score: Floats, strength: float) -> Floats:
    """Along the last dimension: proportional to 1 + strength * score scaled to mean 1."""
    mean = score.mean(axis=-1, keepdims=True)
    weights = 1 + strength * np.divide(score, mean, out=np.zeros_like(score), where=mean > 1e-12)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _box_sums(blocks: Floats, side: int) -> Floats:
    """Sums over all boxes of ``side`` × ``side`` blocks of (…, y, x), by their upper left block."""
    side_y, side_x = min(side, blocks.shape[-2]), min(side, blocks.shape[-1])
    sums = np.pad(blocks.cumsum(axis=-2).cumsum(axis=-1), ((0, 0), (1, 0), (1, 0)))
    total = sums[..., side_y:, side_x:] - sums[..., :-side_y, side_x:]
    total += sums[..., :-side_y, :-side_x] - sums[..., side_y:, :-side_x]
    return np.maximum(total, 0.0)
