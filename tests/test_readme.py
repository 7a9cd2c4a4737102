"""The README runs; `test_command_lines.py` has its command lines."""

import re
import shutil
from pathlib import Path

import numpy as np
import yaml

from squall.datasets.radar.network_config import RadarNetworkConfig

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


def test_named_files_exist():
    for name in re.findall(r"`((?:configs|scripts|docs|datasets|pipeline)/[\w./-]*)`", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (ROOT / name).exists(), name
