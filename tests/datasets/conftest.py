"""Fixtures that several rooms of `squall.datasets` use."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.grid import Grid


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working folder."""
    place = tmp_path / "radar"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session")
def dry_archive(
    tmp_path_factory: pytest.TempPathFactory,
    grid: Grid,
    scans_of: Callable[..., list[StoredScan]],
) -> Path:
    """Ten dry scans from 2024-06-01 00:00 on a grid of 33 × 40. Read only."""
    path = tmp_path_factory.mktemp("archives") / "dry.icechunk"
    small = Grid(x=np.arange(40) * 500.0, y=-np.arange(33) * 500.0, crs_wkt=grid.crs_wkt)
    scans = scans_of(np.zeros((10, *small.shape), dtype=np.uint8), "2024-06-01")
    ArchiveWriter(path, pd.Timedelta("5min"), {"name": "dry"}).commit(small, scans, [], "dry")
    return path
