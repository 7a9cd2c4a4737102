"""Every command line in documents, scripts and help texts is one that squall accepts.

`scripts/command_lines.py` finds them. Those of the schedules are in
`tests/pipeline/ingest/test_schedules.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from squall.pipeline.cli.main import COMMANDS, parse
from tests.load_script import load_script

SCRIPT = load_script("command_lines")
HEAVY = (
    *("xarray", "torch", "zarr", "icechunk", "dask", "distributed", "scipy", "netCDF4", "h5py"),
    *("pyproj", "cv2", "matplotlib", "cartopy", "pytorch_lightning", "fsspec", "pysteps"),
)


def command_lines() -> list[object]:
    return [
        pytest.param(command, id=f"{command.place}: {' '.join(command.line.split())}")
        for command in SCRIPT.command_lines()
    ]


def create_inputs(words: list[str]) -> None:
    """Create the local files and folders that a command line names."""
    for word in words:
        path = Path(word)
        if word.startswith("-") or "://" in word or "=" in word or "*" in word:
            continue
        if path.suffix in (".yaml", ".nc", ".ckpt"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        elif path.suffix in (".icechunk", ".zarr") or word.isupper():
            path.mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("command", command_lines())
def test_squall_accepts_the_command_line(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create_inputs(command.words)
    assert parse(command.words).command == command.words[0]


@pytest.mark.parametrize("operator", ["|", "||", "&&", ";", "&", ">", ">>"])
def test_a_command_line_ends_where_the_shell_joins_another_word(operator):
    command = SCRIPT.CommandLine("a place", f"squall info --archive a.icechunk {operator} rest")
    assert command.words == ["info", "--archive", "a.icechunk"]


def test_command_lines_of_all_documents_and_scripts_are_tested():
    places = {command.place for command in SCRIPT.command_lines()}
    assert {"README.md", "docs/training.md", "docs/verification.md", "scripts/demo"} <= places
    assert {f"help of {name}" for name in COMMANDS} <= places
    assert places >= SCRIPT.RUN.keys(), "a document that is run has no command line any more"


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
