"""A calendar picture of an archive's coverage: which scans are there, day by day or hour by hour.

Public: `draw_coverage`, `plot_coverage`. The numbers are `squall.pipeline.status.summary`'s.

A cell is a day; weeks run from left to right, Monday is on top, every year has its panel. Archives
of up to half a year are one panel with larger cells, and in those of less than a month a cell is
an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from squall.datasets.errors import ConfigError
from squall.datasets.open_archive import open_archive
from squall.pipeline.pictures import MAP_STYLE
from squall.pipeline.status.summary import Coverage, coverage, known_period

PICTURES = (".png", ".pdf", ".svg")
DAYS_OF_HOURS = 31  # shorter archives show hours
DAYS_OF_ONE_PANEL = 183
YEARS_OF_ONE_COLUMN = 10


@dataclass(frozen=True)
class CoverageScale:
    """Colours of a cell by the share of its time steps that hold a good scan.

    ``colours[i]`` is for shares from ``levels[i]`` up to the next level; without any scan a cell is
    empty. The colours differ in lightness, and the mark of rejected scans from all of them, for
    colour-blind readers and in grey (tests/pipeline/status/test_calendar_plot.py).
    """

    levels: tuple[float, ...] = (0.0, 0.5, 0.8, 0.95, 1.0)
    colours: tuple[str, ...] = ("#fbe08a", "#98d0a8", "#5cb2bd", "#3187bb", "#1d4a86")
    labels: tuple[str, ...] = ("< 50 %", "≥ 50 %", "≥ 80 %", "≥ 95 %", "all")
    empty: str = "#ffffff"
    edge: str = "#8a939b"
    rejected: str = "#d1420a"
    marks: tuple[float, ...] = (0.45, 0.7, 1.0)  # side of the mark, in cells …
    shares: tuple[float, ...] = (0.0, 0.05, 0.25)  # … for rejected shares above these

    def fill(self, share: npt.NDArray[np.float64]) -> list[str]:
        """Colour of each share in 0 to 1."""
        steps = np.digitize(share, self.levels) - 1
        return [
            self.empty if s == 0 else self.colours[i] for s, i in zip(share, steps, strict=True)
        ]

    def mark(self, rejected: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Side of the mark of rejected scans, in cells, for each rejected share above 0."""
        return np.asarray(self.marks)[np.searchsorted(self.shares, rejected) - 1]


COVERAGE_SCALE = CoverageScale()


@dataclass(frozen=True)
class _Panel:
    """Cells with their column and row, and what is written beside them."""

    label: str
    columns: int
    rows: int
    column: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    cells: Coverage
    column_labels: tuple[tuple[float, str], ...]
    row_labels: tuple[tuple[float, str], ...]


