"""The tutorial of the live service, and ./scripts/live-demo, on a small radar that sends now."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from squall.pipeline.cli.main import main
from tests.load_script import load_script

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
CENTRE = {"latitude": 55.6, "longitude": 10.9}  # of the synthetic radar
WAIT_S = 300  # a busy machine is slow


def blocks(name: str, language: str) -> list[str]:
    text = (TUTORIALS / f"{name}.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@contextmanager
def running(command: list[str], number: signal.Signals, code: int) -> Iterator[Callable[..., None]]:
    """Run a program; ends it by a signal, after which it has to exit with the code.

    Gives a function that waits until a condition holds, while the program runs.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        # if a shell runs the tests in the background, their children ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )

    def wait_until(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not condition():
            assert process.poll() is None, f"{command} ended with {process.returncode}"
            assert time.monotonic() < end, command
            time.sleep(0.1)

    try:
        yield wait_until
        os.killpg(process.pid, number)  # as Ctrl-C, which all processes of a terminal get
        assert process.wait(WAIT_S) == code
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def squall(*words: str) -> list[str]:
    return [sys.executable, "-m", "squall.pipeline.cli", *words]


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def answer_of_the_newest_run(rule: str) -> str | None:
    """Whether it meets a rule: ``met``, ``not_met``, ``unknown``; None if it knows no such rule."""
    newest = Path("live/latest.json")
    if not newest.exists():
        return None
    latest = json.loads(newest.read_text())
    answers = Path("live", latest["manifest"]).with_name("rules.json")
    if not answers.exists():
        return None
    outcome = json.loads(answers.read_text())["outcomes"].get(rule)
    return str(outcome["state"]) if outcome else None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_live_service_runs_warns_and_answers(folder):
    """The place and the port are others than in the tutorial."""
    once, service, serve = [
        command.words
        for command in load_script("command_lines").command_lines()
        if command.place == "docs/tutorials/live-service.md"
    ]
    radar = ["synth", "--out", "radar", "--start", "2h", "--hours", "2", "--size", "64"]
    assert main(radar) == 0
    network, source = blocks("own-archive", "yaml")
    Path("mynetwork.yaml").write_text(network + source.replace("/radar/", "radar/"))
    text, alerts = blocks("live-service", "yaml")
    config = yaml.safe_load(text)
    config["places"] = dict.fromkeys(config["places"], CENTRE)
    Path("mine.yaml").write_text(yaml.safe_dump(config))

    assert main(once) == 0
    assert answer_of_the_newest_run("heavy rain at De Bilt") is None
    status = json.loads(Path("live/status.json").read_text())
    assert status["state"] in ("fresh", "late", "gap")
    assert Path("live/index.html").exists() or not (ROOT / "pipeline/live/web/dist").exists()

    (rule,) = yaml.safe_load(alerts)["alerts"]
    Path("mine.yaml").write_text(yaml.safe_dump(config | {"alerts": [rule]}))
    shutil.rmtree("live")  # else the service waits for the next scan, up to five minutes
    with running(squall(*service), signal.SIGTERM, 143) as wait_until:
        wait_until(lambda: answer_of_the_newest_run(rule["name"]) in ("met", "not_met"))

    port = free_port()
    with running(squall(*serve, "--port", str(port)), signal.SIGINT, 130) as wait_until:
        (line,) = [line for line in blocks("live-service", "bash") if "curl" in line]
        address = re.sub(r"lat=[\d.]+&lon=[\d.]+", "lat=55.6&lon=10.9", line.split("'")[1])
        address = address.replace(":8000/", f":{port}/")
        wait_until(lambda: answers(address))
        with urlopen(address) as answer:
            point = json.load(answer)
    assert (point["latitude"], point["state"], point["members"]) == (55.6, "down", 20)
    assert len(point["forecast"]) >= 11


@pytest.mark.slow
def test_the_live_demo_shows_a_forecast_and_ends_with_ctrl_c(folder):
    """Its radar is made before, and smaller; `./scripts/setup` has run."""
    for name in ("configs", "scripts"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "scripts" / "setup").write_text("#!/bin/sh\n")
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name, words in (("python", ""), ("squall", " -m squall.pipeline.cli")):
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
        (tools / name).chmod(0o755)
    demo = folder / "demo-output" / "live-demo"
    demo.mkdir(parents=True)
    radar = ["synth", "--out", str(demo / "synthetic"), "--hours", "3", "--size", "64"]
    assert main(radar) == 0
    network, archive = str(folder / "configs/archives/synthetic.yaml"), demo / "radar.icechunk"
    files = f"{demo}/synthetic/**/*.nc"
    assert main(["ingest", network, "--archive", str(archive), "--files", files]) == 0
    (demo / ".ready").touch()

    port = free_port()
    command = ["bash", str(folder / "scripts" / "live-demo"), "20", str(port)]
    with running(command, signal.SIGINT, 130) as wait_until:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/latest.json"))
    assert not answers(f"http://127.0.0.1:{port}/latest.json"), "the server still runs"
