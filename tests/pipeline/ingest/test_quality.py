"""Quality rules: what they reject and hide, and which time slots rejected scans get."""

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import MISSING, OK, REJECTED
from squall.datasets.coding import RAIN_CODE
from tests.pipeline.tiny_radar import (
    FIRST,
    SIZE,
    STEP,
    config_with,
    path_of,
    rain,
    run,
    scan_at,
    write_file,
    write_scans,
)


def test_the_report_counts_rejections_by_rule(radar, archive, tmp_path):
    numbers = rain(6)
    numbers[0, :2, :3] = 15_000  # 6 of 256 pixels are above 100 mm/h: they are hidden
    numbers[1, :8] = 15_000  # half of the pixels: the scan is rejected
    numbers[2, 2:] = 65535
    mask = np.zeros((SIZE, SIZE))
    mask[4, :5] = 1
    clutter = xr.Dataset({"clutter": (("y", "x"), mask)}, {"y": -np.arange(SIZE), "x": range(SIZE)})
    clutter.to_netcdf(tmp_path / "clutter.nc4")
    for i, scan in enumerate(numbers[:4]):
        write_file(path_of(radar, FIRST + i * STEP), scan, FIRST + i * STEP)
    write_file(path_of(radar, FIRST + 4 * STEP), numbers[4], FIRST - pd.Timedelta("1D"))
    late = FIRST + 5 * STEP
    write_file(path_of(radar, late), numbers[5], late + pd.Timedelta("100s"))
    quality = {
        "highest_mm_h": 100.0,
        "highest_share": 0.05,
        "least_observed_share": 0.5,
        "clutter_mask": str(tmp_path / "clutter.nc4"),
    }
    report = run(archive, radar / "*.nc", config=config_with(quality=quality))
    assert report.ingested == 2
    assert report.rejected_by_rule == {
        "physical range": 1,
        "observed share": 1,
        "name and time": 1,
        "off the step": 1,
    }
    assert report.masked_px["physical range"] == 6
    assert report.masked_px["clutter mask"] >= 10
    assert (scan_at(archive, 0)[:2, :3] == RAIN_CODE.NOT_OBSERVED).all()
    assert (scan_at(archive, 3)[4, :5] == RAIN_CODE.NOT_OBSERVED).all()
    opened = Archive.open(archive)
    first = opened.index_of(FIRST)
    assert opened.status[first : first + 4].tolist() == [OK, REJECTED, REJECTED, OK]


def test_a_clutter_mask_without_coordinates_has_the_orientation_of_the_archive(
    radar, archive, tmp_path
):
    write_scans(radar, 1)
    mask = np.zeros((SIZE, SIZE), np.int8)
    mask[4, :5] = 1
    xr.Dataset({"clutter": (("y", "x"), mask)}).to_netcdf(tmp_path / "clutter.nc4")
    quality = {"clutter_mask": str(tmp_path / "clutter.nc4")}
    run(archive, radar / "*.nc", config=config_with(quality=quality))
    assert np.array_equal(scan_at(archive, 0) == RAIN_CODE.NOT_OBSERVED, mask == 1)


def test_a_wrong_year_in_a_file_name_does_not_extend_the_archive(radar, archive):
    write_scans(radar, 3)
    (radar / "rain_19800601T0000.nc").write_bytes(b"broken")
    report = run(archive, radar / "*.nc")
    assert (report.ingested, len(report.rejected)) == (3, 1)
    opened = Archive.open(archive)
    assert opened.status.tolist() == [OK] * 3
    assert [r.time for r in opened.rejections] == [pd.Timestamp("1980-06-01")]
    assert run(archive, radar / "*.nc").standing == report.rejected


def test_a_rejected_scan_near_other_scans_gets_a_time_slot(radar, archive):
    write_scans(radar, 2)
    path_of(radar, FIRST + 3 * STEP).write_bytes(b"broken")
    run(archive, radar / "*.nc")
    assert Archive.open(archive).status.tolist() == [OK, OK, MISSING, REJECTED]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("keys", "kept"), [({}, 0), ({"accumulation": "1h"}, 1)])
def test_sums_of_an_hour_do_not_enter_an_archive_of_sums_of_five_minutes(
    radar, archive, keys, kept, order
):
    lengths = [STEP, pd.Timedelta("1h")]
    paths = []
    for i, length in enumerate(lengths):
        time = FIRST + i * STEP
        path = write_file(path_of(radar, time), np.full((SIZE, SIZE), 100), time, units="mm")
        with netCDF4.Dataset(path, "a") as file:
            start = file.createVariable("start_time", "f8", ("time",))
            start.units = "seconds since 1970-01-01"
            start[:] = (time - length).timestamp()
        paths.append(path)
    config = config_with(**keys)
    reports = [run(archive, paths[i], config=config) for i in order]
    rejected = [rejection for report in reports for rejection in report.rejected]
    assert [rejection.rule for rejection in rejected] == ["other interval"]
    opened = Archive.open(archive)
    time = FIRST + kept * STEP
    assert opened.times[opened.status == OK].tolist() == [time]
    rate = 12.0 if kept == 0 else 1.0
    np.testing.assert_allclose(opened.read(opened.index_of(time), 1), rate, rtol=0.016)
