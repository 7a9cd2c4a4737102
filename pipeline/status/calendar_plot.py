"""A calendar picture of an archive's coverage: the share of good scans by day or by hour.

Public: `draw_coverage`, `plot_coverage`. `summary.py` counts the scans.

A cell is a day: weeks run from left to right, Monday is at the top, and each year has a panel. An
archive of up to half a year has one panel with larger cells. In an archive of less than a month, a
cell is an hour. Of an archive of single events only the events are shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from squall.datasets.archive.records import OK, REJECTED
from squall.datasets.open_archive import open_archive
from squall.pipeline.lettering import readable, write
from squall.pipeline.outputs import check_output_file
from squall.pipeline.pictures import COVERAGE_SCALE, MAP_STYLE, CoverageScale
from squall.pipeline.provenance import atomic_path
from squall.pipeline.status.calendar_panels import (
    YEARS_OF_ONE_COLUMN,
    Panel,
    panels_of,
)
from squall.pipeline.status.events import events_of
from squall.pipeline.status.summary import known_period

SUFFIXES = (".png", ".pdf", ".svg")


def plot_coverage(address: str | Path, file: Path, snapshot: str | None = None) -> Path:
    """Draw the coverage of an archive, write the picture and return its path.

    Raises
    ------
    ConfigError
        If the file cannot be written, or its name does not end in one of `SUFFIXES`.
    DataError
        If there is no archive at the address.
    """
    check_output_file(file, "--plot", SUFFIXES)
    archive = open_archive(address, snapshot)
    flags, start = known_period(archive)
    figure = draw_coverage(flags, start, archive.step, archive.title)
    with atomic_path(file) as temporary:
        figure.savefig(temporary)
    return file


def draw_coverage(
    flags: npt.NDArray[np.uint8],
    start: pd.Timestamp,
    step: pd.Timedelta,
    title: str,
    *,
    scale: CoverageScale = COVERAGE_SCALE,
    dpi: int = 110,
) -> Figure:
    """Draw the share of good scans, from the first to the last scan.

    Parameters
    ----------
    flags : (time,) status as in `squall.datasets.archive.records`, one for each ``step``.
    start : time of the first status, UTC.
    title : title of the archive.
    """
    panels, cell_px, unit = panels_of(flags, start, step)
    cell = cell_px / dpi  # whole pixels, so that all spaces between cells are equal
    across = 2 if len(panels) > YEARS_OF_ONE_COLUMN else 1
    down = -(-len(panels) // across)
    columns = max((panel.columns for panel in panels), default=0)
    rows = max((panel.rows for panel in panels), default=0)
    left, top, bottom = 1.4, 0.8, 0.65
    panel_width, panel_height = columns * cell + left, rows * cell + 0.42
    width = max(across * panel_width + 0.25, 9.0)
    height = top + down * panel_height + bottom
    figure = Figure((width, height), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    for i, panel in enumerate(panels):
        x = round(dpi * (left + i // down * panel_width)) / dpi
        y = round(dpi * (bottom + (down - 1 - i % down) * panel_height)) / dpi
        size = panel.columns * cell / width, panel.rows * cell / height
        axes = figure.add_axes((x / width, y / height, *size))
        _draw_panel(axes, panel, cell, scale)
    _write_title(figure, flags, start, step, title)
    _draw_legend(figure, scale, unit)
    return figure


def _draw_panel(axes: Axes, panel: Panel, cell: float, scale: CoverageScale) -> None:
    """Draw the cells of a panel, their marks and labels; the side of a cell is in inches."""
    axes.set(xlim=(0, panel.columns), ylim=(panel.rows, 0))
    axes.set_axis_off()
    _draw_cells(axes, panel, scale)
    size = 9 if cell > 0.2 else 7.5
    look: dict[str, Any] = {"color": MAP_STYLE.text, "fontsize": size}
    for x, text in panel.column_labels:
        axes.text(x + 0.06, -0.25, text, ha="left", va="bottom", **look)
    for y, text in panel.row_labels:
        axes.text(
            -0.3, y, text, ha="right", va="center", **(look | {"color": MAP_STYLE.quiet_text})
        )
    if panel.label:
        look |= {"fontsize": size + 2, "weight": "bold"}
        axes.text(-0.62 / cell, -0.25, panel.label, ha="left", va="bottom", **look)


def _draw_cells(axes: Axes, panel: Panel, scale: CoverageScale) -> None:
    """A square for each cell, and a triangle in its upper right corner for rejected scans."""
    is_known = panel.cells.expected > 0
    expected = panel.cells.expected[is_known]
    share = panel.cells.present[is_known] / expected
    rejected = panel.cells.rejected[is_known] / expected
    corner = np.stack([panel.column[is_known], panel.row[is_known]], axis=-1) + 0.06
    square = 0.88 * np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    fills = scale.fill(share)
    edges = [scale.edge if fill == scale.empty else fill for fill in fills]
    axes.add_collection(
        PolyCollection(
            list(corner[:, None] + square), facecolors=fills, edgecolors=edges, linewidths=0.5
        )
    )
    has_mark = rejected > 0
    if has_mark.any():
        side = 0.88 * scale.mark(rejected[has_mark])[:, None, None]
        triangle = np.array([(0, 0), (-1, 0), (0, 1)]) * side + np.array([0.88, 0])
        axes.add_collection(
            PolyCollection(
                list(corner[has_mark][:, None] + triangle), facecolors=scale.rejected, linewidths=0
            )
        )


def _write_title(
    figure: Figure,
    flags: npt.NDArray[np.uint8],
    start: pd.Timestamp,
    step: pd.Timedelta,
    title: str,
) -> None:
    """Two lines: the archive's title, and the period with its counts."""
    text = "no scan yet"
    if flags.size:
        last = start + (flags.size - 1) * step
        present, rejected = int((flags == OK).sum()), int((flags == REJECTED).sum())
        events = events_of(flags, step)
        share = int(1000 * present / events.expected) / 10  # rounded down: 100 % is every scan
        within = "" if events.expected == flags.size else f" in {events.periods} events"
        text = (
            f"{start:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC  ·  one scan every "
            f"{step.total_seconds() / 60:g} min: {share:g} % of {events.expected:,} present"
            f"{within}, {rejected:,} rejected"
        )
    width, height = figure.get_size_inches()
    room = width - 0.4
    heading = ": ".join(filter(None, (readable(title), "coverage")))
    write(figure, 0.2, height - 0.32, heading, room, smallest=0.6, size=14, weight="bold")
    look: dict[str, Any] = {"size": 9.5, "color": MAP_STYLE.quiet_text}
    write(figure, 0.2, height - 0.6, text, room, smallest=0.6, **look)


