"""A forecast is no observation: files of forecasts are refused, analyses in them are read."""

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest

from squall.datasets.radar.radar_file import read_file
from tests.datasets.radar.radar_files import NOON, RATE, Write, config, rejection_of

TIMES = ["2024-06-01T12:00", "2024-06-01T12:05", "2024-06-01T12:10"]
SECONDS = "seconds since 1970-01-01"


def with_variable(
    path: str, name: str, dims: tuple[str, ...], values: Any, **described: Any
) -> str:
    with netCDF4.Dataset(path, "a") as file:
        variable = file.createVariable(name, "f8", dims)
        variable[...] = values
        variable.setncatts(described)
    return path


def period(path: str, dims: tuple[str, ...], values: Any) -> str:
    return with_variable(
        path, "lead", dims, values, standard_name="forecast_period", units="minutes"
    )


def reference(path: str, time: str, dims: tuple[str, ...] = ()) -> str:
    seconds = pd.Timestamp(time).timestamp()
    name = {"standard_name": "forecast_reference_time", "units": SECONDS}
    return with_variable(path, "reference", dims, seconds, **name)


def test_only_the_analysis_of_a_file_with_forecasts_is_read(
    tmp_path: Path, write_radar: Write
) -> None:
    path = write_radar(tmp_path / "a.nc", np.stack([RATE + 1, RATE, RATE + 2]), times=TIMES)
    report = read_file(period(path, ("time",), [-5, 0, 5]), config())
    assert [scan.time for scan in report.scans] == [pd.Timestamp(TIMES[1])]
    only = read_file(write_radar(tmp_path / "b.nc", RATE, times=TIMES[1:2]), config())
    np.testing.assert_array_equal(report.scans[0].codes, only.scans[0].codes)


@pytest.mark.parametrize("dims", [(), ("time",)])
def test_a_file_of_forecasts_is_refused(
    tmp_path: Path, write_radar: Write, dims: tuple[str, ...]
) -> None:
    path = write_radar(tmp_path / "a.nc", RATE)
    reason = rejection_of(period(path, dims, 15))
    assert "is a forecast: its forecast period 'lead' is not 0; only observations" in reason


def test_a_forecast_period_of_zero_is_an_observation(tmp_path: Path, write_radar: Write) -> None:
    path = period(write_radar(tmp_path / "a.nc", RATE), (), 0)
    # the period counts, not when the analysis says that it starts
    report = read_file(reference(path, "2024-06-01T11:55"), config())
    assert [scan.time for scan in report.scans] == [NOON]


def test_times_after_the_reference_time_are_forecasts(tmp_path: Path, write_radar: Write) -> None:
    for name, time, count in (("a", TIMES[0], 1), ("b", "2024-06-01T11:59", 0), ("c", TIMES[2], 3)):
        path = write_radar(
            tmp_path / f"{name}.nc", np.stack([RATE, RATE + 1, RATE + 2]), times=TIMES
        )
        report = read_file(reference(path, time), config())
        assert [scan.time for scan in report.scans] == [pd.Timestamp(t) for t in TIMES[:count]]
    assert "is a forecast: its times are after its reference time" in rejection_of(
        str(tmp_path / "b.nc")
    )


def test_a_number_of_marks_that_does_not_fit_is_refused(tmp_path: Path, write_radar: Write) -> None:
    """The marks of another variable's scans, over the dimension of the bands."""
    path = write_radar(
        tmp_path / "a.nc", np.stack([RATE] * 2), times=TIMES[:2], dims=("time", "y", "x")
    )
    with netCDF4.Dataset(path, "a") as file:
        file.createDimension("step", 2)
    assert len(read_file(period(path, ("step",), [5, 10]), config()).scans) >= 1
    bands = np.stack([RATE] * 3)[None]
    path = write_radar(tmp_path / "b.nc", bands[:, :1], dims=("time", "band", "y", "x"))
    assert len(read_file(period(path, ("band",), [0]), config()).scans) == 1


def test_a_nowcast_of_pysteps_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pysteps")
    from datetime import datetime

    from pysteps.io import exporters

    metadata = {
        "unit": "mm/h", "projection": "+proj=stere +lat_0=90 +lon_0=10 +lat_ts=60 +x_0=0 +y_0=0",
        "x1": 0.0, "x2": 3000.0, "y1": -3e6, "y2": -2.998e6, "yorigin": "upper",
        "cartesian_unit": "m", "xpixelsize": 1000.0, "ypixelsize": 1000.0,
    }  # fmt: skip
    exporter = exporters.initialize_forecast_exporter_netcdf(
        str(tmp_path), "nowcast", datetime(2024, 6, 1, 12), 5, 2, (2, 3), metadata, n_ens_members=1
    )
    exporters.export_forecast_dataset(np.stack([RATE, RATE]), exporter)
    exporters.close_forecast_files(exporter)
    reason = rejection_of(str(tmp_path / "nowcast.nc"), config(variable="precip_intensity"))
    assert "is a forecast: its times are named 'forecast time'" in reason


def test_a_forecast_of_squall_is_refused_and_its_observations_are_read(tmp_path: Path) -> None:
    import xarray as xr

    leads = pd.timedelta_range("5min", periods=2, freq="5min")
    contexts = pd.date_range("2024-06-01T11:50", periods=3, freq="5min")
    attributes = {"units": "mm h-1"}
    xr.Dataset(
        {
            "rain_rate": (("lead_time", "y", "x"), np.stack([RATE, RATE]), attributes),
            "observed_rain_rate": (
                ("context_time", "y", "x"), np.stack([RATE, RATE + 1, RATE + 2]), attributes,
            ),
        },
        coords={
            "lead_time": ("lead_time", leads, {"standard_name": "forecast_period"}),
            "time": ("lead_time", NOON + leads, {"standard_name": "time"}),
            "forecast_reference_time": (
                (), NOON.to_datetime64(), {"standard_name": "forecast_reference_time"},
            ),
            "context_time": ("context_time", contexts, {"standard_name": "time"}),
            "x": ("x", [0.0, 1000, 2000], {"units": "m"}),
            "y": ("y", [1000.0, 0], {"units": "m"}),
        },
    ).to_netcdf(tmp_path / "forecast.nc")  # fmt: skip
    path = str(tmp_path / "forecast.nc")
    settings = {"crs": "EPSG:3067"}
    assert "is a forecast" in rejection_of(path, config(variable="rain_rate", **settings))
    report = read_file(path, config(variable="observed_rain_rate", **settings))
    assert [scan.time for scan in report.scans] == list(contexts)
