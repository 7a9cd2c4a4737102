"""Files with many scans: read in parts, limited to a period, with rejected scans."""

import os

import numpy as np
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK, REJECTED
from squall.datasets.archive.writer import ArchiveWriter
from squall.pipeline.ingest import reading
from tests.pipeline.tiny_radar import (
    FIRST,
    SIZE,
    STEP,
    assert_same,
    config_with,
    contents,
    path_of,
    rain,
    run,
    write_file,
    write_scans,
)

DAILY = config_with(
    file_span="1D", time_in_name="rain_%Y%m%d", quality={"least_observed_share": 0.5}
)
COUNT = 30


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "a.icechunk"


@pytest.fixture
def day(tmp_path):
    """Thirty scans in one file; scans 3 and 27 have no observed pixel."""
    numbers = rain(COUNT)
    numbers[[3, 27]] = 65535
    return write_file(tmp_path / "radar" / "rain_20240601.nc", numbers, FIRST)


@pytest.fixture
def in_parts(monkeypatch):
    """A task holds at most seven scans."""
    monkeypatch.setattr("squall.pipeline.ingest.batches.TASK_PIXELS", 7 * SIZE * SIZE)


def test_a_large_file_read_in_parts_gives_the_same_archive(day, archive, tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", day, config=DAILY)
    assert whole.commits == 1
    with monkeypatch.context() as patched:
        patched.setattr("squall.pipeline.ingest.batches.TASK_PIXELS", 7 * SIZE * SIZE)
        report = run(archive, day, config=DAILY)
    assert report.commits == 5
    assert (report.found, report.new_files, report.ingested) == (1, 1, COUNT - 2)
    assert (report.bytes_read, report.rejected) == (whole.bytes_read, whole.rejected)
    assert [rejected.time for rejected in report.rejected] == [
        "2024-06-01T00:15:00",
        "2024-06-01T02:15:00",
    ]
    assert_same(contents(archive), contents(tmp_path / "whole"))
    status = Archive.open(archive).status
    assert np.flatnonzero(status == REJECTED).tolist() == [3, 27]


@pytest.mark.usefixtures("in_parts")
def test_a_large_file_is_known_afterwards(day, archive):
    first = run(archive, day, config=DAILY)
    again = run(archive, day, config=DAILY)
    assert (again.new_files, again.unchanged, again.snapshot) == (0, 1, first.snapshot)


@pytest.mark.usefixtures("in_parts")
def test_the_run_after_an_interrupted_one_reads_the_rest(day, archive, tmp_path, monkeypatch):
    """A file is not known as long as only some of its scans are in the archive."""
    original, commits = ArchiveWriter.commit, []

    def interrupted(self, *arguments, **options):
        if len(commits) == 2:
            raise KeyboardInterrupt
        commits.append(1)
        return original(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(ArchiveWriter, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(archive, day, config=DAILY)
    assert np.count_nonzero(Archive.open(archive).status == OK) == 13
    report = run(archive, day, config=DAILY)
    assert (report.new_files, report.ingested, report.replaced) == (1, COUNT - 2 - 13, 0)
    run(tmp_path / "whole", day, config=DAILY)
    assert_same(contents(archive), contents(tmp_path / "whole"))
    assert run(archive, day, config=DAILY).unchanged == 1


@pytest.mark.usefixtures("in_parts")
def test_a_file_that_fails_to_be_read_to_its_end_is_read_again(day, archive, monkeypatch):
    original = reading.read_file

    def failing(path, config, **options):
        if options["first"] >= 14:
            raise OSError(5, "Input/output error")
        return original(path, config, **options)

    with monkeypatch.context() as patched:
        patched.setattr(reading, "read_file", failing)
        report = run(archive, day, config=DAILY)
    assert (report.ingested, len(report.unavailable)) == (13, 1)
    assert "Input/output error" in report.unavailable[0][1]
    assert run(archive, day, config=DAILY).ingested == COUNT - 2 - 13


@pytest.mark.parametrize("scans_per_task", [7, 100])
def test_scans_outside_the_period_are_ingested_later(
    day, archive, tmp_path, monkeypatch, scans_per_task
):
    monkeypatch.setattr("squall.pipeline.ingest.batches.TASK_PIXELS", scans_per_task * SIZE * SIZE)
    late = run(archive, day, config=DAILY, since=FIRST + 20 * STEP)
    assert (late.ingested, len(late.rejected)) == (9, 1)
    early = run(archive, day, config=DAILY, until=FIRST + 9 * STEP)
    assert (early.ingested, len(early.rejected)) == (9, 1)
    rest = run(archive, day, config=DAILY)
    assert (rest.ingested, rest.replaced) == (10, 0)
    run(tmp_path / "whole", day, config=DAILY)
    actual = contents(archive)
    actual["log"] = [entry for entry in actual["log"] if entry[2] != "duplicate"]
    assert_same(actual, contents(tmp_path / "whole"))
    assert run(archive, day, config=DAILY).unchanged == 1


@pytest.mark.usefixtures("in_parts")
def test_a_large_file_is_read_again_with_another_configuration(day, archive):
    run(archive, day, config=DAILY)
    lenient = config_with(file_span="1D", time_in_name="rain_%Y%m%d")
    report = run(archive, day, config=lenient)
    assert (report.ingested, report.replaced, report.rejected) == (2, 0, [])
    opened = Archive.open(archive)
    assert (opened.status == OK).all()
    assert opened.rejections == []
    assert run(archive, day, config=lenient).unchanged == 1


def test_new_scans_of_a_growing_file_are_ingested(archive, tmp_path):
    path = tmp_path / "radar" / "rain_20240601.nc"
    numbers = rain(12)
    for count, new in ((4, 4), (9, 5), (12, 3)):
        write_file(path, numbers[:count], FIRST)
        os.utime(path, (count, count))
        report = run(archive, path, config=DAILY)
        assert report.ingested == new
    assert (Archive.open(archive).status == OK).all()
    assert run(archive, path, config=DAILY).unchanged == 1


@pytest.mark.usefixtures("in_parts")
def test_many_files_beside_a_large_one_are_all_read(day, archive, tmp_path):
    config = config_with(quality={"least_observed_share": 0.5})
    large = day.rename(path_of(day.parent, FIRST, "_a_day"))
    write_scans(day.parent, 40, seed=3)
    report = run(archive, large, day.parent / "*.nc", config=config)
    assert (report.found, report.ingested) == (41, 40)
    assert (Archive.open(archive).status == OK).sum() == 40
    run(archive, day.parent / "*.nc", config=config)  # reads the replaced file again
    settled = run(archive, day.parent / "*.nc", config=config)
    assert (settled.unchanged, settled.new_files, len(settled.standing)) == (41, 0, 2)
