"""Forecasting and scoring one case with all methods.

This module chooses no cases (`squall.pipeline.verify.cases`), has no formulas of scores
(`squall.pipeline.scores`) and starts no processes (`squall.pipeline.verify.workers`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from squall.convgru.ensemble.calibration import ShareTables
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.open_archive import open_archive
from squall.pipeline.forecast.field_file import FieldFile
from squall.pipeline.forecast.methods import (
    EnsembleMethod,
    Extrapolation,
    ForecastMethod,
    find_method,
    gives_chances,
    is_ensemble,
)
from squall.pipeline.forecast.names import EXTRAPOLATION
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.pysteps_methods import PystepsMethod
from squall.pipeline.scores.chance_sums import Chances
from squall.pipeline.scores.sums import score_sums_by_method
from squall.pipeline.verify.blocks import Block
from squall.pipeline.verify.plan import Failure, MethodError, Plan, VerificationCase

Rates = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Forecasts:
    """What all methods say of one case.

    Parameters
    ----------
    observed : (lead_time, y, x), mm/h, NaN = not observed.
    rain : by method, as `observed`.
    chances : by method, of the methods that give chances. They are in a temporary file.
    seconds : that each method took.
    """

    observed: Rates
    rain: dict[str, Rates] = field(default_factory=dict)
    chances: dict[str, Chances] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(
        self, label: str, method: ForecastMethod, context: Rates, thresholds_mm_h: Sequence[float]
    ) -> None:
        """Forecast with one more method."""
        lead_times = len(self.observed)
        if not gives_chances(method, thresholds_mm_h):
            self.rain[label] = method.nowcast(context, lead_times)
            return
        thresholds_mm_h = method.chance_thresholds(thresholds_mm_h)
        rain, chances = np.empty_like(self.observed), FieldFile()
        leads = method.leads_with_chances(context, lead_times, thresholds_mm_h)
        for lead, fields in enumerate(leads):
            rain[lead] = fields[0]
            chances.append(fields[1:])
        self.rain[label], self.chances[label] = rain, Chances(thresholds_mm_h, chances)


@dataclass
class CalibratedShares:
    """Members, and the calibrated shares of them that reach thresholds.

    The chances of a lead time are those of the members that were taken last, as
    `score_sums_by_method` takes them.

    Parameters
    ----------
    source : (member, y, x) of each lead time, mm/h.
    """

    source: Iterator[Rates]
    tables: ShareTables
    thresholds_mm_h: tuple[float, ...]
    step_min: float
    _taken: Rates = field(init=False)
    _leads: int = 0

    def members(self) -> Iterator[Rates]:
        """(member, y, x) of each lead time, mm/h."""
        for members in self.source:
            self._taken = members
            self._leads += 1
            yield members

    def chances(self) -> Iterator[Rates]:
        """(threshold, y, x) of each lead time; NaN where a member is not known."""
        while True:
            is_unknown = np.isnan(self._taken).any(axis=0)
            reached = [self._taken >= float(level) for level in self.thresholds_mm_h]
            shares = np.mean(reached, axis=1)
            shares[:, is_unknown] = np.nan
            minutes = self._leads * self.step_min
            yield self.tables.chances_of(shares, minutes, self.thresholds_mm_h)


class Scorer:
    """Forecasts and scores any case of a plan. It opens archives and methods when it needs them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._opened: dict[int, tuple[ScanStore, dict[str, ForecastMethod]]] = {}

    def open_target(self, number: int) -> tuple[ScanStore, dict[str, ForecastMethod]]:
        """Archive and methods of a target."""
        if number not in self._opened:
            target = self.plan.targets[number]
            archive = open_archive(target.address, target.snapshot)
            methods = {
                label: find_method(name, archive, members=self.plan.members)
                for label, name in self.plan.methods.items()
            }
            self._opened[number] = archive, methods
        return self._opened[number]

    def forecasts(self, case: VerificationCase) -> Forecasts:
        """Forecast one case with all methods.

        Raises
        ------
        MethodError
            If a method fails on this case.
        """
        archive, methods = self.open_target(case.target)
        lead_times = self.plan.targets[case.target].lead_times
        longest = max(Extrapolation.context, *(method.context for method in methods.values()))
        context = archive.read(case.index - longest + 1, longest).values
        observed = archive.read(case.index + 1, lead_times).values
        made = Forecasts(observed)
        for label, method in methods.items():
            start = time.perf_counter()
            try:
                made.add(label, method, context[-method.context :], self.plan.thresholds_mm_h)
            except Exception as error:  # a library may raise anything on unusual scans
                raise MethodError(label, f"{type(error).__name__}: {error}") from error
            made.seconds[label] = time.perf_counter() - start
            if np.isnan(made.rain[label]).all() and not np.isnan(context[-1]).all():
                raise MethodError(label, "no pixel of the forecast is known")
        return made

    def __call__(self, case: VerificationCase) -> Block:
        """Score one case."""
        archive, methods = self.open_target(case.target)
        target = self.plan.targets[case.target]
        replaced_before = _replaced(methods)
        try:
            made = self.forecasts(case)
        except MethodError as error:
            return self._failed(case, error)
        valid = None
        if self.plan.reachable_only:
            valid = ~np.isnan(self._extrapolated(case, made.rain))
        ensembles = self._ensembles(case, made.seconds)
        for label, shares in self._calibrated_shares(case.target, ensembles).items():
            ensembles[label] = shares.members()
            made.chances[label] = Chances(self.plan.thresholds_mm_h, shares.chances())
        try:
            sums = score_sums_by_method(
                made.rain,
                made.observed,
                lead_times=lead_times_of(archive, target.lead_times),
                thresholds_mm_h=self.plan.thresholds_mm_h,
                scales_km=target.scales_km,
                pixel_km=archive.grid.pixel_size_m / 1000,
                valid=valid,
                ensembles=ensembles,
                chances=made.chances,
            )
        except MethodError as error:
            return self._failed(case, error)
        replaced = _replaced(methods) - replaced_before
        seconds_by_method = {method: [value] for method, value in made.seconds.items()}
        return Block(sums, 1, seconds=seconds_by_method, replaced=dict(replaced))

    def _failed(self, case: VerificationCase, error: MethodError) -> Block:
        archive, _ = self.open_target(case.target)
        reference_time = f"{archive.times[case.index]:%Y-%m-%d %H:%M}"
        return Block(failures=[Failure(reference_time, error.method, error.reason)])

    def _ensembles(
        self, case: VerificationCase, seconds: dict[str, float]
    ) -> dict[str, Iterator[Rates]]:
        """Members of each method that makes them, lead time by lead time.

        Parameters
        ----------
        seconds : by method; the time that the members take is added.
        """
        if self.plan.members is None:
            return {}
        archive, methods = self.open_target(case.target)
        reference_time = archive.times[case.index].to_datetime64()
        lead_times, count = self.plan.targets[case.target].lead_times, self.plan.members

        def members(label: str, method: EnsembleMethod) -> Iterator[Rates]:
            start = time.perf_counter()
            try:
                context = archive.read(case.index - method.context + 1, method.context).values
                for of_lead_time in method.ensemble(context, lead_times, count, reference_time):
                    seconds[label] += time.perf_counter() - start
                    yield of_lead_time
                    start = time.perf_counter()
            except Exception as error:  # a library may raise anything on unusual scans
                raise MethodError(label, f"{type(error).__name__}: {error}") from error

        return {
            label: members(label, method)
            for label, method in methods.items()
            if is_ensemble(method)
        }

    def _calibrated_shares(
        self, target: int, ensembles: dict[str, Iterator[Rates]]
    ) -> dict[str, CalibratedShares]:
        """Of each method whose chances are shares of its members and calibrated."""
        archive, methods = self.open_target(target)
        step_min = archive.step.total_seconds() / 60
        result = {}
        for label, members in ensembles.items():
            method = methods[label]
            if isinstance(method, NetworkMethod) and not method.says_chances:
                tables = method.member_tables.at_pixel
                if tables is not None:
                    result[label] = CalibratedShares(
                        members, tables, self.plan.thresholds_mm_h, step_min
                    )
        return result

    def _extrapolated(self, case: VerificationCase, forecasts: dict[str, Rates]) -> Rates:
        """The extrapolation of the last scan, NaN at the pixels that no trajectory reaches."""
        if self.plan.methods.get(EXTRAPOLATION) == EXTRAPOLATION:
            return forecasts[EXTRAPOLATION]
        archive, _ = self.open_target(case.target)
        lead_times = self.plan.targets[case.target].lead_times
        method = Extrapolation(lead_times)
        context = archive.read(case.index - method.context + 1, method.context).values
        return method.nowcast(context, lead_times)


def _replaced(methods: dict[str, ForecastMethod]) -> Counter[str]:
    """How many forecasts of each method are those of an extrapolation, since it was opened."""
    return Counter(
        {
            label: len(method.replaced)
            for label, method in methods.items()
            if isinstance(method, PystepsMethod)
        }
    )


def lead_times_of(archive: ScanStore, count: int) -> npt.NDArray[np.timedelta64]:
    """The first lead times, multiples of the archive's time step."""
    return np.array([(k * archive.step).to_timedelta64() for k in range(1, count + 1)])
