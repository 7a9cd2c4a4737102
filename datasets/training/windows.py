"""Finds the windows of an archive and draws crops that prefer rain: pure index arithmetic.

Reads no codes: the archive's block statistics say where it rains.
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
    """Return the indices where ``length`` consecutive usable time steps start."""
    if usable.size < length:
        return np.zeros(0, dtype=np.int64)
    unusable_before = np.concatenate([[0], np.cumsum(~usable)])
    return np.flatnonzero(unusable_before[length:] == unusable_before[:-length])


def window_span(length: int, speed: int) -> int:
    """Return the time steps that a window covers if it takes every ``speed``-th scan."""
    return (length - 1) * speed + 1


class Crop(NamedTuple):
    """Position of a sample: the time index of its first scan, and its upper left pixel."""

    scan: int
    row: int
    column: int


@dataclass(frozen=True, eq=False)
class RainBlocks:
    """Rain of an archive's good scans, for blocks of pixels.

    Parameters
    ----------
    scans : (scan,) time index of each good scan, ascending.
    score : (scan, block_y, block_x), from 0 to 1: the observed share of the block times
        ``1 - exp(-R / 1 mm h-1)`` with its mean rain rate R.
    observed : (scan, block_y, block_x), share of observed pixels.
    shape : pixels of the domain, (H, W).
    block : pixels of a block's side.
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
        """Make them from an archive's block statistics, each (scan, block_y, block_x)."""
        score = observed_share * -np.expm1(-rain_mm_h)
        half = np.float16  # the blocks of years must fit in memory
        return cls(scans, score.astype(half), observed_share.astype(half), shape, block)


class RainSampler:
    """Draws crops that prefer rain, several of one cell at a time.

    A window is drawn with a probability proportional to ``1 + strength * score``. A crop of the
    window is drawn with a probability proportional to ``(1 + strength * score) * observed share``.
    The score is the mean over the blocks of the window (of the crop), scaled so that its mean over
    all windows (all crops of the window) is 1. This is the importance sampling of Ravuri et al.
    (2021, doi:10.1038/s41586-021-03854-z), from the archive's block statistics.

    A cell has all crops whose windows start in one chunk of time and whose upper left blocks are
    in one tile. These crops share chunks of the archive, which are read and decoded once for all
    of them. A cell's probability is the sum of those of its crops, so the probability of a single
    crop is as above.

    Parameters
    ----------
    blocks : the archive's rain.
    starts : for each window, the number of its first scan among the good scans, ascending.
    length : scans of a window.
    crop : side of the crop, pixels; at most that of the domain.
    strength : 0 draws all windows with the same probability, larger values prefer rain.
    cell : scans and pixels of a cell's side, those of the archive's chunks.

    Attributes
    ----------
    rains : whether any window has rain.
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
        self._tile = max(1, cell[1] // blocks.block)  # side of a tile, in blocks
        per_scan = blocks.score.mean(axis=(1, 2), dtype=np.float64)
        sums = np.concatenate([[0.0], np.cumsum(per_scan)])
        score = sums[starts + length] - sums[starts]
        self.rains = bool((score > 1e-9).any())
        self._window_weights = _weights(score, strength)
        chunk = blocks.scans[starts] // cell[0]
        self._chunk_ends = np.flatnonzero(np.diff(chunk, append=chunk[-1:] + 1)) + 1
        self._cumulated = np.cumsum(self._window_weights)

    def draw(self, rng: np.random.Generator, count: int = 1) -> list[Crop]:
        """Draw ``count`` crops of one cell; the same generator state gives the same crops."""
        window = np.searchsorted(self._cumulated, rng.random() * self._cumulated[-1], side="right")
        chunk = int(np.searchsorted(self._chunk_ends, min(window, self._starts.size - 1), "right"))
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
        """(window, block_y, block_x): the probability that a crop starts in this block."""
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
            return boxes[:, : offsets_y.size, : offsets_x.size]  # where a whole crop fits

        rain = sums(self._blocks.score)
        weights = _weights(rain.reshape(starts.size, -1), self._strength).reshape(rain.shape)
        weights *= (sums(self._blocks.observed) + 1e-6) * np.outer(offsets_y, offsets_x)
        weights /= weights.sum(axis=(1, 2), keepdims=True)
        return weights * self._window_weights[windows, None, None]


def _offsets(last: int, block: int) -> Integers:
    """Return how many of the pixels 0 to ``last`` are in each block; the last block is cut off."""
    first = np.arange(0, last + 1, block)
    return np.minimum(first + block, last + 1) - first


def _choose(rng: np.random.Generator, weights: Floats, count: int) -> Integers:
    """Draw ``count`` indices with probabilities proportional to ``weights``."""
    cumulated = np.cumsum(weights)
    indices = np.searchsorted(cumulated, rng.random(count) * cumulated[-1], side="right")
    return np.minimum(indices, weights.size - 1)


def _weights(score: Floats, strength: float) -> Floats:
    """Return 1 + strength * score / mean score, scaled to sum 1 along the last dimension."""
    mean = score.mean(axis=-1, keepdims=True)
    weights = 1 + strength * np.divide(score, mean, out=np.zeros_like(score), where=mean > 1e-12)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _box_sums(blocks: Floats, side: int) -> Floats:
    """(…, y, x): the sum over the box of ``side`` × ``side`` blocks that starts at each block."""
    side_y, side_x = min(side, blocks.shape[-2]), min(side, blocks.shape[-1])
    sums = np.pad(blocks.cumsum(axis=-2).cumsum(axis=-1), ((0, 0), (1, 0), (1, 0)))
    total = sums[..., side_y:, side_x:] - sums[..., :-side_y, side_x:]
    total += sums[..., :-side_y, :-side_x] - sums[..., side_y:, :-side_x]
    return np.maximum(total, 0.0)
