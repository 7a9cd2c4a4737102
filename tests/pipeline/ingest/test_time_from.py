"""Time from a file's name in place of that inside (`time_from`), and files left out (`exclude`)."""

import netCDF4
import numpy as np
import pytest

from squall.datasets.sources.find import find_files
from tests.pipeline.tiny_radar import (
    FIRST,
    STEP,
    codes_of,
    config_with,
    path_of,
    rain,
    run,
    scan_at,
    write_file,
    write_scans,
)

BY_NAME = config_with(time_from="name")


@pytest.mark.parametrize("wrong_by", [STEP, 500 * STEP, -100_000 * STEP])
def test_the_time_in_the_name_overrules(radar, archive, wrong_by):
    scan = rain(1)
    write_file(path_of(radar, FIRST), scan, FIRST + wrong_by)
    report = run(archive, radar / "*.nc", config=BY_NAME)
    assert (report.ingested, report.complete) == (1, True)
    np.testing.assert_array_equal(scan_at(archive, 0), codes_of(scan[0]))


@pytest.mark.parametrize("units", ["1970-01-01T00:00 Europe/Rome", "yesterday"])
def test_the_time_in_the_name_replaces_one_that_cannot_be_read(radar, archive, units):
    path = write_file(path_of(radar, FIRST), rain(1), FIRST)
    with netCDF4.Dataset(path, "a") as file:
        file["time"].units = f"seconds since {units}"
    assert run(archive, radar / "*.nc", config=config_with(time_variable="time")).ingested == 0
    by_name = config_with(time_from="name", time_variable="time")
    assert run(archive, radar / "*.nc", config=by_name).ingested == 1


def test_the_time_in_the_name_replaces_a_time_variable_that_a_file_lacks(radar, archive):
    write_file(path_of(radar, FIRST), rain(1), FIRST)
    by_name = config_with(time_from="name", time_variable="valid_time")
    assert run(archive, radar / "*.nc", config=by_name).ingested == 1


def test_files_that_the_name_cannot_tell_are_refused(radar, archive):
    write_file(radar / "rain.nc", rain(1), FIRST)
    write_file(path_of(radar, FIRST), rain(2), FIRST)
    report = run(archive, radar / "*.nc", config=BY_NAME)
    reasons = sorted(rejected.reason for rejected in report.rejected)
    assert report.ingested == 0
    assert "has no time in its name" in reasons[0]
    assert "holds 2 scans" in reasons[1]


def test_it_needs_the_pattern_of_the_name():
    with pytest.raises(ValueError, match="time_from 'name' needs 'time_in_name'"):
        config_with(time_from="name", time_in_name=None)


@pytest.mark.parametrize(
    ("glob", "count"),
    [("rain_*T0000.nc", 3), ("*.nc", 0), ("*/old/*", 2), ("*/none/*", 4), ("old", 4)],
)
def test_excluded_files_are_left_out(tmp_path, glob, count):
    write_scans(tmp_path / "new", 2)
    write_scans(tmp_path / "old", 2, FIRST + 2 * STEP)
    assert len(find_files([f"{tmp_path}/**/*.nc"], exclude=[glob])) == count


def test_exclude_stands_beside_source_and_files(radar, archive):
    write_scans(radar, 3)
    config = config_with(exclude="*T0000.nc")
    report = run(archive, radar / "*.nc", config=config, exclude=("*T0005.nc",))
    assert (report.found, report.ingested) == (1, 1)
    assert run(archive, radar / "*.nc").ingested == 2
