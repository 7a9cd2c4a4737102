"""A pass over very many files, whose names are not read for times, finds the same new files."""

import os
import shutil

import pytest

from squall.datasets.archive.archive import Archive
from squall.pipeline.ingest import new_files
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.new_files import list_files
from tests.pipeline.tiny_radar import (
    CONFIG,
    FIRST,
    STEP,
    config_with,
    path_of,
    rain,
    run,
    write_file,
    write_scans,
)


@pytest.fixture
def radar(tmp_path):
    """Files that gave a scan, were rejected, superseded, or re-issued since; one is new."""
    folder = tmp_path / "radar"
    files = write_scans(folder, 12)
    files[3].write_bytes(b"broken")
    files[5].write_bytes(b"broken")
    shutil.copy(files[0], path_of(folder, FIRST, "_copy"))
    write_file(path_of(folder, FIRST + 2 * STEP, "_v2"), rain(1, 9)[0], FIRST + 2 * STEP)
    run(tmp_path / "a.icechunk", folder / "*.nc")
    write_file(files[3], rain(1, 7)[0], FIRST + 3 * STEP)  # is whole now
    os.utime(files[8], (0, 0))
    write_scans(folder, 1, FIRST + 20 * STEP)
    return folder


@pytest.mark.parametrize("config", [CONFIG, config_with(missing_values=[7])], ids=["same", "other"])
@pytest.mark.parametrize("period", [{}, {"until": FIRST + 6 * STEP}], ids=["all", "until"])
def test_the_same_files_are_new(config, period, radar, tmp_path, monkeypatch):
    archive = Archive.open(tmp_path / "a.icechunk")
    asked = IngestConfig(
        source=config, archive=str(tmp_path / "a.icechunk"), files=(f"{radar}/*.nc",), **period
    )
    few = list_files(asked, archive)
    monkeypatch.setattr(new_files, "MANY_FILES", 0)
    many = list_files(asked, archive)
    assert many == few
    names = [request.file.name for request in few.new]
    times = [FIRST + 3 * STEP, FIRST + 8 * STEP, FIRST + 20 * STEP]
    if config is CONFIG and not period:
        assert names == [path_of(radar, time).name for time in times]
    assert path_of(radar, FIRST + 3 * STEP).name in names
    assert (path_of(radar, FIRST + 5 * STEP).name in names) == (config is not CONFIG)
