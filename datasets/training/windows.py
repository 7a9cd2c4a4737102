"""Finds the windows of an archive and draws crops that prefer rain: pure index arithmetic.

Reads no codes: the archive's block statistics say where it rains.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from squall.datasets.runs import Bools

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Halves = npt.NDArray[np.float16]


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


class RainBlocks:
    """Rain of an archive's good scans, for blocks of pixels, read chunk by chunk.

    It has two fields, (scan, block_y, block_x) float16. The score, from 0 to 1, is the observed
    share of the block times ``1 - exp(-R / 1 mm h-1)`` with its mean rain rate R. The other field
    is the share of observed pixels.

    The fields of years and of large domains do not fit in memory. Each chunk is read once for
    `mean_scores`, and the chunks that fit into ``cache_bytes`` are kept. Other chunks are read
    again when a crop is drawn from them.

    Parameters
    ----------
    scans : (scan,) time index of each good scan, ascending.
    read : gives mean rain rate (mm/h) and observed share, each (scan, block_y, block_x) float32,
        of the good scans with these time indices.
    span : time steps of a chunk.
    shape : pixels of the domain, (H, W).
    block : pixels of a block's side.
    cache_bytes : most memory for the chunks that are kept; at least one chunk is.

    Attributes
    ----------
    mean_scores : (scan,) the mean score of all blocks.
    """

    def __init__(
        self,
        scans: Integers,
        read: Callable[[Integers], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]],
        *,
        span: int,
        shape: tuple[int, int],
        block: int,
        cache_bytes: int,
    ) -> None:
        self.scans, self.shape, self.block = scans, shape, block
        self._read, self._span, self._cache_bytes = read, span, cache_bytes
        self._kept: OrderedDict[int, tuple[Halves, Halves]] = OrderedDict()
        self._kept_bytes = 0
        self.mean_scores = np.zeros(scans.size)
        for chunk in np.unique(scans // span).tolist():
            score, _ = self._fields(chunk)
            self.mean_scores[self._numbers(chunk)] = score.mean(axis=(1, 2), dtype=np.float64)

    def rows(self, first: int, end: int) -> tuple[Halves, Halves]:
        """Score and observed share of the good scans with numbers from ``first`` to ``end``."""
        chunks = range(self.scans[first] // self._span, self.scans[end - 1] // self._span + 1)
        scores, observed = [], []
        for chunk in chunks:
            numbers = self._numbers(chunk)
            if numbers.start == numbers.stop:
                continue
            part = slice(max(first - numbers.start, 0), end - numbers.start)
            chunk_score, chunk_observed = self._fields(chunk)
            scores.append(chunk_score[part])
            observed.append(chunk_observed[part])
        return np.concatenate(scores), np.concatenate(observed)

    def _numbers(self, chunk: int) -> slice:
        """Numbers of the good scans in a chunk."""
        edges = np.searchsorted(self.scans, [chunk * self._span, (chunk + 1) * self._span])
        return slice(int(edges[0]), int(edges[1]))

    def _fields(self, chunk: int) -> tuple[Halves, Halves]:
        if chunk in self._kept:
            self._kept.move_to_end(chunk)
            return self._kept[chunk]
        rain_mm_h, observed_share = self._read(self.scans[self._numbers(chunk)])
        score = np.negative(rain_mm_h)
        np.expm1(score, out=score)
        score *= -observed_share
        fields = score.astype(np.float16), observed_share.astype(np.float16)
        self._kept[chunk] = fields
        self._kept_bytes += fields[0].nbytes + fields[1].nbytes
        while self._kept_bytes > self._cache_bytes and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest[0].nbytes + oldest[1].nbytes
        return fields

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
        """Make them from statistics in memory, each (scan, block_y, block_x)."""

        def read(
            chosen: Integers,
        ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
            numbers = np.searchsorted(scans, chosen)
            return rain_mm_h[numbers], observed_share[numbers]

        span = int(scans[-1]) + 1 if scans.size else 1
        return cls(scans, read, span=span, shape=shape, block=block, cache_bytes=0)


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
        sums = np.concatenate([[0.0], np.cumsum(blocks.mean_scores)])
        score = sums[starts + length] - sums[starts]
        self.rains = bool((score > 1e-9).any())
        self._window_weights = _weights(score, strength)
        chunk = blocks.scans[starts] // cell[0]
        self._chunk_ends = np.flatnonzero(np.diff(chunk, append=chunk[-1:] + 1)) + 1
        self._cumulated = np.cumsum(self._window_weights)
        offsets_y, offsets_x = (_offsets(size - crop, blocks.block) for size in blocks.shape)
        self._offsets = np.outer(offsets_y, offsets_x)  # crops that start in each block

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

    def windows(self, rng: np.random.Generator, count: int) -> Integers:
        """Draw numbers of windows, each at most once, with the preference for rain; rising."""
        weights = self._window_weights
        return np.sort(rng.choice(weights.size, count, replace=False, p=weights))

    def _crop_weights(self, windows: slice) -> Floats:
        """(window, block_y, block_x): the probability that a crop starts in this block."""
        starts = self._starts[windows]
        fields = np.stack(self._blocks.rows(int(starts[0]), int(starts[-1]) + self._length))
        side = max(1, self._crop // self._blocks.block)
        sums = np.zeros((2, fields.shape[1] + 1, *fields.shape[2:]))
        np.cumsum(fields, axis=1, dtype=np.float64, out=sums[:, 1:])
        firsts = starts - starts[0]
        boxes = _box_sums(sums[:, firsts + self._length] - sums[:, firsts], side)
        height, width = self._offsets.shape
        rain, observed = boxes[..., :height, :width]  # where a whole crop fits
        weights = _weights(rain.reshape(starts.size, -1), self._strength).reshape(rain.shape)
        weights *= (observed + 1e-6) * self._offsets
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
    *others, height, width = blocks.shape
    sums = np.zeros((*others, height + 1, width + 1))
    np.cumsum(blocks.cumsum(axis=-2), axis=-1, out=sums[..., 1:, 1:])
    total = sums[..., side_y:, side_x:] - sums[..., :-side_y, side_x:]
    total += sums[..., :-side_y, :-side_x] - sums[..., side_y:, :-side_x]
    return np.maximum(total, 0.0)
