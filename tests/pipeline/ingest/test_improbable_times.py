"""Scans whose time cannot be right are counted as rejected and do not lengthen the archive."""

import pandas as pd
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.radar.quality import IMPOSSIBLE_TIME
from squall.pipeline.ingest.rules import EARLY_MARGIN, IMPROBABLE_TIME, Rules
from tests.pipeline.tiny_radar import (
    FIRST,
    STEP,
    config_with,
    path_of,
    rain,
    run,
    write_file,
    write_scans,
)


@pytest.mark.parametrize("year", [1970, 1980, 2106, 2012])
@pytest.mark.parametrize("stored_before", [False, True])
def test_a_scan_of_a_wrong_year(tmp_path, year, stored_before):
    folder, archive = tmp_path / "radar", tmp_path / "a.icechunk"
    write_scans(folder, 5)
    if stored_before or year == 2012:  # ten years before an archive are told by the archive
        run(archive, folder / "*.nc")
    wrong = pd.Timestamp(f"{year}-01-01")
    write_file(path_of(folder, wrong), rain(1, 7)[0], wrong)
    report = run(archive, folder / "*.nc")
    (rejected,) = report.rejected
    assert rejected.rule == (IMPROBABLE_TIME if year in (1980, 2012) else IMPOSSIBLE_TIME)
    assert not report.complete
    opened = Archive.open(archive)
    assert opened.times.size == 5
    assert len(opened.rejections) == 1
    again = run(archive, folder / "*.nc")
    assert (again.new_files, again.commits) == (0, 0)


def test_begins_allows_an_early_scan(tmp_path):
    folder, archive = tmp_path / "radar", tmp_path / "a.icechunk"
    write_scans(folder, 2)
    run(archive, folder / "*.nc")
    early = FIRST - pd.Timedelta("5000D")
    write_file(path_of(folder, early), rain(1, 7)[0], early)
    (rejected,) = run(archive, folder / "*.nc").rejected
    assert f"set 'begins: {early:%Y-%m-%d}' in the configuration" in rejected.reason
    allowed = config_with(begins=f"{early:%Y-%m-%d}")
    assert run(archive, folder / "*.nc", config=allowed).ingested == 1
    opened = Archive.open(archive)
    assert opened.times[0] <= early
    assert opened.rejections == []


def test_the_limits_of_a_probable_time():
    stored_from = pd.Timestamp("2020-01-01")
    rules = Rules(config_with(), stored_from=stored_from)
    assert rules.improbable(stored_from - EARLY_MARGIN) is None
    assert "10 years before the archive" in rules.improbable(stored_from - EARLY_MARGIN - STEP)
    first = Rules(config_with())
    assert first.improbable(pd.Timestamp("1985-01-01")) is None
    assert "is before 1985" in first.improbable(pd.Timestamp("1984-12-31T23:55"))
    explicit = Rules(config_with(), since=pd.Timestamp("1950-01-01"))
    assert explicit.improbable(pd.Timestamp("1950-01-01")) is None


@pytest.mark.parametrize(
    ("time", "stored_from", "refused"),
    [
        ("2000-01-01T00:05", None, True),
        ("2000-01-01T00:05", "2006-01-01", True),
        ("1999-12-31T12:00", "2006-01-01", True),
        ("2000-01-02T23:55", "2000-01-03", True),
        ("2000-01-03", None, False),
        ("1999-12-31T11:55", None, False),
        ("2000-01-01T00:05", "1998-01-01", False),
    ],
)
def test_a_clock_that_was_reset_to_2000(time, stored_from, refused):
    """The archive begins less than ten years later, so no other rule sees it."""
    first = None if stored_from is None else pd.Timestamp(stored_from)
    problem = Rules(config_with(), stored_from=first).improbable(pd.Timestamp(time))
    assert (problem is not None) == refused
    if refused:
        day = pd.Timestamp(time).date()
        assert "clock that was reset to 2000" in problem
        assert f"set 'begins: {day}'" in problem
        allowed = Rules(config_with(begins=day), stored_from=first)
        assert allowed.improbable(pd.Timestamp(time)) is None
