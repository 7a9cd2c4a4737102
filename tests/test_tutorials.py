"""The tutorials run as they are written, on a smaller and shorter radar."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.cli.main import main
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.scores import intervals
from tests.load_script import load_script

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
RADAR = ["synth", "--out", "radar", "--hours", "2", "--size", "64"]
SMALLER = {
    "synth": ["--size", "64"],
    "maps": ["--dpi", "40"],
    "forecast": ["--lead-times", "2"],
    "verify": [
        *("--minutes", "10", "--every", "60", "--cases", "0"),
        *("--thresholds", "1", "--scales", "4", "--workers", "1"),
    ],
    "configs/experiments/small.yaml": [
        *("network.channels=[4,6,8]", "data.crop=32", "data.context=3", "data.lead_times=4"),
        *("data.samples_per_epoch=16", "data.validation_samples=4", "trainer.max_epochs=1"),
        "trackers.tensorboard=false",
    ],
    "configs/experiments/own.yaml": [  # the archive has hours in place of weeks
        "data.split={validation: [{start: 2024-06-01T01:30, end: 2024-06-01T03:00}], "
        "test: [{start: 2024-06-01T03:00, end: 2024-06-01T04:00}]}",
        *("data.crop=32", "data.kept_windows=4", "data.samples_per_epoch=16", "data.batch_size=4"),
        *("data.validation_samples=4", "trainer.max_epochs=1", "trackers.tensorboard=false"),
        *("trial.forecasts=6", "trial.compare=[squall-base]"),
    ],
    "calibrate": ["--forecasts", "4", "--workers", "1"],
}


def blocks(name: str, language: str) -> list[str]:
    text = (TUTORIALS / f"{name}.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run_commands(name: str, pattern: str = "") -> None:
    """Run the command lines that the table of `scripts/command_lines.py` says are run here.

    Parameters
    ----------
    pattern : those alone that match it.
    """
    lines = [
        command
        for command in load_script("command_lines").command_lines()
        if command.place == f"docs/tutorials/{name}.md" and command.run_by
        if re.search(pattern, command.line)
    ]
    assert len(lines) > 4
    for command in lines:
        words = command.words
        smaller = next((SMALLER[word] for word in words[:2] if word in SMALLER), [])
        assert main([*words, *smaller]) == 0, command.line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the configurations of a clone."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(intervals, "_DRAWS", 50)
    return tmp_path


@pytest.mark.slow
def test_the_first_forecast_runs(folder):
    run_commands("first-forecast")
    for path in ("maps", "chances", "rain.png", "scores/report.html"):
        assert Path(path).exists(), path
    (snippet,) = blocks("first-forecast", "python")
    exec(snippet, {})


@pytest.mark.slow
def test_an_own_archive_is_made(folder):
    assert main(RADAR) == 0
    run_commands("own-archive")
    for path in ("scan.png", "coverage.png", "maps", "report.json"):
        assert Path(path).exists(), path


@pytest.mark.slow
def test_a_small_network_is_trained(folder):
    run_commands("train", "synthetic")
    assert Path("runs/first/best.ckpt").exists()


@pytest.mark.slow
def test_squall_base_is_fine_tuned_and_calibrated(folder, capsys):
    archive = "archives/mynetwork.icechunk"
    network = "configs/archives/synthetic.yaml"
    assert main(["synth", "--out", "radar", "--hours", "4", "--size", "64"]) == 0
    assert main(["ingest", network, "--archive", archive, "--files", "radar/**/*.nc"]) == 0
    run_commands("train", "mynetwork")
    assert re.search(r"that nothing was chosen on, CSI at 2 mm/h is", capsys.readouterr().out)
    for path in ("runs/own/scores/report.html", "mine.safetensors", "ensemble.nc"):
        assert Path(path).exists(), path


def test_the_configurations_are_complete():
    network, source = blocks("own-archive", "yaml")
    assert RadarNetworkConfig(**yaml.safe_load(network), **yaml.safe_load(source)).source
    service, alerts = blocks("live-service", "yaml")
    config = LiveConfig.model_validate(yaml.safe_load(service) | yaml.safe_load(alerts))
    assert config.alerts[0].at in config.places
