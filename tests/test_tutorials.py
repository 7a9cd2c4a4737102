"""The first tutorial runs as it is written, on a smaller and shorter radar."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from squall.pipeline.cli.main import main
from tests.load_script import load_script

ROOT = Path(__file__).parents[1]
PLACE = "docs/tutorials/first-forecast.md"
SMALLER = {
    "synth": ["--size", "96"],
    "forecast": ["--lead-times", "2"],
    "verify": ["--minutes", "10", "--every", "60"],
}


@pytest.mark.slow
def test_the_commands_and_the_snippet_of_the_first_forecast_run(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    lines = [c for c in load_script("command_lines").command_lines() if c.place == PLACE]
    ran = [words[0] for words in (command.words for command in lines)]
    assert {"synth", "ingest", "status", "forecast", "maps", "point", "verify"} <= set(ran)
    for command in lines:
        words = command.words
        assert main([*words, *SMALLER.get(words[0], [])]) == 0, command.line
    for path in ("maps", "chances", "rain.png", "scores/report.html"):
        assert Path(path).exists(), path
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / PLACE).read_text(), re.DOTALL)
    exec(snippet, {})
