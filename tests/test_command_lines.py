"""Every command line in documents, scripts and help texts is one that squall accepts.

Those of the schedules are in `tests/pipeline/ingest/test_schedules.py`.
"""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from squall.pipeline.cli.main import COMMANDS, parse

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = [path for path in sorted((ROOT / "scripts").iterdir()) if path.is_file()]
HEAVY = (
    *("xarray", "torch", "zarr", "icechunk", "dask", "distributed", "scipy", "netCDF4", "h5py"),
    *("pyproj", "cv2", "matplotlib", "cartopy", "pytorch_lightning", "fsspec", "pysteps"),
)
CONFIGURATIONS = sorted((ROOT / "configs").rglob("*.yaml"))


def in_document(text: str) -> list[str]:
    """Command lines of code blocks, and those between backticks that have a flag and its value."""
    joined = text.replace("\\\n", " ")
    lines = re.findall(r"^(?:\$ )?(squall .*)", joined, re.MULTILINE)
    inline = re.findall(r"`(squall [^`…]* --\w[^`…]* [^`…]*)`", joined)
    return lines + inline


def in_script(text: str) -> list[str]:
    """Command lines of a shell script, or in a comment."""
    joined = text.replace("\\\n", " ")
    commands = re.findall(r'^(?:"\$squall"|#\s+squall) (.*)', joined, re.MULTILINE)
    return ["squall " + command for command in commands]


def in_help(name: str) -> list[str]:
    module = importlib.import_module(f"squall.pipeline.cli.{name}")
    joined = module.EXAMPLES.replace("\\\n", " ")
    return re.findall(r"^  (squall .*)", joined.replace("  (from cron and the like)", ""), re.M)


def command_lines() -> list[object]:
    places_and_lines = [
        (path.relative_to(ROOT).as_posix(), line)
        for paths, lines_of in (
            (DOCUMENTS, in_document),
            ([*SCRIPTS, *CONFIGURATIONS], in_script),
        )
        for path in paths
        for line in lines_of(path.read_text())
    ]
    places_and_lines += [(f"help of {name}", line) for name in COMMANDS for line in in_help(name)]
    return [
        pytest.param(line, id=f"{place}: {' '.join(line.split())}")
        for place, line in places_and_lines
    ]


def words_of(line: str) -> list[str]:
    line = line.replace("$configs", "configs").replace("…", "s3://bucket/a")
    words = shlex.split(line, comments=True)[1:]
    return words[: words.index("|")] if "|" in words else words


def create_inputs(words: list[str]) -> None:
    """Create the local files and folders that a command line names."""
    for word in words:
        path = Path(word)
        if word.startswith("-") or "://" in word or "=" in word or "*" in word:
            continue
        if path.suffix in (".yaml", ".nc", ".ckpt"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        elif path.suffix == ".icechunk" or word.isupper():
            path.mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("line", command_lines())
def test_squall_accepts_the_command_line(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = words_of(line)
    create_inputs(words)
    assert parse(words).command == words[0]


def test_command_lines_of_all_documents_and_scripts_are_tested():
    places = {str(line.id).partition(":")[0] for line in command_lines()}
    assert {"README.md", "docs/training.md", "docs/verification.md", "scripts/demo"} <= places
    assert {f"help of {name}" for name in COMMANDS} <= places


def test_no_help_waits_for_libraries_that_read_compute_or_draw():
    code = f"""
import sys
from squall.pipeline.cli.main import parse
for name in {[*COMMANDS]!r}:
    try:
        parse([name, "--help"])
    except SystemExit:
        pass
    print(name, [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr.splitlines() == [f"{name} []" for name in COMMANDS]
