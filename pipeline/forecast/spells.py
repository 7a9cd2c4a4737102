"""When it rains: the first spell of rain of each member at each pixel, in a stream of lead times.

Public: `RainSpells`, `SpellTimes`, `shortest_gap_min`, `SHORTEST_GAP_MIN`, `SHORTEST_GAP_STEPS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from squall.convgru.file_arrays import release, zeros
from squall.pipeline.forecast.chance_code import half_percents
from squall.pipeline.forecast.pixels import Pixels, row_strips

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.unsignedinteger]

# a dry gap that is shorter than one of these does not end a spell of rain
SHORTEST_GAP_MIN, SHORTEST_GAP_STEPS = 15.0, 2


def shortest_gap_min(step_min: float) -> float:
    """The shortest dry gap [min] that ends a spell of rain, of lead times ``step_min`` apart."""
    return max(SHORTEST_GAP_MIN, SHORTEST_GAP_STEPS * step_min)


class SpellTimes(NamedTuple):
    """When it rains at each pixel, (threshold, y, x) each.

    Parameters
    ----------
    chance : share of the members that have rain at any time, in half percents (`chance_code`).
    start_min : minutes from the reference time to the first rain, median of the members that have
        rain; 0 = it rains already; NaN where too few members have rain.
    end_min : as ``start_min``, to the end of this first spell of rain; NaN also where the median
        member still has rain at the last lead time.
    start_quantiles_min : (fraction, threshold, y, x), quantiles of the start among the members that
        have rain, linear between members; NaN where ``start_min`` is.
    """

    chance: npt.NDArray[np.uint8]
    start_min: Floats
    end_min: Floats
    start_quantiles_min: Floats


@dataclass
class RainSpells:
    """Start and end of the first spell of rain of each member.

    The first spell begins at the first time with the rain rate at the threshold or above; the
    reference time, with the last scan, is the first of these times. It ends at the first time below
    the threshold, if no rain follows within `SHORTEST_GAP_MIN` and within `SHORTEST_GAP_STEPS`.

    Parameters
    ----------
    minutes : lead times [min], the first is that of the reference time, 0.
    start, last : (threshold, member, y, x) indices of ``minutes``, of the first rain and of the
        last rain of the first spell. The start of a member without rain is `dry`.
    """

    minutes: tuple[float, ...]
    start: Indices
    last: Indices

    @classmethod
    def begin(
        cls, last_scan_ranks: npt.NDArray[np.uint8], thresholds: int, members: int,
        lead_min: tuple[float, ...],
    ) -> RainSpells:  # fmt: skip
        """Begin with the last scan; ranks (y, x) are the number of thresholds that it reaches."""
        shape = (thresholds, members, *last_scan_ranks.shape)
        kind = np.min_scalar_type(len(lead_min) + 2)
        start, last = zeros(shape, kind), zeros(shape, kind)
        start.fill(np.iinfo(kind).max)
        spells = cls((0.0, *lead_min), start, last)
        for rows in row_strips(shape[1:]):
            ranks = last_scan_ranks[rows]
            spells.add(0, np.broadcast_to(ranks, (members, *ranks.shape)), rows)
        return spells

    @property
    def dry(self) -> int:
        """The start of a member without rain."""
        return int(np.iinfo(self.start.dtype).max)

    def add(self, index: int, ranks: npt.NDArray[np.uint8], rows: slice = slice(None)) -> None:
        """Add the ranks (member, y, x) of one time, an index of ``minutes``, in some rows."""
        open_from = next(
            i for i, past in enumerate(self.minutes)
            if index == i or self.minutes[index] - past - self._step_min < self._shortest_gap_min
        )  # fmt: skip
        for number, (start, last) in enumerate(
            zip(self.start[:, :, rows], self.last[:, :, rows], strict=True)
        ):
            is_wet = ranks > number
            pixels = Pixels(is_wet)
            wet, starts, lasts = pixels.of(is_wet), pixels.of(start), pixels.of(last)
            is_first = wet & (starts == self.dry)
            starts[is_first] = index
            lasts[is_first | (wet & (lasts >= open_from))] = index
            pixels.put(start, starts)
            pixels.put(last, lasts)
        release(self.start, self.last)

    @property
    def _step_min(self) -> float:
        return self.minutes[1] - self.minutes[0]

    @property
    def _shortest_gap_min(self) -> float:
        return shortest_gap_min(self._step_min)

    def times(
        self, is_known: Bools, fractions: Sequence[float] = (), least_share: float = 0.1
    ) -> SpellTimes:
        """Medians of the start and the end, quantiles of the start, and the chance of rain.

        Parameters
        ----------
        is_known : (member, y, x), whether the member is known at all lead times. A pixel is known
            where at least half of the members are.
        fractions : of the quantiles of the start, 0 to 1.
        least_share : share of the known members, and two of them, that must have rain for a start
            and an end.
        """
        shape = (len(self.start), *is_known.shape[1:])
        chance = np.empty(shape, np.uint8)
        start, end = np.empty(shape, np.float32), np.empty(shape, np.float32)
        quantiles = zeros((len(fractions), *shape), np.float32)
        times: list[npt.NDArray[Any]] = [chance, start, end, quantiles]
        for rows in row_strips(is_known.shape):
            of_strip = self._times_in_rows(rows, is_known[:, rows], fractions, least_share)
            for values, strip in zip(times, of_strip, strict=True):
                values[..., rows, :] = strip
            release(quantiles, self.start, self.last)
        return SpellTimes(*times)

    def _times_in_rows(
        self, rows: slice, is_known: Bools, fractions: Sequence[float], least_share: float
    ) -> SpellTimes:
        """`times` in a strip; ``is_known`` is of its pixels."""
        members = len(is_known)
        known = is_known.sum(axis=0)
        steps = np.asarray([*self.minutes, np.nan], np.float32)
        chances: list[npt.NDArray[np.uint8]] = []
        minutes: list[Floats] = []
        for start, last in zip(self.start[:, :, rows], self.last[:, :, rows], strict=True):
            pixels = Pixels(start != self.dry)
            start, last, counted = pixels.of(start), pixels.of(last), pixels.of(known)
            wet = (start != self.dry) & pixels.of(is_known)
            count = wet.sum(axis=0)
            chances.append(half_percents(np.zeros_like(known), known, members))
            pixels.put(chances[-1], half_percents(count, counted, members))
            too_few = (2 * counted < members) | (count < 2) | (count < least_share * counted)
            # the end of rain at the last lead time is after the forecast
            end = last + last.dtype.type(1)
            starts, ends = (
                np.sort(np.where(wet, indices, self.dry), axis=0) for indices in (start, end)
            )
            asked = [(starts, 0.5), (ends, 0.5), *((starts, fraction) for fraction in fractions)]
            values = np.stack([_quantile(*which, count, steps) for which in asked])
            values[:, too_few] = np.nan
            minutes.append(np.full((len(asked), *known.shape), np.nan, np.float32))
            pixels.put(minutes[-1], values)
        begins, ends, *quantiles = np.stack(minutes, axis=1)
        of_begin = np.stack(quantiles) if quantiles else np.empty((0, *begins.shape), np.float32)
        return SpellTimes(np.stack(chances), begins, ends, of_begin)


def _quantile(
    ordered: Indices, fraction: float, count: npt.NDArray[np.int_], steps: Floats
) -> Floats:
    """Quantile over the ``count`` smallest indices (member, y, x) of the steps; NaN where none is.

    It is linear between members. The indices are sorted.
    """
    position = fraction * np.maximum(count - 1, 0)
    low, high = (
        steps[np.minimum(np.take_along_axis(ordered, place[None], axis=0)[0], len(steps) - 1)]
        for place in (np.floor(position).astype(np.intp), np.ceil(position).astype(np.intp))
    )
    return np.asarray(low + (high - low) * (position % 1).astype(np.float32))
