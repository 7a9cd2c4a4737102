"""SIGKILL and SIGTERM at any moment: what was committed is whole, the next run goes on there."""

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
import psutil
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK, EmptyArchiveError
from squall.datasets.archive.repository import INITIAL_SNAPSHOT
from squall.datasets.errors import DataError
from squall.datasets.measures import codes_checksum
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
MARKER = "SQUALL_TEST_OF_KILLS"
SCANS = 180


@pytest.fixture(scope="module")
def radar(tmp_path_factory):
    """One file a scan, broken and repeated ones, a re-issue, and a file of forty scans."""
    folder = tmp_path_factory.mktemp("killed")
    files = write_scans(folder, SCANS)
    for index in (20, 150):
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
    """What an ingestion gives that nothing interrupts."""
    archive = tmp_path_factory.mktemp("whole") / "a.icechunk"
    run(archive, radar / "*.nc", config=CONFIG)
    return contents(archive)


@pytest.fixture(scope="module")
def processes():
    """Forks of a process that has imported everything, and has no threads yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["squall.pipeline.ingest.run", "tests.pipeline.tiny_radar"])
    return context


def ingest_in_small_steps(radar, archive, workers, temporary, marker, started):
    """Many commits, so that a kill may come between and within them."""
    from squall.pipeline.ingest import batches

    os.environ |= {MARKER: marker, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    tempfile.tempdir = str(temporary)
    batches.TASK_PIXELS = 5 * SIZE * SIZE
    batches.BATCH_PIXELS = 1
    started.set()
    run(archive, radar / "*.nc", config=CONFIG, workers=workers)


class Poller(threading.Thread):
    """Reads the archive over and over; keeps what was not whole."""

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
    """Someone reads the archive all the while."""
    poller = Poller(archive)
    poller.start()
    yield poller
    poller.over.set()
    poller.join()
    assert poller.wrong == []


def left_over(marker):
    """Processes of the killed ingestions that still live."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == marker:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def killed(processes, arguments, delay_s):
    """Whether a kill after the delay came before the end."""
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
    [(0, 32, 0.3), (2, 6, 4.0)],  # with workers, two seconds go by before they are there
)
def test_kills_at_any_moment_lose_and_spoil_nothing(
    workers, least_kills, longest_s, radar, expected, processes, tmp_path
):
    temporary, marker = tmp_path / "tmp", str(tmp_path)
    temporary.mkdir()
    chance = random.Random(workers)
    kills, states = 0, set()
    while kills < least_kills:
        archive = tmp_path / f"after {kills}.icechunk"
        arguments = radar, archive, workers, temporary, marker
        with polled(archive) as poller:
            for _ in range(least_kills):
                if not killed(processes, arguments, chance.uniform(0, longest_s)):
                    break
                kills += 1
            assert not killed(processes, arguments, 120)
        states |= poller.states
        run(archive, radar / "*.nc", config=CONFIG)  # looks at what was replaced meanwhile
        assert_same(contents(archive), expected)
    assert len(states) > 10, "the reader has to have seen archives grow"
    until = time.monotonic() + 20
    while left_over(marker) and time.monotonic() < until:
        time.sleep(0.2)
    assert left_over(marker) == []
    assert len(list(temporary.rglob("*"))) <= 2 * workers, "temporary files must not gather"


def test_an_ingestion_killed_while_it_made_the_archive_does_not_block_the_next(tmp_path):
    write_scans(tmp_path / "radar", 2)
    archive = tmp_path / "a.icechunk"
    (archive / "snapshots").mkdir(parents=True)
    (archive / "snapshots" / INITIAL_SNAPSHOT).write_bytes(b"whole, but no branch has it yet")
    (archive / "snapshots" / f"{INITIAL_SNAPSHOT}#1").write_bytes(b"half")
    (archive / "refs" / "branch.main").mkdir(parents=True)
    (archive / "refs" / "branch.main" / "ref.json#1").write_bytes(b"half")
    assert run(archive, tmp_path / "radar" / "*.nc").ingested == 2


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    write_scans(tmp_path / "radar", 2)
    mine = tmp_path / "mine" / "config.yaml"
    mine.parent.mkdir()
    mine.write_text("years: of work")
    with pytest.raises(DataError, match="needs a folder of its own, and this one is not empty"):
        run(mine.parent, tmp_path / "radar" / "*.nc")
    assert mine.read_text() == "years: of work"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "sent", "code", "said"),
    [
        (0, signal.SIGTERM, 143, "terminated"),
        (0, signal.SIGINT, 130, "interrupted"),
        (2, signal.SIGTERM, 143, "terminated"),
    ],
)
def test_a_signal_ends_in_order(sent, code, said, workers, radar, expected, tmp_path):
    """As systemd, Kubernetes and Ctrl-C stop a run."""
    archive, report = tmp_path / "a.icechunk", tmp_path / "report.json"
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "name: tiny\nstep: 5min\nvariable: rain\ntime_in_name: rain_%Y%m%dT%H%M\n"
        "quality: {least_observed_share: 0.5}\n"
    )
    script = (
        # tests in the background of a shell would let their children ignore Ctrl-C
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
    assert f"squall: {said}; what was finished is kept" in printed
    # Python tells of a signal that came while it took away an object
    assert "Traceback" not in printed.partition("Exception ignored in")[0]
    assert json.loads(report.read_text())["outcome"] == "interrupted"
    assert left_over(str(tmp_path)) == []
    run(archive, radar / "*.nc", config=CONFIG)
    run(archive, radar / "*.nc", config=CONFIG)
    assert_same(contents(archive), expected)
