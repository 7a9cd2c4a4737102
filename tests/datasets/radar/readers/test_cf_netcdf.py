"""CF netCDF files: formats, networks, dimensions, directions and projections."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from squall.datasets.coding import RAIN_CODE
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file
from tests.datasets.radar.radar_files import (
    CLASSIC,
    RATE,
    Write,
    assert_rate,
    config,
    rejection_of,
    scan_of,
)

CONFIGS = Path(__file__).parents[4] / "configs" / "archives"
NAN = np.nan


@pytest.mark.parametrize("format", ["NETCDF4", "NETCDF4_CLASSIC", *CLASSIC])
def test_each_netcdf_format(tmp_path: Path, write_radar: Write, format: str) -> None:
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
    settings = RadarNetworkConfig(
        **yaml.safe_load((CONFIGS / f"{network}.yaml").read_text("utf-8"))
    )
    packing = networks[network]
    numbers = np.array(packed, dtype=packing["fill"].dtype)
    path = write_radar(tmp_path / "a.nc", numbers, **packing)
    assert_rate(scan_of(path, settings), rate)


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


def test_transposed_maps_are_recognised_by_the_names_of_their_axes(
    tmp_path: Path, write_radar: Write
) -> None:
    plain = {"x": {"units": "m"}, "y": {"units": "m"}}
    path = write_radar(tmp_path / "a.nc", RATE.T, dims=("x", "y"), coordinate_attributes=plain)
    assert_rate(scan_of(path), RATE)


def test_the_axis_attribute_takes_precedence_over_the_name(
    tmp_path: Path, write_radar: Write
) -> None:
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


def test_two_axes_with_the_same_dimension_are_rejected(tmp_path: Path, write_radar: Write) -> None:
    both = {"x": {"units": "m", "axis": "X"}, "y": {"units": "m"}}
    path = write_radar(tmp_path / "a.nc", RATE, coordinate_attributes=both)
    reason = rejection_of(path, config(x="x", y="x"))
    assert "cannot tell x from y" in reason
    assert "set 'x' and 'y' in the network configuration; 'y', 'x' have coordinates" in reason


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
    assert "set 'coordinate_units: m' or 'coordinate_units: km'" in rejection_of(path)
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


def test_the_difference_between_two_grids_is_described(tmp_path: Path, write_radar: Write) -> None:
    first = read_file(write_radar(tmp_path / "a.nc", RATE), config()).grid
    moved = write_radar(tmp_path / "b.nc", RATE, x=np.arange(3) * 1000.0 + 500)
    second = read_file(moved, config()).grid
    assert first is not None
    assert second is not None
    assert "x coordinates differ by up to 500" in str(first.difference(second))
