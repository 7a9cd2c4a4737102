"""SIGKILL and SIGTERM at any moment: all commits are complete, and the next run continues."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK, EmptyArchiveError
from squall.datasets.archive.repository import INITIAL_SNAPSHOT
from squall.datasets.errors import DataError
from squall.datasets.measures import codes_checksum
from tests.left_over import MARKER, left_over
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

ROOT = Path(__file__).parents[3]
CONFIG = config_with(quality={"least_observed_share": 0.5})
SCANS = 120


@pytest.fixture(scope="module")
def radar(tmp_path_factory):
    """One file for each scan, broken and duplicate ones, a re-issued one, and one with 40 scans."""
    folder = tmp_path_factory.mktemp("killed")
    files = write_scans(folder, SCANS)
    for index in (20, 90):
        files[index].write_bytes(b"broken")
    write_file(files[60], np.full((SIZE, SIZE), 65535, np.uint16), FIRST + 60 * STEP)
    shutil.copy(files[0], path_of(folder, FIRST, "_copy"))
    write_file(path_of(folder, FIRST + 10 * STEP, "_v2"), rain(1, 9)[0], FIRST + 10 * STEP)
    numbers = rain(40, seed=4)
    numbers[5] = 65535
    first = FIRST + (SCANS + 10) * STEP
    write_file(path_of(folder, first, "_many"), numbers, first)
    return folder


@pytest.fixture(scope="module")
def expected(radar, tmp_path_factory):
    """The archive of an ingestion that nothing interrupts."""
    archive = tmp_path_factory.mktemp("whole") / "a.icechunk"
    run(archive, radar / "*.nc", config=CONFIG)
    return contents(archive)


@pytest.fixture(scope="module")
def processes():
    """Context that forks a process that has imported all modules and has no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["squall.pipeline.ingest.run", "tests.pipeline.tiny_radar"])
    return context


def ingest_in_small_steps(radar, archive, workers, temporary, marker, started):
    """Ingest with many commits, so that a kill can happen between and within them."""
    from squall.pipeline.ingest import batches

    os.environ |= {MARKER: marker, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    tempfile.tempdir = str(temporary)
    batches.TASK_PIXELS = 5 * SIZE * SIZE
    batches.BATCH_PIXELS = 1
    started.set()
    run(archive, radar / "*.nc", config=CONFIG, workers=workers)


class Poller(threading.Thread):
    """Reads the archive all the time; records what is not complete."""

    def __init__(self, archive):
        super().__init__(daemon=True)
        self.archive, self.wrong, self.states = archive, [], set()
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            try:
                self.look()
            except EmptyArchiveError:
                continue
            except DataError as error:
                if "there is no archive" not in str(error):
                    self.wrong.append(repr(error))
            except Exception as error:
                self.wrong.append(repr(error))

    def look(self):
        opened = Archive.open(self.archive)
        rows = np.flatnonzero(opened.status == OK)
        self.states.add(len(rows))
        records = opened.records(rows)
        for i, codes in enumerate(opened.codes[:][opened.status == OK]):
            if codes_checksum(codes) != records["checksum"][i]:
                self.wrong.append(f"codes of row {rows[i]} in {opened.snapshot}")
            if not (records["source"][i] and records["digest"][i].any()):
                self.wrong.append(f"record of row {rows[i]} in {opened.snapshot}")


@contextmanager
def polled(archive):
    """Read the archive during the block."""
    poller = Poller(archive)
    poller.start()
    yield poller
    poller.over.set()
    poller.join()
    assert poller.wrong == []


def killed(processes, arguments, delay_s):
    """Start an ingestion and kill it after the delay; whether it was still running."""
    started = processes.Event()
    child = processes.Process(target=ingest_in_small_steps, args=(*arguments, started))
    child.start()
    assert started.wait(60)
    child.join(delay_s)
    child.kill()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "least_kills", "longest_s"),
    [(0, 32, 0.3), (2, 6, 4.0)],  # workers need two seconds to start
)
def test_kills_at_any_moment_lose_and_damage_nothing(
    workers, least_kills, longest_s, radar, expected, processes, tmp_path
):
    temporary, marker = tmp_path / "tmp", str(tmp_path)
    temporary.mkdir()
    rng = random.Random(workers)
    kills, states = 0, set()
    while kills < least_kills:
        archive = tmp_path / f"after {kills}.icechunk"
        arguments = radar, archive, workers, temporary, marker
        with polled(archive) as poller:
            for _ in range(least_kills):
                if not killed(processes, arguments, rng.uniform(0, longest_s)):
                    break
                kills += 1
            assert not killed(processes, arguments, 120)
        states |= poller.states
        run(archive, radar / "*.nc", config=CONFIG)  # reads files again whose scans were replaced
        assert_same(contents(archive), expected)
    assert len(states) > 10, "the poller must have seen archives grow"
    assert left_over(marker, after_s=20) == []
    # Dask keeps two locks. A killed process also leaves the socket of its fork server.
    files = [path.name for path in temporary.rglob("*") if path.is_file()]
    assert len(files) <= (2 if workers else 0), f"temporary files must not accumulate: {files}"


