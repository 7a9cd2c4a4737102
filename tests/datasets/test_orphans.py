"""A process that a launcher started for a further device ends with the launcher."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from squall.datasets.orphans import _LAUNCHER, EXIT_CODE, as_launcher

ROOT = Path(__file__).parents[2]
RANK = """
import sys, time
sys.stdin.readline()  # its launcher may end before it goes on
from squall.datasets.orphans import end_with_launcher
end_with_launcher()
print("listening", flush=True)
time.sleep({seconds})
"""
LAUNCHER = """
import subprocess, sys
from contextlib import nullcontext
from squall.datasets.orphans import as_launcher
with as_launcher() if {names} else nullcontext():
    rank = subprocess.Popen([sys.executable, "-c", {rank!r}], stdin=0, stdout=1)
print(rank.pid, flush=True)
rank.wait()
"""
RANK_OF_LIGHTNING, RANK_OF_TORCHRUN = {"LOCAL_RANK": "1"}, {"TORCHELASTIC_RUN_ID": "x"}
LAUNCHED = ("LOCAL_RANK", "TORCHELASTIC_RUN_ID", _LAUNCHER)


def environment(**further: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    return kept | {"PYTHONPATH": str(ROOT / "src")} | further


def started(code: str, variables: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment(**variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for_both(launcher: subprocess.Popen[str], rank: int) -> str:
    """What launcher and rank still print until both have ended; the rank holds the pipe open."""
    try:
        return launcher.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        os.kill(rank, signal.SIGKILL)
        raise


@pytest.mark.parametrize("variables", [RANK_OF_LIGHTNING, RANK_OF_TORCHRUN])
def test_a_rank_ends_when_its_launcher_is_killed(variables: dict[str, str]) -> None:
    code = LAUNCHER.format(names=True, rank=RANK.format(seconds=600))
    with started(code, variables) as launcher:
        assert launcher.stdin is not None
        assert launcher.stdout is not None
        rank = int(launcher.stdout.readline())
        launcher.stdin.write("go on\n")
        launcher.stdin.flush()
        assert launcher.stdout.readline() == "listening\n"
        launcher.kill()
        assert wait_for_both(launcher, rank) == ""


def test_a_rank_of_lightning_ends_if_its_launcher_has_ended_already() -> None:
    code = LAUNCHER.format(names=True, rank=RANK.format(seconds=600))
    with started(code, RANK_OF_LIGHTNING) as launcher:
        assert launcher.stdin is not None
        assert launcher.stdout is not None
        rank = int(launcher.stdout.readline())
        launcher.kill()
        launcher.wait()
        launcher.stdin.write("go on\n")
        launcher.stdin.flush()
        wait_for_both(launcher, rank)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LOCAL_RANK": "0", _LAUNCHER: "1"},
        {_LAUNCHER: "1"},
        RANK_OF_TORCHRUN | {"LOCAL_RANK": "1", _LAUNCHER: "1"},  # left from an outer training
        RANK_OF_LIGHTNING,  # by a launcher that does not name itself
    ],
)
def test_a_process_goes_on_while_its_parent_lives(variables: dict[str, str]) -> None:
    with started(RANK.format(seconds=2.5), variables) as process:
        assert process.communicate("go on\n", timeout=60)[0] == "listening\n"
    assert process.returncode == 0


def test_a_wrong_launcher_ends_a_rank() -> None:
    with started(RANK.format(seconds=600), RANK_OF_LIGHTNING | {_LAUNCHER: "1"}) as process:
        process.communicate("go on\n", timeout=60)
    assert process.returncode == EXIT_CODE


def test_the_launcher_is_named_in_the_block_only() -> None:
    assert _LAUNCHER not in os.environ
    with as_launcher():
        assert os.environ[_LAUNCHER] == str(os.getpid())
    assert _LAUNCHER not in os.environ
