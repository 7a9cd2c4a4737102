"""Which samples an epoch has: drawn from the archives' windows, the same for any number of ranks.

Owns the choice of windows of one split. Reads block statistics; never reads codes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.datasets.runs import Bools
from squall.datasets.training.batches import PADDING, Sample
from squall.datasets.training.epoch_plan import epoch_order
from squall.datasets.training.sampling import Sampling, Variant
from squall.datasets.training.splits import Regions
from squall.datasets.training.windows import (
    Crop,
    Integers,
    RainBlocks,
    RainSampler,
    window_span,
    window_starts,
)

CACHE_BYTES = 2**28  # most memory of a process for block statistics, all archives together
TURNS = 8  # of a square: four rotations, mirrored or not


def rain_blocks(archive: ScanStore, cache_bytes: int = CACHE_BYTES) -> RainBlocks:
    """Read the block statistics of an archive's good scans, and keep a part of them."""

    def read(scans: Integers) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        first, end = int(scans[0]), int(scans[-1]) + 1
        rain, observed = (
            archive.block_rows(name, first, end) for name in ("rain_rate", "observed_share")
        )
        return rain[scans - first], observed[scans - first]

    return RainBlocks(
        np.flatnonzero(archive.status == OK),
        read,
        span=archive.block_chunk,
        shape=archive.grid.shape,
        block=archive.block_px,
        cache_bytes=cache_bytes,
    )


