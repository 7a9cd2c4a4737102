"""`--reread`: all files are read again into a new archive, which takes the place of the old one."""

import numpy as np
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK
from squall.datasets.archive.snapshots import history
from squall.datasets.archive.writer import ArchiveWriter
from squall.datasets.errors import BusyError, ConfigError, DataError
from squall.pipeline.cli.main import main
from squall.pipeline.ingest import reading
from squall.pipeline.ingest.config import IngestConfig
from tests.pipeline.tiny_radar import (
    CONFIG,
    FIRST,
    STEP,
    VALUES,
    assert_same,
    codes_of,
    config_with,
    contents,
    path_of,
    rain,
    run,
    scan_at,
    stopped_before_the_new_archive_is_in_place,
    unfinished,
    write_scans,
)

OTHER = config_with(units="cm/h")


AT_MOST_10 = config_with(quality={"highest_mm_h": 10.0, "highest_share": 1.0})


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("new", [OTHER, AT_MOST_10])
def test_the_archive_is_that_of_a_first_run_with_the_new_configuration(
    new, workers, radar, archive, tmp_path
):
    write_scans(radar, 30)
    path_of(radar, FIRST + 30 * STEP).write_bytes(b"broken")
    run(archive, radar / "*.nc")
    with pytest.raises(ConfigError, match="--reread"):
        run(archive, radar / "*.nc", config=new)
    report = run(archive, radar / "*.nc", config=new, reread=True, workers=workers)
    assert (report.new_files, report.ingested, len(report.rejected)) == (31, 30, 1)
    run(tmp_path / "expected", radar / "*.nc", config=new)
    assert_same(contents(archive), contents(tmp_path / "expected"))
    assert Archive.open(archive).attributes == Archive.open(tmp_path / "expected").attributes
    assert run(archive, radar / "*.nc", config=new).new_files == 0


def test_no_scan_stays_at_its_old_time(radar, archive):
    write_scans(radar, 3)
    sums = {"units": "mm", "accumulation": "5min"}
    run(archive, radar / "*.nc", config=config_with(**sums))
    start = config_with(**sums, time_marks="start")
    run(archive, radar / "*.nc", config=start, reread=True)
    opened = Archive.open(archive)
    times = opened.times[np.flatnonzero(opened.status == OK)]
    assert list(times) == [FIRST + i * STEP for i in (1, 2, 3)]


def test_the_history_keeps_the_archive_before(radar, archive):
    write_scans(radar, 2)
    before = run(archive, radar / "*.nc").snapshot
    run(archive, radar / "*.nc", config=OTHER, reread=True)
    assert (Archive.open(archive, before).codes[0] == codes_of(rain(2)[0])).all()
    assert not (scan_at(archive, 0) == codes_of(rain(2)[0])).all()
    assert before in [commit.snapshot for commit in history(archive)]


@pytest.mark.parametrize("config", [CONFIG, OTHER])
def test_scans_whose_file_is_gone_are_not_lost(config, radar, archive):
    paths = write_scans(radar, 3)
    before = run(archive, radar / "*.nc").snapshot
    paths[1].unlink()
    with pytest.raises(DataError, match=r"lose 1 of 3 scans, from 2024-06-01 00:05") as raised:
        run(archive, radar / "*.nc", config=config, reread=True)
    assert str(paths[1]) in str(raised.value)
    assert Archive.open(archive).snapshot == before


def test_a_file_that_cannot_be_fetched_leaves_the_archive_as_it_was(
    radar, archive, monkeypatch, caplog
):
    paths = write_scans(radar, 3)
    run(archive, radar / "*.nc")
    before = contents(archive)
    original = reading.local_copy

    def without_one(file, options):
        if file.name == paths[1].name:
            raise DataError("the server does not answer")
        return original(file, options)

    monkeypatch.setattr(reading, "local_copy", without_one)
    report = run(archive, radar / "*.nc", config=OTHER, reread=True)
    assert (len(report.unavailable), report.complete) == (1, False)
    assert "stays as it was" in caplog.text
    assert_same(contents(archive), before)


