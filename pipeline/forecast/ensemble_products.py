"""What an ensemble says, computed in a stream of lead times: no more than one is held as members.

What is kept of a large grid lies in temporary files, and is computed strip by strip.

Public: `EnsembleProducts`, `Wanted`, `quantiles`, `NEIGHBOURHOOD_KM`.

A pixel is known where at least half of the members are; statistics are those of the members that
are known there. `dataset` and `ensemble_dataset` beside this module describe the results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from squall.convgru.ensemble.calibration import ShareTables
from squall.convgru.file_arrays import release, zeros
from squall.pipeline.forecast.chance_code import (
    UNKNOWN_CHANCE,
    calibrated_codes,
    chance_codes,
    half_percents,
)
from squall.pipeline.forecast.member_chances import share_in_words
from squall.pipeline.forecast.neighbourhood import Neighbourhood
from squall.pipeline.forecast.pixels import Pixels, row_strips
from squall.pipeline.forecast.spells import RainSpells, SpellTimes

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

NEIGHBOURHOOD_KM = 10


@dataclass(frozen=True)
class Wanted:
    """Which products to compute; percentages between 0 and 100."""

    thresholds_mm_h: tuple[float, ...]
    percentiles: tuple[float, ...]
    median: bool = True
    rate_percentiles: bool = True
    chances: bool = True
    neighbourhood: bool = True
    amounts: bool = True
    times: bool = True


@dataclass
class EnsembleProducts:
    """Products of one ensemble; `add` takes its lead times in turn.

    Parameters
    ----------
    last_scan : (y, x), mm/h, NaN = not observed.
    lead_min : lead times [min].
    mean, median : (lead_time, y, x), mm/h.
    percentiles : (percentile, lead_time, y, x), mm/h.
    chances, chances_around : (threshold, lead_time, y, x), half percents, of at least the threshold
        at the pixel, and anywhere within `NEIGHBOURHOOD_KM` of it. They are shares of the members,
        those within a distance calibrated if there is a table, unless `add` is given chances of the
        pixels. A chance within a distance is at least the highest of those there.
    source_of_chances : of those at the pixel, for people.
    amounts : (member, y, x), mm, over all lead times. The rate changes linearly between two times.
    """

    wanted: Wanted
    last_scan: Floats
    lead_min: tuple[float, ...]
    members: int
    around: Neighbourhood
    table_around: ShareTables | None = None
    source_of_chances: str = share_in_words(is_calibrated=False)
    mean: Floats = field(init=False)
    median: Floats = field(init=False)
    percentiles: Floats = field(init=False)
    chances: Bytes = field(init=False)
    chances_around: Bytes = field(init=False)
    amounts: Floats = field(init=False)
    _previous: Floats = field(init=False)
    _is_known: Bools = field(init=False)
    _spells: RainSpells = field(init=False)
    _given: Bytes | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        wanted, shape, leads = self.wanted, self.last_scan.shape, len(self.lead_min)
        self.mean = zeros((leads, *shape), np.float32)
        self.median = zeros((leads if wanted.median else 0, *shape), np.float32)
        percentiles = len(wanted.percentiles) if wanted.rate_percentiles else 0
        self.percentiles = zeros((percentiles, leads, *shape), np.float32)
        thresholds = len(wanted.thresholds_mm_h)
        for name, is_wanted in (
            ("chances", wanted.chances),
            ("chances_around", wanted.neighbourhood),
        ):
            setattr(self, name, zeros((thresholds * is_wanted, leads, *shape), np.uint8))
        self.amounts = zeros((self.members if wanted.amounts else 0, *shape), np.float32)
        self._previous = np.broadcast_to(self.last_scan, (self.members, *shape))
        self._is_known = zeros((self.members, *shape), bool)
        self._is_known.fill(True)
        self._release()
        if wanted.times:
            ranks = self._ranks(self.last_scan)
            self._spells = RainSpells.begin(ranks, thresholds, self.members, self.lead_min)

    def _release(self, *arrays: npt.NDArray[Any]) -> None:
        """See `squall.convgru.file_arrays.release`."""
        own = (self.mean, self.median, self.percentiles, self.chances, self.chances_around)
        release(*own, self.amounts, self._is_known, self._previous, *arrays)

    def add(self, index: int, rates: Floats, chances: Floats | None = None) -> None:
        """Add a lead time, strip by strip.

        Parameters
        ----------
        rates : (member, y, x), mm/h, NaN = not known; it must not change until the next call ends.
        chances : (threshold, y, x), of at least the wanted thresholds at the pixel, if the method
            knows them without counting members; NaN = not known. Chances within a distance, and at
            any time, are shares of members also then (calibrated if there is a table), but at least
            the highest of these chances there.
        """
        for rows in row_strips(rates.shape):
            strip = np.ascontiguousarray(rates[:, rows])
            self._add_rows(index, rows, strip, are_shares_wanted=chances is None)
            self._release(rates)
        if self.wanted.neighbourhood:
            self._add_around(index, rates)
        if chances is not None:
            self._add_chances(index, chance_codes(chances))
        if self.wanted.amounts:
            self._previous = rates
        self._release()

    def _add_rows(self, index: int, rows: slice, rates: Floats, *, are_shares_wanted: bool) -> None:
        """Add what a strip of the members says of its own pixels."""
        wanted = self.wanted
        unknown = np.isnan(rates)
        known = np.full(rates.shape[1:], self.members) - unknown.sum(axis=0, dtype=np.uint16)
        wet = Pixels(rates > 0)  # elsewhere all known members are dry
        rates_when_wet, known_when_wet = wet.of(rates), wet.of(known)
        fractions = [0.5] * wanted.median
        fractions += [p / 100 for p in wanted.percentiles] * wanted.rate_percentiles
        values = quantiles(rates_when_wet, known_when_wet, fractions) if fractions else iter(())
        is_known = 2 * known >= self.members
        elsewhere = np.where(is_known, np.float32(0), np.float32(np.nan))
        mean = _mean_of_known(rates_when_wet, wet.of(unknown), known_when_wet)
        wet.fill(self.mean[index, rows], mean, elsewhere)
        for value, target in zip(values, self._targets(index), strict=True):
            wet.fill(target[rows], np.where(wet.of(is_known), value, np.nan), elsewhere)
        if (wanted.chances and are_shares_wanted) or wanted.times:
            ranks = np.zeros(rates.shape, np.uint8)
            wet.put(ranks, self._ranks(rates_when_wet))
            if wanted.times:
                self._spells.add(index + 1, ranks, rows)
            if wanted.chances and are_shares_wanted:
                self.chances[:, index, rows] = self._shares(ranks, known)
        if wanted.amounts:
            before = (0.0, *self.lead_min)[index]
            hours = np.float32((self.lead_min[index] - before) / 60)
            amount = self._previous[:, rows] + rates
            amount /= 2
            amount *= hours
            self.amounts[:, rows] += amount
        self._is_known[:, rows] &= ~unknown

    def _add_around(self, index: int, rates: Floats) -> None:
        """Add the chances within a distance."""
        thresholds = self.wanted.thresholds_mm_h
        known = np.zeros(rates.shape[1:], np.intp)
        counts = np.zeros((len(thresholds), *rates.shape[1:]), np.uint16)
        for member in rates:
            # only where the member is known, so that no chance is below that at the pixel
            is_known = ~np.isnan(member)
            highest = self.around.highest(self._ranks(member)) * is_known
            known += is_known
            release(rates)
            for number, count in enumerate(counts):
                count += highest > number
        shares = self.chances_around[:, index]
        for share, count in zip(shares, counts, strict=True):
            for rows in row_strips((1, *count.shape)):
                share[rows] = half_percents(count[rows], known[rows], self.members)
        if self.table_around is not None:
            minutes = self.lead_min[index]
            shares[:] = calibrated_codes(shares, self.table_around, minutes, thresholds)

    def amount_quantiles(self, fractions: Sequence[float]) -> Floats:
        """Quantiles (fraction, y, x) of the amount [mm]; a member's is known if its rates always
        are."""
        result = np.empty((len(fractions), *self.amounts.shape[1:]), np.float32)
        for rows in row_strips(self.amounts.shape):
            amounts = np.ascontiguousarray(self.amounts[:, rows])
            known = self.members - np.isnan(amounts).sum(axis=0)
            for target, value in zip(result, quantiles(amounts, known, fractions), strict=True):
                target[rows] = np.where(2 * known >= self.members, value, np.nan)
            self._release()
        return result

    @property
    def mean_amount(self) -> Floats:
        """(y, x), mm."""
        result = np.empty(self.amounts.shape[1:], np.float32)
        for rows in row_strips(self.amounts.shape):
            amounts = np.ascontiguousarray(self.amounts[:, rows])
            unknown = np.isnan(amounts)
            known = self.members - unknown.sum(axis=0)
            result[rows] = _mean_of_known(amounts, unknown, known)
            self._release()
        return result

    @property
    def times(self) -> SpellTimes:
        """When rain of each threshold begins and ends, and the chance that it comes at all."""
        fractions = [percent / 100 for percent in self.wanted.percentiles]
        times = self._spells.times(self._is_known, fractions)
        if self._given is None:
            return times
        return times._replace(chance=_at_least(times.chance, self._given))

    @property
    def are_chances_given(self) -> bool:
        """Whether `chances` are not shares of the members, but given to `add`."""
        return self._given is not None

    def _targets(self, index: int) -> Iterator[Floats]:
        """The arrays (y, x) of the median and of each percentile at a lead time."""
        yield from self.median[index : index + 1]
        yield from self.percentiles[:, index]

    def _ranks(self, rates: Floats) -> Bytes:
        """How many thresholds each rate reaches; none where it is not known."""
        ranks = np.zeros(rates.shape, np.uint8)
        for threshold in self.wanted.thresholds_mm_h:
            ranks += rates >= np.float32(threshold)
        return ranks

    def _shares(self, ranks: Bytes, known: npt.NDArray[np.int_]) -> Bytes:
        """Share (threshold, y, x), half percents, of the members that reach each threshold."""
        shares = np.empty((len(self.wanted.thresholds_mm_h), *ranks.shape[1:]), np.uint8)
        wet = Pixels(ranks)
        elsewhere = np.where(2 * known < self.members, np.uint8(UNKNOWN_CHANCE), np.uint8(0))
        ranks, known = wet.of(ranks), wet.of(known)
        for number, share in enumerate(shares):
            count = (ranks > number).sum(axis=0)
            wet.fill(share, half_percents(count, known, self.members), elsewhere)
        return shares

    def _add_chances(self, index: int, codes: Bytes) -> None:
        """Take chances (threshold, y, x), half percents, in place of shares of the members."""
        known_codes = np.where(codes == UNKNOWN_CHANCE, 0, codes)
        if self.wanted.chances:
            self.chances[:, index] = codes
        for chances, given in zip(self.chances_around, known_codes, strict=False):
            chances[index] = _at_least(chances[index], self.around.highest(given))
        self._given = known_codes if self._given is None else np.maximum(self._given, known_codes)


def _at_least(codes: Bytes, least: Bytes) -> Bytes:
    """The higher chance of two, in half percents, where the first is known."""
    return np.where(codes == UNKNOWN_CHANCE, codes, np.maximum(codes, least))


def quantiles(
    members: Floats, known: npt.NDArray[np.int_], fractions: Sequence[float]
) -> Iterator[Floats]:
    """Quantiles (y, x) of the members (member, y, x) that are not NaN, linear between members.

    Parameters
    ----------
    known : (y, x), number of members that are not NaN.
    """
    ordered = np.sort(members, axis=0)  # NaN comes last
    is_complete = bool((known == len(members)).all())
    last = np.maximum(known - 1, 0)
    for fraction in fractions:
        if is_complete:
            position = fraction * (len(members) - 1)
            below, above = ordered[int(position)], ordered[min(int(position) + 1, len(members) - 1)]
            weight: npt.ArrayLike = np.float32(position - int(position))
        else:
            positions = fraction * last
            lower = positions.astype(np.intp)
            upper = np.minimum(lower + 1, last)
            below, above = (np.take_along_axis(ordered, i[None], axis=0)[0] for i in (lower, upper))
            weight = (positions - lower).astype(np.float32)
        yield below + (above - below) * weight


def _mean_of_known(members: Floats, unknown: Bools, known: npt.NDArray[np.int_]) -> Floats:
    """Mean (y, x) of the members (member, y, x) that are known; NaN where most of them are not.

    Parameters
    ----------
    unknown : (member, y, x).
    known : (y, x), number of members that are known.
    """
    total = np.where(unknown, 0, members).sum(axis=0, dtype=np.float32)
    return np.where(2 * known >= len(members), total / np.maximum(known, 1), np.nan)
