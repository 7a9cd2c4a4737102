"""Reading one radar file into coded scans: reports, broken files and quality rules."""

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError
from squall.datasets.radar.formats import FORMATS, Format
from squall.datasets.radar.product import Product
from squall.datasets.radar.radar_file import file_digest, read_file
from squall.datasets.radar.readers.cf_netcdf import open_netcdf
from tests.datasets.radar.radar_files import (
    CLASSIC,
    NAME,
    NAMED,
    NOON,
    RATE,
    Write,
    assert_rate,
    config,
    rejection_of,
    scan_of,
)


def test_the_report_has_path_size_digest_and_grid(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE)
    report = read_file(path, config())
    assert report.path == path
    assert report.size == Path(path).stat().st_size
    assert report.digest == file_digest(path)
    assert len(report.digest) == 32
    assert report.grid is not None
    assert report.grid.shape == (2, 3)
    assert report.scans[0].codes.dtype == np.uint8
    other = write_radar(tmp_path / "b.nc", RATE + 1)
    assert file_digest(other) != report.digest


def test_a_scan_is_north_up_in_mm_per_hour(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE / 60, y=[0.0, 1000.0], units="mm min-1")
    assert_rate(scan_of(path), RATE[::-1])


@pytest.mark.parametrize("format", ["NETCDF4", *CLASSIC])
@pytest.mark.parametrize("unlimited", [False, True])
@pytest.mark.parametrize("kept", [0.02, 0.1, 0.3, 0.6, 0.9, 0.999])
def test_a_file_cut_off_anywhere_is_rejected(
    tmp_path: Path, write_radar: Write, format: str, unlimited: bool, kept: float
) -> None:
    numbers = np.full((1, 24, 32), 5.0, dtype=np.float32)
    path = Path(write_radar(tmp_path / NAME, numbers, format=format, unlimited=unlimited))
    assert read_file(str(path), config()).rejected == []
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    report = read_file(str(path), config(**NAMED))
    assert report.scans == []
    (rejected,) = report.rejected
    time, reason = rejected.time, rejected.reason
    assert time == NOON
    assert "cut off" in reason or "cannot be read as netCDF" in reason
    assert "\n" not in reason


