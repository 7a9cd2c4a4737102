"""The child processes of these tests import their worker from the folder of the tests."""

import sys
from pathlib import Path

import pytest

from tests.pipeline.live.world import World

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def importable_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.child.kill()
