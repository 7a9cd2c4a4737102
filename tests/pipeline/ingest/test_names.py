"""Files whose time differs from the time in their name by the same number of steps."""

import json
import logging

import pandas as pd
import pytest

from squall.datasets.archive.archive import Archive
from tests.pipeline.tiny_radar import FIRST, STEP, config_with, path_of, rain, run, write_file

WARNING = "the time inside is"


def write_early(radar, scans, *, steps=1):
    """Files with a time inside that is some steps before the time in the name."""
    for i, scan in enumerate(rain(scans)):
        write_file(path_of(radar, FIRST + (i + steps) * STEP), scan, FIRST + i * STEP)


@pytest.mark.parametrize("scans", [1, 3])
def test_times_a_step_before_all_names_are_warned_of(radar, archive, caplog, scans):
    write_early(radar, scans)
    with caplog.at_level(logging.WARNING):
        report = run(archive, radar / "*.nc")
    assert report.steps_from_name == {-1: scans}
    (message,) = [r.getMessage() for r in caplog.records if WARNING in r.getMessage()]
    minutes = STEP.total_seconds() / 60
    assert f"in all {scans} files the time inside is {minutes:g} min before the time" in message
    assert json.loads(json.dumps(report.as_dict()))["steps_from_name"] == {"-1": scans}


def test_the_advice_of_the_warning_helps(radar, archive, caplog):
    write_early(radar, 3)
    marks = config_with(time_marks="start", accumulation=str(STEP))
    with caplog.at_level(logging.WARNING):
        report = run(archive, radar / "*.nc", config=marks)
    assert report.steps_from_name == {0: 3}
    assert not any(WARNING in record.getMessage() for record in caplog.records)
    assert Archive.open(archive).start == FIRST + STEP


@pytest.mark.parametrize("differences", [[0, 0, 0], [1, 0, 1], [1, 2, 1]])
def test_other_differences_are_not_warned_of(radar, archive, caplog, differences):
    for i, (scan, steps) in enumerate(zip(rain(3), differences, strict=True)):
        write_file(path_of(radar, FIRST + 3 * i * STEP), scan, FIRST + (3 * i - steps) * STEP)
    with caplog.at_level(logging.WARNING):
        report = run(archive, radar / "*.nc")
    assert report.ingested == 3
    assert not any(WARNING in record.getMessage() for record in caplog.records)


def test_times_after_the_names_are_warned_of(radar, archive, caplog):
    write_early(radar, 2, steps=-2)
    with caplog.at_level(logging.WARNING):
        run(archive, radar / "*.nc")
    minutes = pd.Timedelta(2 * STEP).total_seconds() / 60
    assert f"the time inside is {minutes:g} min after the time in the name" in caplog.text
