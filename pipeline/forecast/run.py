"""The forecast stage: one nowcast from an archive and a forecast method, written as CF netCDF.

Public: `forecast`, `prepare`, `forecast_from`, `reference_index`, `missing_times`. `dataset.py` has
the layout of the file.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import dask.array
import numpy as np
import pandas as pd
import xarray as xr

from squall.convgru.file_arrays import release
from squall.convgru.thresholds import THRESHOLDS_MM_H
from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.open_archive import open_archive
from squall.datasets.public_text import public_text
from squall.datasets.times import duration_text, now
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.dataset import (
    ensemble_attributes,
    forecast_dataset,
    round_to_bits,
    rounded,
    with_chances,
)
from squall.pipeline.forecast.ensemble_dataset import (
    CHANCES,
    RATE_OF_CODE,
    rate_of_code,
    with_products,
)
from squall.pipeline.forecast.ensemble_products import (
    NEIGHBOURHOOD_KM,
    EnsembleProducts,
    Wanted,
)
from squall.pipeline.forecast.lead_fields import fields_of_leads, fills_memory
from squall.pipeline.forecast.methods import (
    ForecastMethod,
    Rates,
    find_method,
    gives_chances,
    is_ensemble,
    used_steps,
)
from squall.pipeline.forecast.names import STOCHASTIC
from squall.pipeline.forecast.neighbourhood import Neighbourhood
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.output import Output, check_output, output_at
from squall.pipeline.progress import tracked

log = logging.getLogger("squall.forecast")

OLD = pd.Timedelta(hours=1)  # the age of a latest scan that a warning tells


def forecast(
    config: ForecastConfig, see_members: Callable[[Rates], None] | None = None
) -> xr.Dataset:
    """Compute one nowcast or an ensemble, write it as CF netCDF or Zarr, and return it.

    The members of an ensemble are written and not returned.

    Parameters
    ----------
    see_members : is called with the members (member, y, x), mm/h, of each lead time in turn; it
        must not keep the array.

    Raises
    ------
    DataError
        If the archive has no scan at the reference time, or its latest scan is too old, or the
        network cannot be loaded, or cannot be used at the archive's time step or grid spacing.
    ConfigError
        If there is no such method, or it makes no members and some are asked for, or chances are
        asked for raw and are not calibrated, or the lead time is no multiple of the archive's step.
    """
    check_output(config.out)
    prepared = prepare(config)
    archive = prepared.archive
    index = reference_index(archive, config.at)
    if config.at == "latest":
        _check_age(archive, index, config.max_age)
    with output_at(config.out) as output:
        return forecast_from(prepared, index, output, see_members)


@dataclass(frozen=True)
class Prepared:
    """An archive and a method, checked for a configuration; `forecast_from` takes any scan.

    Parameters
    ----------
    maker : the method that the file names.
    lead_times : number of time steps to forecast.
    has_chances : whether chances that the method says without members are computed, too.
    """

    config: ForecastConfig
    archive: ScanStore
    method: ForecastMethod
    maker: ForecastMethod
    lead_times: int
    has_chances: bool = True


def prepare(config: ForecastConfig, snapshot: str | None = None) -> Prepared:
    """Open the archive, at its latest snapshot or another one, and load the method.

    Raises
    ------
    DataError, ConfigError
        As `forecast`.
    """
    archive = open_archive(config.archive, snapshot)
    method = find_method(config.model, archive)
    if config.members is not None and not is_ensemble(method):
        raise ConfigError(
            f"{method.name} makes one forecast and no members; leave out --members, or choose a "
            f"method that has members, such as squall-base or {STOCHASTIC}"
        )
    if config.raw_chances:
        method = _with_raw_chances(method, config)
    maker = _maker(method, config)
    return Prepared(config, archive, method, maker, _lead_times(config, archive, method))


def forecast_from(
    prepared: Prepared,
    index: int,
    output: Output,
    see_members: Callable[[Rates], None] | None = None,
) -> xr.Dataset:
    """Forecast from the scans up to an index of the archive, write it to an output, and return it.

    Parameters
    ----------
    see_members : as in `forecast`.
    """
    config, archive, method = prepared.config, prepared.archive, prepared.method
    lead_times = prepared.lead_times
    first = index - method.context + 1
    context = archive.read(first, method.context)
    missing = missing_times(archive, index, used_steps(method))
    if missing:
        times = ", ".join(f"{time:%H:%M}" for time in missing)
        log.warning("the scan of %s UTC is missing in the context", times)
    used = context[[-1 - step for step in used_steps(method)][::-1]]
    blank = [time for time in _blank_times(used) if time not in missing]
    del used
    if blank:
        times = ", ".join(f"{time:%H:%M}" for time in blank)
        log.warning("nothing was observed in the scan of %s UTC: it has no observed pixel", times)
    configuration = public_text(json.dumps(config.model_dump(mode="json")))
    unknown = sorted(missing + blank)

    def described(context: xr.DataArray, rain_rate: Rates | dask.array.Array) -> xr.Dataset:
        maker = prepared.maker
        return forecast_dataset(archive, maker, context, rain_rate, configuration, unknown)

    if config.members is not None:
        last_scan = np.array(context.values[-1], np.float32)
        ensemble_leads = _leads_of_ensemble(method, context, lead_times, config)
        if fills_memory(archive.grid.shape, lead_times):
            context = archive.read(first, method.context, lazy=True)
        products = _ensemble(
            *(config, archive, method, ensemble_leads, last_scan, lead_times),
            *(output, see_members),
        )
        dataset = with_products(described(context, products.mean), products)
        dataset.attrs |= ensemble_attributes(method)
        if config.codes:
            dataset[RATE_OF_CODE] = rate_of_code()
    elif prepared.has_chances and gives_chances(method, THRESHOLDS_MM_H):
        leads = method.leads_with_chances(context.values, lead_times, THRESHOLDS_MM_H)
        if fills_memory(archive.grid.shape, lead_times):
            context = archive.read(first, method.context, lazy=True)
        rain_rate, codes = fields_of_leads(leads, archive.grid.shape, lead_times)
        dataset = with_chances(described(context, rain_rate), codes)
    else:
        dataset = described(context, method.nowcast(context.values, lead_times))
    dataset = rounded(dataset, config.keep_bits)
    output.write(dataset)
    has_codes = config.members is not None or CHANCES in dataset
    return xr.decode_cf(dataset) if has_codes else dataset


def _with_raw_chances(method: ForecastMethod, config: ForecastConfig) -> ForecastMethod:
    if not isinstance(method, NetworkMethod):
        raise ConfigError(
            f"--raw-chances is for models with a calibration, and {method.name} has none; leave it "
            "out"
        )
    return method.with_raw_chances(str(config.model), config.members)


def _maker(method: ForecastMethod, config: ForecastConfig) -> ForecastMethod:
    """The method that the file names: that of the members, where they do not use the weights.

    Raises
    ------
    ConfigError
        If the name of the model says how members are made, and none are asked for.
    """
    if not isinstance(method, NetworkMethod):
        return method
    method.check_engine(str(config.model), config.members)
    if config.members is not None and method.engine == STOCHASTIC:
        log.info("the members are those of %s; they do not use the weights", STOCHASTIC)
        return method.stochastic
    if method.caution:
        log.warning("%s", method.caution)
    return method


def _ensemble(
    config: ForecastConfig,
    archive: ScanStore,
    method: ForecastMethod,
    leads: Iterator[tuple[Rates, Rates | None]],
    last_scan: Rates,
    lead_times: int,
    output: Output,
    see_members: Callable[[Rates], None] | None,
) -> EnsembleProducts:
    """Compute the products of an ensemble, and write its members as they come.

    Parameters
    ----------
    leads : of `_leads_of_ensemble`.
    last_scan : (y, x), mm/h.
    """
    assert config.members is not None
    wanted = Wanted(
        thresholds_mm_h=config.thresholds_mm_h,
        percentiles=config.percentiles,
        median="median" in config.products,
        rate_percentiles="percentiles" in config.products,
        chances="chances" in config.products,
        neighbourhood="neighbourhood" in config.products,
        amounts="amounts" in config.products,
        times="times" in config.products,
    )
    step_min = archive.step.total_seconds() / 60
    lead_min = tuple(step_min * (index + 1) for index in range(lead_times))
    around = Neighbourhood.on(archive.grid, 1000 * NEIGHBOURHOOD_KM)
    products = EnsembleProducts(wanted, last_scan, lead_min, config.members, around)
    if isinstance(method, NetworkMethod):
        products.table_around = method.table_around
        products.source_of_chances = method.source_of_chances
    if "members" in config.products:
        shape = (config.members, lead_times, *archive.grid.shape)
        output.create_members(shape, config.codes, config.keep_bits)
    added = None
    leads = tracked(leads, "forecast", lead_times, "lead time")
    with ThreadPoolExecutor(1) as beside:  # while the method makes the next lead time
        for index in range(lead_times):
            lead = next(leads, None)
            assert lead is not None, f"{index} of {lead_times} lead times"
            rates, chances = lead
            del lead
            if added is not None:
                added.result()
            added = beside.submit(products.add, index, rates, chances)
            if see_members is not None:
                see_members(rates)
            if "members" in config.products:
                bits = None if config.codes else config.keep_bits
                output.write_members(index, round_to_bits(rates, bits))
                release(rates)
            del rates, chances  # before the next are made
        more = next(leads, None)  # the progress ends with the iterator
        assert more is None, f"more than {lead_times} lead times"
        if added is not None:
            added.result()
    return products


def _leads_of_ensemble(
    method: ForecastMethod, context: xr.DataArray, lead_times: int, config: ForecastConfig
) -> Iterator[tuple[Rates, Rates | None]]:
    """For each lead time the members (member, y, x), mm/h, and the chances (threshold, y, x) of the
    wanted thresholds, if they are not the shares of all members."""
    assert config.members is not None
    assert is_ensemble(method)
    reference = context["time"].values[-1]
    arguments = (context.values, lead_times, config.members, reference)
    if isinstance(method, NetworkMethod):
        return method.members_and_chances(*arguments, config.thresholds_mm_h)
    return ((rates, None) for rates in method.ensemble(*arguments))


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


def _lead_times(config: ForecastConfig, archive: ScanStore, method: ForecastMethod) -> int:
    """Number of steps to forecast; ConfigError if the minutes are no multiple of the step."""
    if config.minutes is None:
        return config.lead_times or method.lead_times
    steps = pd.Timedelta(minutes=config.minutes) / archive.step
    if steps == int(steps):
        return int(steps)
    step_min = archive.step.total_seconds() / 60
    nearest = [step_min * n for n in (math.floor(steps), math.ceil(steps)) if n]
    raise ConfigError(
        f"--minutes {config.minutes:g} is no multiple of the step of {archive.address}, "
        f"{step_min:g} min; give {' or '.join(f'{minutes:g}' for minutes in nearest)}"
    )


def _check_age(archive: ScanStore, index: int, max_age: pd.Timedelta | None) -> None:
    """Say how old the latest scan is; DataError if it is older than the limit."""
    time = archive.times[index]
    age = now() - time
    text = f"the latest scan is of {time:%Y-%m-%d %H:%M} UTC, {duration_text(abs(age))}"
    if age < -archive.step:
        log.warning("%s in the future; check the times of the archive and the clock", text)
    elif max_age is not None and age > max_age:
        raise DataError(
            f"{archive.address}: {text} old; --max-age allows {duration_text(max_age)}. Run "
            "`squall ingest` for newer scans, or name the scan with --at"
        )
    elif age > OLD:
        log.warning("%s old", text)
    else:
        log.info("%s old", text)


def missing_times(archive: ScanStore, last: int, steps: Iterable[int]) -> list[pd.Timestamp]:
    """Times without a good scan, oldest first, of those some steps before the index ``last``."""
    status = archive.status
    return [
        archive.start + index * archive.step
        for index in sorted(last - step for step in steps)
        if index < 0 or status[index] != OK
    ]


def _blank_times(context: xr.DataArray) -> list[pd.Timestamp]:
    """Times of the scans (time, y, x) that have no observed pixel."""
    is_blank = ~np.isfinite(context.values).any(axis=(1, 2))
    return [pd.Timestamp(time) for time in context["time"].values[is_blank]]
