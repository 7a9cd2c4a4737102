"""Many forecasts scored against what came, beside persistence."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field, field_validator

from datasets.archive import OK, Archive
from datasets.errors import ConfigError, DataError
from datasets.repository import Address
from datasets.splits import Period
from pipeline.forecast import PERSISTENCE, Model, parse_time
from pipeline.progress import tracked
from pipeline.provenance import atomic_path, now_utc, sha256_of, squall_version
from pipeline.score_report import plot, table, write_csv
from pipeline.skill import ScoreSums, fss_windows_px, score_sums_by_method, scores_from_sums

log = logging.getLogger("squall.verify")


class VerifyConfig(BaseModel):
    """Which forecasts to score, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: Address
    model: Path
    out: Path
    start: str | None = Field(default=None, description="first reference time, UTC")
    end: str | None = Field(default=None, description="last reference time, UTC")
    every_minutes: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="between reference times; each scan where not given [min]",
    )
    lead_times: int | None = Field(default=None, gt=0)
    thresholds_mm_h: tuple[float, ...] = Field(default=(0.5, 2.0, 5.0, 10.0), min_length=1)
    scales_km: tuple[float, ...] = Field(
        default=(1.0, 5.0, 20.0), min_length=1, description="neighbourhood widths of the FSS [km]"
    )
    include_training: bool = Field(
        default=False, description="score times that the model was trained or chosen on, too"
    )

    @field_validator("thresholds_mm_h", "scales_km")
    @classmethod
    def _rising(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if min(values) <= 0 or list(values) != sorted(set(values)):
            raise ValueError("must be positive and rise")
        return values


@dataclass(frozen=True)
class VerifyResult:
    """Scores by method, threshold and lead time, and the files that hold them."""

    scores: xr.Dataset
    cases: int
    left_out: int
    netcdf: Path
    csv: Path
    plot: Path
    table: str


def verify(config: VerifyConfig) -> VerifyResult:
    """Forecast from many reference times, score, and write ``scores.nc``, ``.csv`` and ``.png``.

    All methods count the same pixels: those observed at the valid time, in the last scan before
    the forecast, and known to the model. Windows that touch times the model was trained on, or
    that chose its best epoch (validation), are left out, unless ``include_training``.

    Raises
    ------
    DataError
        If no case is left to score, or the model cannot be loaded.
    ConfigError
        If a time is no time.
    """
    archive = Archive.open(config.archive)
    model = Model.load(config.model)
    model.check_archive(archive)
    lead_times = config.lead_times or model.lead_times
    pixel_km = archive.grid.pixel_size_m / 1000
    scales_km = _scales(config.scales_km, pixel_km)
    cases, left_out = _cases(archive, model, lead_times, config)
    if left_out:
        log.info("%d reference times left out: the model was trained or chosen on them", left_out)
    total: ScoreSums | None = None
    for index in tracked(cases, "verify", len(cases)):
        context = archive.read(index - model.context + 1, model.context).values
        observed = archive.read(index + 1, lead_times).values
        sums = score_sums_by_method(
            {
                model.name: model.nowcast(context, lead_times),
                PERSISTENCE: np.broadcast_to(context[-1], observed.shape),
            },
            observed,
            lead_times=np.array(
                [(k * archive.step).to_timedelta64() for k in range(1, lead_times + 1)]
            ),
            thresholds_mm_h=config.thresholds_mm_h,
            scales_km=scales_km,
            pixel_km=pixel_km,
        )
        total = sums if total is None else total + sums
    assert total is not None
    scores = scores_from_sums(total).assign_attrs(
        title=f"Verification of {model.name} on {archive.title}",
        source="squall verify",
        history=f"{now_utc()} squall verify {squall_version()}",
        archive=archive.address,
        archive_snapshot=archive.snapshot,
        checkpoint=str(model.path),
        checkpoint_sha256=sha256_of(model.path),
        squall_version=squall_version(),
        first_reference_time=str(archive.times[cases[0]]),
        last_reference_time=str(archive.times[cases[-1]]),
        cases=len(cases),
        configuration=json.dumps(config.model_dump(mode="json")),
    )
    return _write(scores, config.out, len(cases), left_out)


def _write(scores: xr.Dataset, out: Path, cases: int, left_out: int) -> VerifyResult:
    paths = {suffix: out / f"scores.{suffix}" for suffix in ("nc", "csv", "png")}
    with atomic_path(paths["nc"]) as part:
        scores.to_netcdf(part)
    with atomic_path(paths["csv"]) as part:
        write_csv(scores, part)
    with atomic_path(paths["png"]) as part:
        plot(scores).savefig(part, dpi=110)
    text = table(scores)
    with atomic_path(out / "scores.txt") as part:
        part.write_text(text + "\n", encoding="utf-8")
    return VerifyResult(scores, cases, left_out, paths["nc"], paths["csv"], paths["png"], text)


def _scales(scales_km: tuple[float, ...], pixel_km: float) -> tuple[float, ...]:
    """The scales that make different neighbourhoods on this grid, at least one."""
    kept: dict[int, float] = {}
    for scale in scales_km:
        kept.setdefault(fss_windows_px([scale], pixel_km)[0], scale)
    return tuple(kept.values())


def _cases(
    archive: Archive, model: Model, lead_times: int, config: VerifyConfig
) -> tuple[list[int], int]:
    """Indices to forecast from, and how many were left out for training."""
    times, ok = archive.times, archive.status == OK
    start = times[0] if config.start is None else parse_time(config.start, "--start")
    end = times[-1] if config.end is None else parse_time(config.end, "--end")
    if start > end:
        raise ConfigError(f"--start {start} is after --end {end}")
    every = pd.Timedelta(minutes=config.every_minutes) if config.every_minutes else archive.step
    if every % archive.step:
        raise ConfigError(
            f"--every {every.total_seconds() / 60:g} min is no multiple of the archive's step of "
            f"{archive.step.total_seconds() / 60:g} min"
        )
    if config.start is not None:
        archive.index_of(start)  # must be on the step: --every counts from it
    seen = _seen(archive, model)
    cases, left_out = [], 0
    for index in np.flatnonzero(ok & (times >= start) & (times <= end)).tolist():
        if (times[index] - start) % every or not ok[index + 1 : index + 1 + lead_times].any():
            continue
        window = slice(max(0, index - model.context + 1), index + 1 + lead_times)
        if seen[window].any() and not config.include_training:
            left_out += 1
            continue
        cases.append(index)
    if not cases:
        why = (
            f"all {left_out} lie in what the model was trained or chosen on "
            "(--include-training scores them)"
            if left_out
            else "no scan there is followed by another"
        )
        raise DataError(f"{archive.address}: no forecast to score from {start} to {end}: {why}")
    return cases, left_out


def _seen(archive: Archive, model: Model) -> np.ndarray:
    """(time,) whether the model was trained or validated on the archive's scan of that time."""
    seen = np.zeros(archive.times.size, dtype=bool)
    for trained_on in model.provenance["archives"]:
        if trained_on["name"] == archive.name:
            for start, end in trained_on["training_periods"] + trained_on["validation_periods"]:
                seen |= Period(start=start, end=end).contains(archive.times)
    return seen
