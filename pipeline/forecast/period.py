"""Many forecasts: from all reference times of a period, into one store.

Public: `forecast_period`, `PeriodResult`. What one forecast is, is in `run.py`; how the store is
laid out, in `store.py`. Workers make and encode forecasts; this process alone writes, in the order
of time, so that a store is the same for any number of workers.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall import __version__
from squall.convgru.heads.exceedance import THRESHOLDS_MM_H
from squall.datasets.errors import BusyError, ConfigError, DataError
from squall.datasets.public_text import public_text
from squall.pipeline.forecast.ensemble_dataset import member_variable
from squall.pipeline.forecast.memory import worker_bytes
from squall.pipeline.forecast.methods import gives_chances, used_steps
from squall.pipeline.forecast.period_config import OF_PERIOD, PeriodConfig
from squall.pipeline.forecast.period_plan import planned
from squall.pipeline.forecast.run import Prepared, forecast_from, prepare
from squall.pipeline.forecast.store import ForecastStore, LeftOut, StoreRow, is_store, store_row
from squall.pipeline.outputs import check_own_folder
from squall.pipeline.processes import chosen_workers, results_of
from squall.pipeline.progress import tracked
from squall.pipeline.provenance import code_version, now_utc

log = logging.getLogger("squall.forecast")

TRAINING = ("archives", "init", "calibrations")  # what a network says of its training
DIED = "the process that made the forecast died; memory may have run out"
# Attributes of a forecast that say something of this forecast alone.
_OF_ONE_FORECAST = ("missing_context", "configuration")


@dataclass(frozen=True)
class PeriodResult:
    """The store, and what was done.

    Parameters
    ----------
    times : reference times of all forecasts in the store.
    made : number of forecasts that this run made.
    left_out : reference times without a forecast.
    failed : those of them whose forecast failed in this run.
    """

    out: Path
    times: pd.DatetimeIndex
    made: int
    left_out: tuple[LeftOut, ...]
    failed: tuple[LeftOut, ...]


def forecast_period(config: PeriodConfig) -> PeriodResult:
    """Forecast from all reference times of a period whose context is complete, into a Zarr store.

    A run that was stopped goes on after the last forecast in the store. A later end of the period
    makes the store longer.

    Raises
    ------
    DataError
        If there is no forecast to make, or the archive or the model cannot be read.
    ConfigError
        As `forecast`; or if the store was made with another configuration, model or version.
    BusyError
        If another process writes the store.
    """
    _check_output(config.out)
    config = config.model_copy(update={"keep_bits": config.kept_bits})
    prepared = _prepared(config)
    with _locked(config.out):
        if config.fresh and config.out.exists():
            shutil.rmtree(config.out)
        recipe = _recipe(config, prepared)
        store = ForecastStore(config.out) if is_store(config.out) else None
        if store is not None:
            _check_recipe(store, recipe)
        indices, left_out = planned(config, prepared.archive, used_steps(prepared.method), store)
        made, failed = 0, list[LeftOut]()
        if store is not None:
            store.leave_out(left_out)
        # closed at once, so that no worker goes on after an error
        with closing(_rows(config, prepared, indices)) as rows:
            for index, row in rows:
                if isinstance(row, str):
                    failed.append(LeftOut(prepared.archive.times[index], row))
                    log.warning("%s UTC is left out: %s", f"{failed[-1].time:%Y-%m-%d %H:%M}", row)
                    left_out = sorted([*left_out, failed[-1]])
                    if store is not None:
                        store.leave_out(left_out)
                    continue
                if store is None:
                    store = ForecastStore.create(
                        config.out, row, _attributes(row, config, prepared, recipe)
                    )
                    store.leave_out(left_out)
                if not made:
                    store.set_attributes(_of_run(store, row, prepared.archive.snapshot))
                store.append(row)
                made += 1
        if store is None:
            raise DataError(
                f"{config.archive}: no forecast could be made: {_summary(left_out)}"
                if left_out
                else f"{config.archive}: has no scan in the period {config.period}"
            )
        return PeriodResult(config.out, store.times, made, tuple(store.left_out), tuple(failed))


class Forecaster:
    """Makes and encodes a forecast from any scan; it opens archive and model when it needs them."""

    def __init__(self, config: PeriodConfig, snapshot: str, digest: str) -> None:
        self._config, self._snapshot, self._digest = config, snapshot, digest
        self._prepared: Prepared | None = None

    def __call__(self, index: int) -> StoreRow | str:
        """The forecast from the scans up to an index; a reason if there is none."""
        if self._prepared is None:
            with _silent():  # the main process has said it
                self._prepared = _prepared(self._config, self._snapshot)
            if self._prepared.maker.digest != self._digest:
                raise DataError(
                    f"{self._config.model}: is another model where this worker runs; put the same "
                    "file there"
                )
        output = _InMemory()
        try:
            with _silent():
                forecast_from(self._prepared, index, output)
        except (OSError, DataError, ConfigError):  # the archive cannot be read: the next run can
            raise
        except Exception as error:  # a library may raise anything on unusual scans
            if type(error).__module__.startswith("icechunk"):
                raise
            text = " ".join(f"{type(error).__name__}: {error}".split())
            return f"{self._prepared.method.name} failed: {text}"
        assert output.forecast is not None
        shared = {k: v for k, v in output.forecast.attrs.items() if k not in _OF_ONE_FORECAST}
        return store_row(output.forecast.drop_attrs(deep=False).assign_attrs(shared))


class _InMemory:
    """An `Output` that keeps one forecast."""

    def __init__(self) -> None:
        self.forecast: xr.Dataset | None = None
        self._members: xr.Variable | None = None

    def create_members(
        self, shape: tuple[int, int, int, int], codes: bool, keep_bits: int | None
    ) -> None:
        self._name, dtype, attributes = member_variable(codes, keep_bits)
        attributes.pop("_FillValue")
        dims = ("realization", "lead_time", "y", "x")
        self._members = xr.Variable(dims, np.empty(shape, dtype), attributes)

    def write_members(self, index: int, rates: npt.NDArray[np.float32]) -> None:
        assert self._members is not None
        self._members.values[:, index] = rates

    def write(self, forecast: xr.Dataset) -> None:
        if self._members is not None:
            forecast = forecast.assign({self._name: self._members})
        self.forecast = forecast


def _rows(
    config: PeriodConfig, prepared: Prepared, indices: Sequence[int]
) -> Generator[tuple[int, StoreRow | str]]:
    """Each index with its encoded forecast, or the reason that there is none."""
    forecaster = Forecaster(config, prepared.archive.snapshot, prepared.maker.digest)
    pixels, members = prod(prepared.archive.grid.shape), config.members
    kept = 4 * (members or 0) * prepared.lead_times if "members" in config.kept_products else 0
    bytes_each = worker_bytes([prepared.maker], pixels, members) + kept * pixels
    workers = chosen_workers(config.workers, config.scheduler, bytes_each)
    with results_of(
        *(forecaster, indices, workers),
        preload=__name__,
        advice="Run it again",
        scheduler=config.scheduler,
        if_lost=lambda index: DIED,
    ) as results:
        yield from zip(indices, tracked(results, "forecast", len(indices), "forecast"), strict=True)


def _prepared(config: PeriodConfig, snapshot: str | None = None) -> Prepared:
    """As `prepare`, with the chances that are asked for.

    Raises
    ------
    ConfigError
        If chances without members are asked for, and the method says none.
    """
    prepared = prepare(config, snapshot)
    if config.members is not None:
        return prepared
    has_chances = "chances" in config.kept_products
    if has_chances and not gives_chances(prepared.method, THRESHOLDS_MM_H):
        raise ConfigError(
            f"{prepared.method.name} says no chances without members; leave --products out, or "
            "give the number of --members too"
        )
    return replace(prepared, has_chances=has_chances)


def _summary(left_out: Sequence[LeftOut]) -> str:
    time, reason = left_out[0]
    return (
        f"{len(left_out)} reference times are left out, the first, {time:%Y-%m-%d %H:%M}: {reason}"
    )


def _recipe(config: PeriodConfig, prepared: Prepared) -> dict[str, Any]:
    """What decides the forecasts, beside the scans."""
    members = config.members is not None
    return {
        "archive": prepared.archive.name,
        "model": prepared.maker.name,
        "digest": prepared.maker.digest,
        "start": str(config.period.start),
        "every_minutes": config.every_minutes,
        "lead_times": prepared.lead_times,
        "members": config.members,
        "products": list(config.kept_products),
        "thresholds": list(config.thresholds_mm_h) if members else None,
        "percentiles": list(config.percentiles) if members else None,
        "keep_bits": config.kept_bits,
        "raw_chances": config.raw_chances,
        "squall": code_version(),
    }


def _check_recipe(store: ForecastStore, recipe: dict[str, Any]) -> None:
    """ConfigError if a store holds other forecasts."""
    stored = json.loads(store.attributes["recipe"])
    for key, value in recipe.items():
        if stored.get(key) != value:
            raise ConfigError(
                f"{store.path}: was made with {key} {stored.get(key)}, now it is {value}; choose "
                "another --out, or begin again with --fresh"
            )


def _attributes(
    row: StoreRow, config: PeriodConfig, prepared: Prepared, recipe: dict[str, Any]
) -> dict[str, Any]:
    """Attributes of a new store."""
    provenance = getattr(prepared.method, "provenance", {})
    without = {*OF_PERIOD, "at", "max_age", "out"} - {"period", "every_minutes"}
    configuration = json.dumps(config.model_dump(mode="json", exclude=without))
    title = str(row.empty.attrs["title"]).replace("nowcast", "nowcasts", 1)
    return {
        "title": title,
        "history": "",
        "archive_snapshots": "{}",
        "configuration": public_text(configuration),
        "recipe": json.dumps(recipe),
        # so that a verification leaves out what the network was trained on
        "training": public_text(
            json.dumps({key: provenance[key] for key in TRAINING if key in provenance})
        ),
    }


def _of_run(store: ForecastStore, row: StoreRow, snapshot: str) -> dict[str, str]:
    """Attributes that each run of the same store adds to."""
    snapshots = json.loads(store.attributes["archive_snapshots"])
    if snapshot not in snapshots.values():
        snapshots[row.time.isoformat()] = snapshot
    line = f"{now_utc()} squall forecast {__version__}: from {row.time:%Y-%m-%dT%H:%M} on"
    history = "\n".join(filter(None, [store.attributes["history"], line]))
    return {"history": history, "archive_snapshots": json.dumps(snapshots)}


def _check_output(path: Path) -> None:
    """ConfigError if a store cannot be written to a path."""
    if path.suffix.lower() != ".zarr":
        raise ConfigError(
            f"{path}: the name of a store of many forecasts must end in .zarr (--out)"
        )
    check_own_folder(path, "--out", is_store, "many forecasts")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other writers from a store."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise BusyError(f"{path}: another process writes forecasts there") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _silent() -> Iterator[None]:
    """One of many forecasts shows no progress of its own, and logs no warnings."""
    logger = logging.getLogger("squall")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
