"""Files of several formats in one source: those that are read are named, not hidden."""

import json
import logging
from pathlib import Path

import h5py
import pytest

from squall.datasets.radar.network_config import RadarNetworkConfig
from tests.pipeline.tiny_radar import FIRST, SIZE, STEP, config_with, path_of, rain, run, write_file

EDGE = SIZE * 1000
CONFIG = config_with(
    units="mm h-1",
    missing_values=[655.35],
    grid={"crs": "EPSG:3035", "x0": 0, "y0": EDGE, "dx": 1000, "dy": -1000, "nx": SIZE, "ny": SIZE},
)


@pytest.fixture
def mixed(radar: Path) -> Path:
    """A folder with three netCDF files and one HDF5 file of no convention, which can be read."""
    scans = rain(4)
    for index in (0, 1, 3):
        time = FIRST + index * STEP
        write_file(path_of(radar, time), scans[index], time)
    with h5py.File(path_of(radar, FIRST + 2 * STEP), "w") as root:
        root["rain"] = scans[2]
        root["rain"].attrs["scale_factor"] = 0.01
    return radar


def test_files_of_another_format_are_named(
    mixed: Path, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        report = run(archive, mixed / "*.nc", config=CONFIG)
    name = path_of(mixed, FIRST + 2 * STEP).name
    assert (report.ingested, report.complete) == (4, True)
    assert dict(report.formats) == {"netCDF": 3, "plain HDF5": 1}
    assert "1 of another format (plain HDF5)" in str(report)
    written = json.loads(json.dumps(report.as_dict()))
    assert written["formats"] == {"netCDF": 3, "plain HDF5": 1}
    assert [Path(file).name for file in written["other_formats"]["plain HDF5"]] == [name]
    (message,) = [r.getMessage() for r in caplog.records if "plain HDF5" in r.getMessage()]
    assert message.startswith("1 of 4 files are plain HDF5, and most are netCDF")
    assert name in message


def test_files_of_one_format_give_no_warning(
    mixed: Path, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path_of(mixed, FIRST + 2 * STEP).unlink()
    with caplog.at_level(logging.WARNING):
        report = run(archive, mixed / "*.nc", config=CONFIG)
    assert report.other_formats == {}
    assert not [record for record in caplog.records if "netCDF" in record.getMessage()]


def test_a_format_of_the_configuration_is_not_questioned(mixed: Path, archive: Path) -> None:
    named = RadarNetworkConfig(**CONFIG.model_dump(exclude_unset=True) | {"format": "hdf5"})
    report = run(archive, mixed / "*.nc", config=named)
    # the other files hold three dimensions
    assert (report.ingested, len(report.rejected), dict(report.formats)) == (1, 3, {})
