"""A stuck radar: scans with rain that equal their neighbour are rejected."""

import numpy as np
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK, REJECTED
from tests.pipeline.tiny_radar import (
    FIRST,
    SIZE,
    STEP,
    config_with,
    contents,
    path_of,
    rain,
    run,
    write_file,
)


def write_pattern(radar, pattern, seed=0):
    """Write one file for each letter; equal letters are equal scans, a dot is a dry scan."""
    fields = rain(26, seed)
    for i, letter in enumerate(pattern):
        numbers = np.zeros((SIZE, SIZE), np.uint16)
        if letter != ".":
            numbers = fields[ord(letter) - ord("a")]
        write_file(path_of(radar, FIRST + i * STEP), numbers, FIRST + i * STEP)


@pytest.mark.parametrize("files_per_run", [1, 2, 8])
def test_identical_scans_are_rejected_until_the_rain_changes(files_per_run, radar, archive):
    """In one run, in several runs, or with one run for each scan."""
    write_pattern(radar, "abbb..bb")
    files = sorted(radar.glob("*.nc"))
    for first in range(0, 8, files_per_run):
        run(archive, *files[first : first + files_per_run])
    opened = Archive.open(archive)
    assert opened.status.tolist() == [OK, OK, REJECTED, REJECTED, OK, OK, OK, REJECTED]
    reasons = {r.time: (r.rule, r.reason) for r in opened.rejections}
    assert reasons[FIRST + 3 * STEP] == (
        "identical scans",
        "equals the scan of 2024-06-01 00:10 in every pixel",
    )


def test_identical_scans_are_rejected_across_batches(radar, archive, monkeypatch):
    monkeypatch.setattr("squall.pipeline.ingest.batches.TASK_PIXELS", SIZE * SIZE)
    monkeypatch.setattr("squall.pipeline.ingest.batches.BATCH_PIXELS", 1)
    write_pattern(radar, "aaab")
    report = run(archive, radar / "*.nc")
    assert report.commits >= 2
    assert Archive.open(archive).status.tolist() == [OK, REJECTED, REJECTED, OK]


def test_late_identical_scans_are_rejected(radar, archive):
    write_pattern(radar, "aab")
    for index in (2, 1, 0):
        run(archive, path_of(radar, FIRST + index * STEP))
    assert np.count_nonzero(Archive.open(archive).status == OK) == 2


def test_identical_scans_are_kept_if_the_configuration_allows_them(radar, archive):
    write_pattern(radar, "aaa")
    report = run(archive, radar / "*.nc", config=config_with(quality={"reject_identical": False}))
    assert (report.ingested, report.rejected) == (3, [])


def test_a_reissued_file_replaces_a_rejected_scan(radar, archive):
    write_pattern(radar, "aab")
    run(archive, radar / "*.nc")
    write_file(path_of(radar, FIRST + STEP), rain(1, seed=4)[0], FIRST + STEP)
    assert run(archive, radar / "*.nc").ingested == 1
    assert (Archive.open(archive).status == OK).all()
    assert contents(archive)["log"] == []


def test_a_clutter_pixel_in_dry_weather_is_no_stuck_radar(radar, archive):
    numbers = np.zeros((SIZE, SIZE), np.uint16)
    numbers[3, 4] = 500
    for i in range(4):
        write_file(path_of(radar, FIRST + i * STEP), numbers, FIRST + i * STEP)
    report = run(archive, radar / "*.nc")
    assert (report.ingested, report.rejected) == (4, [])
