"""Fits the numbers of the stochastic ensemble to an archive: a coordinate search on fair CRPS.

Public: `fit_settings`, `FittedSettings`.

Dims: L lead steps, S scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from squall.convgru.ensemble import EnsembleSettings
from squall.convgru.ensemble.settings import HOUR_MIN
from squall.convgru.scaling import DRY_MM_H
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.datasets.open_archive import open_archive
from squall.pipeline.forecast.stochastic_method import DEFAULT_SETTINGS, StochasticMethod
from squall.pipeline.processes import results_of
from squall.pipeline.progress import Progress
from squall.pipeline.scores.fss import fss_windows_px
from squall.pipeline.scores.member_sums import MEAN_WIDTHS_KM, crps_terms, neighbourhood_means

Floats = npt.NDArray[np.float64]

N_SCORES = 2 + len(MEAN_WIDTHS_KM)
FEWEST_GAIN = 0.002  # a round with a smaller gain is the last
MOST_TRIALS = 14  # settings that are tried
MOST_TENDENCY = 0.5  # of the logarithm of the amount in an hour


@dataclass(frozen=True)
class FittedSettings:
    """Settings, and the mean ratio of their scores to those of the default settings."""

    settings: EnsembleSettings
    ratio: float


@dataclass(frozen=True)
class ScoredCase:
    """Sums of one case.

    Parameters
    ----------
    crps : (L, S) sums of fair CRPS: of rain [mm/h] and of decibels at pixels, of means [mm/h] of
        each width.
    rain : (L, 2) sums of the members' mean and of the observed rain [mm/h].
    """

    crps: Floats
    rain: Floats


@dataclass(frozen=True)
class MemberScorer:
    """Scores the members of one case; it opens the archive in its own process."""

    address: str
    snapshot: str
    members: int
    lead_times: int

    @cached_property
    def archive(self) -> ScanStore:
        return open_archive(self.address, self.snapshot)

    def __call__(self, trial: tuple[int, EnsembleSettings]) -> ScoredCase:
        """Score the case from the scan with this index, with these settings.

        All sums are 0 if the ensemble cannot start from the scans before it.
        """
        index, settings = trial
        method = StochasticMethod.for_archive(self.archive, self.lead_times, settings)
        context = self.archive.read(index - method.context + 1, method.context).values
        observed = self.archive.read(index + 1, self.lead_times).values
        time = self.archive.times[index].to_datetime64()
        leads = method.ensemble(context, len(observed), self.members, time)
        crps, rain = np.zeros((len(observed), N_SCORES)), np.zeros((len(observed), 2))
        with suppress(DataError):  # nothing was observed before the last scan
            for lead, (members, truth) in enumerate(zip(leads, observed, strict=True)):
                known = ~(np.isnan(members[0]) | np.isnan(truth))
                if known.any():
                    fields = [np.where(known, rate, np.float32(0)) for rate in (truth, *members)]
                    crps[lead] = list(_fair_crps(fields, known, method.spacing_km))
                    rain[lead] = np.mean([rate.sum() for rate in fields[1:]]), fields[0].sum()
        return ScoredCase(crps, rain)


def _fair_crps(
    fields: Sequence[npt.NDArray[np.float32]], known: npt.NDArray[np.bool_], pixel_km: float
) -> Iterator[float]:
    """Sums of fair CRPS (S,) of fields (y, x) [mm/h]: the observed one, then the members."""
    stacked = np.stack([rate[known] for rate in fields])
    stacked = stacked[:, (stacked > 0).any(axis=0)].astype(np.float64)  # elsewhere it is 0
    y, x = stacked[0], np.sort(stacked[1:], axis=0)
    yield _sum(x, y)
    yield _sum(*(10 * np.log10(np.maximum(rates, DRY_MM_H)) for rates in (x, y)))
    for window in fss_windows_px(MEAN_WIDTHS_KM, pixel_km):
        observed, *means = neighbourhood_means(fields, known, window)
        yield _sum(np.sort(np.stack(means), axis=0), observed)


def _sum(sorted_x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> float:
    error, difference = crps_terms(sorted_x, y)
    return float((error - 0.5 * difference).sum())


def fit_settings(
    archive: ScanStore, cases: Sequence[int], *, members: int, lead_times: int, workers: int
) -> FittedSettings:
    """Search for the settings with the lowest scores, one number after the other.

    The score is the mean over lead times and kinds of fair CRPS of the ratio to the default
    settings. All settings have the same random numbers. The numbers are those of `COORDINATES`,
    after the tendency of the amount, which is taken from the observed and the forecast rain and
    kept if it helps. The search ends after a round that gains less than `FEWEST_GAIN`, and after
    `MOST_TRIALS`.
    """
    scorer = MemberScorer(archive.address, archive.snapshot, members, lead_times)
    step_hours = archive.step.total_seconds() / 60 / HOUR_MIN
    with Progress("fit", MOST_TRIALS * len(cases), "forecast") as progress:
        search = _Search(scorer, cases, workers, progress)
        search.run(step_hours)
    return FittedSettings(search.best, search.ratio)


def _with_noise(settings: EnsembleSettings, factor: float) -> EnsembleSettings:
    """Both numbers of the noise, so that it grows as before."""
    return settings.model_copy(
        update={
            "noise": round(settings.noise * factor, 4),
            "noise_after_an_hour": round(settings.noise_after_an_hour * factor, 4),
        }
    )


def _with_late_noise(settings: EnsembleSettings, factor: float) -> EnsembleSettings:
    late = round(settings.noise_after_an_hour * factor, 4)
    return settings.model_copy(update={"noise_after_an_hour": late})


def _with_displacements(settings: EnsembleSettings, factor: float) -> EnsembleSettings:
    return settings.model_copy(
        update={
            name: growth.model_copy(update={"a": round(growth.a * factor, 6)})
            for name in ("along_km", "across_km")
            for growth in [getattr(settings, name)]
        }
    )


def _with_amount(settings: EnsembleSettings, factor: float) -> EnsembleSettings:
    amount = settings.amount.model_copy(update={"a": round(settings.amount.a * factor, 6)})
    return settings.model_copy(update={"amount": amount})


Scale = Callable[[EnsembleSettings, float], EnsembleSettings]
COORDINATES: tuple[tuple[Scale, float], ...] = (
    (_with_noise, 1.25),
    (_with_amount, 1.6),
    (_with_displacements, 1.6),
    (_with_late_noise, 1.25),
)
"""what multiplies a number by a factor, and the first factor that is tried"""


@dataclass
class _Search:
    """The best settings so far, and what their scores are compared with."""

    scorer: MemberScorer
    cases: Sequence[int]
    workers: int
    progress: Progress
    best: EnsembleSettings = DEFAULT_SETTINGS
    ratio: float = 1.0
    trials: int = 0
    defaults: Floats = field(init=False)

    def run(self, step_hours: float) -> None:
        total = self._scored(self.best)
        self.defaults = total.crps
        self._try(self.best.model_copy(update={"tendency_per_hour": _tendency(total, step_hours)}))
        for power in (1.0, 0.5):
            before = self.ratio
            for scale, factor in COORDINATES:
                self._walk(scale, factor**power)
            if self.ratio > before * (1 - FEWEST_GAIN):
                return

    def _walk(self, scale: Scale, factor: float) -> None:
        """Go on in the direction that helps, up or down, as long as it helps."""
        for step in (factor, 1 / factor):
            if self._try(scale(self.best, step)):
                while self._try(scale(self.best, step)):
                    pass
                return

    def _try(self, settings: EnsembleSettings) -> bool:
        """Whether these settings are better than the best so far; then they are the best."""
        if self.trials == MOST_TRIALS or settings == self.best:
            return False
        crps = self._scored(settings).crps
        has_score = self.defaults > 0
        ratio = float((crps[has_score] / self.defaults[has_score]).mean())
        if ratio >= self.ratio:
            return False
        self.best, self.ratio = settings, ratio
        return True

    def _scored(self, settings: EnsembleSettings) -> ScoredCase:
        """Sums over all cases."""
        self.trials += 1
        trials = [(case, settings) for case in self.cases]
        scored = []
        advice = f"Run it again with less than --workers {self.workers}"
        with results_of(
            self.scorer, trials, self.workers, preload=__name__, advice=advice
        ) as results:
            for result in results:
                scored.append(result)
                self.progress.advance()
        return ScoredCase(
            np.sum([case.crps for case in scored], axis=0),
            np.sum([case.rain for case in scored], axis=0),
        )


def _tendency(total: ScoredCase, step_hours: float) -> float:
    """Change of the logarithm of the amount in an hour: a line through 0 over all lead times."""
    forecast, observed = total.rain.T
    has_rain = (forecast > 0) & (observed > 0)
    hours = step_hours * (1 + np.flatnonzero(has_rain))
    if not hours.size:
        return 0.0
    slope = hours @ np.log(observed[has_rain] / forecast[has_rain]) / (hours @ hours)
    return round(float(np.clip(slope, -MOST_TENDENCY, MOST_TENDENCY)), 4)
