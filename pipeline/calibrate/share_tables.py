"""How often rain came after a share of the members: counts, and tables from them.

Public: `ShareCounter`, `share_tables`, `AT_PIXEL`, `AROUND`.

Dims: E engines, P places (at the pixel, within a distance), L lead steps, K thresholds, O event
(no, yes), C codes of shares (half percents), S knots of shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from squall.convgru.calibration import FEW_EVENTS
from squall.convgru.ensemble.calibration import KNOTS, ShareTables
from squall.convgru.thresholds import THRESHOLDS_MM_H
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.datasets.open_archive import open_archive
from squall.pipeline.forecast.chance_code import UNKNOWN_CHANCE
from squall.pipeline.forecast.ensemble_products import NEIGHBOURHOOD_KM, EnsembleProducts, Wanted
from squall.pipeline.forecast.names import ENGINES
from squall.pipeline.forecast.neighbourhood import Neighbourhood
from squall.pipeline.forecast.network_method import NetworkMethod

Floats = npt.NDArray[np.float64]

N_CODES = 201  # half percents from 0 to 100 %
AT_PIXEL, AROUND = 0, 1
_SHARE_OF_CODE = np.arange(N_CODES) / (N_CODES - 1)
_IS_KNOT = np.isin(np.arange(N_CODES), np.rint(KNOTS * (N_CODES - 1)).astype(int))


@dataclass(frozen=True)
class ShareCounter:
    """Counts the shares of members of one forecast with each engine, in its own process."""

    address: str
    snapshot: str
    model: Path
    members: int
    lead_times: int

    @cached_property
    def _opened(self) -> tuple[ScanStore, list[NetworkMethod]]:
        archive = open_archive(self.address, self.snapshot)
        return archive, [NetworkMethod.load(self.model, archive, engine=name) for name in ENGINES]

    def __call__(self, index: int) -> Floats:
        """(E, P, L, K, O, C) pixels of the forecast from the scan with this index.

        All are 0 for an engine that cannot forecast from these scans.
        """
        archive, methods = self._opened
        observed = archive.read(index + 1, self.lead_times).values
        around = Neighbourhood.on(archive.grid, 1000 * NEIGHBOURHOOD_KM)
        counts = []
        for method in methods:
            try:
                products = self._products(archive, method, index, around)
                counts.append(_counts(products, observed, around))
            except DataError:
                shape = (2, self.lead_times, len(THRESHOLDS_MM_H), 2, N_CODES)
                counts.append(np.zeros(shape))
        return np.stack(counts)

    def _products(
        self, archive: ScanStore, method: NetworkMethod, index: int, around: Neighbourhood
    ) -> EnsembleProducts:
        wanted = Wanted(
            *(THRESHOLDS_MM_H, ()),
            median=False,
            rate_percentiles=False,
            amounts=False,
            times=False,
        )
        context = archive.read(index - method.context + 1, method.context).values
        step_min = archive.step.total_seconds() / 60
        lead_min = tuple(step_min * (1 + lead) for lead in range(self.lead_times))
        products = EnsembleProducts(wanted, context[-1], lead_min, self.members, around)
        time = archive.times[index].to_datetime64()
        leads = method.ensemble(context, self.lead_times, self.members, time)
        for lead, rates in enumerate(leads):
            products.add(lead, rates)
        return products


def _counts(
    products: EnsembleProducts, observed: npt.NDArray[np.float32], around: Neighbourhood
) -> Floats:
    """(P, L, K, O, C); scans after the last of the archive are not counted."""
    shape = (2, len(products.lead_min), len(THRESHOLDS_MM_H), 2, N_CODES)
    counts = np.zeros(shape)
    for lead, truth in enumerate(observed):
        ranks = np.zeros(truth.shape, np.uint8)
        for threshold in THRESHOLDS_MM_H:
            ranks += truth >= np.float32(threshold)
        for place, codes, reached in (
            (AT_PIXEL, products.chances[:, lead], ranks),
            (AROUND, products.chances_around[:, lead], around.highest(ranks)),
        ):
            known = ~np.isnan(truth) & (codes[0] != UNKNOWN_CHANCE)
            for number, code in enumerate(codes):
                is_event = (reached[known] > number).astype(np.intp)
                bins = np.bincount(is_event * N_CODES + code[known], minlength=2 * N_CODES)
                counts[place, lead, number] = bins.reshape(2, N_CODES)
    return counts


def share_tables(counts_LKOC: Floats, minutes: Sequence[float]) -> ShareTables:
    """Isotonic regression of events on shares, for each lead time and threshold.

    A share that few pixels have keeps the chance of the threshold below, and at the lowest
    threshold the share itself: that is counted as `FEW_EVENTS` pixels more. Without any pixel the
    chance is the share.

    Parameters
    ----------
    counts_LKOC : pixels of one engine and place.
    minutes : the lead times.
    """
    tables = []
    for by_threshold in counts_LKOC:
        curves: list[Floats] = [KNOTS]
        for counts_OC in by_threshold:
            curves.append(_curve(counts_OC, curves[-1]))
        tables.append(tuple(tuple(curve.round(5).tolist()) for curve in curves[1:]))
    return ShareTables(minutes=tuple(minutes), chances=tuple(tables))


def _curve(counts_OC: Floats, prior_S: Floats) -> Floats:
    """(S,) chance at each knot.

    Shares that the members cannot have lie between two that they have; there the chance is
    interpolated. Beyond the shares that were counted, the knots have what is expected before.
    """
    pixels, events = counts_OC.sum(axis=0), counts_OC[1]
    counted = np.flatnonzero(pixels)
    used = pixels > 0
    first, last = (counted[0], counted[-1]) if counted.size else (N_CODES, -1)
    codes = np.arange(N_CODES)
    used |= _IS_KNOT & ((codes < first) | (codes > last))
    expected = np.interp(_SHARE_OF_CODE, KNOTS, prior_S)
    weights = pixels + FEW_EVENTS
    frequency = (events + FEW_EVENTS * expected) / weights
    chances = isotonic_regression(frequency[used], weights=weights[used]).x
    return np.interp(KNOTS, _SHARE_OF_CODE[used], chances)
