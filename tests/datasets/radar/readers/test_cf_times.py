"""Times of CF netCDF files: valid times, bounds, starts, several scans in a file."""

from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.radar_file import read_file
from tests.datasets.radar.radar_files import (
    NOON,
    RATE,
    Write,
    assert_rate,
    config,
    rejection_of,
    scan_of,
)


def test_several_scans_in_a_file(tmp_path: Path, write_radar: Write) -> None:
    times = ("2024-06-01T12:00", "2024-06-01T12:05", "2024-06-01T12:15")
    path = write_radar(tmp_path / "a.nc", np.stack([RATE, RATE + 1, RATE + 2]), times=times)
    report = read_file(path, config())
    assert [scan.time for scan in report.scans] == [pd.Timestamp(t) for t in times]
    for offset, scan in enumerate(report.scans):
        assert_rate(RAIN_CODE.decode(scan.codes), RATE + offset)


@pytest.mark.parametrize("scalar", [False, True])
@pytest.mark.parametrize("name", ["time", "valid_time", "nominal"])
def test_the_time_variable_is_found_by_its_standard_name(
    tmp_path: Path, write_radar: Write, name: str, scalar: bool
) -> None:
    dims = ("y", "x") if scalar else ("time", "y", "x")
    path = write_radar(tmp_path / "a.nc", RATE, time_name=name, scalar_time=scalar, dims=dims)
    assert_rate(scan_of(path), RATE)


def test_the_configuration_names_the_time(tmp_path: Path, write_radar: Write) -> None:
    unnamed = {"standard_name": "", "units": "seconds since 1970-01-01"}
    path = write_radar(tmp_path / "a.nc", RATE, time_name="stamp", time_attributes=unnamed)
    assert "has no time variable" in rejection_of(path)
    assert_rate(scan_of(path, config(time_variable="stamp")), RATE)
    assert "has no time variable 'timestamp'" in rejection_of(
        path, config(time_variable="timestamp")
    )


def test_the_time_in_the_name(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "radar_20240601-1200.nc", RATE, time_name=None)
    assert_rate(scan_of(path, config(time_in_name="_%Y%m%d-%H%M")), RATE)
    reason = rejection_of(path)
    assert "has no time variable" in reason
    assert "set 'time_variable' or 'time_in_name'" in reason


def test_the_time_in_a_name_may_mark_the_start(tmp_path: Path, write_radar: Write) -> None:
    marks = {"time_in_name": "%Y%m%d%H%M", "time_marks": "start", "accumulation": "10min"}
    path = write_radar(tmp_path / "202406011150.nc", RATE, time_name=None)
    assert_rate(scan_of(path, config(**marks)), RATE)
    # a broken file with this name is rejected at the same time
    Path(path).write_bytes(b"")
    assert read_file(path, config(**marks)).rejected[0].time == NOON


@pytest.mark.parametrize("dims", [("y", "x"), ("time", "y", "x")])
@pytest.mark.parametrize("bounds", [False, True])
def test_the_interval_from_bounds_or_a_start(
    tmp_path: Path, write_radar: Write, bounds: bool, dims: tuple[str, ...]
) -> None:
    path = write_radar(
        tmp_path / "a.nc",
        RATE,
        units="mm",
        interval="15min",
        bounds=bounds,
        dims=dims,
        scalar_time="time" not in dims,
    )
    assert_rate(scan_of(path, config(step="15min")), RATE * 4)
    assert_rate(scan_of(path, config(accumulation="15min")), RATE * 4)
    reason = rejection_of(path, config(step="15min", accumulation="5min"))
    assert "holds a sum over 15 min, but 'accumulation' of the network configuration is 5 min" in (
        reason
    )


def test_the_later_bound_is_the_valid_time(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, units="mm", interval="10min", bounds=True)
    with netCDF4.Dataset(path, "a") as file:
        file["time"][:] = file["time"][:] - 600  # now the time marks the start
    assert_rate(scan_of(path, config(accumulation="10min")), RATE * 6)


def test_each_scan_has_its_own_interval(tmp_path: Path, write_radar: Write) -> None:
    times = ("2024-06-01T12:00", "2024-06-01T12:05")
    path = write_radar(
        tmp_path / "a.nc", np.stack([RATE, RATE]), units="mm", times=times, interval="5min"
    )
    with netCDF4.Dataset(path, "a") as file:
        file["start_time"][0] = file["time"][0] - 360
    first, second = read_file(path, config()).scans
    assert_rate(RAIN_CODE.decode(first.codes), RATE * 10)
    assert_rate(RAIN_CODE.decode(second.codes), RATE * 12)


def test_the_interval_from_the_configuration(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, units="kg m-2")
    assert_rate(scan_of(path, config(accumulation="30min")), RATE * 2)
    report = read_file(path, config())
    (rejected,) = report.rejected
    time, reason = rejected.time, rejected.reason
    assert time == NOON
    assert "set 'accumulation'" in reason


def test_times_that_mark_the_start(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, units="mm", times=("2024-06-01T11:50",))
    marks = config(time_marks="start", accumulation="10min")
    assert_rate(scan_of(path, marks), RATE * 6)


def test_a_start_variable_of_another_name(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, units="mm", interval="10min")
    with netCDF4.Dataset(path, "a") as file:
        file.renameVariable("start_time", "accumulation_start")
    assert "set 'accumulation'" in rejection_of(path)
    settings = config(start_variable="accumulation_start", accumulation="10min")
    assert_rate(scan_of(path, settings), RATE * 6)


def test_a_start_time_of_rates_is_ignored(tmp_path: Path, write_radar: Write) -> None:
    times = ("2024-06-01T12:00", "2024-06-01T12:05")
    path = write_radar(tmp_path / "a.nc", np.stack([RATE, RATE]), times=times)
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("start_time", "i8", ())[:] = 0
        file["start_time"].units = "seconds since 1970-01-01"
    assert len(read_file(path, config()).scans) == 2
    path = write_radar(tmp_path / "b.nc", np.stack([RATE, RATE]), times=times, units="mm")
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("start_time", "i8", ())[:] = 0
        file["start_time"].units = "seconds since 1970-01-01"
    assert "has 2 times in 'time' but 1 in 'start_time'" in rejection_of(path)


def test_missing_bounds_are_rejected(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, units="mm", interval="10min", bounds=True)
    with netCDF4.Dataset(path, "a") as file:
        file["time_bounds"][0, 0] = -9e9
    assert "the scan's time is missing in the file" in rejection_of(path)
