"""Archives of single events: pauses between events are neither gaps nor bad days."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from squall.datasets.archive.records import MISSING, OK, REJECTED
from squall.datasets.archive.writer import ArchiveWriter
from squall.pipeline.status.calendar_plot import draw_coverage
from squall.pipeline.status.events import Events, events_of, pauses_of
from squall.pipeline.status.summary import status
from tests.pipeline.status.test_calendar_plot import cells, texts

HOUR = pd.Timedelta("1h")


def flags_of(text: str) -> np.ndarray:
    """Status from letters: O good, R rejected, . missing."""
    letters = {"O": OK, "R": REJECTED, ".": MISSING}
    return np.array([letters[letter] for letter in text], dtype=np.uint8)


@pytest.mark.parametrize(
    ("text", "pauses", "events"),
    [
        ("OOO" + 10 * "." + "O.O", range(3, 13), Events(2, 6, 5)),
        # A continuous archive with an outage: the outage stays a gap.
        (20 * "O" + 10 * "." + 20 * "O", (), Events(1, 50, 40)),
        # Five hours are no pause, whatever their share.
        ("O" + 5 * "." + "O" + 5 * "." + "O", (), Events(1, 13, 3)),
        # A rejected scan is no pause, because there was a file.
        ("OO" + 7 * "." + "R" + 7 * "." + "OO", (*range(2, 9), *range(10, 17)), Events(3, 5, 4)),
        ("", (), Events(0, 0, 0)),
        ("O", (), Events(1, 1, 1)),
    ],
)
def test_long_times_without_scans_are_pauses_if_they_are_most_of_the_archive(
    text: str, pauses: object, events: Events
) -> None:
    flags = flags_of(text)
    assert np.flatnonzero(pauses_of(flags, HOUR)).tolist() == list(pauses)
    assert events_of(flags, HOUR) == events


@pytest.fixture
def archive(tmp_path, grid, rain_codes, scans_of):
    """Hourly scans on three days of June: 24 of 24, 5 of 6, and 3 of 4."""

    def write(text: str) -> str:
        address = str(tmp_path / "a.icechunk")
        first = pd.Timestamp("2024-06-01")
        scans = [
            replace(scan, time=first + i * HOUR)
            for i, scan in enumerate(scans_of(rain_codes(len(text)), first))
            if text[i] == "O"
        ]
        writer = ArchiveWriter(address, HOUR, {"name": "rain", "title": "Rain"})
        writer.commit(grid, scans, [], "a")
        return address

    return write


def test_the_status_of_events_counts_what_lies_in_them(archive) -> None:
    summary = status(archive(24 * "O" + 100 * "." + "OOO.OO" + 30 * "." + "O.OO"))
    assert summary.events == Events(3, 34, 32)
    assert [gap.scans for gap in summary.gaps] == [1, 1]
    assert [gap.scans for gap in summary.pauses] == [100, 30]
    assert [(day.date, day.present, day.expected) for day in summary.worst_days] == [
        ("2024-06-07", 3, 4),
        ("2024-06-06", 5, 6),
    ]
    text = str(summary)
    assert "events     3, with 94.1 % of their 34 scans; 2 pauses" in text
    assert "32 present, 132 missing" in text
    assert "0 %" not in text.replace("94.1 %", "").replace("100 %", "")
    assert len(summary.as_dict()["pauses"]) == 2


def test_a_day_inside_a_gap_is_no_worst_day(archive) -> None:
    summary = status(archive(240 * "O" + 72 * "." + "OO." + 237 * "O"))
    assert summary.events.periods == 1
    assert [gap.scans for gap in summary.gaps] == [72, 1]
    assert [day.date for day in summary.worst_days] == ["2024-06-14"]
    assert "events" not in str(summary)


def test_the_calendar_shows_the_days_of_events_alone() -> None:
    """Without the rule these 400 days are two panels with a cell for each day."""
    flags = np.full(400 * 24, MISSING, dtype=np.uint8)
    flags[:20] = OK
    flags[12] = MISSING
    flags[-5:] = OK
    figure = draw_coverage(flags, pd.Timestamp("2023-05-01"), HOUR, "Radar")
    colours, _ = cells(figure)
    assert set(colours) == {(hour, 0) for hour in range(20)} | {(hour, 1) for hour in range(19, 24)}
    assert {"Mon 01 May 2023", "Mon 03 Jun 2024"} <= set(texts(figure))
    assert any("96 % of 25 present in 2 events" in text for text in texts(figure))


def test_many_event_days_are_cells_and_pauses_are_empty() -> None:
    flags = np.full(400 * 24, MISSING, dtype=np.uint8)
    flags.reshape(400, 24)[::4, 6:12] = OK
    figure = draw_coverage(flags, pd.Timestamp("2023-05-01"), HOUR, "Radar")
    assert sum(len(cells(figure, i)[0]) for i in range(len(figure.axes))) == 100
