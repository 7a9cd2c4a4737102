"""One file is one file, however its address is spelled: known, replaced, read once."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import Rejection
from squall.datasets.archive.repository import lock_path
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.radar.radar_file import read_file
from squall.pipeline.ingest.file_marks import mark_of_used_file
from tests.pipeline.tiny_radar import (
    CONFIG,
    FIRST,
    STEP,
    codes_of,
    path_of,
    rain,
    run,
    scan_at,
    write_file,
    write_scans,
)

SPELLINGS = {
    "relative": "radar/*.nc",
    "with a dot": "./radar/./*.nc",
    "through the folder above": "radar/../radar/*.nc",
    "two slashes": "{here}//radar///*.nc",
    "absolute": "{here}/radar/*.nc",
    "file address": "file://{here}/radar/*.nc",
    "home": "~/radar/*.nc",
    "linked folder": "link/*.nc",
    "linked parent": "{here}/parent/radar/*.nc",
    "spanning folders": "**/*.nc",
    "one file": "radar/rain_20240601T0000.nc",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, which is also the home folder; two links lead to the radar files."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to("radar")
    (tmp_path / "here" / "parent").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    return tmp_path / "here"


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("first_spelling", ["relative", "absolute", "linked folder"])
def test_a_corrected_file_counts_however_it_is_spelled(
    first_spelling, spelling, here, archive, reads
):
    write_scans(here / "radar", 2)
    run(archive, SPELLINGS[first_spelling].format(here=here))
    reads.clear()
    again = run(archive, SPELLINGS[spelling].format(here=here))
    assert (again.new_files, again.commits, reads) == (0, 0, [])
    write_file(path_of(here / "radar", FIRST), rain(1, seed=9), FIRST)
    report = run(archive, SPELLINGS[spelling].format(here=here))
    assert (report.replaced, report.superseded, report.new_files) == (1, 0, 1)
    assert (scan_at(archive, 0) == codes_of(rain(1, seed=9)[0])).all()
    sources = set(Archive.open(archive).records(np.arange(2))["source"].tolist())
    assert sources == {str(path_of(here / "radar", FIRST + i * STEP)) for i in range(2)}


def test_another_working_folder_is_no_other_file(here, archive, reads, monkeypatch):
    write_scans(here / "radar", 1)
    run(archive, "radar/*.nc")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    reads.clear()
    assert run(archive, "../radar/*.nc").new_files == 0
    assert reads == []


def test_two_patterns_for_the_same_files_find_each_file_once(here, archive):
    write_scans(here / "radar", 2)
    report = run(archive, "radar/*.nc", "link/*.nc", f"{here}/parent/radar/*.nc")
    assert (report.found, report.ingested) == (2, 2)


def test_members_of_a_container_are_known_however_it_is_spelled(here, archive, reads):
    write_scans(here / "radar", 2)
    with zipfile.ZipFile("day.zip", "w") as container:
        for path in sorted((here / "radar").glob("*.nc")):
            container.write(path, path.name)
    run(archive, "zip://*.nc::day.zip")
    reads.clear()
    for spelling in (f"zip://*.nc::{here}/day.zip", f"zip:///*.nc::file://{here}/parent/day.zip"):
        assert run(archive, spelling).new_files == 0
    assert reads == []


def test_a_link_to_a_file_that_is_turned_to_another_file_is_read_again(here, archive):
    name = path_of(here / "radar", FIRST).name
    for target, seed in (("first", 1), ("second", 2)):
        write_file(here / "objects" / target, rain(1, seed), FIRST)
    (here / "radar").mkdir()
    (here / "radar" / name).symlink_to(here / "objects" / "second")
    run(archive, "radar/*.nc")
    (here / "radar" / name).unlink()
    (here / "radar" / name).symlink_to(here / "objects" / "first")
    assert run(archive, "radar/*.nc").replaced == 1
    assert (scan_at(archive, 0) == codes_of(rain(1, seed=1)[0])).all()


def archive_of_an_earlier_release(archive, path, typed):
    """An archive that names a file as it was typed."""
    report = read_file(str(path), CONFIG)
    status = path.stat()
    mark = mark_of_used_file(typed, f"{status.st_size}-{status.st_mtime_ns}")
    scan = report.scans[0]
    stored = StoredScan(scan.time, scan.codes, typed, report.digest, mark, scan.measures)
    assert report.grid is not None
    ArchiveWriter(archive, STEP, {"name": "tiny"}).commit(report.grid, [stored], [], "test")


@pytest.mark.parametrize("typed", ["radar/{name}", "./radar/{name}", "{here}/parent/radar/{name}"])
def test_an_archive_of_an_earlier_release_takes_the_corrected_file(typed, here, archive, reads):
    (path,) = write_scans(here / "radar", 1)
    typed = typed.format(name=path.name, here=here)
    archive_of_an_earlier_release(archive, path, typed)
    assert run(archive, typed).new_files == 0  # known by the mark of the text
    assert run(archive, "radar/../radar/*.nc").replaced == 0  # the same content
    write_file(path, rain(1, seed=9), FIRST)
    assert run(archive, f"{here}/radar/*.nc").replaced == 1
    assert (scan_at(archive, 0) == codes_of(rain(1, seed=9)[0])).all()


def test_a_log_entry_of_an_earlier_release_is_settled_by_the_repaired_file(here, archive):
    first, second = write_scans(here / "radar", 2)
    run(archive, first)
    entry = Rejection(f"radar/{second.name}", "", "is cut off", None, "unreadable", 7)
    grid = Archive.open(archive).grid
    ArchiveWriter(archive, STEP, {"name": "tiny"}).commit(grid, [], [entry], "test")
    report = run(archive, f"{here}/radar/*.nc")
    assert (report.ingested, report.complete) == (1, True)
    assert Archive.open(archive).rejections == []


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_of_two_folders_the_later_name_counts_not_the_later_folder(order, here, archive):
    write_file(here / "one" / "rain_20240601T0000_v2.nc", rain(1, seed=2), FIRST)
    write_file(here / "two" / "rain_20240601T0000_v1.nc", rain(1, seed=1), FIRST)
    for folder in order:
        run(archive, f"{folder}/*.nc")
    assert (scan_at(archive, 0) == codes_of(rain(1, seed=2)[0])).all()


def test_files_of_the_same_name_in_two_folders_are_said(here, archive, caplog):
    write_file(path_of(here / "one", FIRST), rain(1, seed=1), FIRST)
    write_file(path_of(here / "two", FIRST), rain(1, seed=2), FIRST)
    run(archive, "two/*.nc")
    report = run(archive, "one/*.nc")
    assert (report.superseded, len(report.of_same_name)) == (1, 1)
    assert "superseded by another file of the same time" in str(report)
    assert "with the same name in different folders" in caplog.text
    assert f"{here}/two" in caplog.text


def test_an_archive_and_a_link_to_it_have_one_lock(tmp_path, monkeypatch):
    (tmp_path / "place").mkdir()
    (tmp_path / "link").symlink_to("place")
    (tmp_path / "latest.icechunk").symlink_to("place/a.icechunk")
    monkeypatch.chdir(tmp_path)
    addresses = ["place/a.icechunk", "link/a.icechunk", "latest.icechunk", "./place//a.icechunk/"]
    absolute = tmp_path / "place" / "a.icechunk"
    assert {lock_path(address) for address in addresses} == {lock_path(absolute)}
    assert lock_path(absolute) == Path(os.path.realpath(tmp_path)) / "place" / "a.icechunk.lock"
