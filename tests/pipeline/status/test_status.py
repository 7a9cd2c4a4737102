"""What `squall status` and `squall archive` print about an archive, and their exit codes."""

import json
import time
from pathlib import Path

import icechunk
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import MISSING, OK, REJECTED, Rejection
from squall.datasets.archive.repository import storage_of
from squall.datasets.archive.snapshots import history, tag
from squall.datasets.archive.writer import ArchiveWriter
from squall.pipeline.cli.main import main
from squall.pipeline.status import summary as status_module
from squall.pipeline.status.summary import coverage, gaps_of, status

STEP = pd.Timedelta("5min")
START = pd.Timestamp("2024-06-01 23:30")


@pytest.fixture
def archive(tmp_path, grid, rain_codes, scans_of):
    """20 time steps across midnight: 3, 4 and 10 missing, 11 and 12 rejected; three commits."""
    address = str(tmp_path / "a.icechunk")
    scans = scans_of(rain_codes(20), START)
    writer = ArchiveWriter(address, STEP, {"name": "rain", "title": "Rain"})
    writer.commit(grid, [s for i, s in enumerate(scans[:10]) if i not in (3, 4)], [], "first")
    rejections = [
        Rejection("b11.nc", "b" * 32, "is cut off", scans[11].time, rule="unreadable", file_mark=1),
        Rejection(
            "b12.nc", "c" * 32, "reaches 900 mm/h", scans[12].time, rule="range", file_mark=2
        ),
        Rejection("notes.nc", "d" * 32, "is no netCDF file", rule="unreadable", file_mark=3),
        Rejection("copy.nc", "e" * 32, "same as a", scans[5].time, rule="duplicate", file_mark=4),
    ]
    writer.commit(grid, [], rejections, "rejected")
    writer.commit(grid, scans[13:], [], "rest")
    return address


def output_of(capsys, caplog):
    """What a command wrote to stdout, stderr and the log."""
    printed = capsys.readouterr()
    return printed.out + printed.err + caplog.text


def test_counts_gaps_and_days(archive):
    summary = status(archive)
    assert (summary.present, summary.missing, summary.rejected) == (15, 5, 3)
    assert (summary.first, summary.last) == ("2024-06-01 23:30", "2024-06-02 01:05")
    assert [vars(gap) for gap in summary.gaps] == [
        {"first": "2024-06-02 00:20", "last": "2024-06-02 00:30", "scans": 3},
        {"first": "2024-06-01 23:45", "last": "2024-06-01 23:50", "scans": 2},
    ]
    assert summary.rejected_by_rule == {"unreadable": 2, "range": 1}
    assert summary.redundant == {"duplicate": 1}
    assert [r.file for r in summary.rejections] == ["b11.nc", "b12.nc", "notes.nc"]
    assert summary.snapshots == 3
    values = json.loads(json.dumps(summary.as_dict()))
    assert values["days"] == [
        {"date": "2024-06-01", "expected": 6, "present": 4, "rejected": 0},
        {"date": "2024-06-02", "expected": 14, "present": 11, "rejected": 2},
    ]
    assert values["gaps"][0] == {
        "first": "2024-06-02 00:20",
        "last": "2024-06-02 00:30",
        "scans": 3,
    }
    assert values["rejections"][0] == {
        "file": "b11.nc",
        "rule": "unreadable",
        "reason": "is cut off",
        "time": "2024-06-02T00:25:00",
    }


def test_the_text_has_the_same_numbers(archive):
    tag(archive, "run-7")
    text = str(status(archive))
    for line in (
        "scans      15 present, 5 missing, 75 % of 20",
        "snapshots  3, tags: run-7",
        "gaps       2024-06-02 00:20 to 2024-06-02 00:30  3 scans",
        "worst days 2024-06-01  66.6 % of 6\n             2024-06-02  78.5 % of 14",
        "rejected   3: 2 unreadable, 1 range\n             b11.nc: is cut off",
        "not needed 1 duplicate",
    ):
        assert line in text


def test_long_lists_are_shortened_in_the_text_only(tmp_path, grid, rain_codes, scans_of):
    scans = scans_of(rain_codes(30), START)[::2]
    broken = [Rejection(f"b{i}.nc", f"{i:032x}", "is cut off", file_mark=i + 1) for i in range(15)]
    writer = ArchiveWriter(tmp_path / "a", STEP, {"name": "rain"})
    writer.commit(grid, scans, broken, "one")
    summary = status(tmp_path / "a")
    text = str(summary)
    assert "14, the longest:" in text
    assert text.count("  1 scan\n") == 10
    assert "… and 5 more (--json lists all)" in text
    assert len(summary.as_dict()["gaps"]) == 14
    assert len(summary.as_dict()["rejections"]) == 15


def test_an_archive_with_rejected_scans_alone(tmp_path, grid):
    broken = [
        Rejection(f"b{i}.nc", f"{i:032x}", "is cut off", START + i * STEP, file_mark=i + 1)
        for i in range(2)
    ]
    ArchiveWriter(tmp_path / "a", STEP, {"name": "rain"}).commit(grid, [], broken, "one")
    summary = status(tmp_path / "a")
    # the time axis begins with a good scan: times of unusable files may be wrong
    assert (summary.first, summary.present, summary.rejected) == (None, 0, 2)
    assert "no scan yet" in str(summary)
    assert len(summary.rejections) == 2
    assert main(["status", str(tmp_path / "a"), "--plot", str(tmp_path / "a.png")]) == 0
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 800


