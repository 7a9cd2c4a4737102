"""Which samples an epoch has: drawn from the archives' windows, in an order for all ranks.

Owns the choice of windows of one split; reads block statistics, no frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.datasets.training.epoch_plan import epoch_order
from squall.datasets.training.splits import Regions
from squall.datasets.training.window_reader import PADDING, Sample
from squall.datasets.training.windows import (
    Crop,
    RainBlocks,
    RainSampler,
    window_span,
    window_starts,
)

TURNS = 8  # of a square: four rotations, mirrored or not


def rain_blocks(archive: ScanStore) -> RainBlocks:
    """An archive's rain, block by block; reads the block statistics of its good scans."""
    good = archive.status == OK
    return RainBlocks.of(
        np.flatnonzero(good),
        archive.block_statistics("rain_rate", good),
        archive.block_statistics("observed_share", good),
        shape=archive.grid.shape,
        block=archive.block_px,
    )


class Variant(NamedTuple):
    """An archive as it is, or seen with longer steps and larger pixels."""

    archive: int
    speed: int
    coarsen: int


class SampleSource:
    """The samples of one split, addressed by (epoch, number).

    A sample depends on the seed, the split, the epoch and its number and on nothing else: not on
    worker, rank or clock, nor on what was drawn before. ``per_read`` samples with neighbouring
    numbers are cut from one cell of one archive (see `RainSampler`).

    Parameters
    ----------
    archives, blocks, regions : of each archive; windows lie in the region.
    length : scans of a window.
    samples : of an epoch; with 0 there need be no window.
    weights : share of samples of each archive; by its number of windows where None.
    seen_as : of each archive, (speed, coarsen) of which each sample has one: every ``speed``-th
        scan, means over ``coarsen`` × ``coarsen`` pixels. All have the same chance, or a greater
        one by being named more than once; those for which an archive is too short or its grid too
        small are left out. Archives are as they are where None.
    augment : turn and mirror.
    intensity : rain rates of a sample are multiplied by one factor from ``1 / intensity`` to
        ``intensity``, log-uniformly.
    older : scans at a window's start of which each is lost with the chance ``drop_scan``.

    Raises
    ------
    DataError
        If no archive has a window, an archive with a weight has none, a crop is larger than a
        grid, or rain is preferred where none of the windows has any.

    Attributes
    ----------
    counts : windows of each archive with the shortest steps.
    variants : that samples are drawn from.
    """

    def __init__(
        self,
        archives: Sequence[ScanStore],
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
        seen_as: Sequence[Sequence[tuple[int, int]]] | None = None,
        augment: bool = False,
        intensity: float = 1.0,
        older: int = 0,
        drop_scan: float = 0.0,
    ) -> None:
        self.split, self.samples = split, samples
        self._seed = (seed, Regions._fields.index(split))
        self._per_read, self._augment = per_read, augment
        self._older, self._drop_scan = older, drop_scan
        self._log_intensity = float(np.log(intensity))
        self.counts: list[int] = []
        self.variants: list[Variant] = []
        self._samplers: list[RainSampler] = []
        chances: list[float] = []
        if seen_as is None:
            seen_as = [[(1, 1)]] * len(archives)
        for number, (archive, rain, region) in enumerate(
            zip(archives, blocks, regions, strict=True)
        ):
            _check_crop(archive, crop, min(coarsen for _, coarsen in seen_as[number]))
            self.counts.append(0)
            for (speed, coarsen), times_named in Counter(seen_as[number]).items():
                span, side = window_span(length, speed), crop * coarsen
                usable = window_starts(region & (archive.status == OK), span)
                if not usable.size or side > min(rain.shape):
                    continue
                self.counts[-1] = max(self.counts[-1], usable.size)
                self.variants.append(Variant(number, speed, coarsen))
                chances.append(times_named)
                time, row, column = archive.codes.chunks
                self._samplers.append(
                    RainSampler(
                        rain,
                        np.searchsorted(rain.scans, usable),
                        span,
                        crop=side,
                        strength=rain_preference,
                        cell=(time, min(row, column)),
                    )
                )
        if samples:
            spans = [window_span(length, min(speed for speed, _ in of)) for of in seen_as]
            self._check(archives, spans, rain_preference, weights)
        which = np.array([variant.archive for variant in self.variants], dtype=np.int64)
        shares = np.asarray(self.counts if weights is None else weights, dtype=np.float64)[which]
        shares *= np.array(chances) / np.bincount(which, chances)[which]
        self._shares = shares / shares.sum()

    def _check(
        self,
        archives: Sequence[ScanStore],
        spans: Sequence[int],
        rain_preference: float,
        weights: Sequence[float] | None,
    ) -> None:
        short = [number for number, count in enumerate(self.counts) if not count]
        missed = weights is not None and self.split == "training" and short
        if len(short) == len(archives) or missed:
            raise DataError(
                f"no {self.split} window in {', '.join(archives[n].address for n in short)}: one "
                f"takes {min(spans[n] for n in short)} consecutive scans (data.context + "
                "data.lead_times, with the gaps that data.speeds leaves) in that part of the time "
                "axis; ingest more scans, or change data.split (days deals whole days: for single "
                "events name periods), data.context or data.lead_times"
            )
        if self.split == "training" and rain_preference:
            rainy = {
                variant.archive
                for variant, sampler in zip(self.variants, self._samplers, strict=True)
                if sampler.rains
            }
            dry = [a.address for n, a in enumerate(archives) if self.counts[n] and n not in rainy]
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
        variant = self.variants[which]
        crops = self._samplers[which].draw(rng, self._per_read)
        turns = rng.integers(TURNS, size=len(crops)) if self._augment else np.zeros(len(crops), int)
        lost = rng.random((len(crops), self._older)) < self._drop_scan
        gains = np.exp(self._log_intensity * rng.uniform(-1, 1, size=len(crops)))
        return [
            Sample(
                epoch=epoch,
                number=group * self._per_read + member,
                archive=variant.archive,
                crop=crop,
                speed=variant.speed,
                coarsen=variant.coarsen,
                turn=int(turns[member]),
                gain=float(gains[member]),
                lost=tuple(np.flatnonzero(lost[member]).tolist()),
            )
            for member, crop in enumerate(crops)
        ]


def _check_crop(archive: ScanStore, crop: int, coarsen: int) -> None:
    height, width = archive.grid.shape
    if crop * coarsen > min(height, width):
        coarser = f" at data.coarsen {coarsen}" if coarsen > 1 else ""
        raise DataError(
            f"{archive.address}: its grid has {height} × {width} pixels, too few for data.crop "
            f"{crop}{coarser}; choose a smaller crop or leave the archive out"
        )