def test_a_configuration_that_no_file_fits_leaves_the_archive_as_it_was(radar, archive):
    write_scans(radar, 2)
    run(archive, radar / "*.nc")
    before = contents(archive)
    report = run(archive, radar / "*.nc", config=config_with(variable="none"), reread=True)
    assert (report.ingested, len(report.rejected)) == (0, 2)
    assert_same(contents(archive), before)


def test_a_killed_run_leaves_the_archive_as_it_was_and_can_be_repeated(radar, archive, monkeypatch):
    write_scans(radar, 3)
    run(archive, radar / "*.nc")
    before = contents(archive)

    with stopped_before_the_new_archive_is_in_place(monkeypatch):
        run(archive, radar / "*.nc", config=OTHER, reread=True)
    assert_same(contents(archive), before)
    assert len(unfinished(archive)) == 1
    assert run(archive, radar / "*.nc").new_files == 0  # and removes what is left
    assert unfinished(archive) == []
    assert run(archive, radar / "*.nc", config=OTHER, reread=True).ingested == 3


def test_another_grid_and_step_are_possible(radar, archive):
    write_scans(radar, 3)
    run(archive, radar / "*.nc")
    write_scans(radar, 3, spacing_m=2000.0)
    run(archive, radar / "*.nc", config=config_with(step="10min", snap_tolerance="1s"), reread=True)
    opened = Archive.open(archive)
    assert (opened.step, opened.grid.pixel_size_m) == (2 * STEP, 2000.0)
    assert opened.status.tolist() == [OK, OK]


def test_a_commit_of_another_process_is_not_overwritten(radar, archive):
    write_scans(radar, 1)
    run(archive, radar / "*.nc")
    writer = ArchiveWriter(archive, STEP, {"name": "tiny"})
    present = writer.start_again("all files")
    grid = Archive.open(archive).grid
    writer.commit(grid, [], [], "empty")
    beside = ArchiveWriter(archive, STEP, {"name": "tiny", "title": "beside"})
    beside.commit(grid, [], [], "beside")
    with pytest.raises(BusyError):
        writer.put_in_place(present)
    assert (Archive.open(archive).status == OK).tolist() == [True]


def test_a_dry_run_reads_nothing(radar, archive, reads):
    write_scans(radar, 2)
    run(archive, radar / "*.nc")
    reads.clear()
    report = run(archive, radar / "*.nc", reread=True, dry_run=True)
    assert (report.new_files, reads) == (2, [])


def test_all_days_of_a_dated_pattern_are_read(radar, archive):
    pattern = f"{radar}/{{time:%Y%m%d}}/*.nc"
    for days in range(5):
        first = FIRST + days * 288 * STEP
        write_scans(radar / f"{first:%Y%m%d}", 1, first=first, seed=days)
    run(archive, pattern, config=config_with(begins="2024-06-01"), until="2024-06-30")
    report = run(archive, pattern, reread=True)
    assert (report.found, report.ingested) == (5, 5)


def test_a_period_is_refused():
    with pytest.raises(ValueError, match="--reread reads all files"):
        IngestConfig(source=CONFIG, archive="a", files=("x",), reread=True, since="2024-06-01")


def test_the_command(radar, archive, tmp_path, capsys):
    write_scans(radar, 2)
    config = tmp_path / "c.yaml"
    other = {"units": "cm/h"}
    for changes, flags, code in [({}, [], 0), (other, [], 2), (other, ["--reread"], 0)]:
        lines = [f"{key}: {value}" for key, value in (VALUES | changes).items()]
        config.write_text("\n".join(lines))
        command = ["ingest", str(config), "--archive", str(archive), *flags]
        assert main([*command, "--files", f"{radar}/*.nc"]) == code
    assert "'units' was not set, is \"cm/h\"" in capsys.readouterr().err
