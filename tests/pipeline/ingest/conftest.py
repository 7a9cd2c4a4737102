"""Fixtures for tests of ingestion: the archive, the folder of files, and the files read."""

import pytest

from squall.pipeline.ingest import reading


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "a.icechunk"


@pytest.fixture
def radar(tmp_path):
    return tmp_path / "radar"


@pytest.fixture
def reads(monkeypatch):
    """Addresses of the files that are opened, in order."""
    opened = []
    original = reading.local_copy

    def recorded(file, options):
        opened.append(file.address)
        return original(file, options)

    monkeypatch.setattr(reading, "local_copy", recorded)
    return opened
