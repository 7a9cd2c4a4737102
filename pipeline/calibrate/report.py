"""A calibration as text: scores and reliability by threshold, and what was fitted of ensembles."""

from __future__ import annotations

import numpy as np

from squall.convgru.calibration import reliability_curve, skill_of_cuts
from squall.convgru.ensemble.calibration import EnsembleCalibration
from squall.convgru.ensemble.settings import EnsembleSettings
from squall.convgru.thresholds import THRESHOLDS_MM_H
from squall.pipeline.calibrate.run import CalibrateResult


def table(result: CalibrateResult) -> str:
    """One line for each threshold: skill with the best cuts, and how far chances are off.

    The error of the chances is the mean distance of forecast chance and observed frequency over
    tenths of the chance, weighted by pixels, before and after the calibration.
    """
    counts, calibration = result.counts_LKEN, result.calibration
    skill = skill_of_cuts(counts)
    lines = ["threshold   CSI, best cuts   bias there   error of the chances, before -> after"]
    for number, threshold in enumerate(THRESHOLDS_MM_H):
        best = skill.csi[:, number].argmax(axis=-1)
        leads = np.arange(best.size)
        csi, bias = skill.csi[leads, number, best].mean(), skill.bias[leads, number, best].mean()
        intercepts, slopes = (
            [row[number] for row in rows] for rows in (calibration.intercepts, calibration.slopes)
        )
        fitted = zip(intercepts, slopes, strict=True)
        by_lead = counts[:, number]
        before = np.mean([_error(lead, (0.0, 1.0)) for lead in by_lead])
        after = np.mean([_error(lead, line) for lead, line in zip(by_lead, fitted, strict=True)])
        lines.append(
            f"{threshold:4g} mm/h        {csi:.3f}         {bias:.2f}         "
            f"{100 * before:.2f} % -> {100 * after:.2f} %"
        )
    return "\n".join(lines)


def ensemble_table(ensemble: EnsembleCalibration) -> str:
    """The fitted numbers, what they gain, and which engine makes the members."""
    rows = [
        (f"{name:22}{before:.4g} -> {after:.4g}{unit}")
        for (name, unit, before), (_, _, after) in zip(
            _numbers(EnsembleSettings()), _numbers(ensemble.settings), strict=True
        )
    ]
    compared = ensemble.source["comparison"]
    cases = (
        f"{compared['forecasts']} forecasts from {compared['first'][:10]} to "
        f"{compared['last'][:10]}, {ensemble.source['members']} members"
    )
    is_default = ensemble.settings == EnsembleSettings()
    return "\n".join(
        [
            "ensembles, default -> fitted",
            *(
                rows
                if not is_default
                else ["the default numbers stay; the fitted are not surely better"]
            ),
            f"fair CRPS lower with the fitted numbers by {ensemble.fit}",
            *(
                f"fair CRPS of {engine} lower than that of mixed by {comparison}"
                for engine, comparison in ensemble.comparisons.items()
            ),
            f"({cases}; brackets: 90 % interval)",
            f"engine of this model on this radar network: {ensemble.engine}",
        ]
    )


def _numbers(settings: EnsembleSettings) -> list[tuple[str, str, float]]:
    """Name, unit and value of the numbers that are fitted."""
    return [
        ("noise", "", settings.noise),
        ("noise after an hour", "", settings.noise_after_an_hour),
        ("displacement, 60 min", " km", settings.along_km.at(60)),
        ("amount, 60 min", "", settings.amount.at(60)),
        ("tendency", " per hour", settings.tendency_per_hour),
    ]


def _error(counts_EN: np.ndarray, line: tuple[float, float]) -> float:
    chance, frequency, pixels = reliability_curve(counts_EN, line)
    return float(np.nansum(np.abs(chance - frequency) * pixels) / pixels.sum())
