"""Forecasting and scoring one case with all methods.

This module chooses no cases (`squall.pipeline.verify.cases`), has no formulas of scores
(`squall.pipeline.scores`) and starts no processes (`squall.pipeline.verify.workers`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.open_archive import open_archive
from squall.pipeline.forecast.field_file import FieldFile
from squall.pipeline.forecast.lead_fields import kept_fields
from squall.pipeline.forecast.methods import (
    Extrapolation,
    ForecastMethod,
    gives_chances,
    is_ensemble,
    rain_of_leads,
)
from squall.pipeline.forecast.names import EXTRAPOLATION
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.pysteps_methods import PystepsMethod
from squall.pipeline.report.summary import shown_leads
from squall.pipeline.scores.chance_sums import Chances
from squall.pipeline.scores.checks import LeadFields
from squall.pipeline.scores.sums import score_sums_by_method
from squall.pipeline.verify.blocks import Block
from squall.pipeline.verify.drawn import DrawnFields
from squall.pipeline.verify.plan import (
    Failure,
    Method,
    MethodError,
    Plan,
    VerificationCase,
    opened_methods,
    reference_text,
)
from squall.pipeline.verify.stored import StoredForecasts

Rates = npt.NDArray[np.float32]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Forecasts:
    """What all methods say of one case.

    Parameters
    ----------
    observed : (lead_time, y, x), mm/h, NaN = not observed. That of a large grid, and the rain, are
        in temporary files (`kept_fields`).
    rain : by method, as `observed`.
    chances : by method, of the methods that give chances. They are in a temporary file.
    seconds : that each method took.
    """

    observed: LeadFields
    rain: dict[str, LeadFields] = field(default_factory=dict)
    chances: dict[str, Chances] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(
        self,
        label: str,
        method: ForecastMethod,
        scans: Callable[[int], Rates],
        thresholds_mm_h: Sequence[float],
    ) -> None:
        """Forecast with one more method.

        Parameters
        ----------
        scans : reads so many scans (time, y, x) up to the reference time. They are not kept here.

        Raises
        ------
        MethodError
            If the method fails.
        """
        lead_times, *shape = self.observed.shape
        context = scans(method.context)
        start = time.perf_counter()
        try:
            if not gives_chances(method, thresholds_mm_h):
                leads = rain_of_leads(method, context, lead_times)
            else:
                thresholds_mm_h = method.chance_thresholds(thresholds_mm_h)
                chances = FieldFile()
                self.chances[label] = Chances(thresholds_mm_h, chances)
                both = method.leads_with_chances(context, lead_times, thresholds_mm_h)
                leads = _without_chances(both, chances)
            del context  # that of a large grid needs much memory
            self.rain[label] = kept_fields(leads, (shape[0], shape[1]), lead_times)
        except Exception as error:  # a library may raise anything on unusual scans
            raise MethodError(label, f"{type(error).__name__}: {error}") from error
        self.seconds[label] = time.perf_counter() - start

    def add_stored(
        self, label: str, stored: StoredForecasts, reference_time: pd.Timestamp, plan: Plan
    ) -> None:
        """Read a forecast that was made before; how long it took is not known."""
        lead_times, *shape = self.observed.shape
        leads = stored.rain(reference_time, lead_times)
        self.rain[label] = kept_fields(leads, (shape[0], shape[1]), lead_times)
        self.seconds[label] = float("nan")
        thresholds_mm_h = stored.chance_thresholds(plan.thresholds_mm_h)
        if thresholds_mm_h:
            chances = stored.chances_at(reference_time, lead_times, thresholds_mm_h)
            self.chances[label] = Chances(thresholds_mm_h, chances)


def _without_chances(leads: Iterator[Rates], chances: FieldFile) -> Iterator[Rates]:
    """Rain rate (y, x) of fields (1 + threshold, y, x); the chances are put into a file."""
    for fields in leads:
        chances.append(fields[1:])
        rain = fields[0].copy()
        del fields
        yield rain


@dataclass
class MembersAndChances:
    """Members of a network, and the chances that a forecast with these members says.

    The chances of a lead time are those of the members that were taken last, as
    `score_sums_by_method` takes them.

    Parameters
    ----------
    source : (member, y, x) mm/h and (threshold, y, x) of each lead time.
    """

    source: Iterator[tuple[Rates, Rates | None]]
    _of_lead: Rates | None = None

    def members(self) -> Iterator[Rates]:
        """(member, y, x) of each lead time, mm/h."""
        for members, chances in self.source:
            self._of_lead = chances
            yield members
            del members, chances  # before the next are made

    def chances(self) -> Iterator[Rates]:
        """(threshold, y, x) of each lead time; NaN where not known."""
        while self._of_lead is not None:
            yield self._of_lead


class Scorer:
    """Forecasts and scores any case of a plan. It opens archives and methods when it needs them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._opened: dict[int, tuple[ScanStore, dict[str, Method]]] = {}

    def open_target(self, number: int) -> tuple[ScanStore, dict[str, Method]]:
        """Archive and methods of a target."""
        if number not in self._opened:
            target = self.plan.targets[number]
            archive = open_archive(target.address, target.snapshot)
            methods = opened_methods(
                self.plan.methods, self.plan.stored, archive, self.plan.members
            )
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

        def scans(count: int) -> Rates:
            return np.asarray(archive.read(case.index - count + 1, count).values)

        observed = archive.scans(case.index + 1, lead_times)
        made = Forecasts(kept_fields(observed, archive.grid.shape, lead_times))
        for label, method in methods.items():
            if isinstance(method, StoredForecasts):
                made.add_stored(label, method, archive.times[case.index], self.plan)
            else:
                made.add(label, method, scans, self._said(method))
        for label, rain in made.rain.items():
            is_unknown = all(np.isnan(rain[lead]).all() for lead in range(lead_times))
            if is_unknown and not np.isnan(scans(1)).all():
                raise MethodError(label, "no pixel of the forecast is known")
        return made

    def drawn(self, case: VerificationCase, made: Forecasts | None = None) -> DrawnFields:
        """What the report draws of a case, at the lead times of `shown_leads`.

        Parameters
        ----------
        made : its forecasts, if they are there already.

        Raises
        ------
        MethodError
            If a method fails on this case.
        """
        archive, _ = self.open_target(case.target)
        leads = lead_times_of(archive, self.plan.targets[case.target].lead_times)
        made = made or self.forecasts(case)
        return DrawnFields.of(made.observed, made.rain, shown_leads(leads))

    def _said(self, method: ForecastMethod) -> tuple[float, ...]:
        """Thresholds of the chances that the method says without members, as far as they count."""
        comes_with_members = self.plan.members is not None and isinstance(method, NetworkMethod)
        return () if comes_with_members else self.plan.thresholds_mm_h

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
            extrapolated = self._extrapolated(case, made.rain)
            is_reached = (~np.isnan(lead) for lead in extrapolated)
            valid = kept_fields(is_reached, archive.grid.shape, target.lead_times)
        ensembles = self._ensembles(case, made)
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
        drawn = {case.index: self.drawn(case, made)} if case.is_drawn else {}
        return Block(sums, 1, seconds=seconds_by_method, replaced=dict(replaced), drawn=drawn)

    def lost(self, case: VerificationCase) -> Block:
        """A case whose process died."""
        reason = "the process that made and scored the forecasts died; memory may have run out"
        return self._failed(case, MethodError("a method", reason))

    def _failed(self, case: VerificationCase, error: MethodError) -> Block:
        archive, _ = self.open_target(case.target)
        reference_time = reference_text(archive.times[case.index])
        return Block(failures=[Failure(reference_time, error.method, error.reason)])

    def _ensembles(self, case: VerificationCase, made: Forecasts) -> dict[str, Iterator[Rates]]:
        """Members of each method that makes them, lead time by lead time.

        Parameters
        ----------
        made : of the case. The chances that come with the members are added, and the time that the
            members take.
        """
        if self.plan.members is None:
            return {}
        archive, methods = self.open_target(case.target)
        thresholds, count = self.plan.thresholds_mm_h, self.plan.members
        target = self.plan.targets[case.target]
        result = {}
        for label, method in methods.items():
            if isinstance(method, StoredForecasts) and method.members:
                reference_time = archive.times[case.index]
                result[label] = method.ensemble_at(reference_time, target.lead_times, count)
                continue
            if not is_ensemble(method):
                continue
            context = archive.read(case.index - method.context + 1, method.context).values
            time = archive.times[case.index].to_datetime64()
            arguments = (context, target.lead_times, count, time)
            if not isinstance(method, NetworkMethod):
                result[label] = _timed(label, method.ensemble(*arguments), made.seconds)
                continue
            leads = method.members_and_chances(*arguments, thresholds)
            both = MembersAndChances(_timed(label, leads, made.seconds))
            result[label] = both.members()
            if not method.are_chances_shares:
                made.chances[label] = Chances(thresholds, both.chances())
        return result

    def _extrapolated(
        self, case: VerificationCase, forecasts: dict[str, LeadFields]
    ) -> Iterator[Rates]:
        """The extrapolation (y, x) of the last scan at each lead time.

        It is NaN at the pixels that no trajectory reaches.
        """
        if self.plan.methods.get(EXTRAPOLATION) == EXTRAPOLATION:
            made = forecasts[EXTRAPOLATION]
            return (made[lead] for lead in range(made.shape[0]))
        archive, _ = self.open_target(case.target)
        lead_times = self.plan.targets[case.target].lead_times
        method = Extrapolation(lead_times)
        context = archive.read(case.index - method.context + 1, method.context).values
        return method.leads(context, lead_times)


def _timed(label: str, leads: Iterator[Item], seconds: dict[str, float]) -> Iterator[Item]:
    """What a method makes of each lead time; the time that it takes is added.

    Raises
    ------
    MethodError
        If the method fails.
    """
    start = time.perf_counter()
    try:
        for of_lead_time in leads:
            seconds[label] += time.perf_counter() - start
            yield of_lead_time
            del of_lead_time  # before the next is made
            start = time.perf_counter()
    except Exception as error:  # a library may raise anything on unusual scans
        raise MethodError(label, f"{type(error).__name__}: {error}") from error


def _replaced(methods: dict[str, Method]) -> Counter[str]:
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