def write_damaged(path: Path) -> None:
    """Write a file with zeros in the middle of the compressed numbers."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("y", 200)
        file.createDimension("x", 200)
        for name, size in (("y", 200), ("x", 200)):
            file.createVariable(name, "f8", (name,)).units = "m"
            file[name][:] = np.arange(size) * 1000.0
        rain = file.createVariable("rain", "f4", ("y", "x"), zlib=True)
        rain.units = "mm/h"
        rain[:] = np.random.default_rng(0).random((200, 200))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<html><body>503 Service unavailable</body></html>", "format is not recognised"),
        (b"CDF", "format is not recognised"),
        (b"CDF\x01" + bytes(range(256)) * 8, "header"),
        (b"\x89HDF\r\n\x1a\n" + bytes(2000), "cannot be read as netCDF"),
        (bytes(5000), "format is not recognised"),
    ],
)
def test_a_file_that_is_not_netcdf_is_rejected(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    report = read_file(str(path), config(**NAMED))
    assert report.scans == []
    assert report.size == len(content)
    (rejected,) = report.rejected
    time, reason = rejected.time, rejected.reason
    assert time == NOON
    assert message in reason


def test_damaged_numbers_are_rejected(tmp_path: Path) -> None:
    write_damaged(tmp_path / NAME)
    settings = config(crs="EPSG:3067", **NAMED)
    assert "data are damaged" in rejection_of(str(tmp_path / NAME), settings)


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_a_file_that_cannot_be_opened_raises(tmp_path: Path, kind: str) -> None:
    path = tmp_path / NAME
    if kind == "folder":
        path.mkdir()
    with pytest.raises(OSError, match=NAME):
        read_file(str(path), config(**NAMED))


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no such variable": ({"variable": "snow"}, "has no variable 'rain'; it has .*snow"),
    "a variable without a map": ({"dims": ("x",), "numbers": [1.0]}, "no map"),
    "unknown units": ({"units": "furlong"}, "units 'furlong' are no rain unit.*set 'units'"),
    "no units": ({"units": None}, "units '' are no rain unit"),
    "no grid mapping": ({"grid_mapping": None}, "has no grid_mapping; set 'crs'"),
    "broken crs_wkt": ({"grid_mapping": {"crs_wkt": "PROJCRS["}}, "'crs_wkt' is no valid CRS"),
    "unknown projection": (
        {"grid_mapping": {"grid_mapping_name": "flat"}},
        "'crs: EPSG:3035'",
    ),
    "coordinates in feet": ({"coordinate_units": "ft"}, "expected m or km"),
    "irregular coordinates": ({"x": [0.0, 1000.0, 5000.0]}, "x is not regular"),
    "missing coordinates": ({"x": [0.0, np.nan, 2000.0]}, "x must rise"),
    "NaT": ({"times": ("NaT",)}, "time variable 'time' is missing its value"),
    "NaT in the bounds": (
        {"times": ("NaT",), "interval": "5min", "bounds": True},
        "(time variable 'time'|time bounds 'time_bounds') (is|are) missing",
    ),
    "time is no time": (
        {"time_attributes": {"units": "hPa"}},
        "time variable 'time' is no CF time.*'hPa'",
    ),
    "times in another calendar": (
        {"time_attributes": {"calendar": "360_day"}},
        "no CF time in the standard calendar",
    ),
    "no time": ({"time_name": None}, "has no time variable"),
    "more maps than times": (
        {"dims": ("time", "level", "y", "x"), "numbers": np.stack([RATE, RATE])},
        "has 2 scans but 1 times",
    ),
    "accumulation without interval": ({"units": "mm"}, "needs its interval.*set 'accumulation'"),
    "accumulation over nothing": ({"units": "mm", "interval": "0min"}, "is not positive"),
    "negative values": ({"numbers": RATE - 1}, "value -1 mm h-1 is negative"),
    "infinite values": ({"numbers": np.where(RATE > 5, np.inf, RATE)}, "infinite values"),
    "fill of 9999 dBZ": ({"numbers": RATE + 9999, "units": "dBZ"}, "infinite values"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_gives_a_reason_and_no_exception(
    tmp_path: Path, write_radar: Write, what: str
) -> None:
    changes, message = BROKEN[what]
    changes = {"numbers": np.maximum(RATE, 0.1), **changes}
    path = write_radar(tmp_path / "radar.nc", changes.pop("numbers"), **changes)
    report = read_file(path, config())
    assert report.scans == []
    (rejected,) = report.rejected
    time, reason = rejected.time, rejected.reason
    assert time in (None, NOON)
    assert re.search(message, reason), reason
    assert not reason.startswith("cannot be read as netCDF")


WITHOUT_TIME = ("no time", "time is no time", "times in another calendar")


@pytest.mark.parametrize("what", [what for what in BROKEN if what not in WITHOUT_TIME])
def test_a_broken_file_is_rejected_at_the_time_in_its_name(
    tmp_path: Path, write_radar: Write, what: str
) -> None:
    changes, _ = BROKEN[what]
    changes = {"numbers": np.maximum(RATE, 0.1), **changes}
    path = write_radar(tmp_path / NAME, changes.pop("numbers"), **changes)
    (rejected,) = read_file(path, config(**NAMED)).rejected
    assert rejected.time == NOON


@pytest.mark.parametrize("what", WITHOUT_TIME)
def test_the_time_in_the_name_is_used_if_the_file_has_none(
    tmp_path: Path, write_radar: Write, what: str
) -> None:
    path = write_radar(tmp_path / NAME, RATE, **BROKEN[what][0])
    (scan,) = read_file(path, config(**NAMED)).scans
    assert scan.time == NOON


def test_a_file_with_another_day_in_its_name_is_rejected(
    tmp_path: Path, write_radar: Write
) -> None:
    path = write_radar(tmp_path / NAME, RATE, times=("2023-06-01T12:00",))
    report = read_file(path, config(**NAMED))
    assert report.scans == []
    assert "is far from 2024-06-01 12:00 in its name" in report.rejected[0].reason


def test_one_rejected_scan_does_not_affect_the_others(tmp_path: Path, write_radar: Write) -> None:
    times = ("2024-06-01T11:55", "2024-06-01T12:00", "2024-06-01T12:05")
    path = write_radar(tmp_path / "a.nc", np.stack([RATE, RATE - 5, RATE]), times=times)
    report = read_file(path, config())
    assert [scan.time for scan in report.scans] == [pd.Timestamp(times[0]), pd.Timestamp(times[2])]
    (rejected,) = report.rejected
    time, reason = rejected.time, rejected.reason
    assert time == NOON
    assert "value -5 mm h-1 is negative" in reason


# --- quality, eras and parts of files ----------------------------------------------------------


def a_day(path: Path, write_radar: Write, count: int = 12, **changes: Any) -> str:
    times = [(NOON + i * pd.Timedelta("5min")).isoformat() for i in range(count)]
    numbers = np.stack([RATE + i for i in range(count)])
    return write_radar(path, numbers, times=times, unlimited=True, **changes)


@pytest.mark.parametrize("format", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_a_file_is_read_in_parts(tmp_path: Path, write_radar: Write, format: str) -> None:
    path = a_day(tmp_path / "a.nc", write_radar, format=format)
    whole = read_file(path, config())
    assert len(whole.scans) == whole.scan_count == 12
    parts = [
        read_file(path, config(), first=0, count=5),
        read_file(path, config(), first=5, max_px=4 * 6 + 5),
        read_file(path, config(), first=9),
        read_file(path, config(), first=12),
    ]
    assert [len(report.scans) for report in parts] == [5, 4, 3, 0]
    assert {report.scan_count for report in parts} == {12}
    together = [scan for report in parts for scan in report.scans]
    for scan, expected in zip(together, whole.scans, strict=True):
        assert scan.time == expected.time
        np.testing.assert_array_equal(scan.codes, expected.codes)
        assert scan.measures.checksum == expected.measures.checksum
    report = read_file(path, config(), max_px=1)  # one scan is always read
    assert len(report.scans) == 1


def test_a_report_without_codes_is_small(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", np.random.default_rng(0).random((1, 200, 200)))
    report = read_file(path, config())
    light = report.without_codes()
    assert len(pickle.dumps(report)) > 40_000 > 8_000 > len(pickle.dumps(light))
    assert light.scans[0].codes is None
    assert light.scans[0].measures.checksum == report.scans[0].measures.checksum


def test_masked_pixels_are_counted_by_rule(tmp_path: Path, write_radar: Write) -> None:
    mask = tmp_path / "mask.nc"
    clutter = xr.DataArray(np.array([[0, 0, 1], [0, 0, 0]]), dims=("y", "x"))
    xr.Dataset({"clutter": clutter}).to_netcdf(mask)
    quality = {"highest_mm_h": 40, "highest_share": 0.2, "clutter_mask": mask}
    path = write_radar(tmp_path / "a.nc", RATE)
    report = read_file(path, config(quality=quality))
    assert report.masked_px == {"physical range": 1, "clutter mask": 1}
    expected = np.where((RATE > 40) | (clutter.values > 0), np.nan, RATE)
    assert_rate(RAIN_CODE.decode(report.scans[0].codes), expected)
    assert read_file(path, config()).masked_px == {}


@pytest.mark.parametrize(
    ("quality", "rule"),
    [
        ({"highest_mm_h": 1}, "physical range"),
        ({"least_observed_share": 0.9}, "observed share"),
    ],
)
def test_a_rejected_scan_names_its_rule(
    tmp_path: Path, write_radar: Write, quality: dict[str, Any], rule: str
) -> None:
    numbers = np.where(RATE == 10, np.nan, RATE)
    path = write_radar(tmp_path / "a.nc", numbers)
    (rejected,) = read_file(path, config(quality=quality)).rejected
    assert (rejected.time, rejected.rule) == (NOON, rule)


def test_a_missing_clutter_mask_is_a_configuration_error(
    tmp_path: Path, write_radar: Write
) -> None:
    """The configuration is wrong, and the file is not."""
    path = write_radar(tmp_path / "a.nc", RATE)
    with pytest.raises(ConfigError, match=r"absent.nc: is no clutter mask"):
        read_file(path, config(quality={"clutter_mask": tmp_path / "absent.nc"}))


def test_each_file_is_read_by_the_configuration_of_its_era(
    tmp_path: Path, write_radar: Write
) -> None:
    settings = config(
        time_in_name="old_%Y%m%d_%H%M",
        eras=[{"since": "2024-06-01T12:00", "units": "mm min-1", "time_in_name": "new_%Y%m%d%H%M"}],
    )
    old = write_radar(tmp_path / "old_20240601_1155.nc", RATE, times=["2024-06-01T11:55"])
    new = write_radar(tmp_path / "new_202406011200.nc", RATE / 60)
    for path in (old, new):
        (scan,) = read_file(path, settings).scans
        assert_rate(RAIN_CODE.decode(scan.codes), RATE)


@pytest.mark.parametrize("name", ["latest.nc", "radar_20240601_1202.nc"])
def test_a_file_without_a_time_in_its_name_is_rejected_within_an_era(
    tmp_path: Path, write_radar: Write, name: str
) -> None:
    """Read without the era's units, its rain would be sixty times too weak."""
    settings = config(**NAMED, eras=[{"since": "2024-06-01", "units": "mm min-1"}])
    (rejected,) = read_file(write_radar(tmp_path / name, RATE), settings).rejected
    assert rejected.rule == "name and time"
    assert "lies in one of the eras" in rejected.reason
    earlier = write_radar(tmp_path / name, RATE, times=["2024-05-31T23:55"])
    assert len(read_file(earlier, settings).scans) == 1