def test_an_ingestion_killed_while_it_creates_the_archive_does_not_block_the_next(tmp_path):
    write_scans(tmp_path / "radar", 2)
    archive = tmp_path / "a.icechunk"
    (archive / "snapshots").mkdir(parents=True)
    (archive / "snapshots" / INITIAL_SNAPSHOT).write_bytes(b"complete, but no branch has it yet")
    (archive / "snapshots" / f"{INITIAL_SNAPSHOT}#1").write_bytes(b"half")
    (archive / "refs" / "branch.main").mkdir(parents=True)
    (archive / "refs" / "branch.main" / "ref.json#1").write_bytes(b"half")
    mark = tmp_path / "a.icechunk.creating"
    mark.touch()
    assert run(archive, tmp_path / "radar" / "*.nc").ingested == 2
    assert not mark.exists()


def test_a_users_file_in_the_place_of_the_mark_is_kept(tmp_path):
    write_scans(tmp_path / "radar", 2)
    notes = tmp_path / "a.icechunk.creating"
    notes.write_text("mine")
    assert run(tmp_path / "a.icechunk", tmp_path / "radar" / "*.nc").ingested == 2
    assert notes.read_text() == "mine"


def test_a_folder_with_other_files_is_refused(tmp_path):
    write_scans(tmp_path / "radar", 2)
    other_file = tmp_path / "other" / "config.yaml"
    other_file.parent.mkdir()
    other_file.write_text("years: of work")
    with pytest.raises(DataError, match="needs a folder of its own, and this one is not empty"):
        run(other_file.parent, tmp_path / "radar" / "*.nc")
    assert other_file.read_text() == "years: of work"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "sent", "code", "message"),
    [
        (0, signal.SIGTERM, 143, "terminated"),
        (0, signal.SIGINT, 130, "interrupted"),
        (2, signal.SIGTERM, 143, "terminated"),
    ],
)
def test_a_signal_ends_the_run_in_order(sent, code, message, workers, radar, expected, tmp_path):
    """systemd, Kubernetes and Ctrl-C stop a run with such signals."""
    archive, report = tmp_path / "a.icechunk", tmp_path / "report.json"
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "name: tiny\nstep: 5min\nvariable: rain\ntime_in_name: rain_%Y%m%dT%H%M\n"
        "quality: {least_observed_share: 0.5}\n"
    )
    script = (
        # if a shell runs the tests in the background, their children ignore Ctrl-C
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from squall.pipeline.cli import main as cli;"
        "from squall.pipeline.ingest import batches;"
        "batches.BATCH_PIXELS = 1;"
        f"batches.TASK_PIXELS = 2 * {SIZE * SIZE}; cli.script()"
    )
    arguments = ["ingest", config, "--archive", archive, "--files", radar / "*.nc"]
    arguments += ["--report", report, "--workers", workers]
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {MARKER: str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    while not (archive / "refs").exists():
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.02)
    child.send_signal(sent)
    _, printed = child.communicate(timeout=30)
    assert child.returncode == code, printed
    assert f"squall: {message}; finished work is kept" in printed
    # Python may report an object that the signal left half made, when it deletes it
    assert "Traceback" not in printed.partition("Exception ignored in")[0]
    assert json.loads(report.read_text())["outcome"] == "interrupted"
    assert left_over(str(tmp_path)) == []
    run(archive, radar / "*.nc", config=CONFIG)
    run(archive, radar / "*.nc", config=CONFIG)
    assert_same(contents(archive), expected)
