"""Units of time in CF netCDF files: time zones, calendars and numbers with too few digits."""

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest

from squall.datasets.radar.radar_file import read_file
from squall.datasets.times import check_utc
from tests.datasets.radar.radar_files import (
    RATE,
    Write,
    assert_rate,
    config,
    rejection_of,
    scan_of,
)

NOON_S = 12 * 3600


def file_with_time(
    write_radar: Write, path: Path, number: Any, units: str, **attributes: str
) -> str:
    """A file whose only time is a number in these units."""
    write_radar(path, RATE, time_name=None, dims=("y", "x"))
    with netCDF4.Dataset(path, "a") as file:
        number = np.asarray(number)
        time = file.createVariable("time", number.dtype, ())
        time[...] = number
        time.setncatts({"standard_name": "time", "units": units, **attributes})
    return str(path)


@pytest.mark.parametrize(
    ("origin", "seconds"),
    [
        ("2024-06-01 00:00:00", NOON_S),
        ("2024-06-01", NOON_S),
        ("2024-06-01T00:00:00Z", NOON_S),
        ("2024-06-01 00:00:00.0 UTC", NOON_S),
        ("2024-6-1 0:0:0 GMT", NOON_S),
        ("2024-06-01 00:00 +02:00", NOON_S + 7200),
        ("2024-06-01 00:00:00 +0200", NOON_S + 7200),
        ("2024-06-01T00:00:00+2:00", NOON_S + 7200),
        ("2024-06-01 02 +2", NOON_S),
        ("2024-06-01 00:00:00 -05:30", NOON_S - 5 * 3600 - 1800),
    ],
)
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_an_offset_in_numbers_is_converted(
    tmp_path: Path, write_radar: Write, origin: str, seconds: int, dtype: type
) -> None:
    path = file_with_time(write_radar, tmp_path / "a.nc", dtype(seconds), f"seconds since {origin}")
    assert_rate(scan_of(path), RATE)


@pytest.mark.parametrize(
    "origin",
    [
        "2024-06-01 00:00:00 CEST",
        "2024-06-01 00:00:00 MST",
        "2024-06-01 00:00:00CET",
        "2024-06-01 00:00:00 Europe/Rome",
        "2024-06-01 00:00:00 local",
        "2024-06-01 00:00:00 UTC+2",
        "2024-06-01 00:00:00 PM",
        "2024-06-01 00:00:00 +530",
        "2024-06-01 00:00:00 +15:00",
        "2024-06-01 +02:00",
        "2024-06 -2",
        "06-01-2024 00:00:00",
    ],
)
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_another_time_zone_is_refused(
    tmp_path: Path, write_radar: Write, origin: str, dtype: type
) -> None:
    path = file_with_time(write_radar, tmp_path / "a.nc", dtype(NOON_S), f"seconds since {origin}")
    reason = rejection_of(path)
    assert "time variable 'time' cannot be used" in reason
    assert origin in reason


def test_the_advice_helps_for_another_time_zone(tmp_path: Path, write_radar: Write) -> None:
    units = "seconds since 2024-06-01 02:00:00"
    path = file_with_time(write_radar, tmp_path / "a.nc", NOON_S, f"{units} CEST")
    with netCDF4.Dataset(path, "a") as file:
        utc = file.createVariable("time_utc", "i4", ())
        utc[...] = NOON_S
        utc.units = "seconds since 2024-06-01"
    assert "name another variable as 'time_variable'" in rejection_of(path)
    assert_rate(scan_of(path, config(time_variable="time_utc")), RATE)
    with netCDF4.Dataset(path, "a") as file:
        file["time"].units = f"{units} +02:00"
    assert_rate(scan_of(path), RATE)


@pytest.mark.parametrize("name", ["time_zone", "timezone"])
def test_an_attribute_that_names_another_time_zone_is_refused(
    tmp_path: Path, write_radar: Write, name: str
) -> None:
    units = "seconds since 2024-06-01"
    path = file_with_time(write_radar, tmp_path / "a.nc", NOON_S, units, **{name: "UTC"})
    assert_rate(scan_of(path), RATE)
    path = file_with_time(write_radar, tmp_path / "b.nc", NOON_S, units, **{name: "Asia/Tokyo"})
    assert f"attribute {name} is 'Asia/Tokyo', not UTC" in rejection_of(path)


@pytest.mark.parametrize("bounds", [False, True])
def test_starts_and_bounds_in_another_time_zone_are_refused(
    tmp_path: Path, write_radar: Write, bounds: bool
) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, units="mm", interval="10min", bounds=bounds)
    name = "time_bounds" if bounds else "start_time"
    with netCDF4.Dataset(path, "a") as file:
        file[name].units = "seconds since 1970-01-01 00:00:00 CEST"
    assert f"time variable '{name}' cannot be used" in rejection_of(path)


@pytest.mark.parametrize("calendar", ["standard", "gregorian", "proleptic_gregorian", "Gregorian"])
def test_the_usual_calendars_are_read(tmp_path: Path, write_radar: Write, calendar: str) -> None:
    units = "seconds since 2024-06-01"
    path = file_with_time(write_radar, tmp_path / "a.nc", NOON_S, units, calendar=calendar)
    assert_rate(scan_of(path), RATE)


@pytest.mark.parametrize("calendar", ["360_day", "noleap", "all_leap", "365_day", "julian", "none"])
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_other_calendars_are_refused(
    tmp_path: Path, write_radar: Write, calendar: str, dtype: type
) -> None:
    units = "seconds since 2024-06-01"
    path = file_with_time(write_radar, tmp_path / "a.nc", dtype(NOON_S), units, calendar=calendar)
    reason = rejection_of(path)
    assert "calendar" in reason
    assert calendar in reason


def test_times_with_too_few_digits_are_refused(tmp_path: Path, write_radar: Write) -> None:
    # 12:05 would be stored as 12:00
    days = (pd.Timestamp("2024-06-01T12:05") - pd.Timestamp("1970-01-01")) / pd.Timedelta("1D")
    days += 719_164  # from the year 1 to 1970, in the proleptic calendar
    path = file_with_time(
        write_radar, tmp_path / "a.nc", np.float32(days), "days since 0001-01-01",
        calendar="proleptic_gregorian",
    )  # fmt: skip
    reason = rejection_of(path)
    assert "is stored as float32, which holds 'days since 0001-01-01' only to 90 min" in reason


def test_times_in_single_precision_with_enough_digits(tmp_path: Path, write_radar: Write) -> None:
    units = "hours since 2024-06-01"
    path = file_with_time(write_radar, tmp_path / "a.nc", np.float32(12 + 1 / 12), units)
    (scan,) = read_file(path, config()).scans
    assert scan.time == pd.Timestamp("2024-06-01T12:05")


def test_attributes_without_an_origin_say_nothing_of_the_zone() -> None:
    check_utc({})
    check_utc({"units": "seconds"})
    check_utc({"units": 3})
