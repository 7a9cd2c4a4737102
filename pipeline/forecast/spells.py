"""When it rains: the first spell of rain of each member at each pixel, in a stream of lead times.

Public: `RainSpells`, `SpellTimes`, `SHORTEST_GAP_MIN`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from squall.pipeline.forecast.chance_code import half_percents

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.unsignedinteger]

SHORTEST_GAP_MIN = 15.0  # a dry gap that is shorter does not end a spell of rain


class SpellTimes(NamedTuple):
    """When it rains at each pixel, (threshold, y, x) each.

    Parameters
    ----------
    chance : share of the members that have rain at any time, in half percents (`chance_code`).
    start_min : minutes from the reference time to the first rain, median of the members that have
        rain; 0 = it rains already; NaN where too few members have rain.
    end_min : as ``start_min``, to the end of this first spell of rain; NaN also where the median
        member still has rain at the last lead time.
    """

    chance: npt.NDArray[np.uint8]
    start_min: Floats
    end_min: Floats


@dataclass
class RainSpells:
    """Start and end of the first spell of rain of each member.

    The first spell begins at the first time with the rain rate at the threshold or above; the
    reference time, with the last scan, is the first of these times. It ends at the first time below
    the threshold, if no rain follows within `SHORTEST_GAP_MIN`.

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
        start = np.full(shape, np.iinfo(kind).max, kind)
        spells = cls((0.0, *lead_min), start, np.zeros(shape, kind))
        spells.add(0, np.broadcast_to(last_scan_ranks, shape[1:]))
        return spells

    @property
    def dry(self) -> int:
        """The start of a member without rain."""
        return int(np.iinfo(self.start.dtype).max)

    def add(self, index: int, ranks: npt.NDArray[np.uint8]) -> None:
        """Add the ranks (member, y, x) of one time, an index of ``minutes``."""
        open_from = next(
            i for i, past in enumerate(self.minutes)
            if index == i or self.minutes[index] - past - self._step_min < SHORTEST_GAP_MIN
        )  # fmt: skip
        for number, (start, last) in enumerate(zip(self.start, self.last, strict=True)):
            is_wet = ranks > number
            is_first = is_wet & (start == self.dry)
            start[is_first] = index
            last[is_first | (is_wet & (last >= open_from))] = index

    @property
    def _step_min(self) -> float:
        return self.minutes[1] - self.minutes[0]

    def times(self, is_known: Bools, least_share: float = 0.1) -> SpellTimes:
        """Medians of the start and the end, and the chance of rain.

        Parameters
        ----------
        is_known : (member, y, x), whether the member is known at all lead times. A pixel is known
            where at least half of the members are.
        least_share : share of the known members, and two of them, that must have rain for a start
            and an end.
        """
        known = is_known.sum(axis=0)
        unknown = 2 * known < len(is_known)
        steps = np.asarray([*self.minutes, np.nan], np.float32)
        results = []
        for start, last in zip(self.start, self.last, strict=True):
            wet = (start != self.dry) & is_known
            count = wet.sum(axis=0)
            chance = half_percents(count, known, len(is_known))
            too_few = unknown | (count < 2) | (count < least_share * known)
            end = last + last.dtype.type(
                1
            )  # that of rain at the last lead time is after the forecast
            medians = [
                _median(np.where(wet, index, self.dry), count, steps) for index in (start, end)
            ]
            for median in medians:
                median[too_few] = np.nan
            results.append((chance, *medians))
        return SpellTimes(*(np.stack(values) for values in zip(*results, strict=True)))


def _median(indices: Indices, count: npt.NDArray[np.int_], steps: Floats) -> Floats:
    """Median over the ``count`` smallest indices (member, y, x) of the steps; NaN where none is."""
    ordered = np.sort(indices, axis=0)
    middles = [
        np.take_along_axis(ordered, np.maximum(middle, 0)[None], axis=0)[0]
        for middle in ((count - 1) // 2, count // 2)
    ]
    low, high = (steps[np.minimum(middle, len(steps) - 1)] for middle in middles)
    return np.asarray((low + high) / 2)
