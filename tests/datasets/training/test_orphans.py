"""Loader processes end with the process that started them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]
LOADER = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, which may run the tests, ignores it
from tests.datasets.training.loader_alone import loader
batches = iter(loader(sys.argv[1], samples=400))
next(batches)
assert "pytorch_lightning" not in sys.modules  # workers import the same, and it takes seconds
print("started", flush=True)
"""
WAIT = "time.sleep(600)"


def started(script: str, *words: object) -> subprocess.Popen[str]:
    """A process that has printed that it has started its workers."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "started"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_loader_processes_end_with_their_parent(rain_archive: Path, number: signal.Signals) -> None:
    with started(LOADER + WAIT, rain_archive) as process:
        descendants = psutil.Process(process.pid).children(recursive=True)
        assert len(descendants) >= 4  # two workers, the fork server, the resource tracker
        process.send_signal(number)
        process.wait(30)
        _, alive = psutil.wait_procs(descendants, timeout=30)
        for orphan in alive:
            orphan.kill()
        assert alive == []


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "held = batches; sys.exit(3)", "raise SystemExit(3)"])
def test_a_process_that_never_closed_its_loader_ends(rain_archive: Path, end: str) -> None:
    with started(LOADER + end, rain_archive) as process:
        try:
            assert process.wait(60) == (3 if end else 0)
        finally:
            process.kill()
