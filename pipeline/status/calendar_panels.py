"""How the calendar picture lays out days and hours: its panels, their cells and labels.

Public: `Panel`, `panels_of`.

Of an archive of single events (`squall.pipeline.status.events`) only the events are shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.pipeline.status.events import pauses_of
from squall.pipeline.status.summary import Coverage, coverage

DAYS_OF_HOURS = 31  # shorter archives show hours
EVENT_DAYS_OF_HOURS = 62  # so do archives of events on no more days
DAYS_OF_ONE_PANEL = 183
YEARS_OF_ONE_COLUMN = 10


@dataclass(frozen=True)
class Panel:
    """Cells of a calendar and the labels around them.

    Parameters
    ----------
    label : the year, or empty.
    columns, rows : size of the panel, in cells.
    column, row : (cell,) position of each cell.
    column_labels, row_labels : position in cells, and text.
    """

    label: str
    columns: int
    rows: int
    column: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    cells: Coverage
    column_labels: tuple[tuple[float, str], ...]
    row_labels: tuple[tuple[float, str], ...]


def panels_of(
    flags: npt.NDArray[np.uint8], start: pd.Timestamp, step: pd.Timedelta
) -> tuple[list[Panel], int, str]:
    """Arrange the panels of an archive.

    Returns
    -------
    The panels in reading order, the side of a cell in pixels, and what a cell is: hour or day.
    """
    if not flags.size:
        return [], 1, "hour"
    is_pause = pauses_of(flags, step)
    days = coverage(flags, start, step, "D", is_pause)
    event_days = int((days.expected > 0).sum())
    is_short = flags.size * step < pd.Timedelta(days=DAYS_OF_HOURS)
    if is_short or (is_pause.any() and event_days <= EVENT_DAYS_OF_HOURS):
        hours = coverage(flags, start, step, "h", is_pause)
        return [_hours(hours)], 30 if event_days < 10 else 24 if event_days < 40 else 16, "hour"
    if days.starts.size <= DAYS_OF_ONE_PANEL:
        first, last = (pd.Timestamp(days.starts[i]) for i in (0, -1))
        panel = _weeks(days, "", first, last)
        return [panel], min(38, 760 // panel.columns), "day"
    years = range(pd.Timestamp(days.starts[0]).year, pd.Timestamp(days.starts[-1]).year + 1)
    panels = [
        _weeks(days, str(year), pd.Timestamp(year, 1, 1), pd.Timestamp(year, 12, 31))
        for year in years
    ]
    panels = [panel for panel in panels if (panel.cells.expected > 0).any()]
    return panels, 16 if len(panels) <= YEARS_OF_ONE_COLUMN else 12, "day"


def _hours(hours: Coverage) -> Panel:
    """One panel with days from top to bottom and hours from left to right.

    Days on which no scan is expected are left out.
    """
    is_expected = hours.expected > 0
    days = hours.starts.astype("datetime64[D]")
    shown_days = np.unique(days[is_expected])
    is_shown = np.isin(days, shown_days)
    hours = Coverage(*(counts[is_shown] for counts in vars(hours).values()))
    days = days[is_shown]
    row = np.searchsorted(shown_days, days)
    column = (hours.starts - days).astype("timedelta64[h]").astype(np.int64)
    labels = [f"{pd.Timestamp(day):%a %d %b %Y}" for day in shown_days]
    return Panel(
        label="",
        columns=24,
        rows=len(labels),
        column=column,
        row=row,
        cells=hours,
        column_labels=tuple((float(hour), f"{hour:02d}") for hour in range(0, 24, 3)),
        row_labels=tuple((i + 0.5, label) for i, label in enumerate(labels)),
    )


def _weeks(days: Coverage, label: str, first: pd.Timestamp, last: pd.Timestamp) -> Panel:
    """One panel with weeks from left to right and Monday at the top, from one day to another."""
    within = (days.starts >= first.to_datetime64()) & (days.starts <= last.to_datetime64())
    cells = Coverage(
        days.starts[within], days.expected[within], days.present[within], days.rejected[within]
    )
    monday = first - pd.Timedelta(days=first.weekday())
    day = (cells.starts - monday.to_datetime64()).astype("timedelta64[D]").astype(np.int64)
    months = pd.date_range(first.replace(day=1), last, freq="MS")
    columns = np.array([(max(month, first) - monday).days // 7 for month in months])
    if columns.size > 1 and columns[1] - columns[0] < 3:  # the label of the first month has no room
        months, columns = months[1:], columns[1:]
    with_year = [not label and (i == 0 or m.month == 1) for i, m in enumerate(months)]
    names = [f"{m:%b %Y}" if year else f"{m:%b}" for m, year in zip(months, with_year, strict=True)]
    return Panel(
        label=label,
        columns=int((last - monday).days) // 7 + 1,
        rows=7,
        column=day // 7,
        row=day % 7,
        cells=cells,
        column_labels=tuple(zip(columns.tolist(), names, strict=True)),
        row_labels=((0.5, "Mon"), (3.5, "Thu"), (6.5, "Sun")),
    )
