"""No process of a command is left, at whatever moment and by whatever signal its parent ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.left_over import MARKER, left_over, marked
from tests.pipeline.tiny_radar import write_scans

ROOT = Path(__file__).parents[2]
SQUALL = [sys.executable, "-m", "squall.pipeline.cli"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
GONE_WITHIN_S = 120.0  # a fork server ends when it has imported its modules
STARTED_WITHIN_S = 300.0
LAUNCHED = ("LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK")

# command: processes that it consists of. A loader with two workers has a fork server and a
# resource tracker besides them, and so have the workers of `verify` and `ingest`.
COMMANDS = {"train": 5, "two devices": 8, "torchrun": 9, "verify": 5, "ingest": 5}


@pytest.fixture
def words_of(chain, experiment_values, tmp_path) -> Callable[[str], list[str]]:
    """Function that returns the words of a command that would run for minutes."""

    def train(devices: int) -> list[str]:
        experiment_values["data"] |= {
            "archives": [str(chain.archive)],
            "samples_per_epoch": 100_000,
            "workers": 2 if devices == 1 else 1,
        }
        experiment_values["trainer"]["devices"] = devices
        (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(experiment_values))
        return ["train", str(tmp_path / "experiment.yaml"), "--out", str(tmp_path / "run")]

    def verify() -> list[str]:
        methods = ["--model", "linda", "--model", "steps"]
        return [
            *("verify", "--archive", str(chain.archive), "--out", str(tmp_path / "scores")),
            *("--every", "5", "--workers", "2", *methods),
        ]

    def ingest() -> list[str]:
        write_scans(tmp_path / "radar", 600)
        (tmp_path / "tiny.yaml").write_text(
            "{name: tiny, step: 5min, variable: rain, time_in_name: rain_%Y%m%dT%H%M}"
        )
        archive, files = str(tmp_path / "a.icechunk"), str(tmp_path / "radar" / "*.nc")
        config = str(tmp_path / "tiny.yaml")
        return ["ingest", config, "--archive", archive, "--files", files, "--workers", "2"]

    words = {
        "train": lambda: [*SQUALL, *train(devices=1)],
        "two devices": lambda: [*SQUALL, *train(devices=2)],
        "torchrun": lambda: [*TORCHRUN, "-m", "squall.pipeline.cli", *train(devices=2)],
        "verify": lambda: [*SQUALL, *verify()],
        "ingest": lambda: [*SQUALL, *ingest()],
    }
    return lambda command: words[command]()


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[[list[str]], subprocess.Popen[str]]]:
    """Function that starts a marked process, as cron and systemd start it."""
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED} | {
        MARKER: str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{ROOT / 'src'}",
    }

    def started(words: list[str]) -> subprocess.Popen[str]:
        with (tmp_path / "output.txt").open("w") as output:
            return subprocess.Popen(
                words, cwd=tmp_path, env=environment, stdout=output, stderr=output, text=True
            )

    yield started
    for process in marked(str(tmp_path)):
        process.kill()


def wait_for(count: int, process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until a command consists of so many processes."""
    until = time.monotonic() + STARTED_WITHIN_S
    while len(marked(str(folder))) < count:
        assert process.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < until, (folder / "output.txt").read_text()
        time.sleep(0.1)


def wait_for_ranks(torchrun: subprocess.Popen[str], folder: Path) -> None:
    """Wait until each rank that torchrun has started looks whether torchrun still runs.

    torchrun does not tell its number, so a rank cannot know that torchrun ended before that: within
    the start of Python, before the first line of Squall.
    """

    def looks(rank: psutil.Process) -> bool:
        return rank.num_threads() > 1

    until = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < until:
        ranks = psutil.Process(torchrun.pid).children()
        if len(ranks) == 2 and all(map(looks, ranks)):
            return
        time.sleep(0.05)
    raise AssertionError((folder / "output.txt").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["at work", "while it starts"])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_process_outlives_its_parent(command, sent, moment, words_of, start, tmp_path) -> None:
    words = words_of(command)
    process = start(words)
    try:
        wait_for(COMMANDS[command] if moment == "at work" else 2, process, tmp_path)
        if command == "torchrun":
            wait_for_ranks(process, tmp_path)
        process.send_signal(sent)
        rest = left_over(str(tmp_path), after_s=GONE_WITHIN_S)
        assert rest == [], (tmp_path / "output.txt").read_text()
    finally:
        process.kill()  # if the test fails, nothing may wait for a training of hours
        process.wait()
