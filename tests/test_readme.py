"""The README runs."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.cli.main import parse

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_cell_snippet_runs():
    (snippet,) = [block for block in blocks("python") if "ConvGRUCell" in block]
    exec(snippet, {})


def test_the_archive_snippet_runs(tmp_path, monkeypatch, rain_archive):
    shutil.copytree(rain_archive, tmp_path / "archives/mynetwork.icechunk")
    monkeypatch.chdir(tmp_path)
    (snippet,) = [block for block in blocks("python") if "open_archive" in block]
    names: dict = {}
    exec(snippet, names)
    assert names["rain"].dims == ("time", "y", "x")
    assert np.isfinite(names["rain"].values).any()


def test_the_archive_configuration_is_complete():
    (text,) = blocks("yaml")
    assert RadarNetworkConfig(**yaml.safe_load(text)).name == "mynetwork"


def commands():
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].split() for line in lines if line.startswith("squall ")]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_are_ones_that_squall_takes(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiments = ("configs/experiments/small.yaml", "configs/experiments/base.yaml")
    for name in ("mynetwork.yaml", *experiments, "forecast.nc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "archives/mynetwork.icechunk").mkdir(parents=True)
    (tmp_path / "runs/first").mkdir(parents=True)
    (tmp_path / "runs/first/best.ckpt").touch()
    assert parse(words[1:]).command == words[1]


def test_named_files_exist():
    for name in re.findall(r"`((?:configs|scripts|docs|datasets|pipeline)/[\w./-]*)`", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (ROOT / name).exists(), name
