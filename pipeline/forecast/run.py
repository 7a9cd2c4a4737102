"""One nowcast from an archive and a forecast method, as CF netCDF."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall import __version__
from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.grid import GRID_MAPPING
from squall.datasets.open_archive import open_archive
from squall.datasets.times import parse_time
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.methods import ForecastMethod, find_method
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.provenance import atomic_path, now_utc

log = logging.getLogger("squall.forecast")

NOT_CARRIED = ("name", "title", "configuration")  # of the archive; the forecast has its own


def forecast(config: ForecastConfig) -> xr.Dataset:
    """Make one nowcast and write it as CF netCDF; returns what was written.

    Raises
    ------
    DataError
        If the archive has no scan at the reference time, or the model cannot be loaded or is of
        another step or spacing than it can be brought to.
    ConfigError
        If the reference time is no time, or there is no such method.
    """
    archive = open_archive(config.archive)
    method = find_method(config.model, archive)
    index = reference_index(archive, config.at)
    lead_times = config.lead_times or method.lead_times
    context = archive.read(index - method.context + 1, method.context)
    missing = [f"{t:%H:%M}" for t, ok in _context_status(archive, index, method.context) if not ok]
    if missing:
        log.warning("context lacks the scan of %s UTC", ", ".join(missing))
    rate = method.nowcast(context.values, lead_times)
    dataset = _dataset(archive, method, context, rate, config)
    with atomic_path(config.out) as part:
        dataset.to_netcdf(part, encoding=_encoding())
    return dataset


def reference_index(archive: ScanStore, at: str) -> int:
    """Index of the scan to start from: ``latest`` or a time in UTC.

    Raises
    ------
    DataError
        If the archive has no good scan there; the message names the nearest ones.
    ConfigError
        If ``at`` is no time.
    """
    good = np.flatnonzero(archive.status == OK)
    if not good.size:
        raise DataError(f"{archive.address}: holds no scan yet; ingest some first")
    if at == "latest":
        return int(good[-1])
    try:
        time = parse_time(at)
    except ValueError as error:
        raise ConfigError(f"--at: {error}") from error
    index = archive.index_of(time)
    if index not in good:
        nearest = good[np.argsort(np.abs(good - index))[:1]]
        times = archive.times
        raise DataError(
            f"{archive.address}: has no scan at {time:%Y-%m-%d %H:%M} UTC; the nearest is "
            f"{times[nearest[0]]:%Y-%m-%d %H:%M}, the latest {times[good[-1]]:%Y-%m-%d %H:%M}"
        )
    return index


def _context_status(archive: ScanStore, index: int, count: int) -> list[tuple[pd.Timestamp, bool]]:
    rows = range(index - count + 1, index + 1)
    status = archive.status
    return [(archive.start + row * archive.step, row >= 0 and status[row] == OK) for row in rows]


def _dataset(
    archive: ScanStore,
    method: ForecastMethod,
    context: xr.DataArray,
    rate: npt.NDArray[np.float32],
    config: ForecastConfig,
) -> xr.Dataset:
    reference = pd.Timestamp(context.time.values[-1])
    leads = pd.TimedeltaIndex(archive.step * np.arange(1, rate.shape[0] + 1))
    described = {
        "standard_name": "rainfall_rate",
        "units": "mm h-1",
        "grid_mapping": GRID_MAPPING,
    }
    carried = {k: v for k, v in archive.attributes.items() if k not in NOT_CARRIED}
    return xr.Dataset(
        {
            "rain_rate": (
                ("lead_time", "y", "x"),
                rate,
                {"long_name": "forecast rain rate", **described},
            ),
            "observed_rain_rate": (
                ("context_time", "y", "x"),
                context.values,
                {"long_name": "observed rain rate that the forecast starts from", **described},
            ),
        },
        coords={
            "lead_time": (
                "lead_time",
                leads,
                {"standard_name": "forecast_period", "long_name": "lead time"},
            ),
            "time": (
                "lead_time",
                reference + leads,
                {"standard_name": "time", "long_name": "valid time"},
            ),
            "forecast_reference_time": (
                (),
                reference.to_datetime64(),
                {"standard_name": "forecast_reference_time", "long_name": "last observed scan"},
            ),
            "context_time": (
                "context_time",
                context.time.values,
                {"standard_name": "time", "long_name": "valid time of the observed scans"},
            ),
            **archive.grid.coords(),
        },
        attrs={
            **carried,
            "Conventions": "CF-1.11",
            "title": f"Precipitation nowcast, {archive.title}",
            "history": f"{now_utc()} squall forecast {__version__}",
            "archive": archive.address,
            "archive_title": archive.title,
            "archive_snapshot": archive.snapshot,
            "model": method.name,
            **_origin(method),
            "squall_version": __version__,
            "configuration": json.dumps(config.model_dump(mode="json")),
        },
    )


def _origin(method: ForecastMethod) -> dict[str, str]:
    """Where a method's forecasts come from, as attributes."""
    if not isinstance(method, NetworkMethod):
        return {"source": f"{method.name} ({method.digest})"}
    resampled = {"resampling": str(method.resampling)} if str(method.resampling) else {}
    return {
        "source": f"Squall ConvGRU '{method.name}'",
        "checkpoint": str(method.path),
        "checkpoint_sha256": method.digest,
        **resampled,
    }


def _encoding() -> dict[str, Any]:
    field = {"dtype": "float32", "zlib": True, "complevel": 4, "_FillValue": np.float32(np.nan)}
    times = {"units": "seconds since 1970-01-01 00:00:00", "dtype": "int64"}
    return {
        "rain_rate": field,
        "observed_rain_rate": field,
        "time": times,
        "forecast_reference_time": times,
        "context_time": times,
        "lead_time": {"units": "minutes", "dtype": "float64", "_FillValue": None},
        "x": {"_FillValue": None},
        "y": {"_FillValue": None},
    }
