"""A forecast as a CF dataset: variables, coordinates, attributes, and how they are stored.

Public: `forecast_dataset`, `with_chances`, `ensemble_attributes`, `rounded`,
`round_to_bits`, `encoding_of`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import dask.array
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from numcodecs.bitround import BitRound

from squall import __version__
from squall.convgru.file_arrays import IN_MEMORY_BYTES
from squall.convgru.thresholds import THRESHOLDS_MM_H
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.grid import GRID_MAPPING
from squall.datasets.public_text import public_address
from squall.pipeline.forecast.chance_code import CHANCE_CODE
from squall.pipeline.forecast.ensemble_dataset import (
    CHANCES,
    KEPT_BITS,
    RATE_OF_CODE,
    THRESHOLD,
)
from squall.pipeline.forecast.methods import ForecastMethod
from squall.pipeline.forecast.names import STOCHASTIC
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.provenance import now_utc

# Attributes of the archive that the forecast does not copy, because it has its own.
_NOT_COPIED = ("name", "title", "configuration")
_RAIN_RATE = {
    "standard_name": "rainfall_rate",
    "units": "mm h-1",
    "grid_mapping": GRID_MAPPING,
}


def forecast_dataset(
    archive: ScanStore,
    method: ForecastMethod,
    context: xr.DataArray,
    rain_rate: npt.NDArray[np.float32] | dask.array.Array,
    configuration: str,
    missing: Sequence[pd.Timestamp] = (),
) -> xr.Dataset:
    """Describe one forecast as a dataset of the CF conventions.

    Parameters
    ----------
    context : (time, y, x), mm/h, the scans that the forecast starts from.
    rain_rate : (lead_time, y, x), mm/h, the forecast.
    configuration : configuration of the forecast stage as JSON.
    missing : times of the scans that the method would use and that the archive lacks, or that
        have no observed pixel.
    """
    return xr.Dataset(
        {
            "rain_rate": (
                ("lead_time", "y", "x"),
                rain_rate,
                {"long_name": "forecast rain rate", **_RAIN_RATE},
            ),
            "observed_rain_rate": (
                ("context_time", "y", "x"),
                context.data,
                {"long_name": "observed rain rate that the forecast starts from", **_RAIN_RATE},
            ),
        },
        coords={
            **_time_coordinates(context, archive.step, rain_rate.shape[0]),
            **archive.grid.coords(),
        },
        attrs=_attributes(archive, method, configuration, missing),
    )


def with_chances(
    forecast: xr.Dataset, codes: npt.NDArray[np.uint8] | dask.array.Array
) -> xr.Dataset:
    """Add the chances that the rain rate is at least a threshold.

    They are as the file stores them; `xarray.decode_cf` decodes them.

    Parameters
    ----------
    codes : (threshold, lead_time, y, x) for `THRESHOLDS_MM_H`, from `chance_codes`.
    """
    attributes = {
        **CHANCE_CODE,
        "long_name": "chance that the rain rate is at least the threshold",
        "units": "1",
        "grid_mapping": GRID_MAPPING,
    }
    return forecast.assign(
        {CHANCES: (("threshold", "lead_time", "y", "x"), codes, attributes)}
    ).assign_coords(threshold=("threshold", list(THRESHOLDS_MM_H), THRESHOLD))


def ensemble_attributes(method: ForecastMethod) -> dict[str, str]:
    """Attributes that say how a network's members were made, and how their chances come about."""
    if not isinstance(method, NetworkMethod):
        return {}
    ensemble = method.ensemble_calibration
    calibrated = json.dumps(ensemble.source) if ensemble else "not on this radar network"
    chances = {"chances": "raw"} if method.are_chances_raw else {}
    return {
        "ensemble_engine": method.engine,
        "ensemble_settings": method.stochastic.settings.model_dump_json(),
        "ensemble_calibration": calibrated,
        **chances,
    }


