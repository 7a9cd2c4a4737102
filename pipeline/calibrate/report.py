"""A calibration as text: scores and reliability by threshold."""

from __future__ import annotations

import numpy as np

from squall.convgru.calibration import reliability_curve, skill_of_cuts
from squall.convgru.heads.exceedance import THRESHOLDS_MM_H
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
        before, after = (
            np.mean([_error(counts[lead, number], *line) for lead, line in enumerate(lines_)])
            for lines_ in (
                [(0.0, 1.0)] * best.size,
                [
                    (intercepts[number], slopes[number])
                    for intercepts, slopes in zip(
                        calibration.intercepts, calibration.slopes, strict=True
                    )
                ],
            )
        )
        lines.append(
            f"{threshold:4g} mm/h        {csi:.3f}         {bias:.2f}         "
            f"{100 * before:.2f} % -> {100 * after:.2f} %"
        )
    return "\n".join(lines)


def _error(counts_EN: np.ndarray, intercept: float, slope: float) -> float:
    chance, frequency, pixels = reliability_curve(counts_EN, (intercept, slope))
    return float(np.nansum(np.abs(chance - frequency) * pixels) / pixels.sum())
