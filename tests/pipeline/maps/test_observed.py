"""Observed scans beside a forecast: read from an archive, and on the same grid."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.observed import observed_at_valid_times
from squall.pipeline.maps.run import maps
from tests.pipeline.maps.map_examples import (
    forecast_dataset,
    panels_of,
)

pytestmark = pytest.mark.usefixtures("gshhg_only")


def test_observed_scans_of_another_grid_are_refused(
    write: Callable[[xr.Dataset], MapsConfig],
) -> None:
    forecast = forecast_dataset()
    observed = forecast["rain_rate"].swap_dims(lead_time="time").drop_vars("lead_time")
    config = write(forecast)
    for other in (observed.isel(x=slice(1, None)), observed.assign_coords(x=observed.x + 4000)):
        with pytest.raises(DataError, match="give scans on its grid"):
            maps(config, observed=other)


def forecast_from(archive: Path, reference: str, folder: Path, leads: int = 6) -> Path:
    """A dry forecast on an archive's grid, with lead times every five minutes."""
    scans = Archive.open(archive)
    rain = np.zeros((leads + 1, *scans.grid.shape), np.float32)
    minutes = np.arange(1, leads + 1) * 5
    attrs = {"units": "mm h-1", "grid_mapping": "spatial_ref"}
    forecast = xr.Dataset(
        {
            "rain_rate": (("lead_time", "y", "x"), rain[1:], attrs),
            "observed_rain_rate": (("context_time", "y", "x"), rain[:1], attrs),
        },
        coords={
            "lead_time": minutes.astype("timedelta64[m]").astype("timedelta64[ns]"),
            "forecast_reference_time": np.datetime64(reference, "ns"),
            "context_time": [np.datetime64(reference, "ns")],
            **scans.grid.coords(),
        },
    )
    forecast.to_netcdf(folder / "forecast.nc")
    return folder / "forecast.nc"


def at(*times: str) -> list[np.datetime64]:
    return [np.datetime64(f"2024-06-01T{time}", "ns") for time in times]


# The archive has 80 scans from 00:00 on; those of 02:30 to 02:45 are missing, 04:10 was rejected.
@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("2024-06-01T01:00", at("01:05", "01:10", "01:15", "01:20", "01:25", "01:30")),
        ("2024-06-01T02:20", at("02:25", "02:50")),
        ("2024-06-01T04:00", at("04:05", "04:15", "04:20", "04:25", "04:30")),
        ("2024-05-31T23:45", at("00:00", "00:05", "00:10", "00:15")),
        ("2024-06-01T06:30", at("06:35")),
        ("2024-06-01T01:02", []),
        ("2023-06-01T01:00", []),
        ("2025-06-01T01:00", []),
    ],
)
def test_observed_are_the_good_scans_at_valid_times(
    rain_archive: Path, tmp_path: Path, reference: str, expected: list[np.datetime64]
) -> None:
    observed = observed_at_valid_times(
        forecast_from(rain_archive, reference, tmp_path), rain_archive
    )
    assert observed.dims == ("time", "y", "x")
    assert observed.attrs["units"] == "mm h-1"
    np.testing.assert_array_equal(observed["time"].values, expected)
    archive = Archive.open(rain_archive)
    for time, scan in zip(expected, observed.values, strict=True):
        index = archive.index_of(pd.Timestamp(time))
        np.testing.assert_array_equal(scan, archive.read(index, 1).values[0])


def test_observed_scans_of_an_archive_are_drawn(
    rain_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecast = forecast_from(rain_archive, "2024-06-01T02:20", tmp_path)
    config = MapsConfig(forecast=forecast, out=tmp_path / "out", dpi=40)
    panels = panels_of(monkeypatch, config, observed_at_valid_times(forecast, rain_archive))
    # the scans at +10, +15 and +20 min are missing
    assert [p.rain_rate_mm_h is None for p in panels] == [True, True, True, False] + 4 * [False]


def test_without_later_scans_the_context_is_shown(
    rain_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecast = forecast_from(rain_archive, "2025-06-01T00:00", tmp_path)
    config = MapsConfig(forecast=forecast, out=tmp_path / "out", dpi=40)
    panels = panels_of(monkeypatch, config, observed_at_valid_times(forecast, rain_archive))
    assert [p.caption.kind for p in panels] == ["observed"] + 4 * ["forecast"]
    assert panels[0].caption.since == "latest scan"


def shifted(grid: Grid, x: float) -> Grid:
    return Grid(grid.x + x, grid.y, grid.crs_wkt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda grid: shifted(grid, 500.0), "x coordinates differ by up to 500"),
        (lambda grid: Grid(grid.x[1:], grid.y, grid.crs_wkt), "48×64 pixels instead of 48×63"),
        (lambda grid: Grid(grid.x, grid.y, "EPSG:3413"), "another map projection"),
    ],
)
def test_an_archive_of_another_grid_is_refused(
    rain_archive: Path, tmp_path: Path, change: Callable[[Grid], Grid], message: str
) -> None:
    forecast = forecast_from(rain_archive, "2024-06-01T01:00", tmp_path)
    other = change(Archive.open(rain_archive).grid)
    other = Grid(other.x, other.y, pyproj.CRS(other.crs_wkt).to_wkt())
    path = tmp_path / "other.icechunk"
    scan = StoredScan(
        pd.Timestamp("2024-06-01T01:05"), np.zeros(other.shape, np.uint8), "a.nc", "a" * 32
    )
    ArchiveWriter(path, pd.Timedelta("5min"), {"name": "other"}).commit(other, [scan], [], "one")
    with pytest.raises(DataError, match=message) as raised:
        observed_at_valid_times(forecast, path)
    assert str(forecast) in str(raised.value)
    assert str(path) in str(raised.value)


def test_rounded_coordinates_are_the_same_grid(rain_archive: Path, tmp_path: Path) -> None:
    forecast = forecast_from(rain_archive, "2024-06-01T01:00", tmp_path)
    with xr.open_dataset(forecast, decode_timedelta=True) as opened:
        rough = opened.load()
    rough = rough.assign_coords(x=rough["x"] + 3.0, y=rough["y"].astype(np.float32))
    rough.to_netcdf(forecast)
    observed = observed_at_valid_times(forecast, rain_archive)
    np.testing.assert_array_equal(observed["x"], rough["x"])
    maps(MapsConfig(forecast=forecast, out=tmp_path / "out", dpi=40), observed=observed)


def test_the_error_for_a_missing_archive_names_it(rain_archive: Path, tmp_path: Path) -> None:
    forecast = forecast_from(rain_archive, "2024-06-01T01:00", tmp_path)
    with pytest.raises(DataError, match=r"none\.icechunk: there is no archive"):
        observed_at_valid_times(forecast, tmp_path / "none.icechunk")


def test_a_forecast_without_a_grid_is_refused(rain_archive: Path, tmp_path: Path) -> None:
    path = forecast_from(rain_archive, "2024-06-01T01:00", tmp_path)
    with xr.open_dataset(path, decode_timedelta=True) as opened:
        forecast = opened.load()
    forecast.assign_coords(x=np.arange(64.0) ** 2).to_netcdf(path)
    with pytest.raises(DataError, match=r"forecast\.nc: has no grid to compare scans on: x is not"):
        observed_at_valid_times(path, rain_archive)
