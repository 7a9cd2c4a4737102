"""What a verification is asked for: archives, methods, times, thresholds, and how to count."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from squall.datasets.addresses import Address
from squall.datasets.times import EndTime, Time
from squall.pipeline.config import LOCAL, SCHEDULER, Option, Rising
from squall.pipeline.forecast.reference_times import Period, ReferencePeriod
from squall.pipeline.outputs import OutputPath

THRESHOLDS_MM_H = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
SCALES_KM = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
FORECASTS_GROUP, SCORES_GROUP = "which forecasts", "how to score"


class VerifyConfig(BaseModel):
    """Which forecasts to score, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archives: Annotated[
        tuple[Address, ...], Option(flag="--archive", metavar="ADDRESS", exists=True)
    ] = Field(
        min_length=1,
        description="archive with the observed scans; several are scored apart and pooled",
    )
    models: Annotated[tuple[str | Path, ...], Option(flag="--model", metavar="METHOD")] = Field(
        default=(),
        description="checkpoint, packaged model, extrapolation, pysteps-extrapolation, s-prog, "
        "linda, steps or lagrangian-probability; may be repeated; persistence is always added; "
        "the end :stochastic, :marginal or :mixed says how the members of a model are made",
    )
    forecasts: Annotated[tuple[Path, ...], Option(metavar="STORE", exists=True)] = Field(
        default=(),
        description="forecasts that were made before, by `squall forecast --period` or by another "
        "program: Zarr or netCDF with the dimensions reference_time, lead_time, y and x",
    )
    out: Annotated[OutputPath, Option(metavar="DIR")] = Field(description="folder for the scores")
    start: Annotated[Time | None, Option(metavar="TIME", group=FORECASTS_GROUP)] = Field(
        default=None, description="first reference time, UTC (default: the first of the archive)"
    )
    end: Annotated[EndTime | None, Option(metavar="TIME", group=FORECASTS_GROUP)] = Field(
        default=None,
        description="last reference time, UTC; a date includes its whole day (default: the last "
        "of the archive)",
    )
    periods: Annotated[
        tuple[Period, ...],
        Option(flag="--period", metavar="START/END", group=FORECASTS_GROUP),
    ] = Field(
        default=(),
        description="period of reference times, in place of start and end; may be repeated",
    )
    every_minutes: Annotated[float | None, Option(flag="--every", group=FORECASTS_GROUP)] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="time between reference times [min] (default: every scan)",
    )
    include_training: Annotated[bool, Option(group=FORECASTS_GROUP)] = Field(
        default=False, description="also score times that a model was trained or validated on"
    )
    incomplete_contexts: Annotated[bool, Option(group=FORECASTS_GROUP)] = Field(
        default=False,
        description="also score forecasts that lack scans of their context; methods of pysteps "
        "cannot make them",
    )
    lead_times: Annotated[int | None, Option(group=FORECASTS_GROUP, excludes="horizon")] = Field(
        default=None,
        gt=0,
        description="steps to forecast (default: as many as the models were trained with; one "
        "hour without a model)",
    )
    minutes: Annotated[float | None, Option(group=FORECASTS_GROUP, excludes="horizon")] = Field(
        default=None, gt=0, allow_inf_nan=False, description="forecast up to this lead time [min]"
    )
    thresholds_mm_h: Annotated[Rising, Option(flag="--thresholds", group=SCORES_GROUP)] = Field(
        default=THRESHOLDS_MM_H, min_length=1, description="rain rates that define events [mm/h]"
    )
    scales_km: Annotated[Rising, Option(flag="--scales", group=SCORES_GROUP)] = Field(
        default=SCALES_KM, min_length=1, description="neighbourhood widths of the FSS [km]"
    )
    pixels: Annotated[Literal["reachable", "observed"], Option(group=SCORES_GROUP)] = Field(
        default="reachable",
        description="which pixels count, of those observed and forecast by all methods: "
        "reachable – those where the motion of the rain leads from inside the area that the last "
        "scan observed; observed – all",
    )
    block_minutes: Annotated[float, Option(flag="--block", group=SCORES_GROUP)] = Field(
        default=60.0, gt=0, allow_inf_nan=False, description="length of a bootstrap block [min]"
    )
    members: Annotated[int | None, Option(group=SCORES_GROUP)] = Field(
        default=None,
        ge=2,
        description="score so many members of each method that makes members, such as steps, "
        "stochastic and networks (default: 20 if steps is scored, otherwise none)",
    )
    reference: Annotated[str | None, Option(metavar="METHOD", group=SCORES_GROUP)] = Field(
        default=None,
        description="method that the others are compared with, one of those scored (default: "
        "steps, s-prog, linda, an extrapolation or persistence, the first that is scored)",
    )
    cases: Annotated[int, Option(group=SCORES_GROUP)] = Field(
        default=3, ge=0, description="forecasts to draw for each archive, the rainiest"
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        description="worker processes (default: one per core, fewer where memory is short)",
    )
    scheduler: Annotated[str, Option(metavar="WHERE")] = Field(
        default=LOCAL,
        pattern=SCHEDULER,
        description="where workers run: processes of this machine, or the address tcp://… of a "
        "Dask scheduler, whose workers see the archives and models at the same addresses",
    )
    fresh: bool = Field(default=False, description="score again what an earlier run has finished")

    @model_validator(mode="after")
    def _consistent(self) -> VerifyConfig:
        if not self.models and not self.forecasts:
            raise ValueError("nothing to score; give --model or --forecasts")
        if self.forecasts and len(self.archives) > 1:
            raise ValueError("--forecasts are those of one archive; verify archives separately")
        if self.periods and (self.start or self.end):
            raise ValueError("give either periods or start and end, not both")
        if self.lead_times and self.minutes:
            raise ValueError("give either lead_times or minutes, not both")
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ValueError(f"start {self.start} is after end {self.end}")
        return self

    def reference_periods(self) -> list[ReferencePeriod]:
        """Periods of the reference times; one open period if nothing limits them."""
        return list(self.periods) or [ReferencePeriod(self.start, self.end)]
