"""Which samples an epoch has: drawn from the archives' windows, in an order for all ranks.

Owns the choice of windows of one split; reads block statistics, no frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from datasets.archive import OK, Archive
from datasets.epoch_plan import epoch_order
from datasets.errors import DataError
from datasets.splits import Regions
from datasets.window_reader import PADDING, Sample
from datasets.windows import Crop, RainBlocks, RainSampler, window_starts

TURNS = 8  # of a square: four rotations, mirrored or not


def rain_blocks(archive: Archive) -> RainBlocks:
    """An archive's rain, block by block; reads the block statistics of its good scans."""
    good = archive.status == OK
    return RainBlocks.of(
        np.flatnonzero(good),
        archive.block_statistics("rain_rate", good),
        archive.block_statistics("observed_share", good),
        shape=archive.grid.shape,
        block=archive.block_px,
    )


class SampleSource:
    """The samples of one split, addressed by (epoch, number).

    A sample depends on the seed, the split, the epoch and its number and on nothing else: not on
    worker, rank or clock, nor on what was drawn before. ``per_read`` samples with neighbouring
    numbers are cut from one cell of one archive (see `RainSampler`).

    Parameters
    ----------
    archives, blocks, regions : of each archive; windows lie in the region.
    weights : share of samples of each archive; by its number of windows where None.
    length : scans of a window.
    older : scans at a window's start of which each is lost with the chance ``drop_scan``.
    samples : of an epoch.

    Raises
    ------
    DataError
        If no archive has a window, an archive with a weight has none, a crop is larger than a
        grid, or rain is preferred where none of the windows has any.
    """

    def __init__(
        self,
        archives: Sequence[Archive],
        blocks: Sequence[RainBlocks],
        regions: Sequence[npt.NDArray[np.bool_]],
        *,
        split: str,
        seed: int,
        length: int,
        crop: int,
        samples: int,
        per_read: int,
        rain_preference: float,
        weights: Sequence[float] | None = None,
        augment: bool = False,
        older: int = 0,
        drop_scan: float = 0.0,
    ) -> None:
        self.split, self.samples = split, samples
        self._seed = (seed, Regions._fields.index(split))
        self._per_read, self._augment = per_read, augment
        self._older, self._drop_scan = older, drop_scan
        self._samplers: list[RainSampler | None] = []
        self.counts: list[int] = []
        for archive, rain, region in zip(archives, blocks, regions, strict=True):
            if crop > min(rain.shape):
                height, width = rain.shape
                raise DataError(
                    f"{archive.address}: its grid has {height} × {width} pixels, too few for "
                    f"data.crop {crop}; choose a smaller crop or leave the archive out"
                )
            usable = window_starts(region & (archive.status == OK), length)
            self.counts.append(usable.size)
            time, row, column = archive.codes.chunks
            self._samplers.append(
                RainSampler(
                    rain,
                    np.searchsorted(rain.scans, usable),
                    length,
                    crop=crop,
                    strength=rain_preference,
                    cell=(time, min(row, column)),
                )
                if usable.size
                else None
            )
        self._check(archives, length, rain_preference, weights)
        there = np.asarray(self.counts, dtype=np.float64)
        shares = there if weights is None else np.where(there > 0, weights, 0.0)
        self._shares = shares / shares.sum()

    def _check(
        self,
        archives: Sequence[Archive],
        length: int,
        rain_preference: float,
        weights: Sequence[float] | None,
    ) -> None:
        short = [a.address for a, count in zip(archives, self.counts, strict=True) if not count]
        missed = weights is not None and self.split == "training" and short
        if len(short) == len(archives) or missed:
            raise DataError(
                f"no {self.split} window in {', '.join(short)}: one takes {length} consecutive "
                "scans (data.context + data.lead_times) in that part of the time axis; ingest "
                "more scans, or change data.split (days deals whole days: for single events name "
                "periods), data.context or data.lead_times"
            )
        if self.split == "training" and rain_preference:
            dry = [
                archive.address
                for archive, sampler in zip(archives, self._samplers, strict=True)
                if sampler is not None and not sampler.rains
            ]
            if dry:
                raise DataError(
                    f"no training window with rain in {', '.join(dry)}; ingest scans with rain, "
                    "change data.split, or set data.rain_preference=0 to train on dry scans"
                )

    def batches(
        self, epoch: int, size: int, *, rank: int = 0, world: int = 1, start: int = 0
    ) -> Iterator[list[Sample]]:
        """This rank's batches of an epoch from batch ``start`` on, ``size`` samples each.

        Every sample of the epoch is in one batch of one rank; all ranks have equally many
        batches, the last of which are filled up with samples where nothing is observed.
        """
        whole = size * world
        order = epoch_order(self.samples, self._per_read, whole)
        drawn: dict[tuple[int, int], list[Sample]] = {}
        for number in range(start, self.count_batches(size, world)):
            batch = []
            for place in range(number * whole + rank * size, number * whole + (rank + 1) * size):
                if place >= self.samples:
                    batch.append(Sample(epoch, PADDING))
                    continue
                group, member, end = (int(column[place]) for column in order)
                ahead: tuple[Crop, ...] = ()
                read = group, end  # what is left of chains shares groups
                if read not in drawn:
                    drawn[read] = self._group(epoch, group)
                    ahead = tuple(s.crop for s in drawn[read][member + 1 : end])
                batch.append(drawn[read][member]._replace(ahead=ahead))
                if member + 1 == end:
                    del drawn[read]
            yield batch

    def count_batches(self, size: int, world: int) -> int:
        """How many batches each rank has."""
        return -(-self.samples // (size * world))

    def _group(self, epoch: int, group: int) -> list[Sample]:
        """The samples that are cut from one cell."""
        rng = np.random.default_rng((*self._seed, epoch, group))
        which = int(rng.choice(self._shares.size, p=self._shares))
        sampler = self._samplers[which]
        assert sampler is not None
        crops = sampler.draw(rng, self._per_read)
        turns = rng.integers(TURNS, size=len(crops)) if self._augment else np.zeros(len(crops), int)
        lost = rng.random((len(crops), self._older)) < self._drop_scan
        return [
            Sample(
                epoch=epoch,
                number=group * self._per_read + member,
                archive=which,
                crop=crop,
                turn=int(turns[member]),
                lost=tuple(np.flatnonzero(lost[member]).tolist()),
            )
            for member, crop in enumerate(crops)
        ]
