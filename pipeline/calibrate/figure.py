"""The picture of a calibration: how often rain came where it was forecast with a chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from squall.convgru.calibration import reliability_curve
from squall.convgru.thresholds import THRESHOLDS_MM_H
from squall.pipeline.calibrate.run import CalibrateResult
from squall.pipeline.lettering import plain
from squall.pipeline.provenance import atomic_path

SUFFIXES = (".png",)
FEW_PIXELS = 200  # a tenth of the chance with fewer is not drawn
BEFORE, AFTER = "#7a7a7a", "#0072B2"


def draw_reliability(result: CalibrateResult, picture: Path) -> None:
    """Draw a panel for each threshold: observed frequency against forecast chance.

    All lead times count together, each with its own calibration.

    Parameters
    ----------
    picture : PNG file to write.
    """
    figure = Figure(figsize=(9.6, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    title = f"Chances of {result.out.name}: {result.forecasts} forecasts, {_archive(result)}"
    plain(figure.suptitle(title))
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for number, (axes, threshold) in enumerate(zip(panels.flat, THRESHOLDS_MM_H, strict=True)):
        _panel(axes, result, number)
        axes.set_title(f"at least {threshold:g} mm/h", fontsize="medium")
    figure.supxlabel("forecast chance")
    figure.supylabel("observed frequency")
    panels.flat[0].legend(loc="upper left", frameon=False, fontsize="small")
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def _archive(result: CalibrateResult) -> str:
    first, last = (result.calibration.source[key][:10] for key in ("first", "last"))
    return f"{result.calibration.archive}, {first} to {last}"


def _panel(axes: Axes, result: CalibrateResult, number: int) -> None:
    calibration = result.calibration
    by_lead = result.counts_LKEN[:, number]
    lines = [
        (intercepts[number], slopes[number])
        for intercepts, slopes in zip(calibration.intercepts, calibration.slopes, strict=True)
    ]
    axes.plot([0, 1], [0, 1], color="0.85", zorder=1, label="as often as forecast")
    for fitted, colour, style, label in (
        ([(0.0, 1.0)] * len(lines), BEFORE, "--", "before the calibration"),
        (lines, AFTER, "-", "after"),
    ):
        curves = [reliability_curve(c, line) for c, line in zip(by_lead, fitted, strict=True)]
        chance, frequency, pixels = np.stack(curves, axis=1)
        total = pixels.sum(axis=0)
        shown = total >= FEW_PIXELS
        x, y = (
            np.nansum(values * pixels, axis=0)[shown] / total[shown]
            for values in (chance, frequency)
        )
        axes.plot(x, y, color=colour, linestyle=style, marker="o", markersize=3.5, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
