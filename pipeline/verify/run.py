"""The verify stage: many forecasts of several methods, scored against observations."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from hashlib import sha256
from itertools import chain
from math import prod

import numpy as np
import pandas as pd
import xarray as xr

from squall import __version__
from squall.datasets.errors import DataError
from squall.datasets.public_text import public_address, public_text
from squall.pipeline.forecast.memory import worker_bytes
from squall.pipeline.outputs import check_output_folder
from squall.pipeline.processes import chosen_workers
from squall.pipeline.provenance import code_version, now_utc
from squall.pipeline.scores.intervals import with_intervals
from squall.pipeline.scores.sums import ScoreSums
from squall.pipeline.scores.table import SCORES
from squall.pipeline.verify.blocks import KEPT_CONFIGURATIONS, Block, BlockStore
from squall.pipeline.verify.cases import rainiest
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.output import (
    ArchiveScores,
    VerifyResult,
    all_blocks,
    chance_sources,
    missing_scans,
    replaced,
    write,
)
from squall.pipeline.verify.plan import Plan, PlannedArchive, VerificationCase, make_plan
from squall.pipeline.verify.scoring import Scorer
from squall.pipeline.verify.workers import scored_blocks

log = logging.getLogger("squall.verify")


def verify(config: VerifyConfig) -> VerifyResult:
    """Forecast from many reference times with every method, score the forecasts, write the scores.

    All methods are scored on the same pixels of the same cases. A pixel counts where it is observed
    at the valid time, known to every method (persistence among them) and, with ``pixels:
    reachable``, reached by the extrapolation of the last scan. A case that any method fails on is
    left out for all methods. Windows that contain times that a model was trained or validated on
    are left out, unless ``include_training``.

    A run that was stopped resumes with the blocks of time that are not finished. With another
    configuration, archive snapshot, model or version of the code it starts from the beginning.

    Raises
    ------
    DataError
        If no case is left to score, all cases fail, or a model cannot be loaded.
    ConfigError
        If a time cannot be read, or a method does not exist.
    """
    check_output_folder(config.out, "--out")
    plan, planned_archives = make_plan(config)
    to_draw = [
        rainiest(planned.archive, planned.cases.indices, planned.target.lead_times, config.cases)
        for planned in planned_archives
    ]
    cases = [
        VerificationCase(
            *(number, index, block_name(planned.archive.times[index], config)),
            is_drawn=index in to_draw[number],
        )
        for number, planned in enumerate(planned_archives)
        for index in planned.cases.indices
    ]
    store = BlockStore(config.out, _digest(config, plan, planned_archives))
    if config.fresh:
        store.clear()
    elif store.has_others() and not store.folder.exists():
        log.info(
            "%s: has finished blocks of another configuration, archive, model or version only; "
            "starting from the beginning",
            config.out,
        )
    removed = store.remove_oldest()
    if removed:
        log.info(
            "%s: removed the blocks of %d configurations that were used longest ago; those of "
            "the last %d are kept",
            *(store.folder.parent, removed, KEPT_CONFIGURATIONS),
        )
    bytes_each = max(
        worker_bytes(planned.methods.values(), prod(planned.archive.grid.shape), plan.members)
        for planned in planned_archives
    )
    workers = chosen_workers(config.workers, config.scheduler, bytes_each)
    blocks = scored_blocks(plan, cases, store, workers, config.scheduler)
    scored_archives = [
        _archive_scores(
            planned,
            to_draw[number],
            [block for (target, _), block in blocks.items() if target == number],
            config,
            plan,
        )
        for number, planned in enumerate(planned_archives)
    ]
    sums = all_blocks(scored_archives)
    pooled = _pooled(scored_archives, sums) if len(scored_archives) > 1 else None
    return write(config, scored_archives, sums, pooled, Scorer(plan))


def block_name(time: pd.Timestamp, config: VerifyConfig) -> str:
    return f"{time.floor(pd.Timedelta(minutes=config.block_minutes)):%Y%m%dT%H%M%S}"


def _digest(config: VerifyConfig, plan: Plan, planned_archives: list[PlannedArchive]) -> str:
    """Hash of everything that decides the sums of the blocks."""
    irrelevant = {
        "out",
        "workers",
        "scheduler",
        "fresh",
        "cases",
        "archives",
        "models",
        "reference",
    }
    deciding = {
        "configuration": config.model_dump(mode="json", exclude=irrelevant),
        "targets": [vars(target) for target in plan.targets],
        "methods": {name: method.digest for name, method in planned_archives[0].methods.items()},
        "code": code_version(),
    }
    text = public_text(json.dumps(deciding, sort_keys=True))  # a new signature changes no sum
    return sha256(text.encode()).hexdigest()


def _archive_scores(
    planned: PlannedArchive,
    to_draw: list[int],
    blocks: list[Block],
    config: VerifyConfig,
    plan: Plan,
) -> ArchiveScores:
    total = Block()
    for block in blocks:
        total.add(replace(block, sums=None))
    archive, indices = planned.archive, planned.cases.indices
    sums = [block.sums for block in blocks if block.sums is not None]
    if not sums:
        first = total.failures[0]
        raise DataError(
            f"{archive.address}: all {len(total.failures)} forecasts failed, the first with "
            f"{first.method} at {first.reference_time}: {first.reason}"
        )
    digests = {name: method.digest for name, method in planned.methods.items()}
    scores = _with_seconds(
        with_intervals(sums, reference=plan.reference), total.seconds
    ).assign_attrs(
        title=f"Verification of {', '.join(planned.methods)} on {archive.title}",
        source="squall verify",
        history=f"{now_utc()} squall verify {__version__}",
        archive=public_address(archive.address),
        archive_snapshot=archive.snapshot,
        methods=json.dumps(digests),
        chances=json.dumps(chance_sources(planned.methods, plan.thresholds_mm_h, plan.members)),
        squall_version=code_version(),
        first_reference_time=str(archive.times[indices[0]]),
        last_reference_time=str(archive.times[indices[-1]]),
        cases=total.cases,
        missing_context_scans=json.dumps(missing_scans(archive, planned.cases, total)),
        replaced_by_extrapolation=json.dumps(total.replaced),
        configuration=public_text(json.dumps(config.model_dump(mode="json"))),
    )
    return ArchiveScores(
        archive,
        planned.methods,
        planned.target,
        planned.cases,
        tuple(to_draw),
        total,
        tuple(sums),
        scores,
    )


def _pooled(scored_archives: list[ArchiveScores], blocks: list[ScoreSums]) -> xr.Dataset:
    """Scores of all archives together. The bootstrap draws from the blocks of all archives."""
    seconds = {
        method: list(chain.from_iterable(s.total.seconds[method] for s in scored_archives))
        for method in scored_archives[0].total.seconds
    }
    first = scored_archives[0].scores.attrs
    shared = ("source", "history", "methods", "squall_version", "configuration")
    methods = ", ".join(scored_archives[0].methods)
    archives = {public_address(s.archive.address): s.archive.snapshot for s in scored_archives}
    scores = with_intervals(blocks, reference=first["reference"])
    return _with_seconds(scores, seconds).assign_attrs(
        {name: first[name] for name in shared},
        title=f"Verification of {methods} on {len(scored_archives)} archives",
        archives=json.dumps(archives),
        chances=json.dumps(
            {s.archive.name: json.loads(s.scores.attrs["chances"]) for s in scored_archives}
        ),
        cases=sum(scored.total.cases for scored in scored_archives),
        missing_context_scans=json.dumps(
            {s.archive.name: s.missing_scans() for s in scored_archives}
        ),
        replaced_by_extrapolation=json.dumps(replaced(scored_archives)),
    )


def _with_seconds(scores: xr.Dataset, seconds: dict[str, list[float]]) -> xr.Dataset:
    """The scores with the median time of a forecast, by method."""
    medians = [float(np.median(seconds[str(method)])) for method in scores["method"].values]
    return scores.assign(seconds=("method", medians, SCORES["seconds"].attrs))
