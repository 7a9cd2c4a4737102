"""A plot of the rain at a place against time.

Public: `draw`, `SUFFIXES`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from squall.pipeline.lettering import readable, write
from squall.pipeline.pictures import MAP_STYLE, image_of
from squall.pipeline.point.outlook import BAND, Outlook
from squall.pipeline.provenance import atomic_path

SUFFIXES = (".png",)
FORECAST, BAND_COLOUR, AROUND, OBSERVED = "#17489c", "#72bae6", "#b9551f", "#1d2730"
LEAST_MM_H = 1.0  # upper end of the axis in drizzle
_DPI = 130


def draw(outlook: Outlook, lat: float, lon: float, path: Path) -> None:
    """Write a PNG with the rain and, for an ensemble, the chance of rain below it."""
    image = image_of(figure_of(outlook, lat, lon))
    with atomic_path(path) as temporary_path:
        image.save(temporary_path, "png", dpi=(_DPI, _DPI))


def figure_of(outlook: Outlook, lat: float, lon: float) -> Figure:
    """The rain against time, and the chance of rain below it if there is one."""
    has_chances = outlook.chance is not None or outlook.chance_around is not None
    height = 5.4 if has_chances else 3.9
    figure = Figure((8.0, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    heights = (1.9, 1.0) if has_chances else (1.0,)
    space = {"left": 0.09, "right": 0.97, "top": 1 - 0.95 / height, "bottom": 0.5 / height}
    axes = figure.subplots(
        len(heights), 1, sharex=True, squeeze=False, height_ratios=heights,
        gridspec_kw=space | {"hspace": 0.24},
    )[:, 0]  # fmt: skip
    _add_rain(axes[0], outlook)
    if has_chances:
        _add_chances(axes[1], outlook)
    for panel in axes:
        panel.axvline(_number(outlook.reference), color=MAP_STYLE.quiet_text, lw=0.8, ls=":")
        panel.grid(axis="y", color="#dfe3e6", lw=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=9)
    locator = AutoDateLocator(minticks=4, maxticks=9)
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    axes[-1].set_xlabel("UTC", size=9, loc="right")
    place = f"{abs(lat):.2f}° {'N' if lat >= 0 else 'S'} {abs(lon):.2f}° {'E' if lon >= 0 else 'W'}"
    kind = f"{outlook.members} members of " if outlook.members else ""
    title = f"{place}: {outlook.sentence}"
    write(figure, 0.3, height - 0.28, title, 7.4, size=12, weight="bold")
    origin = f"{kind}{readable(outlook.name)}, from {outlook.reference:%Y-%m-%d %H:%M} UTC"
    threshold = f"rain: {outlook.threshold_mm_h:g} mm/h or more"
    write(figure, 0.3, height - 0.54, f"{origin}; {threshold}", 7.4, size=9)
    return figure


def _number(time: pd.Timestamp) -> Any:
    return np.datetime64(time)


def _add_rain(axes: Axes, outlook: Outlook) -> None:
    times = outlook.times.values
    if outlook.low_mm_h is not None and outlook.high_mm_h is not None:
        label = f"{BAND[0]:g} to {BAND[1]:g} % of the members"
        axes.fill_between(
            times, outlook.low_mm_h, outlook.high_mm_h, color=BAND_COLOUR, alpha=0.55, lw=0,
            label=label,
        )  # fmt: skip
    axes.plot(
        times, outlook.rain_mm_h, "-o", ms=3, lw=1.6, color=FORECAST,
        label="median" if outlook.members else "forecast",
    )  # fmt: skip
    axes.plot(
        outlook.observed_times.values, outlook.observed_mm_h, "o", ms=4.5, color=OBSERVED,
        label="observed",
    )  # fmt: skip
    values = [outlook.rain_mm_h, outlook.observed_mm_h]
    values += [outlook.high_mm_h] if outlook.high_mm_h is not None else []
    together = np.concatenate(values)
    known = together[np.isfinite(together)]
    axes.set_ylim(0, 1.2 * max(LEAST_MM_H, known.max(initial=0.0)))
    axes.set_ylabel("rain rate [mm/h]", size=9)
    axes.legend(fontsize=8, frameon=False, loc="upper right", ncols=3)
    if np.isnan(outlook.rain_mm_h).all():
        look: dict[str, Any] = {"ha": "center", "size": 10, "color": MAP_STYLE.text}
        axes.text(0.5, 0.5, "no forecast at this place", transform=axes.transAxes, **look)


def _add_chances(axes: Axes, outlook: Outlook) -> None:
    times = outlook.times.values
    width = 0.7 * (times[0] - np.datetime64(outlook.reference)) / np.timedelta64(1, "D")
    if outlook.chance is not None:
        axes.bar(
            times, 100 * outlook.chance, width=width, color=FORECAST, label="at the place"
        )  # fmt: skip
    if outlook.chance_around is not None:
        axes.plot(
            times, 100 * outlook.chance_around, "--s", ms=3, lw=1.2, color=AROUND,
            label="within 10 km",
        )  # fmt: skip
    axes.set_ylim(0, 104)
    axes.set_yticks([0, 50, 100])
    axes.set_ylabel("chance of rain [%]", size=9)
    axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