def _draw_legend(figure: Figure, scale: CoverageScale, unit: str) -> None:
    """The legend along the lower edge; all positions are in inches."""
    width, height = figure.get_size_inches()
    side, y = 0.14, 0.3
    look: dict[str, Any] = {"size": 8.5, "color": MAP_STYLE.text, "va": "center"}
    x = 0.2

    def write(text: str) -> None:
        nonlocal x
        written = figure.text(x / width, (y + side / 2) / height, text, **look)
        x += written.get_window_extent().width / figure.dpi + 0.16

    def swatch(fill: str, edge: str) -> None:
        nonlocal x
        box = (x / width, y / height), side / width, side / height
        figure.add_artist(Rectangle(*box, fc=fill, ec=edge, lw=0.5, transform=figure.transFigure))
        x += side + 0.06

    write(f"Scans present in the {unit} (UTC):")
    swatch(scale.empty, scale.edge)
    write("none")
    for fill, label in zip(scale.colours, scale.labels, strict=True):
        swatch(fill, fill)
        write(label)
    for mark in scale.marks:
        right = x + mark * side
        corners = [(x, y + side), (right, y + side), (right, y + (1 - mark) * side)]
        points = [(corner_x / width, corner_y / height) for corner_x, corner_y in corners]
        figure.add_artist(Polygon(points, fc=scale.rejected, lw=0, transform=figure.transFigure))
        x = right + 0.06
    limits = [f"{100 * share:g} %" for share in scale.shares[1:]]
    write(f"rejected: some, > {', > '.join(limits)}")
