"""`squall ingest` for schedulers and monitors: exit codes, the report, logs."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.repository import write_lock
from squall.pipeline.cli.main import main
from tests.pipeline.tiny_radar import FIRST, STEP, VALUES, path_of, rain, write_file, write_scans

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project_folder(tmp_path, monkeypatch):
    """A folder with eight scans and their configuration; it is the current folder."""
    monkeypatch.chdir(tmp_path)
    write_scans(tmp_path / "radar", 8)
    configure()
    return tmp_path


def configure(**changes):
    values = VALUES | {"source": "radar/*.nc", "archive": "a.icechunk"} | changes
    Path("tiny.yaml").write_text(yaml.safe_dump(values))


def squall(*arguments):
    return main(["ingest", "tiny.yaml", "--workers", "0", *map(str, arguments)])


def reported():
    return json.loads(Path("report.json").read_text())


def test_the_configuration_is_the_only_required_argument(project_folder, capsys):
    assert squall() == 0
    assert "a.icechunk: 8 files found, 8 scans ingested, 0 replaced" in capsys.readouterr().out
    assert squall("--archive", "b.icechunk", "--files", "radar/*T000*.nc") == 0
    assert Archive.open("b.icechunk").status.size == 2


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"archive": None}, "no archive given; add --archive or 'archive:' in the configuration"),
        ({"source": ()}, "no files given; add --files or 'source:' in the configuration"),
    ],
)
def test_a_missing_archive_or_source_is_named(project_folder, capsys, missing, message):
    configure(**{key: value if value is None else list(value) for key, value in missing.items()})
    assert squall() == 2
    assert message in capsys.readouterr().err


def test_the_report_of_a_complete_run(project_folder):
    (project_folder / "radar" / "rain_20240601T0035.nc").unlink()
    assert squall("--report", "deep/report.json") == 0
    report = json.loads(Path("deep/report.json").read_text())
    assert report["outcome"] == "complete"
    expected = {
        "found": 7, "new_files": 7, "ingested": 7, "replaced": 0, "unchanged": 0, "superseded": 0,
        "rejected": [], "rejected_by_rule": {}, "unavailable": [], "commits": 1, "dry_run": False,
        "newest": "2024-06-01T00:30:00", "archive": "a.icechunk",
    }  # fmt: skip
    assert {key: report[key] for key in expected} == expected
    assert report["bytes_read"] == sum(
        f.stat().st_size for f in (project_folder / "radar").glob("*.nc")
    )
    assert 0 < report["seconds"] < 60
    assert report["snapshot"] == Archive.open("a.icechunk").snapshot
    assert pd.Timestamp(report["written"]).tzinfo is not None
    assert report["squall_version"]


def test_the_report_names_what_was_rejected(project_folder):
    path_of(project_folder / "radar", FIRST + 2 * STEP).write_bytes(b"broken")
    assert squall("--report", "report.json", "--quiet") == 1
    report = reported()
    assert report["outcome"] == "incomplete"
    assert report["rejected_by_rule"] == {"unreadable": 1}
    (rejected,) = report["rejected"]
    assert rejected["file"] == str(project_folder / "radar" / "rain_20240601T0010.nc")
    assert rejected["time"] == "2024-06-01T00:10:00"
    assert "its format is not recognised" in rejected["reason"]
    # the second run does not read the file again, but its scan is still missing
    assert squall("--report", "report.json") == 1
    second = reported()
    assert (second["outcome"], second["new_files"], second["rejected"]) == ("incomplete", 0, [])
    assert (second["standing"], second["rejected_by_rule"]) == ([rejected], {"unreadable": 1})
    (project_folder / "radar" / "rain_20240601T0010.nc").unlink()
    write_file(path_of(project_folder / "radar", FIRST + 2 * STEP), rain(1), FIRST + 2 * STEP)
    assert squall() == 0


def test_the_report_of_a_failed_run(project_folder):
    assert squall("--report", "report.json", "--files", "nowhere/*.nc") == 1
    report = reported()
    assert report["outcome"] == "failed"
    assert "nowhere/: cannot be listed" in report["error"]
    assert squall() == 0
    configure(step="10min")
    assert squall("--report", "report.json") == 2
    assert "archive of the step" in reported()["error"]


def test_a_bug_in_squall_is_reported_as_failed(project_folder, monkeypatch):
    """Without a new report, a monitor would read the report of an earlier run."""
    assert squall("--report", "report.json") == 0

    def broken(config):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("squall.pipeline.ingest.run.ingest", broken)
    with pytest.raises(ZeroDivisionError):
        squall("--report", "report.json")
    assert (reported()["outcome"], reported()["error"]) == ("failed", "a bug")


def test_a_busy_archive_is_exit_code_3(project_folder, capsys):
    with write_lock("a.icechunk"):
        assert squall("--wait", "0.1", "--report", "report.json") == 3
    printed = capsys.readouterr().err
    assert "a.icechunk: another process has been writing for 0.1 s" in printed
    assert reported()["outcome"] == "busy"
    assert not Path("a.icechunk").exists()
    assert squall("--wait", "0") == 0


def test_since_and_until(project_folder, capsys):
    assert squall("--since", "2024-06-01T00:10", "--until", "2024-06-01T00:20") == 0
    assert "3 files found, 3 scans ingested" in capsys.readouterr().out
    assert squall("--since", "2024-06-01T02:30+02:00") == 0
    assert "2 files found, 2 scans ingested" in capsys.readouterr().out
    assert squall("--since", "2D") == 0
    assert "0 files found" in capsys.readouterr().out
    assert squall() == 0
    assert "8 files found, 3 scans ingested" in capsys.readouterr().out
    assert squall("--since", "yesterday evening") == 2
    message = "--since: 'yesterday evening' is neither a time, like 2024-06-01T12:00, nor a span"
    assert message in capsys.readouterr().err


def test_a_dry_run_lists_new_files_and_writes_nothing(project_folder, capsys, caplog):
    caplog.set_level(logging.INFO, "squall")
    assert squall("--dry-run") == 0
    assert "8 files found, 8 to read (dry run, nothing was read)" in capsys.readouterr().out
    assert f"new: {project_folder}/radar/rain_20240601T0035.nc" in caplog.text
    assert {path.name for path in project_folder.iterdir()} == {"radar", "tiny.yaml"}
    squall()
    assert squall("--dry-run", "--report", "report.json") == 0
    assert (reported()["new_files"], reported()["dry_run"]) == (0, True)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("files", ["radar/*.nc", "nowhere/*.nc"])
def test_json_logs_are_one_object_per_line(project_folder, workers, files):
    path_of(project_folder / "radar", FIRST + 2 * STEP).write_bytes(b"broken")
    arguments = ["ingest", "tiny.yaml", "--files", files, "--workers", str(workers)]
    process = subprocess.run(
        [sys.executable, "-m", "squall.pipeline.cli", *arguments, "--log-format", "json"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert process.returncode == 1
    lines = [json.loads(line) for line in process.stderr.splitlines()]
    assert lines, "the failure must be logged"
    assert all({"level", "logger", "message", "timestamp"} <= line.keys() for line in lines)
    if files == "radar/*.nc":
        (warning,) = [line for line in lines if line["level"] == "WARNING"]
        assert warning["file"] == str(project_folder / "radar" / "rain_20240601T0010.nc")
        assert (warning["rule"], warning["time"]) == ("unreadable", "2024-06-01T00:10:00")
    else:
        assert lines[-1]["exit_code"] == 1
        assert "nowhere/: cannot be listed" in lines[-1]["message"]
