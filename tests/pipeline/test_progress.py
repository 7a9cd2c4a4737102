"""Progress without a terminal: lines with total, rate and time left."""

import logging
import subprocess
import sys

import pytest

from squall.pipeline import progress
from squall.pipeline.progress import Progress, tracked


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets; time.monotonic of the module."""
    times = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: times[0])
    return times


def test_without_a_terminal_each_quarter_is_a_line(caplog, clock):
    def items():
        for number in range(10):
            clock[0] += 2.0
            yield number

    with caplog.at_level(logging.INFO, logger="squall"):
        assert list(tracked(items(), "verify", 10, "forecast")) == list(range(10))
    assert [record.message for record in caplog.records] == [
        "verify: 3 of 10 forecasts (30 %), 30 a minute, 14 s left",
        "verify: 5 of 10 forecasts (50 %), 30 a minute, 10 s left",
        "verify: 8 of 10 forecasts (80 %), 30 a minute, 4 s left",
        "verify: 10 of 10 forecasts (100 %), 30 a minute",
    ]


def test_long_work_writes_a_line_each_minute(caplog, clock):
    with caplog.at_level(logging.INFO, logger="squall"), Progress("ingest", 100_000, "file") as bar:
        for _ in range(4):
            clock[0] += 30.0
            bar.advance(150)
    assert [record.message for record in caplog.records] == [
        "ingest: 300 of 100,000 files (0 %), 5 a second, 5 h 32 min left",
        "ingest: 600 of 100,000 files (0 %), 5 a second, 5 h 31 min left",
    ]


def test_a_large_step_over_several_quarters_is_one_line(caplog, clock):
    with caplog.at_level(logging.INFO, logger="squall"), Progress("check", 0, "chunk") as bar:
        bar.total = 40
        clock[0] += 100.0
        bar.advance(30)
    (record,) = caplog.records
    assert record.message == "check: 30 of 40 chunks (75 %), 18 a minute, 33 s left"


def test_quiet_says_nothing(caplog, capsys):
    with caplog.at_level(logging.WARNING, logger="squall"):
        assert list(tracked([1, 2], "verify", 2)) == [1, 2]
    assert caplog.records == []
    assert capsys.readouterr().err == ""


def test_a_process_that_is_killed_leaves_no_semaphore(tmp_path):
    """A process that was spawned, like the child of the live service."""
    program = """
import multiprocessing, os
from squall.pipeline.progress import tracked

def work():
    list(tracked([1, 2], "count", 2, "thing"))
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work)
    process.start()
    process.join()
    print(process.exitcode)
"""
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == ("-9\n", "")
