"""What many forecasts are asked for: a forecast as usual, a period, and where the work is done."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from squall.pipeline.config import LOCAL, SCHEDULER, Option
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.reference_times import Period

PERIOD_GROUP = "many forecasts, in one Zarr store"
OF_PERIOD = ("period", "every_minutes", "workers", "scheduler", "fresh")
KEEP_BITS = 7


class PeriodConfig(ForecastConfig):
    """Which nowcasts to make."""

    period: Annotated[Period, Option(metavar="START/END", group=PERIOD_GROUP)] = Field(
        default=None,
        description="forecast from all reference times of a period, UTC, both ends included; --out "
        "then names a .zarr store, and a stopped run goes on",
    )
    every_minutes: Annotated[float | None, Option(flag="--every", group=PERIOD_GROUP)] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="time between reference times [min] (default: every scan)",
    )
    workers: Annotated[int | None, Option(group=PERIOD_GROUP)] = Field(
        default=None,
        ge=1,
        description="worker processes (default: one per core, fewer where memory is short)",
    )
    scheduler: Annotated[str, Option(metavar="WHERE", group=PERIOD_GROUP)] = Field(
        default=LOCAL,
        pattern=SCHEDULER,
        description="where workers run: processes of this machine, or the address tcp://… of a "
        "Dask scheduler, whose workers see the archive and the model at the same addresses",
    )
    fresh: Annotated[bool, Option(group=PERIOD_GROUP)] = Field(
        default=False, description="remove the store of an earlier run, and begin again"
    )

    @model_validator(mode="after")
    def _of_an_ensemble(self) -> PeriodConfig:
        """In place of the check of one forecast, which allows no products without members."""
        if self.members is None:
            if "percentiles" in self.model_fields_set:
                raise ValueError("percentiles: is for ensembles; give the number of members too")
            if "thresholds_mm_h" in self.model_fields_set:
                raise ValueError(
                    "thresholds: without members a method has chances at its own thresholds only; "
                    "give the number of members too, or leave thresholds out"
                )
            if "products" in self.model_fields_set and self.products != ("chances",):
                raise ValueError("products: without members, chances is the only product")
        elif "products" not in self.model_fields_set:
            raise ValueError(
                "name the products that the store keeps of each ensemble, like --products chances; "
                "members fill by far the most space"
            )
        if self.percentiles and self.percentiles[-1] >= 100:
            raise ValueError(f"percentiles lie between 0 and 100, found {self.percentiles[-1]:g}")
        if self.codes:
            raise ValueError(
                "codes: a store of many forecasts holds rounded rates, which need no table; leave "
                "it out, or choose --keep-bits"
            )
        return self

    @model_validator(mode="after")
    def _of_a_period(self) -> PeriodConfig:
        if self.period is None:
            raise ValueError("--every, --workers, --scheduler and --fresh need --period START/END")
        if "at" in self.model_fields_set or self.max_age is not None:
            raise ValueError("--at and --max-age are for one forecast; leave them out")
        return self

    @property
    def kept_products(self) -> tuple[str, ...]:
        """What the store keeps beside the rain rate."""
        return self.products if "products" in self.model_fields_set else ()

    @property
    def kept_bits(self) -> int:
        """Bits of the binary fraction of rain rates and amounts."""
        return self.keep_bits or KEEP_BITS
