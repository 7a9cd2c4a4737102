"""Fixtures of the tests of data at rest."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    place = tmp_path / "radar"
    place.mkdir()
    monkeypatch.chdir(place)
    return place