def encoding_of(forecast: xr.Dataset) -> dict[str, dict[str, Any]]:
    """How xarray stores each variable of a forecast.

    Chances and the times of an ensemble are bytes and seconds already.
    """
    rain = {"dtype": "float32", "_FillValue": np.float32(np.nan)}
    plain = {"_FillValue": None}
    time = {"units": "seconds since 1970-01-01 00:00:00", "dtype": "int64"}
    encoding: dict[str, dict[str, Any]] = {
        "time": time,
        "forecast_reference_time": time,
        "context_time": time,
        "lead_time": {"units": "minutes", "dtype": "float64", **plain},
        **dict.fromkeys(("x", "y", "threshold", "percentile", RATE_OF_CODE), plain),
    }
    for name, variable in forecast.data_vars.items():
        if variable.dtype.kind == "f":
            encoding.setdefault(str(name), rain)
    return {name: how for name, how in encoding.items() if name in forecast.variables}


def round_to_bits(
    values: npt.NDArray[np.float32], keep_bits: int | None
) -> npt.NDArray[np.float32]:
    """Round to so many bits of the mantissa; None: no rounding.

    The relative error is at most 2 ** -(keep_bits + 1). What is rounded off are zeros, which
    compress well (bit rounding; Klöwer et al. 2021, doi:10.1038/s43588-021-00156-2).
    """
    if keep_bits is None:
        return values
    return np.asarray(BitRound(keepbits=keep_bits).encode(values)).view(np.float32)


def rounded(forecast: xr.Dataset, keep_bits: int | None) -> xr.Dataset:
    """Round the variables of single precision with `round_to_bits`."""
    if keep_bits is None:
        return forecast
    return forecast.assign(
        {
            name: (
                variable.dims,
                _rounded(variable.data, keep_bits),
                variable.attrs | {KEPT_BITS: keep_bits},
            )
            for name, variable in forecast.data_vars.items()
            if variable.dtype == np.float32 and name != RATE_OF_CODE
        }
    )


def _rounded(values: Any, keep_bits: int) -> Any:
    """`round_to_bits`; that of large arrays, and of those in files, when they are used."""
    if isinstance(values, np.ndarray) and values.nbytes > IN_MEMORY_BYTES:
        of_field = (1,) * (values.ndim - 2) + values.shape[-2:]
        values = dask.array.from_array(values, chunks=of_field, name=False)
    if isinstance(values, dask.array.Array):
        return dask.array.map_blocks(round_to_bits, values, keep_bits, dtype=values.dtype)
    return round_to_bits(values, keep_bits)


def _time_coordinates(context: xr.DataArray, step: pd.Timedelta, lead_times: int) -> dict[str, Any]:
    """Reference time, lead times, valid times and the times of the context, as xarray takes them.

    valid time = reference time + lead time
    """
    reference = pd.Timestamp(context.time.values[-1])
    leads = pd.TimedeltaIndex(step * np.arange(1, lead_times + 1))
    return {
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
    }


def _attributes(
    archive: ScanStore,
    method: ForecastMethod,
    configuration: str,
    missing: Sequence[pd.Timestamp],
) -> dict[str, str]:
    """Global attributes: those of the archive, and the provenance of the forecast."""
    times = ", ".join(time.isoformat() for time in missing)
    copied = {key: value for key, value in archive.attributes.items() if key not in _NOT_COPIED}
    return {
        **copied,
        "Conventions": "CF-1.11",
        "title": f"Precipitation nowcast, {archive.title}",
        "history": f"{now_utc()} squall forecast {__version__}",
        "archive": public_address(archive.address),
        "archive_title": archive.title,
        "archive_snapshot": archive.snapshot,
        "model": method.name,
        **_method_attributes(method),
        **({"missing_context": times} if missing else {}),
        "squall_version": __version__,
        "configuration": configuration,
    }


def _method_attributes(method: ForecastMethod) -> dict[str, str]:
    """Attributes that say what computed the forecast."""
    if not isinstance(method, NetworkMethod):
        return {"source": f"{method.name} ({method.digest})"}
    resampling = {"resampling": str(method.resampling)} if str(method.resampling) else {}
    return {
        "source": f"Squall ConvGRU '{method.name}'",
        "checkpoint": str(method.path),
        "checkpoint_sha256": method.digest,
        **resampling,
        **({"members_from": method.stochastic.digest} if method.engine != STOCHASTIC else {}),
        **_product_attributes(method),
    }


def _product_attributes(method: NetworkMethod) -> dict[str, str]:
    """Which rain a network of chances gives, and on which data it was calibrated."""
    if not method.nowcaster.gives_chances:
        return {}
    source = method.calibration.source if method.calibration else None
    calibrated = json.dumps(source) if source else "not on this radar network"
    return {"product": method.product, "calibration": calibrated}