def test_an_era_on_another_grid_is_regridded_to_the_archive(
    tmp_path: Path, write_radar: Write
) -> None:
    settings = config(**NAMED, eras=[{"since": "2024-06-01", "regrid": "nearest"}])
    archive_grid = read_file(
        write_radar(
            tmp_path / "radar_20240531_1200.nc",
            RATE,
            times=["2024-05-31T12:00"],
            y=[1000.0, 0.0],
        ),
        settings,
    ).grid
    fine = RATE.repeat(2, axis=0).repeat(2, axis=1)
    path = write_radar(
        tmp_path / NAME, fine, x=np.arange(6) * 500.0 - 250, y=1250 - np.arange(4) * 500.0
    )
    report = read_file(path, settings, target_grid=archive_grid)
    assert report.grid is archive_grid
    assert_rate(RAIN_CODE.decode(report.scans[0].codes), RATE)
    plain = read_file(path, settings)
    assert plain.grid is not None
    assert plain.grid.shape == (4, 6)


def test_a_scan_with_another_shape_than_its_grid_is_rejected(
    tmp_path: Path, write_radar: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_radar(tmp_path / "a.nc", RATE)

    @contextmanager
    def crooked(path: str, settings: Any) -> Iterator[Product]:
        with open_netcdf(path, settings) as product:
            yield replace(product, read_stored=lambda index: product.read_stored(index)[:, :2])

    monkeypatch.setitem(FORMATS, "netcdf", Format("netCDF", crooked))
    (rejected,) = read_file(path, config(format="netcdf")).rejected
    assert "a scan of (2, 2) pixels is on a grid of (2, 3)" in rejected.reason


def test_a_scan_without_a_time_does_not_lose_the_others(tmp_path: Path, write_radar: Write) -> None:
    times = ("2024-06-01T12:00", "NaT", "2024-06-01T12:10")
    path = write_radar(tmp_path / "a.nc", np.stack([RATE, RATE, RATE]), times=times)
    report = read_file(path, config(time_in_name="%Y%m%d"))
    assert [f"{scan.time:%H:%M}" for scan in report.scans] == ["12:00", "12:10"]
    (rejected,) = report.rejected
    assert (rejected.time, rejected.rule) == (None, "impossible time")
    assert rejected.reason == "the scan's time is missing in the file"


@pytest.mark.parametrize("second", ["2024-06-01T12:00", "2024-06-01T12:00:20"])
def test_the_second_scan_of_a_time_is_rejected(
    tmp_path: Path, write_radar: Write, second: str
) -> None:
    times = ("2024-06-01T12:00", second, "2024-06-01T12:05")
    path = write_radar(tmp_path / "a.nc", np.stack([RATE, 2 * RATE, RATE]), times=times)
    report = read_file(path, config())
    assert [f"{scan.time:%H:%M}" for scan in report.scans] == ["12:00", "12:05"]
    assert_rate(RAIN_CODE.decode(report.scans[0].codes), RATE)
    (rejected,) = report.rejected
    assert (rejected.time, rejected.rule) == (None, "same time")
    assert "scan 2 of the file has the same time as one before, 2024-06-01 12:00" in rejected.reason