class SampleSource:
    """The samples of one split, addressed by (epoch, number).

    A sample depends only on the seed, the split, the epoch and its number. It does not depend on
    the worker, the rank, the clock or earlier draws. ``per_read`` samples with consecutive
    numbers form a group: they are cut from one cell of one archive (see `RainSampler`).

    Parameters
    ----------
    archives : to draw from.
    blocks : rain of each archive, see `rain_blocks`.
    regions : for each archive, (time,) where windows may lie.
    sampling : how samples are drawn.

    Raises
    ------
    DataError
        If no archive has a window, if an archive with a weight has no training window, if a crop
        is larger than a grid, or if rain is preferred and the training windows of an archive have
        none.

    Attributes
    ----------
    counts : number of windows of each archive, with the shortest steps.
    variants : that samples are drawn from.
    starts : for each variant, the time indices of its windows' first scans.
    """

    def __init__(
        self,
        archives: Sequence[ScanStore],
        blocks: Sequence[RainBlocks],
        regions: Sequence[Bools],
        sampling: Sampling,
    ) -> None:
        self.sampling, self.samples = sampling, sampling.samples
        self._seed = (sampling.seed, Regions._fields.index(sampling.split))
        self.counts: list[int] = []
        self.variants: list[Variant] = []
        self.starts: list[Integers] = []
        self._samplers: list[RainSampler] = []
        self._chances: list[float] = []
        for archive, rain, region in zip(archives, blocks, regions, strict=True):
            self._add_archive(archive, rain, region)
        if sampling.samples:
            self._check_windows(archives)
            if sampling.split == "training" and sampling.rain_preference:
                self._check_rain(archives)
        self._shares = self._variant_shares()

    def batches(
        self, epoch: int, size: int, *, rank: int = 0, world: int = 1, start: int = 0
    ) -> Iterator[list[Sample]]:
        """Yield this rank's batches of an epoch from batch ``start`` on, ``size`` samples each.

        Every sample of the epoch is in exactly one batch of one rank. All ranks have the same
        number of batches. The last batches are filled up with samples that observe nothing.
        """
        global_size = size * world
        order = epoch_order(self.samples, self.sampling.per_read, global_size)
        groups: dict[tuple[int, int], list[Sample]] = {}
        for number in range(start, self.count_batches(size, world)):
            first = number * global_size + rank * size
            batch = []
            for place in range(first, first + size):
                if place >= self.samples:
                    batch.append(Sample(epoch, PADDING))
                    continue
                group, member, end = (int(column[place]) for column in order)
                ahead: tuple[Crop, ...] = ()
                read = group, end  # several chains of the plan may share a group
                if read not in groups:
                    groups[read] = self._group(epoch, group)
                    ahead = tuple(s.crop for s in groups[read][member + 1 : end])
                batch.append(groups[read][member]._replace(ahead=ahead))
                if member + 1 == end:
                    del groups[read]
            yield batch

    def count_batches(self, size: int, world: int) -> int:
        """Return how many batches each rank has."""
        return -(-self.samples // (size * world))

    def _group(self, epoch: int, group: int) -> list[Sample]:
        """Draw the samples that are cut from one cell."""
        sampling = self.sampling
        rng = np.random.default_rng((*self._seed, epoch, group))
        index = int(rng.choice(self._shares.size, p=self._shares))
        variant = self.variants[index]
        crops = self._samplers[index].draw(rng, sampling.per_read)
        count = len(crops)
        turns = rng.integers(TURNS, size=count) if sampling.augment else np.zeros(count, int)
        dropped = rng.random((count, sampling.droppable_scans)) < sampling.drop_scan
        gains = np.exp(float(np.log(sampling.intensity)) * rng.uniform(-1, 1, size=count))
        return [
            Sample(
                epoch=epoch,
                number=group * sampling.per_read + member,
                archive=variant.archive,
                crop=crop,
                speed=variant.speed,
                coarsen=variant.coarsen,
                turn=int(turns[member]),
                gain=float(gains[member]),
                dropped=tuple(np.flatnonzero(dropped[member]).tolist()),
            )
            for member, crop in enumerate(crops)
        ]

    def _add_archive(self, archive: ScanStore, rain: RainBlocks, region: Bools) -> None:
        """Add the variants of the next archive, each with a sampler of its windows."""
        sampling, number = self.sampling, len(self.counts)
        pairs = sampling.variants_of(number)
        _check_crop(archive, sampling.crop, min(coarsen for _, coarsen in pairs))
        time, row, column = archive.codes.chunks
        self.counts.append(0)
        for (speed, coarsen), times_named in Counter(pairs).items():
            span, side = window_span(sampling.length, speed), sampling.crop * coarsen
            starts = window_starts(region & (archive.status == OK), span)
            if not starts.size or side > min(rain.shape):
                continue

            def sampler_of(starts: Integers, span: int = span, side: int = side) -> RainSampler:
                return RainSampler(
                    rain,
                    np.searchsorted(rain.scans, starts),
                    span,
                    crop=side,
                    strength=sampling.rain_preference,
                    cell=(time, min(row, column)),
                )

            sampler = sampler_of(starts)
            self.counts[number] = max(self.counts[number], starts.size)
            if sampling.most_windows is not None and starts.size > sampling.most_windows:
                rng = np.random.default_rng((*self._seed, number, speed, coarsen))
                starts = starts[sampler.windows(rng, sampling.most_windows)]
                sampler = sampler_of(starts)
            self.variants.append(Variant(number, speed, coarsen))
            self.starts.append(starts)
            self._samplers.append(sampler)
            self._chances.append(times_named)

    def _variant_shares(self) -> npt.NDArray[np.float64]:
        """(variant,) probability of each variant: the archive's share times the pair's."""
        archive = np.array([variant.archive for variant in self.variants], dtype=np.int64)
        weights = self.counts if self.sampling.weights is None else self.sampling.weights
        shares = np.asarray(weights, dtype=np.float64)[archive]
        shares *= np.array(self._chances) / np.bincount(archive, self._chances)[archive]
        return np.asarray(shares / shares.sum())

    def _check_windows(self, archives: Sequence[ScanStore]) -> None:
        sampling = self.sampling
        short = [number for number, count in enumerate(self.counts) if not count]
        unmet = sampling.weights is not None and sampling.split == "training" and short
        if len(short) < len(archives) and not unmet:
            return
        span = min(
            window_span(sampling.length, speed)
            for n in short
            for speed, _ in sampling.variants_of(n)
        )
        raise DataError(
            f"no {sampling.split} window in {', '.join(archives[n].address for n in short)}: a "
            f"window takes {span} consecutive scans (data.context + data.lead_times, with the "
            "gaps that data.speeds leaves) in that part of the time axis; ingest more scans, or "
            "change data.split (days splits by whole days; for single events name periods), "
            "data.context or data.lead_times"
        )

    def _check_rain(self, archives: Sequence[ScanStore]) -> None:
        variants = zip(self.variants, self._samplers, strict=True)
        rainy = {variant.archive for variant, sampler in variants if sampler.rains}
        dry = [a.address for n, a in enumerate(archives) if self.counts[n] and n not in rainy]
        if dry:
            raise DataError(
                f"no training window with rain in {', '.join(dry)}; ingest scans with rain, "
                "change data.split, or set data.rain_preference=0 to train on dry scans"
            )


def _check_crop(archive: ScanStore, crop: int, coarsen: int) -> None:
    height, width = archive.grid.shape
    if crop * coarsen > min(height, width):
        coarser = f" at data.coarsen {coarsen}" if coarsen > 1 else ""
        raise DataError(
            f"{archive.address}: its grid has {height} × {width} pixels, too few for data.crop "
            f"{crop}{coarser}; set data.crop to {min(height, width) // coarsen} or less, "
            "or leave the archive out"
        )
