"""The forecast stage: one nowcast from an archive and a forecast method, written as CF netCDF.

Public: `forecast`, `reference_index`. The file's layout is in `dataset.py`.
"""

from __future__ import annotations

import json
import logging
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.datasets.open_archive import open_archive
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.dataset import forecast_dataset, netcdf_encoding
from squall.pipeline.forecast.methods import find_method
from squall.pipeline.outputs import check_output_file
from squall.pipeline.provenance import atomic_path

log = logging.getLogger("squall.forecast")

SUFFIXES = (".nc", ".nc4", ".netcdf")


def forecast(config: ForecastConfig) -> xr.Dataset:
    """Compute one nowcast, write it as CF netCDF, and return it.

    Raises
    ------
    DataError
        If the archive has no scan at the reference time, or the network cannot be loaded, or cannot
        be used at the archive's time step or grid spacing.
    ConfigError
        If there is no such method.
    """
    check_output_file(config.out, "--out", SUFFIXES)
    archive = open_archive(config.archive)
    method = find_method(config.model, archive)
    index = reference_index(archive, config.at)
    lead_times = config.lead_times or method.lead_times
    context = archive.read(index - method.context + 1, method.context)
    missing = _missing_times(archive, index, method.context)
    if missing:
        times = ", ".join(f"{time:%H:%M}" for time in missing)
        log.warning("the scan of %s UTC is missing in the context", times)
    blank = [time for time in _blank_times(context) if time not in missing]
    if blank:
        times = ", ".join(f"{time:%H:%M}" for time in blank)
        log.warning("nothing was observed in the scan of %s UTC: it has no observed pixel", times)
    rain_rate = method.nowcast(context.values, lead_times)
    configuration = json.dumps(config.model_dump(mode="json"))
    dataset = forecast_dataset(archive, method, context, rain_rate, configuration)
    with atomic_path(config.out) as temporary_path:
        dataset.to_netcdf(temporary_path, encoding=netcdf_encoding())
    return dataset


def reference_index(archive: ScanStore, at: pd.Timestamp | Literal["latest"]) -> int:
    """Find the index of the last scan that the forecast starts from.

    Parameters
    ----------
    at : ``latest``, or a time in UTC.

    Raises
    ------
    DataError
        If the archive has no good scan at this time. The message names the nearest and the latest.
    """
    good = np.flatnonzero(archive.status == OK)
    if not good.size:
        raise DataError(f"{archive.address}: holds no scan yet; run `squall ingest` first")
    if at == "latest":
        return int(good[-1])
    index = archive.index_of(at)
    if index not in good:
        nearest = good[np.abs(good - index).argmin()]
        times = archive.times
        raise DataError(
            f"{archive.address}: has no scan at {at:%Y-%m-%d %H:%M} UTC; the nearest is "
            f"{times[nearest]:%Y-%m-%d %H:%M}, the latest {times[good[-1]]:%Y-%m-%d %H:%M}"
        )
    return index


def _missing_times(archive: ScanStore, last: int, count: int) -> list[pd.Timestamp]:
    """Times without a good scan among the ``count`` time steps that end at index ``last``."""
    status = archive.status
    return [
        archive.start + index * archive.step
        for index in range(last - count + 1, last + 1)
        if index < 0 or status[index] != OK
    ]


def _blank_times(context: xr.DataArray) -> list[pd.Timestamp]:
    """Times of the scans (time, y, x) that have no observed pixel."""
    is_blank = ~np.isfinite(context.values).any(axis=(1, 2))
    return [pd.Timestamp(time) for time in context["time"].values[is_blank]]
