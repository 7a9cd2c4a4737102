"""Compares ensembles on cases of an archive, with the verify stage's scores and intervals.

Public: `compared`, `gain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from squall.convgru.ensemble.calibration import EngineComparison
from squall.convgru.thresholds import THRESHOLDS_MM_H
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import DataError
from squall.pipeline.forecast.reference_times import ReferencePeriod
from squall.pipeline.scores.intervals import with_intervals
from squall.pipeline.scores.sums import ScoreSums
from squall.pipeline.verify.blocks import BlockStore
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.plan import VerificationCase, make_plan
from squall.pipeline.verify.run import block_name
from squall.pipeline.verify.workers import scored_blocks

SCORE = "fair_crps"
SCALE_KM = 16.0  # the verify stage scores an FSS, which is not used here
_BLOCKS = "comparison"


def compared(
    archive: ScanStore,
    cases: Sequence[int],
    models: Sequence[str],
    *,
    folder: Path,
    members: int,
    lead_times: int,
    workers: int,
) -> tuple[list[ScoreSums], dict[str, str]]:
    """Score the members of several models on the same pixels of the same cases.

    Parameters
    ----------
    folder : for files that are not needed afterwards.

    Returns
    -------
    The sums of each hour, and the label of each model in them.

    Raises
    ------
    DataError
        If all cases fail.
    """
    times = archive.times
    config = VerifyConfig(
        archives=(archive.address,),
        models=tuple(models),
        out=folder,
        periods=tuple(ReferencePeriod(times[index], times[index]) for index in cases),
        include_training=True,
        members=members,
        lead_times=lead_times,
        thresholds_mm_h=THRESHOLDS_MM_H,
        scales_km=(SCALE_KM,),
    )
    plan, (planned,) = make_plan(config)
    planned_cases = [
        VerificationCase(0, index, block_name(times[index], config))
        for index in planned.cases.indices
    ]
    blocks = scored_blocks(plan, planned_cases, BlockStore(folder, _BLOCKS), workers)
    sums = [block.sums for block in blocks.values() if block.sums is not None]
    if not sums:
        failure = next(iter(blocks.values())).failures[0]
        raise DataError(f"{archive.address}: no ensemble can be compared: {failure.reason}")
    return sums, {model: label for label, model in plan.methods.items()}


def gain(sums: Sequence[ScoreSums], method: str, reference: str) -> EngineComparison:
    """How much lower the fair CRPS of a method is than that of a reference, by their labels."""
    scores = with_intervals(sums, reference=reference, names=(SCORE,)).sel({"method": method})
    value, low, high = (float(scores[f"{SCORE}_gain{end}"]) for end in ("", "_low", "_high"))
    has_interval = low == low and high == high  # not NaN
    return EngineComparison(
        gain_percent=round(value, 3),
        low_percent=round(low, 3) if has_interval else None,
        high_percent=round(high, 3) if has_interval else None,
    )
