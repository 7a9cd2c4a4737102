"""Calibrates the ensembles of a network: fits numbers, chooses the engine, fits tables of chances.

Public: `EnsembleCases`, `calibrate_ensembles`. The steps are `settings_fit`, `comparison` and
`share_tables`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from squall.convgru.calibration import Calibration
from squall.convgru.ensemble.calibration import EngineComparison, EnsembleCalibration
from squall.datasets.archive.scan_store import ScanStore
from squall.pipeline.calibrate.comparison import compared, gain
from squall.pipeline.calibrate.model_file import write_calibrated
from squall.pipeline.calibrate.parts import Parts, divided, spread
from squall.pipeline.calibrate.settings_fit import fit_settings
from squall.pipeline.calibrate.share_tables import AROUND, AT_PIXEL, ShareCounter, share_tables
from squall.pipeline.forecast.names import ENGINES, MIXED, STOCHASTIC, Engine
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.stochastic_method import DEFAULT_SETTINGS
from squall.pipeline.processes import results_of
from squall.pipeline.progress import tracked
from squall.pipeline.scores.sums import ScoreSums

MOST_FITTED, MOST_COMPARED = 8, 16  # cases
FEW_HOURS = 8  # with cases to compare; with fewer the interval is not trusted


@dataclass(frozen=True)
class EnsembleCases:
    """Which cases fit the ensembles, and which compare them.

    Parameters
    ----------
    parts : the times of both.
    """

    parts: Parts
    fit: tuple[int, ...]
    comparison: tuple[int, ...]

    @classmethod
    def chosen(
        cls, archive: ScanStore, indices: Sequence[int], method: NetworkMethod
    ) -> EnsembleCases:
        """Cases of those with these indices; see `squall.pipeline.calibrate.parts.divided`."""
        before = max(method.context, method.stochastic.context) - 1
        parts, fit, comparison = divided(archive, indices, before=before, after=method.lead_times)
        return cls(parts, tuple(spread(fit, MOST_FITTED)), tuple(spread(comparison, MOST_COMPARED)))


def calibrate_ensembles(
    archive: ScanStore,
    method: NetworkMethod,
    calibration: Calibration,
    cases: EnsembleCases,
    *,
    members: int,
    workers: int,
) -> EnsembleCalibration:
    """Fit on one part of the cases; compare and count shares of members on the other part.

    The fitted settings are kept only if they are better there by their interval. Then the engines
    are compared with the settings that are kept.

    Parameters
    ----------
    calibration : of the network's chances, on the part of the cases that fits.
    members : number of members in everything.
    """
    lead_times = method.lead_times
    fitted_settings = fit_settings(
        archive, cases.fit, members=members, lead_times=lead_times, workers=workers
    )
    fitted = EnsembleCalibration(settings=fitted_settings.settings)
    with TemporaryDirectory(prefix="squall-calibrate-") as name:
        folder = Path(name)
        model = folder / "fitted.safetensors"
        write_calibrated(model, method, calibration.model_copy(update={"ensemble": fitted}))

        def scored(subject: str, models: Sequence[str]) -> tuple[list[ScoreSums], dict[str, str]]:
            return compared(
                archive,
                cases.comparison,
                models,
                folder=folder / subject,
                members=members,
                lead_times=lead_times,
                workers=workers,
            )

        of_fit_name = f"{model}:{STOCHASTIC}"
        sums, labels = scored("settings", (STOCHASTIC, of_fit_name))
        hours = len(sums)
        of_fit = gain(sums, labels[of_fit_name], labels[STOCHASTIC])
        if not is_sure(of_fit, hours):
            fitted = EnsembleCalibration(settings=DEFAULT_SETTINGS)
            write_calibrated(model, method, calibration.model_copy(update={"ensemble": fitted}))
        names = {engine: f"{model}:{engine}" for engine in ENGINES}
        sums, labels = scored("engines", tuple(names.values()))
        comparisons = {
            engine: gain(sums, labels[name], labels[names[MIXED]])
            for engine, name in names.items()
            if engine != MIXED
        }
        counter = ShareCounter(archive.address, archive.snapshot, model, members, lead_times)
        counts = _counted(counter, cases.comparison, workers)
    step_min = archive.step.total_seconds() / 60
    minutes = [step_min * (1 + lead) for lead in range(lead_times)]
    tables = {
        engine: [share_tables(of_place, minutes) for of_place in of_engine]
        for engine, of_engine in zip(ENGINES, counts, strict=True)
    }
    return fitted.model_copy(
        update={
            "engine": best_engine(comparisons, hours),
            "source": _source(archive, cases, members, fitted_settings.ratio),
            "fit": of_fit,
            "comparisons": comparisons,
            "at_pixel": tables[STOCHASTIC][AT_PIXEL],
            "around": {engine: of_engine[AROUND] for engine, of_engine in tables.items()},
        }
    )


def is_sure(comparison: EngineComparison, hours: int) -> bool:
    """Whether it is better by its interval, over enough hours that an interval tells much."""
    return comparison.is_better and hours >= FEW_HOURS


def best_engine(comparisons: Mapping[Engine, EngineComparison], hours: int) -> Engine:
    """``mixed``, unless another engine is better than it by its interval.

    Parameters
    ----------
    comparisons : of each other engine with ``mixed``.
    hours : with cases in them.
    """
    gains = {engine: c.gain_percent for engine, c in comparisons.items() if is_sure(c, hours)}
    return max(gains, key=gains.__getitem__, default=MIXED)


def _counted(counter: ShareCounter, cases: Sequence[int], workers: int) -> npt.NDArray[np.float64]:
    advice = f"Run it again with less than --workers {workers}"
    with results_of(counter, cases, workers, preload=__name__, advice=advice) as results:
        counted = tracked(results, "shares of members", len(cases), "forecast")
        total = next(counted)
        for counts in counted:
            total = total + counts
    return total


def _source(
    archive: ScanStore, cases: EnsembleCases, members: int, ratio: float
) -> dict[str, object]:
    """Where the numbers come from, for people."""
    return {
        "members": members,
        "score_ratio_of_fit": round(ratio, 4),
        **{
            name: {
                "forecasts": len(indices),
                "first": archive.times[indices[0]].isoformat(),
                "last": archive.times[indices[-1]].isoformat(),
            }
            for name, indices in (("fit", cases.fit), ("comparison", cases.comparison))
        },
    }
