"""Reading one radar file: every convention that is understood and every way to be broken."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from datasets.archive_config import ArchiveConfig
from datasets.classic_netcdf import expected_size
from datasets.coding import RAIN_CODE
from datasets.radar_file import FileReport, file_digest, harmonise, read_file, time_from_name

Write = Callable[..., str]
CONFIGS = Path(__file__).parents[2] / "configs" / "archives"
NOON = pd.Timestamp("2024-06-01T12:00")
NAN = np.nan
CLASSIC = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")

# two rows, three columns, no two alike, so that no flip or transposition goes unseen
RATE = np.array([[0.0, 0.5, 1.0], [2.0, 10.0, 50.0]], dtype=np.float32)


def config(**changes: Any) -> ArchiveConfig:
    return ArchiveConfig(**{"name": "radar", "step": "5min", "variable": "rain", **changes})


def scan_of(path: str, settings: ArchiveConfig | None = None) -> np.ndarray:
    """The rain rate of a file that has to give exactly one scan, at noon."""
    report = read_file(path, settings or config())
    assert report.rejected == []
    assert [scan.time for scan in report.scans] == [NOON]
    return RAIN_CODE.decode(report.scans[0].codes)


def rejection_of(path: str, settings: ArchiveConfig | None = None) -> str:
    """The reason of a file that has to give no scan but one rejection."""
    report = read_file(path, settings or config())
    assert report.scans == []
    ((_, reason),) = report.rejected
    return reason


def assert_rate(found: np.ndarray, expected: Any) -> None:
    expected = np.minimum(expected, 205)
    np.testing.assert_allclose(found, np.where(expected < 0.08, 0.0, expected), rtol=0.016)


# --- the producers' conventions ----------------------------------------------------------------


@pytest.mark.parametrize("format", ["NETCDF4", "NETCDF4_CLASSIC", *CLASSIC])
def test_every_netcdf_format(tmp_path: Path, write_radar: Write, format: str) -> None:
    assert_rate(scan_of(write_radar(tmp_path / "a.nc", RATE, format=format)), RATE)


# numbers as packed in the file, and what they mean in mm/h
PACKED = {
    # 0.05 kg m-2 in 10 min are 0.3 mm/h; -1 is missing, and -2 the producer's -0.1, which is dry
    "bom_brisbane": ([[0, 1, 20], [-1, -2, 100]], [[0.0, 0.3, 6.0], [NAN, 0.0, 30.0]]),
    # 0.05 kg m-2 in 6 min are 0.5 mm/h
    "bom_melbourne": ([[0, 1, 20], [-32768, 3, 100]], [[0.0, 0.5, 10.0], [NAN, 1.5, 50.0]]),
    "knmi": ([[0, 7, 8], [65535, 1200, 20000]], [[0.0, 0.0, 0.08], [NAN, 12.0, 200.0]]),
    # halves of dBZ; 23 dBZ are 0.9985 mm/h, 39 dBZ 9.985 mm/h, -20 dBZ nothing
    "fmi": ([[0, 46, 78], [-32768, -40, 14]], [[0.0, 0.9985, 9.985], [NAN, 0.0, 0.0998]]),
}


@pytest.mark.parametrize("network", PACKED)
def test_each_networks_configuration_reads_its_files(
    tmp_path: Path, write_radar: Write, networks: Mapping[str, dict[str, Any]], network: str
) -> None:
    packed, rate = PACKED[network]
    settings = ArchiveConfig(**yaml.safe_load((CONFIGS / f"{network}.yaml").read_text("utf-8")))
    packing = networks[network]
    numbers = np.array(packed, dtype=packing["fill"].dtype)
    path = write_radar(tmp_path / "a.nc", numbers, **packing)
    assert_rate(scan_of(path, settings), rate)


def test_the_report_tells_what_the_file_is(tmp_path: Path, write_radar: Write) -> None:
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


def test_looking_at_a_file_before_coding(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, y=[0.0, 1000.0])
    with xr.open_dataset(path) as data:
        (field,) = harmonise(data, path, config())
    np.testing.assert_array_equal(field, RATE[::-1])
    assert field.attrs["units"] == "mm h-1"
    assert field.coords["time"] == NOON


# --- dimensions and directions -----------------------------------------------------------------


@pytest.mark.parametrize(
    "dims",
    [("y", "x"), ("time", "y", "x"), ("time", "band", "y", "x"), ("band", "time", "y", "x")],
)
def test_leading_dimensions(tmp_path: Path, write_radar: Write, dims: tuple[str, ...]) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, dims=dims)
    assert_rate(scan_of(path), RATE)


@pytest.mark.parametrize("dims", [("x", "y"), ("time", "x", "y")])
def test_transposed_maps(tmp_path: Path, write_radar: Write, dims: tuple[str, ...]) -> None:
    assert_rate(scan_of(write_radar(tmp_path / "a.nc", RATE.T, dims=dims)), RATE)


def test_transposed_maps_with_time_last(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.stack([RATE.T, RATE.T + 1], axis=-1)
    times = ("2024-06-01T11:55", "2024-06-01T12:00")
    path = write_radar(tmp_path / "a.nc", numbers, dims=("x", "y", "time"), times=times)
    first, second = read_file(path, config()).scans
    assert_rate(RAIN_CODE.decode(first.codes), RATE)
    assert_rate(RAIN_CODE.decode(second.codes), RATE + 1)


def test_transposed_maps_are_known_by_their_names_where_attributes_say_nothing(
    tmp_path: Path, write_radar: Write
) -> None:
    plain = {"x": {"units": "m"}, "y": {"units": "m"}}
    path = write_radar(tmp_path / "a.nc", RATE.T, dims=("x", "y"), coordinate_attributes=plain)
    assert_rate(scan_of(path), RATE)


def test_the_axis_attribute_beats_the_name(tmp_path: Path, write_radar: Write) -> None:
    swapped = {"x": {"units": "m", "axis": "Y"}, "y": {"units": "m", "axis": "X"}}
    path = write_radar(
        tmp_path / "a.nc",
        RATE,
        dims=("x", "y"),
        x=[1000.0, 0.0],
        y=[0.0, 1000.0, 2000.0],
        coordinate_attributes=swapped,
    )
    assert_rate(scan_of(path), RATE)


def test_two_axes_that_claim_to_be_the_same(tmp_path: Path, write_radar: Write) -> None:
    both = {"x": {"units": "m", "axis": "X"}, "y": {"units": "m"}}
    path = write_radar(tmp_path / "a.nc", RATE, coordinate_attributes=both)
    reason = rejection_of(path, config(x="x", y="x"))
    assert "cannot tell x from y" in reason
    assert "set 'x' and 'y'" in reason


@pytest.mark.parametrize("rows_up", [False, True])
@pytest.mark.parametrize("reversed_columns", [False, True])
def test_directions(
    tmp_path: Path, write_radar: Write, rows_up: bool, reversed_columns: bool
) -> None:
    numbers, x, y = RATE, np.arange(3) * 1000.0, np.array([1000.0, 0.0])
    if rows_up:
        numbers, y = numbers[::-1], y[::-1]
    if reversed_columns:
        numbers, x = numbers[:, ::-1], x[::-1]
    path = write_radar(tmp_path / "a.nc", numbers, x=x, y=y)
    assert_rate(scan_of(path), RATE)
    grid = read_file(path, config()).grid
    assert grid is not None
    np.testing.assert_array_equal(grid.x, [0, 1000, 2000])
    np.testing.assert_array_equal(grid.y, [1000, 0])


def test_kilometres_without_a_units_attribute(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, coordinate_units=None)
    assert "set 'coordinate_units'" in rejection_of(path)
    grid = read_file(path, config(coordinate_units="km")).grid
    assert grid is not None
    assert grid.pixel_size_m == 1000


def test_longitude_and_latitude(tmp_path: Path, write_radar: Write) -> None:
    degrees = {
        "x": {"standard_name": "longitude", "units": "degrees_east"},
        "y": {"standard_name": "latitude", "units": "degrees_north"},
    }
    path = write_radar(
        tmp_path / "a.nc",
        RATE,
        grid_mapping=None,
        x=[10.0, 10.01, 10.02],
        y=[50.0, 50.01],
        coordinate_attributes=degrees,
    )
    assert_rate(scan_of(path), RATE[::-1])
    grid = read_file(path, config()).grid
    assert grid is not None
    assert grid.crs.is_geographic


def test_the_configurations_crs_is_used_for_a_file_that_has_none(
    tmp_path: Path, write_radar: Write
) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, grid_mapping=None)
    assert "has no grid_mapping; set 'crs'" in rejection_of(path)
    grid = read_file(path, config(crs="EPSG:3067")).grid
    assert grid is not None
    assert grid.crs.to_epsg() == 3067


def test_a_file_of_another_grid_says_so(tmp_path: Path, write_radar: Write) -> None:
    first = read_file(write_radar(tmp_path / "a.nc", RATE), config()).grid
    moved = write_radar(tmp_path / "b.nc", RATE, x=np.arange(3) * 1000.0 + 500)
    second = read_file(moved, config()).grid
    assert first is not None
    assert second is not None
    assert "x coordinates differ by up to 500" in str(first.difference(second))


# --- times -------------------------------------------------------------------------------------


def test_several_scans_in_a_file(tmp_path: Path, write_radar: Write) -> None:
    times = ("2024-06-01T12:00", "2024-06-01T12:05", "2024-06-01T12:15")
    path = write_radar(tmp_path / "a.nc", np.stack([RATE, RATE + 1, RATE + 2]), times=times)
    report = read_file(path, config())
    assert [scan.time for scan in report.scans] == [pd.Timestamp(t) for t in times]
    for offset, scan in enumerate(report.scans):
        assert_rate(RAIN_CODE.decode(scan.codes), RATE + offset)


@pytest.mark.parametrize("scalar", [False, True])
@pytest.mark.parametrize("name", ["time", "valid_time", "nominal"])
def test_the_time_is_known_by_its_standard_name(
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


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("66_20240601_120000.prcp-c10.nc", "%Y%m%d_%H%M%S", "2024-06-01T12:00"),
        ("2024153.1200.nc", "%Y%j.%H%M", "2024-06-01T12:00"),
        ("radar(20240601)1200.nc", "(%Y%m%d)%H%M", "2024-06-01T12:00"),
        ("20240601_120020.nc", "%Y%m%d_%H%M%S", "2024-06-01T12:00"),  # 20 s late: snapped
        ("20240601_120200.nc", "%Y%m%d_%H%M%S", None),  # 2 min late: no scan of this archive
        ("20241301_120000.nc", "%Y%m%d_%H%M%S", None),  # no such month
        ("latest.nc", "%Y%m%d_%H%M%S", None),
        ("20240601_120000.nc", None, None),
    ],
)
def test_times_in_names(name: str, pattern: str | None, expected: str | None) -> None:
    found = time_from_name(f"/data/2020/01/{name}", config(time_in_name=pattern))
    assert found == (None if expected is None else pd.Timestamp(expected))


def test_a_name_that_marks_the_start(tmp_path: Path, write_radar: Write) -> None:
    marks = {"time_in_name": "%Y%m%d%H%M", "time_marks": "start", "accumulation": "10min"}
    path = write_radar(tmp_path / "202406011150.nc", RATE, time_name=None)
    assert_rate(scan_of(path, config(**marks)), RATE)
    # and the same name on a broken file means the same scan
    Path(path).write_bytes(b"")
    assert read_file(path, config(**marks)).rejected[0][0] == NOON


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
    assert_rate(scan_of(path), RATE * 4)
    # what the file says wins over the configuration
    assert_rate(scan_of(path, config(accumulation="5min")), RATE * 4)


def test_bounds_say_where_the_end_is(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, units="mm", interval="10min", bounds=True)
    with netCDF4.Dataset(path, "a") as file:
        file["time"][:] = file["time"][:] - 600  # now the time marks the start
    assert_rate(scan_of(path), RATE * 6)


def test_each_scan_has_its_own_interval(tmp_path: Path, write_radar: Write) -> None:
    times = ("2024-06-01T12:00", "2024-06-01T12:05")
    path = write_radar(
        tmp_path / "a.nc", np.stack([RATE, RATE]), units="mm", times=times, interval="5min"
    )
    with netCDF4.Dataset(path, "a") as file:
        file["start_time"][0] = file["time"][0] - 600
    first, second = read_file(path, config()).scans
    assert_rate(RAIN_CODE.decode(first.codes), RATE * 6)
    assert_rate(RAIN_CODE.decode(second.codes), RATE * 12)


def test_the_interval_from_the_configuration(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, units="kg m-2")
    assert_rate(scan_of(path, config(accumulation="30min")), RATE * 2)
    report = read_file(path, config())
    ((time, reason),) = report.rejected
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
    assert_rate(scan_of(path, config(start_variable="accumulation_start")), RATE * 6)


@pytest.mark.parametrize("off_s", [-30, -1, 0, 29, 30])
def test_times_near_the_step_are_snapped(tmp_path: Path, write_radar: Write, off_s: int) -> None:
    time = (NOON + pd.Timedelta(seconds=off_s)).isoformat()
    assert_rate(scan_of(write_radar(tmp_path / "a.nc", RATE, times=(time,))), RATE)


def test_times_off_the_step_are_refused(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(
        tmp_path / "a.nc",
        np.stack([RATE, RATE]),
        times=("2024-06-01T12:00", "2024-06-01T12:06:31"),
    )
    report = read_file(path, config())
    assert [scan.time for scan in report.scans] == [NOON]
    ((time, reason),) = report.rejected
    assert time is None
    assert "12:06:31 is 91 s off the step of 5 min" in reason
    assert "set 'step', 'phase'" in reason
    assert len(read_file(path, config(snap_tolerance="100s")).scans) == 2


# --- numbers -----------------------------------------------------------------------------------

HUNDREDTHS = {"scale_factor": 0.01, "add_offset": 0.0}


def test_packed_integers_with_an_offset(tmp_path: Path, write_radar: Write) -> None:
    packed = np.array([[-50, -40, -30], [-10, 150, 127]], dtype=np.int16)
    attributes = {"scale_factor": 0.5, "add_offset": 25.0}
    path = write_radar(tmp_path / "a.nc", packed, attributes=attributes, fill=np.int16(127))
    assert_rate(scan_of(path), [[0.0, 5.0, 10.0], [20.0, 100.0, NAN]])


def test_missing_and_dry_values(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[-1.0, -2.0, 999.0], [-9999.0, 0.5, 1e20]], dtype=np.float32)
    path = write_radar(tmp_path / "a.nc", numbers, fill=np.float32(1e20))
    settings = config(missing_values=[-1, 999, -9999], dry_values=[-2])
    assert_rate(scan_of(path, settings), [[NAN, 0.0, NAN], [NAN, 0.5, NAN]])


def test_missing_values_are_unpacked_values(tmp_path: Path, write_radar: Write) -> None:
    packed = np.array([[0, 100, 200], [32000, 32001, 0]], dtype=np.int16)
    path = write_radar(tmp_path / "a.nc", packed, attributes=HUNDREDTHS)
    settings = config(missing_values=[320.0], dry_values=[320.01])
    assert_rate(scan_of(path, settings), [[0.0, 1.0, 2.0], [NAN, 0.0, 0.0]])


def test_reflectivity_with_a_code_for_no_echo(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[-32.0, 23.0103, 39.0103], [95.5, -np.inf, 23.0103]])
    path = write_radar(tmp_path / "a.nc", numbers, units="dBZ")
    settings = config(missing_values=[95.5], dry_values=[-32.0])
    assert_rate(scan_of(path, settings), [[0.0, 1.0, 10.0], [NAN, 0.0, 1.0]])


@pytest.mark.parametrize(
    "limits",
    [
        {"valid_range": np.array([0, 5000], dtype=np.int16)},
        {"valid_min": np.int16(0), "valid_max": np.int16(5000)},
        # in the unpacked type they can only mean unpacked values (NetCDF User Guide)
        {"valid_range": np.array([0.0, 50.0])},
        {"valid_min": np.float32(0), "valid_max": np.float32(50)},
    ],
)
def test_a_valid_range_of_packed_numbers(
    tmp_path: Path, write_radar: Write, limits: dict[str, Any]
) -> None:
    packed = np.array([[-1, 0, 100], [4999, 5000, 5001]], dtype=np.int16)
    path = write_radar(tmp_path / "a.nc", packed, attributes=HUNDREDTHS | limits)
    assert_rate(scan_of(path), [[NAN, 0.0, 1.0], [49.99, 50.0, NAN]])


def test_a_valid_range_of_plain_numbers(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.array([[-1.0, 0.0, 100.0], [100.5, 1.0, 9999.0]], dtype=np.float32)
    limits = {"valid_range": np.array([0, 100], dtype=np.float32)}
    path = write_radar(tmp_path / "a.nc", numbers, attributes=limits)
    assert_rate(scan_of(path), [[NAN, 0.0, 100.0], [NAN, 1.0, NAN]])


def test_the_configurations_units_win(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, units="whatever")
    assert_rate(scan_of(path, config(units="mm h-1")), RATE)


def test_all_dry_and_all_missing(tmp_path: Path, write_radar: Write) -> None:
    dry = write_radar(tmp_path / "a.nc", np.zeros((4, 5)))
    assert (read_file(dry, config()).scans[0].codes == RAIN_CODE.DRY).all()
    missing = write_radar(tmp_path / "b.nc", np.full((4, 5), NAN))
    assert (read_file(missing, config()).scans[0].codes == RAIN_CODE.NOT_OBSERVED).all()


# --- broken files ------------------------------------------------------------------------------

NAMED = {"time_in_name": "%Y%m%d_%H%M"}
NAME = "radar_20240601_1200.nc"


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
    ((time, reason),) = report.rejected
    assert time == NOON
    assert "cut off" in reason or "cannot be read as netCDF" in reason
    assert "\n" not in reason


@pytest.mark.parametrize("format", CLASSIC)
@pytest.mark.parametrize("dims", [("time", "y", "x"), ("y", "x")])
@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "float64"])
def test_the_expected_size_of_a_classic_file(
    tmp_path: Path, write_radar: Write, format: str, dims: tuple[str, ...], dtype: str
) -> None:
    # 5 x 7 bytes are no multiple of 4, and time is a record dimension beside the rain's or alone
    numbers = np.zeros((3, 5, 7)[3 - len(dims) :], dtype=dtype)
    times = [NOON.isoformat()] * (3 if "time" in dims else 1)
    for unlimited in (False, True):
        for time_name in ("time", None):
            path = write_radar(
                tmp_path / f"{unlimited}{time_name}.nc",
                numbers,
                dims=dims,
                times=times,
                time_name=time_name,
                format=format,
                unlimited=unlimited,
            )
            expected = expected_size(path)
            assert expected is not None
            assert 0 <= Path(path).stat().st_size - expected < 8  # the padding of the last value


def test_the_size_of_a_file_that_is_not_classic(tmp_path: Path, write_radar: Write) -> None:
    assert expected_size(write_radar(tmp_path / "a.nc", RATE)) is None


def garbled(path: Path) -> None:
    """Zeros in the middle of the compressed numbers."""
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
        (b"<html><body>503 Service unavailable</body></html>", "cannot be read as netCDF"),
        (b"CDF", "cannot be read as netCDF"),
        (b"CDF\x01" + bytes(range(256)) * 8, "header"),
        (b"\x89HDF\r\n\x1a\n" + bytes(2000), "cannot be read as netCDF"),
        (bytes(5000), "cannot be read as netCDF"),
    ],
)
def test_files_that_are_no_netcdf(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    report = read_file(str(path), config(**NAMED))
    assert report.scans == []
    assert report.size == len(content)
    ((time, reason),) = report.rejected
    assert time == NOON
    assert message in reason


def test_garbled_numbers(tmp_path: Path) -> None:
    garbled(tmp_path / NAME)
    settings = config(crs="EPSG:3067", **NAMED)
    assert "cannot be read as netCDF" in rejection_of(str(tmp_path / NAME), settings)


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_what_cannot_be_opened_at_all(tmp_path: Path, kind: str) -> None:
    path = tmp_path / NAME
    if kind == "folder":
        path.mkdir()
    report = read_file(str(path), config(**NAMED))
    assert report == FileReport(str(path), "", 0, rejected=report.rejected)
    ((time, reason),) = report.rejected
    assert time == NOON
    assert reason.startswith("cannot be read: ")


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no such variable": ({"variable": "snow"}, "has no variable 'rain'; it has .*snow"),
    "a variable without a map": ({"dims": ("x",), "numbers": [1.0]}, "no map"),
    "unknown units": ({"units": "furlong"}, "units 'furlong' are no rain unit.*set 'units'"),
    "no units": ({"units": None}, "units '' are no rain unit"),
    "no grid mapping": ({"grid_mapping": None}, "has no grid_mapping; set 'crs'"),
    "broken crs_wkt": ({"grid_mapping": {"crs_wkt": "PROJCRS["}}, "'crs_wkt' is no valid CRS"),
    "unknown projection": ({"grid_mapping": {"grid_mapping_name": "flat"}}, "set 'crs' instead"),
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
def test_broken_files_give_a_reason_and_never_an_exception(
    tmp_path: Path, write_radar: Write, what: str
) -> None:
    changes, message = BROKEN[what]
    changes = {"numbers": np.maximum(RATE, 0.1), **changes}
    path = write_radar(tmp_path / "radar.nc", changes.pop("numbers"), **changes)
    report = read_file(path, config())
    assert report.scans == []
    ((time, reason),) = report.rejected
    assert time in (None, NOON)
    assert re.search(message, reason), reason
    assert not reason.startswith("cannot be read as netCDF")


WITHOUT_TIME = ("no time", "time is no time", "times in another calendar")


@pytest.mark.parametrize("what", [what for what in BROKEN if what not in WITHOUT_TIME])
def test_broken_files_with_a_time_in_their_name_keep_their_slot(
    tmp_path: Path, write_radar: Write, what: str
) -> None:
    changes, _ = BROKEN[what]
    changes = {"numbers": np.maximum(RATE, 0.1), **changes}
    path = write_radar(tmp_path / NAME, changes.pop("numbers"), **changes)
    ((time, _),) = read_file(path, config(**NAMED)).rejected
    assert time == NOON


@pytest.mark.parametrize("what", WITHOUT_TIME)
def test_the_name_tells_the_time_that_a_file_does_not(
    tmp_path: Path, write_radar: Write, what: str
) -> None:
    path = write_radar(tmp_path / NAME, RATE, **BROKEN[what][0])
    (scan,) = read_file(path, config(**NAMED)).scans
    assert scan.time == NOON


def test_a_file_named_for_another_day_is_refused(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / NAME, RATE, times=("2023-06-01T12:00",))
    report = read_file(path, config(**NAMED))
    assert report.scans == []
    assert "is far from 2024-06-01 12:00 in its name" in report.rejected[0][1]


@pytest.mark.parametrize("time", ["1970-01-01T00:00", "2199-01-01T00:00"])
def test_a_time_that_cannot_be_is_refused(tmp_path: Path, write_radar: Write, time: str) -> None:
    report = read_file(write_radar(tmp_path / "a.nc", RATE, times=(time,)), config())
    ((slot, reason),) = report.rejected
    assert slot is None
    assert "cannot be: before 1975 or in the future" in reason


def test_scans_off_the_full_hour_need_a_phase(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, times=("2024-06-01T12:02",))
    assert read_file(path, config()).scans == []
    (scan,) = read_file(path, config(phase="2min")).scans
    assert scan.time == pd.Timestamp("2024-06-01T12:02")


def test_what_was_never_written_is_not_observed(tmp_path: Path, write_radar: Write) -> None:
    numbers = np.where(RATE > 5, netCDF4.default_fillvals["f4"], RATE).astype(np.float32)
    (scan,) = read_file(write_radar(tmp_path / "a.nc", numbers), config()).scans
    assert np.array_equal(scan.codes == 255, (RATE > 5) | np.isnan(RATE))


def test_a_start_time_beside_rates_is_left_alone(tmp_path: Path, write_radar: Write) -> None:
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


def test_bounds_without_a_value_beside_a_good_time(tmp_path: Path, write_radar: Write) -> None:
    path = write_radar(tmp_path / "a.nc", RATE, units="mm", interval="10min", bounds=True)
    with netCDF4.Dataset(path, "a") as file:
        file["time_bounds"][0, 0] = -9e9
    assert "time bounds 'time_bounds' are missing their value" in rejection_of(path)


def test_one_bad_scan_does_not_take_the_others_along(tmp_path: Path, write_radar: Write) -> None:
    times = ("2024-06-01T11:55", "2024-06-01T12:00", "2024-06-01T12:05")
    path = write_radar(tmp_path / "a.nc", np.stack([RATE, RATE - 5, RATE]), times=times)
    report = read_file(path, config())
    assert [scan.time for scan in report.scans] == [pd.Timestamp(times[0]), pd.Timestamp(times[2])]
    ((time, reason),) = report.rejected
    assert time == NOON
    assert "value -5 mm h-1 is negative" in reason