def plot_coverage(address: str | Path, file: Path, snapshot: str | None = None) -> Path:
    """Draw the coverage of an archive into a picture file; returns its path.

    Raises
    ------
    ConfigError
        If the file's name tells of no kind of picture.
    DataError
        If there is no archive at the address.
    """
    if file.suffix.lower() not in PICTURES:
        raise ConfigError(f"{file}: the name of a picture ends in {', '.join(PICTURES)}")
    archive = open_archive(address, snapshot)
    flags, start = known_period(archive)
    figure = draw_coverage(flags, start, archive.step, archive.title)
    figure.savefig(file)
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
    """Draw which scans are there, from the first to the last.

    Parameters
    ----------
    flags : (time,) status of `datasets.archive.archive`, one every ``step`` from ``start`` (UTC)
    on.
    title : name of the archive.
    """
    panels, cell_px = _panels(flags, start, step)
    cell = cell_px / dpi  # in whole pixels: the spaces between cells look even
    across = 2 if len(panels) > YEARS_OF_ONE_COLUMN else 1
    down = -(-len(panels) // across)
    columns = max((panel.columns for panel in panels), default=0)
    rows = max((panel.rows for panel in panels), default=0)
    left, top, bottom = 1.0, 0.8, 0.65
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
    _draw_legend(figure, scale, "hour" if _by_hours(flags, step) else "day")
    return figure


def _by_hours(flags: npt.NDArray[np.uint8], step: pd.Timedelta) -> bool:
    return flags.size * step < pd.Timedelta(days=DAYS_OF_HOURS)


def _panels(
    flags: npt.NDArray[np.uint8], start: pd.Timestamp, step: pd.Timedelta
) -> tuple[list[_Panel], int]:
    """Panels in reading order, and the side of their cells in pixels."""
    if not flags.size:
        return [], 1
    if _by_hours(flags, step):
        return [_hours(coverage(flags, start, step, "h"))], 30 if flags.size * step < pd.Timedelta(
            "10D"
        ) else 24
    days = coverage(flags, start, step, "D")
    if days.starts.size <= DAYS_OF_ONE_PANEL:
        first, last = (pd.Timestamp(days.starts[i]) for i in (0, -1))
        panel = _weeks(days, "", first, last)
        return [panel], min(38, 760 // panel.columns)
    years = range(pd.Timestamp(days.starts[0]).year, pd.Timestamp(days.starts[-1]).year + 1)
    ends = [(pd.Timestamp(year, 1, 1), pd.Timestamp(year, 12, 31)) for year in years]
    side = 16 if len(ends) <= YEARS_OF_ONE_COLUMN else 12
    return [_weeks(days, str(first.year), first, last) for first, last in ends], side


def _hours(hours: Coverage) -> _Panel:
    """Days from top to bottom, hours from left to right."""
    days = hours.starts.astype("datetime64[D]")
    row = (days - days[0]).astype(np.int64)
    column = (hours.starts - days).astype("timedelta64[h]").astype(np.int64)
    labels = [f"{pd.Timestamp(day):%a %d %b}" for day in np.unique(days)]
    return _Panel(
        label="",
        columns=24,
        rows=len(labels),
        column=column,
        row=row,
        cells=hours,
        column_labels=tuple((float(hour), f"{hour:02d}") for hour in range(0, 24, 3)),
        row_labels=tuple((i + 0.5, label) for i, label in enumerate(labels)),
    )


def _weeks(days: Coverage, label: str, first: pd.Timestamp, last: pd.Timestamp) -> _Panel:
    """Weeks from left to right, Monday on top, from one day to another."""
    within = (days.starts >= first.to_datetime64()) & (days.starts <= last.to_datetime64())
    cells = Coverage(
        days.starts[within], days.expected[within], days.present[within], days.rejected[within]
    )
    monday = first - pd.Timedelta(days=first.weekday())
    day = (cells.starts - monday.to_datetime64()).astype("timedelta64[D]").astype(np.int64)
    months = pd.date_range(first.replace(day=1), last, freq="MS")
    columns = np.array([(max(month, first) - monday).days // 7 for month in months])
    if columns.size > 1 and columns[1] - columns[0] < 3:  # hardly a day of the first month
        months, columns = months[1:], columns[1:]
    with_year = [not label and (i == 0 or m.month == 1) for i, m in enumerate(months)]
    names = [f"{m:%b %Y}" if year else f"{m:%b}" for m, year in zip(months, with_year, strict=True)]
    return _Panel(
        label=label,
        columns=int((last - monday).days) // 7 + 1,
        rows=7,
        column=day // 7,
        row=day % 7,
        cells=cells,
        column_labels=tuple(zip(columns.tolist(), names, strict=True)),
        row_labels=((0.5, "Mon"), (3.5, "Thu"), (6.5, "Sun")),
    )


def _draw_panel(axes: Axes, panel: _Panel, cell: float, scale: CoverageScale) -> None:
    """Cells, their marks and labels; the side of a cell is in inches."""
    axes.set(xlim=(0, panel.columns), ylim=(panel.rows, 0))
    axes.set_axis_off()
    there = panel.cells.expected > 0
    expected = panel.cells.expected[there]
    share = panel.cells.present[there] / expected
    rejected = panel.cells.rejected[there] / expected
    corner = np.stack([panel.column[there], panel.row[there]], axis=-1) + 0.06
    square = 0.88 * np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    fills = scale.fill(share)
    edges = [scale.edge if fill == scale.empty else fill for fill in fills]
    axes.add_collection(
        PolyCollection(
            list(corner[:, None] + square), facecolors=fills, edgecolors=edges, linewidths=0.5
        )
    )
    marked = rejected > 0
    if marked.any():
        side = 0.88 * scale.mark(rejected[marked])[:, None, None]
        triangle = np.array([(0, 0), (-1, 0), (0, 1)]) * side + np.array([0.88, 0])
        axes.add_collection(
            PolyCollection(
                list(corner[marked][:, None] + triangle), facecolors=scale.rejected, linewidths=0
            )
        )
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


def _write_title(
    figure: Figure,
    flags: npt.NDArray[np.uint8],
    start: pd.Timestamp,
    step: pd.Timedelta,
    title: str,
) -> None:
    text = "no scan yet"
    if flags.size:
        last = start + (flags.size - 1) * step
        present, rejected = int((flags == OK).sum()), int((flags == REJECTED).sum())
        share = int(1000 * present / flags.size) / 10  # rounded down: 100 % means all
        text = (
            f"{start:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC  ·  one scan every "
            f"{step.total_seconds() / 60:g} min: {share:g} % of {flags.size:,} present, "
            f"{rejected:,} rejected"
        )
    _write_line(figure, 0.32, f"{title}: coverage", size=14, weight="bold", color=MAP_STYLE.text)
    _write_line(figure, 0.6, text, size=9.5, color=MAP_STYLE.quiet_text)


def _write_line(figure: Figure, below_top: float, text: str, **look: Any) -> None:
    """A line as wide as the figure at most; the position is in inches."""
    width, height = figure.get_size_inches()
    drawn = figure.text(0.2 / width, 1 - below_top / height, text, va="center", **look)
    room = figure.dpi * (width - 0.4)
    while drawn.get_window_extent().width > room:
        drawn.set_fontsize(0.95 * float(drawn.get_fontsize()))


def _draw_legend(figure: Figure, scale: CoverageScale, unit: str) -> None:
    """Swatches along the lower edge."""
    width, height = figure.get_size_inches()
    side, y = 0.14, 0.3
    look: dict[str, Any] = {"size": 8.5, "color": MAP_STYLE.text, "va": "center"}
    x = 0.2

    def write(text: str) -> None:
        nonlocal x
        drawn = figure.text(x / width, (y + side / 2) / height, text, **look)
        x += drawn.get_window_extent().width / figure.dpi + 0.16

    def swatch(fill: str, edge: str) -> None:
        nonlocal x
        place = (x / width, y / height), side / width, side / height
        figure.add_artist(Rectangle(*place, fc=fill, ec=edge, lw=0.5, transform=figure.transFigure))
        x += side + 0.06

    write(f"Scans present in the {unit} (UTC):")
    swatch(scale.empty, scale.edge)
    write("none")
    for fill, label in zip(scale.colours, scale.labels, strict=True):
        swatch(fill, fill)
        write(label)
    for part in scale.marks:
        end = x + part * side
        corners = [(x, y + side), (end, y + side), (end, y + (1 - part) * side)]
        points = [(a / width, b / height) for a, b in corners]
        figure.add_artist(Polygon(points, fc=scale.rejected, lw=0, transform=figure.transFigure))
        x = end + 0.06
    limits = [f"{100 * share:g} %" for share in scale.shares[1:]]
    write(f"rejected: some, > {', > '.join(limits)}")
