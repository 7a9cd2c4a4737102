"""The child process: its answers, its errors, its deadline and its end."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from squall.pipeline.live.child import Child, ChildError
from tests.pipeline.live.fake_worker import FakeFactory

ROOT = Path(__file__).parents[3]


@pytest.fixture
def orders(tmp_path):
    """Write what the worker does."""
    path = tmp_path / "orders.json"

    def write(**values):
        path.write_text(json.dumps(values))
        return path

    write()
    return write


@pytest.fixture
def child(orders, tmp_path):
    child = Child(FakeFactory(orders(), str(tmp_path / "site")))
    yield child
    child.kill()


def test_one_process_answers_all_calls_and_ends(child):
    first = child.call("pid", deadline_s=60)
    assert first == child.call("pid", deadline_s=60) == child.process_id != os.getpid()
    process = psutil.Process(first)
    child.stop()
    assert not process.is_running()
    assert child.process_id is None
    assert child.call("pid", deadline_s=60) != first


def test_an_error_is_told_and_the_process_lives_on(child, orders):
    orders(look="fail")
    number = child.call("pid", deadline_s=60)
    with pytest.raises(ChildError, match="ValueError: look is ordered to fail"):
        child.call("look", None, deadline_s=60)
    assert child.call("pid", deadline_s=60) == number


def test_a_call_is_stopped_at_its_deadline(child, orders):
    orders(look="hang")
    number = child.call("pid", deadline_s=60)
    began = time.monotonic()
    with pytest.raises(ChildError, match=r"took longer than 0\.3 s and was stopped"):
        child.call("look", None, deadline_s=0.3)
    assert time.monotonic() - began < 5
    assert not psutil.pid_exists(number)
    assert child.call("pid", deadline_s=60) != number


def test_a_parent_that_does_not_wait_for_the_answer_is_no_error(child, orders, capfd):
    child.call("pid", deadline_s=60)
    orders(check="pause")
    child._pipe.send(("check", ()))
    child.stop()
    assert capfd.readouterr().err == ""


def test_a_process_that_dies_is_started_anew(child, orders):
    orders(look="die")
    number = child.call("pid", deadline_s=60)
    with pytest.raises(ChildError, match=r"died \(exit code 7\)"):
        child.call("look", None, deadline_s=60)
    assert child.call("pid", deadline_s=60) != number


def test_a_worker_that_cannot_start_is_told(child, orders):
    orders(start="fail")
    with pytest.raises(ChildError, match="RuntimeError: cannot start"):
        child.call("pid", deadline_s=60)
    orders()
    assert child.call("pid", deadline_s=60)


def test_warnings_of_the_child_are_logged_here(child, caplog):
    for value in (3, 3, 4):
        assert child.call("echo", value, deadline_s=60) == value
    # a warning that comes with each forecast would hide the others
    logged = [(record.name, record.getMessage()) for record in caplog.records]
    assert logged == [("squall.test", "said 3"), ("squall.test", "said 4")]


def test_the_parent_imports_neither_torch_nor_xarray():
    code = (
        "import squall.pipeline.cli.live, squall.pipeline.live.run, squall.pipeline.live.child, "
        "squall.pipeline.live.factory, squall.pipeline.live.clock, sys; "
        "print([n for n in ('torch', 'xarray', 'zarr', 'icechunk', 'netCDF4', 'dask', 'cv2') "
        "if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr
