"""Many forecasts of several methods scored against what came, on one archive or several."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from squall import __version__
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.open_archive import open_archive
from squall.pipeline.forecast.methods import ForecastMethod, find_method
from squall.pipeline.forecast.names import PERSISTENCE
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.provenance import code_version, now_utc
from squall.pipeline.scores.intervals import with_intervals
from squall.pipeline.scores.pooling import on_common_axes, scales_of_grid
from squall.pipeline.scores.table import SCORES
from squall.pipeline.verify.cases import Cases, choose_cases, times_seen
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.output import ArchiveScores, VerifyResult, write
from squall.pipeline.verify.scoring import (
    Block,
    BlockStore,
    Case,
    Plan,
    Scorer,
    Target,
    cores,
    scored_blocks,
)

__all__ = ["VerifyConfig", "VerifyResult", "verify"]

log = logging.getLogger("squall.verify")


@dataclass(frozen=True)
class _Chosen:
    """What is scored on one archive."""

    archive: ScanStore
    methods: dict[str, ForecastMethod]
    target: Target
    cases: Cases


def verify(config: VerifyConfig) -> VerifyResult:
    """Forecast from many reference times with every method, score, and write the scores.

    All methods count the same pixels of the same cases: those observed at the valid time, known
    to every method (persistence among them) and, with ``pixels: reachable``, reached by the
    extrapolation of the last scan. A case that one method cannot forecast counts for none.
    Windows that touch times that a model was trained on, or that chose its best epoch
    (validation), are left out, unless ``include_training``.

    A run that was stopped goes on with the blocks of time that it has not finished; another
    configuration, archive snapshot, model or version of the code starts anew.

    Raises
    ------
    DataError
        If no case is left to score, all of them fail, or a model cannot be loaded.
    ConfigError
        If a time is no time, or there is no such method.
    """
    plan, chosen = _plan(config)
    cases = [
        Case(number, index, _block_name(one.archive.times[index], config.block_minutes))
        for number, one in enumerate(chosen)
        for index in one.cases.indices
    ]
    store = BlockStore(config.out, _digest(config, plan, chosen))
    if config.fresh:
        store.clear()
    elif store.others() and not store.folder.exists():
        log.info(
            "%s: holds finished blocks of another configuration, archive, model or version; "
            "starting anew",
            config.out,
        )
    blocks = scored_blocks(plan, cases, store, config.workers or cores())
    scored = [
        _scored(one, [block for (target, _), block in blocks.items() if target == number], config)
        for number, one in enumerate(chosen)
    ]
    pooled = _pooled(scored) if len(scored) > 1 else None
    return write(config, scored, pooled, Scorer(plan))


def _plan(config: VerifyConfig) -> tuple[Plan, list[_Chosen]]:
    archives = [open_archive(address) for address in config.archives]
    names = [archive.name for archive in archives]
    if len(set(names)) < len(names):
        raise ConfigError(f"archives are named {', '.join(names)}: verify those of one name apart")
    methods = _shown_names(config, archives[0])
    periods = config.reference_periods()
    every = pd.Timedelta(minutes=config.every_minutes) if config.every_minutes else None
    chosen, without = [], []
    for archive in archives:
        made = {
            shown: find_method(name, archive, members=config.members)
            for shown, name in methods.items()
        }
        provenances = [
            method.provenance for method in made.values() if isinstance(method, NetworkMethod)
        ]
        lead_times = _lead_times(config, archive, made)
        seen = times_seen(archive, [] if config.include_training else provenances)
        cases = choose_cases(
            archive,
            context=max(method.context for method in made.values()),
            lead_times=lead_times,
            periods=periods,
            every=every,
            seen=seen,
        )
        if not cases.indices:
            without.append(f"{archive.address}: no forecast to score: {cases.reason()}")
        for count, why in (
            (cases.trained_on, "a model was trained or chosen on them"),
            (cases.gaps, "scans to start from are missing"),
        ):
            if count:
                log.info("%s: %d reference times left out: %s", archive.name, count, why)
        target = Target(
            archive.address,
            archive.snapshot,
            archive.name,
            lead_times,
            scales_of_grid(config.scales_km, archive.grid.pixel_size_m / 1000),
        )
        chosen.append(_Chosen(archive, made, target, cases))
    if without:
        raise DataError("; ".join(without))
    plan = Plan(
        tuple(one.target for one in chosen),
        methods,
        config.thresholds_mm_h,
        config.pixels == "reachable",
        config.members,
    )
    return plan, chosen


def _shown_names(config: VerifyConfig, archive: ScanStore) -> dict[str, str]:
    """Name shown -> name or path of every method; runs of one name also show their folder."""
    models = list(dict.fromkeys(str(model) for model in config.models))
    if PERSISTENCE not in models:
        models.append(PERSISTENCE)
    names = [find_method(model, archive, members=config.members).name for model in models]
    shown: dict[str, str] = {}
    for name, model in zip(names, models, strict=True):
        path = Path(model)
        label = name if names.count(name) == 1 else f"{name} ({path.parent.name}/{path.stem})"
        if label in shown:
            raise ConfigError(f"{model} and {shown[label]} are both called {label}; rename one")
        shown[label] = model
    return shown


def _lead_times(
    config: VerifyConfig, archive: ScanStore, methods: dict[str, ForecastMethod]
) -> int:
    """As many steps as asked for, or as all trained models were trained for, or an hour."""
    if config.lead_times:
        return config.lead_times
    if config.minutes is None:
        trained = [method for method in methods.values() if isinstance(method, NetworkMethod)]
        return min(method.lead_times for method in trained or methods.values())
    horizon = pd.Timedelta(minutes=config.minutes)
    if horizon < archive.step:
        raise ConfigError(
            f"--minutes {config.minutes:g} is less than the step of {archive.address}, "
            f"{archive.step.total_seconds() / 60:g} min"
        )
    return int(horizon // archive.step)


def _block_name(time: pd.Timestamp, block_minutes: float) -> str:
    return f"{time.floor(pd.Timedelta(minutes=block_minutes)):%Y%m%dT%H%M%S}"


def _digest(config: VerifyConfig, plan: Plan, chosen: list[_Chosen]) -> str:
    """Stands for everything that decides the sums of the blocks."""
    apart = {"out", "workers", "fresh", "cases", "archives", "models"}
    decides = {
        "configuration": config.model_dump(mode="json", exclude=apart),
        "targets": [vars(target) for target in plan.targets],
        "methods": {name: method.digest for name, method in chosen[0].methods.items()},
        "code": code_version(),
    }
    return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _scored(chosen: _Chosen, blocks: list[Block], config: VerifyConfig) -> ArchiveScores:
    total = Block()
    for block in blocks:
        total.add(Block(None, block.cases, block.failures, block.seconds))
    sums = [block.sums for block in blocks if block.sums is not None]
    if not sums:
        first = total.failures[0]
        raise DataError(
            f"{chosen.archive.address}: all {len(total.failures)} forecasts failed, the first with "
            f"{first.method} at {first.reference_time}: {first.reason}"
        )
    archive, indices = chosen.archive, chosen.cases.indices
    digests = {name: method.digest for name, method in chosen.methods.items()}
    scores = _with_seconds(with_intervals(sums), total.seconds).assign_attrs(
        title=f"Verification of {', '.join(chosen.methods)} on {archive.title}",
        source="squall verify",
        history=f"{now_utc()} squall verify {__version__}",
        archive=archive.address,
        archive_snapshot=archive.snapshot,
        methods=json.dumps(digests),
        squall_version=code_version(),
        first_reference_time=str(archive.times[indices[0]]),
        last_reference_time=str(archive.times[indices[-1]]),
        cases=total.cases,
        configuration=json.dumps(config.model_dump(mode="json")),
    )
    return ArchiveScores(
        archive, chosen.methods, chosen.target, chosen.cases, total, tuple(sums), scores
    )


def _pooled(scored: list[ArchiveScores]) -> xr.Dataset:
    """Scores of all archives together; the bootstrap draws from the blocks of all."""
    sums = [block for one in scored for block in one.blocks]
    scales = [one.target.scales_km for one in scored for _ in one.blocks]
    seconds: dict[str, list[float]] = {}
    for one in scored:
        for method, values in one.total.seconds.items():
            seconds.setdefault(method, []).extend(values)
    first = scored[0].scores.attrs
    kept = ("source", "history", "methods", "squall_version", "configuration")
    return _with_seconds(with_intervals(on_common_axes(sums, scales)), seconds).assign_attrs(
        {name: first[name] for name in kept},
        title=f"Verification of {', '.join(scored[0].methods)} on {len(scored)} archives",
        archives=json.dumps({one.archive.address: one.archive.snapshot for one in scored}),
        cases=sum(one.total.cases for one in scored),
    )


def _with_seconds(scores: xr.Dataset, seconds: dict[str, list[float]]) -> xr.Dataset:
    """With the median time that a forecast took, by method."""
    median = [float(np.median(seconds[str(method)])) for method in scores["method"].values]
    return scores.assign(seconds=("method", median, SCORES["seconds"].attrs))
