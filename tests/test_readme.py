"""The README runs; `test_command_lines.py` has its command lines."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from squall.datasets.synthetic.config import SyntheticConfig
from squall.pipeline.synth.config import SynthConfig
from squall.pipeline.synth.run import synth

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


def test_its_commands_lead_from_radar_files_to_a_page_and_to_maps(tmp_path):
    """On a radar whose newest scan is of now."""
    radar = SyntheticConfig(hours=1.25, size=64, missing_fraction=0, radar_faults=False)
    synth(SynthConfig(out=tmp_path / "radar", radar=radar, start="75min"))
    (live,) = blocks("yaml")
    (tmp_path / "live.yaml").write_text(live)
    commands = "".join(block for block in blocks("bash") if "squall" in block)
    commands = commands.replace("52.1,5.18", "55.6,10.9")  # a place of the synthetic radar
    lines = [shlex.split(line, comments=True) for line in commands.splitlines()]
    lines = [line for line in lines if line[0] == "squall"]
    assert [line[1] for line in lines] == ["init", "ingest", "live", "forecast", "maps", "point"]
    lines[2].append("--once")
    lines[4] += ["--dpi", "40"]
    program = Path(sys.executable).with_name("squall")
    for _, *arguments in lines:
        subprocess.run([program, *arguments], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "scan.png").stat().st_size > 10_000
    latest = json.loads((tmp_path / "live/latest.json").read_text())
    manifest = json.loads((tmp_path / "live" / latest["manifest"]).read_text())
    assert manifest["members"] == 20
    assert manifest["fallback"] is None
    assert len(list((tmp_path / "maps").glob("*_animation.*"))) == 1
    assert (tmp_path / "rain.png").stat().st_size > 10_000


def test_it_is_short():
    assert len(README.splitlines()) < 150


def test_named_files_exist():
    for name in re.findall(r"`((?:configs|scripts|docs|datasets|pipeline)/[\w./-]*)`", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (ROOT / name).exists(), name
