"""Times in file names, and times on the regular step."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.errors import DataError
from squall.datasets.radar.file_times import (
    accumulation_times,
    check_interval,
    dates_in_name,
    snap_to_step,
    time_from_name,
)
from squall.datasets.radar.quality import (
    NAME_AND_TIME,
    OFF_STEP,
    OTHER_INTERVAL,
    QualityError,
)
from squall.datasets.radar.radar_file import read_file
from tests.datasets.radar.radar_files import (
    NOON,
    RATE,
    Write,
    assert_rate,
    config,
    scan_of,
)


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("66_20240601_120000.prcp-c10.nc", "%Y%m%d_%H%M%S", "2024-06-01T12:00"),
        ("2024153.1200.nc", "%Y%j.%H%M", "2024-06-01T12:00"),
        ("VMI_1717243200000.h5", "VMI_%s", "2024-06-01T12:00"),
        ("VMI_171724320.h5", "VMI_%s", None),
        ("radar(20240601)1200.nc", "(%Y%m%d)%H%M", "2024-06-01T12:00"),
        ("20240601_120020.nc", "%Y%m%d_%H%M%S", "2024-06-01T12:00"),  # 20 s late: snapped
        ("20240601_120200.nc", "%Y%m%d_%H%M%S", None),  # 2 min late: no scan of this archive
        ("20241301_120000.nc", "%Y%m%d_%H%M%S", None),  # no such month
        ("latest.nc", "%Y%m%d_%H%M%S", None),
        ("20240601_120000.nc", None, None),
        ("raa01-rw_10000-2406011200-dwd---bin", "raa01-rw_10000-%y%m%d%H%M", "2024-06-01T12:00"),
        ("raa01-rw_10000-2406011200-dwd---bin", "%y%m%d%H%M", "2024-06-01T12:00"),
        ("AQC241531200F_00005.gif", "AQC%y%j%H%M", "2024-06-01T12:00"),
        ("CPC2415312004_00060.h5", "CPC%y%j%H%M", "2024-06-01T12:00"),  # another digit follows
        ("rx_9906011200.bin", "_%y%m%d%H%M", "1999-06-01T12:00"),
        ("rx_202406011200.bin", "%y%m%d%H%M", None),  # would be June 2020 with month 24
        ("rx_201208101200.bin", "%y%m%d%H%M", None),  # not 2020-12-08 10:12
        ("rx_2406011200123.bin", "%y%m%d%H%M", None),
    ],
)
def test_times_in_names(name: str, pattern: str | None, expected: str | None) -> None:
    time = time_from_name(f"/data/2020/01/{name}", config(time_in_name=pattern))
    assert time == (None if expected is None else pd.Timestamp(expected))


@pytest.mark.parametrize("off_s", [-30, -1, 0, 29, 30])
def test_times_near_the_step_are_snapped(tmp_path: Path, write_radar: Write, off_s: int) -> None:
    time = (NOON + pd.Timedelta(seconds=off_s)).isoformat()
    assert_rate(scan_of(write_radar(tmp_path / "a.nc", RATE, times=(time,))), RATE)


def test_times_off_the_step_are_rejected(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(
        tmp_path / "a.nc",
        np.stack([RATE, RATE]),
        times=("2024-06-01T12:00", "2024-06-01T12:06:31"),
    )
    report = read_file(path, config())
    assert [scan.time for scan in report.scans] == [NOON]
    (rejected,) = report.rejected
    time, reason = rejected.time, rejected.reason
    assert time is None
    assert "12:06:31 is 91 s off the step of 5 min" in reason
    assert "set 'step', 'phase'" in reason
    assert len(read_file(path, config(snap_tolerance="100s")).scans) == 2


@pytest.mark.parametrize("time", ["1970-01-01T00:00", "2199-01-01T00:00"])
def test_an_impossible_time_is_rejected(tmp_path: Path, write_radar: Write, time: str) -> None:
    report = read_file(write_radar(tmp_path / "a.nc", RATE, times=(time,)), config())
    (rejected,) = report.rejected
    slot, reason = rejected.time, rejected.reason
    assert slot is None
    assert "is impossible: before 1975 or in the future" in reason


def test_scans_off_the_full_hour_need_a_phase(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, times=("2024-06-01T12:02",))
    assert read_file(path, config()).scans == []
    (scan,) = read_file(path, config(phase="2min")).scans
    assert scan.time == pd.Timestamp("2024-06-01T12:02")


ERAS = {
    "time_in_name": "old_%Y%m%d%H%M",
    "eras": [
        {"since": "2024-06-01", "time_in_name": "new_%Y%m%d_%H%M"},
        {
            "since": "2024-07-01",
            "time_in_name": "new_%Y%m%d_%H%M",
            "phase": "0min",
            "step": "10min",
        },
    ],
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("old_202405312355.nc", "2024-05-31T23:55"),
        ("new_20240601_0000.nc", "2024-06-01T00:00"),
        ("new_20240630_2355.nc", "2024-06-30T23:55"),
        ("new_20240701_0010.nc", "2024-07-01T00:10"),
        ("new_20240701_0005.nc", None),  # off the step of its era
        ("old_202406010000.nc", None),  # at this time files have the names of the next era
        ("new_20240531_2355.nc", None),
        ("new_19700101_0000.nc", None),
    ],
)
def test_each_era_has_its_own_pattern_of_names(name: str, expected: str | None) -> None:
    time = time_from_name(f"s3://bucket/2024/{name}", config(**ERAS))
    assert time == (None if expected is None else pd.Timestamp(expected))


def test_a_scan_midway_between_two_steps_is_rejected() -> None:
    settings = config(snap_tolerance="149s")
    assert snap_to_step(NOON + pd.Timedelta("149s"), settings) == NOON
    with pytest.raises(QualityError, match="150 s off the step of 5 min") as caught:
        snap_to_step(NOON + pd.Timedelta("150s"), settings)
    assert caught.value.rule == OFF_STEP


@given(st.integers(0, 10**6), st.integers(-30, 30), st.sampled_from(["0min", "2min", "4min"]))
def test_a_time_near_a_step_is_snapped_to_it(number: int, off_s: int, phase: str) -> None:
    settings = config(phase=phase)
    exact = pd.Timestamp("2014-01-01") + number * pd.Timedelta("5min") + pd.Timedelta(phase)
    assert snap_to_step(exact + pd.Timedelta(seconds=off_s), settings) == exact


@pytest.mark.parametrize(
    ("name", "dates"),
    [
        ("radar_20240601.nc", ["2024-06-01"]),
        ("radar_202406011200.nc", ["2024-06-01"]),
        ("radar_20240601120030.nc", ["2024-06-01"]),
        ("radar_20240601T1200Z.nc", ["2024-06-01"]),
        ("LOT_2024_06_01_12_14_47", ["2024-06-01"]),
        ("2024-06-01.v20200229.nc", ["2024-06-01", "2020-02-29"]),
        ("2024.0601.nc", []),
        ("VMI_1744824600000.h5", []),  # milliseconds
        ("2024060112003.nc", []),
        ("CPC2335513304_00060.001.h5", []),
        ("radar_20240631.nc", []),
        ("latest.nc", []),
    ],
)
def test_dates_in_names(name: str, dates: list[str]) -> None:
    assert dates_in_name(f"/data/20200101/{name}") == [pd.Timestamp(date) for date in dates]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("radar_20240601.nc", True),
        ("radar_20240531.nc", True),  # perhaps the day of another time zone
        ("radar_20240602.nc", True),
        ("radar_20240604.nc", False),
        ("radar_20240529.nc", False),
        ("radar_20230601_1200.nc", False),
        ("radar_20000101.nc", False),
        ("radar_20240601.v20200101.nc", True),
        ("latest.nc", True),
    ],
)
def test_a_date_in_the_name_checks_the_time_in_the_file(
    tmp_path: Path, write_radar: Write, name: str, kept: bool
) -> None:
    """Nothing in the configuration says that the name holds a date."""
    path = write_radar(tmp_path / name, RATE)
    if kept:
        assert_rate(scan_of(path), RATE)
        return
    report = read_file(path, config())
    (rejected,) = report.rejected
    assert (report.scans, rejected.rule, rejected.time) == ([], NAME_AND_TIME, NOON)
    days = rejected.reason.split("for example '")[1].split("'")[0]
    assert_rate(scan_of(path, config(quality={"name_tolerance": days})), RATE)


@pytest.mark.parametrize(("other", "span", "kept"), [
    ("2023-06-02T12:00", None, 2), ("2023-05-30T12:00", None, 1), ("2019-06-01T12:00", None, 1),
    ("2024-05-30T12:00", "1D", 1), ("2024-06-02T12:00", "1D", 2), ("2019-06-01T12:00", "3650D", 2),
])  # fmt: skip
def test_one_scan_of_a_wrong_year_does_not_pass_with_the_others(
    tmp_path: Path, write_radar: Write, other: str, span: str | None, kept: int
) -> None:
    times = (other, "2024-06-01T12:00")
    path = write_radar(tmp_path / "radar_20240601_1200.nc", np.stack([RATE, RATE]), times=times)
    settings = config(time_in_name="%Y%m%d_%H%M", **({"file_span": span} if span else {}))
    report = read_file(path, settings)
    assert len(report.scans) == kept
    assert [r.rule for r in report.rejected] == [NAME_AND_TIME] * (2 - kept)
    assert all("'file_span: 3650D'" in r.reason for r in report.rejected)


def test_a_start_with_or_after_its_end() -> None:
    """A start that equals the end counts as none."""
    hour = pd.Timedelta("1h")
    settings = config(accumulation="5min")
    assert accumulation_times(NOON - hour, NOON, settings) == (NOON, hour)
    assert accumulation_times(NOON, NOON, settings) == (NOON, pd.Timedelta("5min"))
    assert accumulation_times(None, NOON, settings) == (NOON, pd.Timedelta("5min"))
    with pytest.raises(DataError, match="ends before"):
        accumulation_times(NOON + hour, NOON, settings)


@pytest.mark.parametrize(
    ("interval", "units", "keys", "fits"),
    [
        ("5min", "mm", {}, True),
        ("6min", "mm", {}, True),  # times that are rounded to minutes
        ("1h", "mm", {}, False),
        ("1min", "mm", {}, False),
        ("1h", "mm", {"accumulation": "1h"}, True),  # sums of an hour every 5 minutes
        ("5min", "mm", {"accumulation": "1h"}, False),
        ("1h", "mm h-1", {}, False),  # a mean rate
        ("1min", "mm h-1", {}, True),
        ("1h", "mm h-1", {"accumulation": "1h"}, True),
        ("1h", "mm", {"units": "mm h-1", "step": "1h"}, True),
        (None, "mm", {}, True),
    ],
)
def test_intervals_of_an_archive_are_its_step_or_the_configured_ones(
    interval: str | None, units: str, keys: dict[str, str], fits: bool
) -> None:
    given = None if interval is None else pd.Timedelta(interval)
    settings = config(**keys)
    if fits:
        check_interval(given, settings.units or units, settings)
        return
    with pytest.raises(QualityError, match="must not stand in one archive") as caught:
        check_interval(given, units, settings)
    assert caught.value.rule == OTHER_INTERVAL
    minutes = given / pd.Timedelta("1min") if given is not None else 0
    assert f"'accumulation: {minutes:g}min'" in str(caught.value)