def test_an_archive_without_any_time(tmp_path, grid):
    broken = [Rejection("b.nc", "0" * 32, "is no netCDF file", file_mark=1)]
    ArchiveWriter(tmp_path / "a", STEP, {"name": "rain"}).commit(grid, [], broken, "one")
    summary = status(tmp_path / "a")
    assert (summary.present, summary.missing, summary.gaps) == (0, 0, [])
    assert json.loads(json.dumps(summary.as_dict()))["days"] == []
    assert "rejected   1: 1 unreadable" in str(summary)
    assert main(["status", str(tmp_path / "a"), "--plot", str(tmp_path / "a.png")]) == 0


def test_the_error_after_an_interrupted_first_ingestion(tmp_path, capsys, caplog):
    icechunk.Repository.create(storage_of(str(tmp_path / "empty")))
    assert main(["status", str(tmp_path / "empty")]) == 1
    assert "nothing has been ingested yet; run `squall ingest`" in output_of(capsys, caplog)


def test_snapshots_are_counted_up_to_a_limit(archive, monkeypatch):
    monkeypatch.setattr(status_module, "COUNTED_SNAPSHOTS", 2)
    summary = status(archive)
    assert summary.snapshots is None
    assert "more than 2, tags" in str(summary)


def test_half_a_million_time_steps_are_fast():
    rng = np.random.default_rng(0)
    flags = rng.choice([MISSING, OK, REJECTED], 500_000, p=[0.3, 0.6, 0.1]).astype(np.uint8)
    began = time.process_time()
    gaps = gaps_of(flags != OK, START, STEP)
    days = coverage(flags, START, STEP, "D")
    assert time.process_time() - began < 20  # a loop over scans with pandas takes minutes
    assert sum(gap.scans for gap in gaps) == (flags != OK).sum()
    assert [gap.scans for gap in gaps] == sorted((gap.scans for gap in gaps), reverse=True)
    assert days.expected.sum() == 500_000
    assert days.present.sum() == (flags == OK).sum()
    assert days.rejected.sum() == (flags == REJECTED).sum()
    assert (days.expected[1:-1] == 288).all()


@pytest.mark.parametrize("unit", ["D", "h"])
def test_coverage_agrees_with_pandas(unit):
    rng = np.random.default_rng(1)
    flags = rng.integers(0, 3, 500).astype(np.uint8)
    times = pd.date_range(START, periods=500, freq="7min")
    expected = pd.Series(flags == OK, index=times).resample(unit).sum()
    counts = coverage(flags, START, pd.Timedelta("7min"), unit)
    np.testing.assert_array_equal(counts.present, expected.to_numpy())
    np.testing.assert_array_equal(counts.starts, expected.index.to_numpy())


def test_the_archive_commands(archive, capsys, caplog):
    def run(*arguments, code=0):
        """Run a command; return its output."""
        caplog.clear()
        assert main(["archive", *arguments]) == code
        return output_of(capsys, caplog)

    newest = Archive.open(archive).snapshot
    assert run("tag", archive, "run-7").strip().endswith(f"tag run-7 protects {newest}")
    assert "already" in run("tag", archive, "run-7", code=2)
    assert f"it held {newest}" in run("tag", archive, "run-7", "--delete")
    first = history(archive)[-1].snapshot
    run("tag", archive, "oldest", "--snapshot", first)
    lines = run("history", archive).splitlines()
    assert [line.split("  ")[2] for line in lines] == ["rest", "rejected", "first"]
    assert lines[-1].endswith("[oldest]")
    assert "--limit 0 lists all" in run("history", archive, "--limit", "2")
    assert len(json.loads(run("history", archive, "--json", "--limit", "0"))) == 3
    run("history", archive, "--limit", "-1", code=2)

    assert "0 snapshots" in run("expire", archive, "--older-than", "30D")
    dry = json.loads(run("expire", archive, "--older-than", "0s", "--dry-run", "--json"))
    assert (dry["expired"], dry["kept_by_tags"]) == (1, ["oldest"])
    assert "1 snapshot older than" in run("expire", archive, "--older-than", "0s")
    assert ": sound; " in run("check", archive)
    largest = max(Path(archive, "chunks").iterdir(), key=lambda file: file.stat().st_size)
    largest.unlink()
    report = json.loads(run("check", archive, "--json", "--quiet", code=1))
    assert not report["sound"]
    assert report["damage"][0]["array"] == "rain_rate_code"
    assert "squall archive check" in run("check", archive, code=1)
    assert "scans given up" in run("check", archive, "--repair", code=1)
    assert ": sound; " in run("check", archive)


@pytest.mark.parametrize("action", ["history", "tag", "expire", "check"])
def test_help_shows_an_example(action, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["archive", action, "--help"])
    assert exit.value.code == 0
    assert f"squall archive {action}" in capsys.readouterr().out.split("example")[1]


def test_a_picture_with_another_suffix_is_refused(archive, tmp_path, capsys, caplog):
    assert main(["status", archive, "--plot", str(tmp_path / "a.doc")]) == 2
    assert "the name of the file must end in .png" in output_of(capsys, caplog)
