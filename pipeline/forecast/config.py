"""What a nowcast is asked for: the archive, the method, the reference time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from squall.datasets.addresses import Address
from squall.datasets.times import Age, parse_time
from squall.pipeline.config import Option, Rising
from squall.pipeline.outputs import OutputPath

ENSEMBLE_GROUP = "ensemble"
Product = Literal[
    "members", "median", "percentiles", "chances", "neighbourhood", "amounts", "times"
]  # what an ensemble's file holds beside the mean
ALL_PRODUCTS: tuple[Product, ...] = get_args(Product)


def _latest_or_time(value: Any) -> Any:
    return value if value == "latest" else parse_time(value)


_FOR_ENSEMBLES = ("thresholds_mm_h", "percentiles", "products", "codes")


class ForecastConfig(BaseModel):
    """Which nowcast to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: Annotated[Address, Option(metavar="ADDRESS", exists=True)] = Field(
        description="archive with the observed scans"
    )
    model: Annotated[str | Path, Option(metavar="METHOD")] = Field(
        description="checkpoint of a `squall train` run, a packaged model like squall-base, or a "
        "method without training: extrapolation, persistence, s-prog …; with --members, "
        "the end :stochastic, :marginal or :mixed says how members are made",
    )
    out: Annotated[OutputPath, Option(metavar="FILE.nc")] = Field(
        description="file to write: netCDF, or Zarr if the name ends in .zarr"
    )
    at: Annotated[Any, BeforeValidator(_latest_or_time), Option(metavar="TIME")] = Field(
        default="latest",
        description="reference time, UTC: the last scan to use, like 2010-08-26T06:00",
    )
    max_age: Annotated[Age | None, Option(metavar="DURATION")] = Field(
        default=None,
        description="refuse the latest scan if it is older than this, like 20min (default: any "
        "age, with a warning above an hour)",
    )
    lead_times: Annotated[int | None, Option(excludes="horizon")] = Field(
        default=None,
        gt=0,
        description="steps to forecast (default: as many as trained with; one hour for a method "
        "without training)",
    )
    minutes: Annotated[float | None, Option(excludes="horizon")] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="forecast up to this lead time [min], a multiple of the archive's step",
    )
    members: Annotated[int | None, Option(group=ENSEMBLE_GROUP)] = Field(
        default=None,
        ge=2,
        le=1000,
        description="make an ensemble of so many members: equally likely forecasts, and what they "
        "say together (default: one forecast)",
    )
    thresholds_mm_h: Annotated[Rising, Option(flag="--thresholds", group=ENSEMBLE_GROUP)] = Field(
        default=(0.2, 0.5, 2.0, 5.0, 10.0, 20.0),
        min_length=1,
        max_length=20,
        description="rain rates whose chance of being reached is computed [mm/h]",
    )
    percentiles: Annotated[Rising, Option(group=ENSEMBLE_GROUP, metavar="PERCENT")] = Field(
        default=(10.0, 25.0, 75.0, 90.0),
        description="percentiles of the members",
    )
    products: Annotated[tuple[Product, ...], Option(group=ENSEMBLE_GROUP)] = Field(
        default=ALL_PRODUCTS,
        min_length=1,
        description="what the file holds beside the mean; members fill by far the most space",
    )
    codes: Annotated[bool, Option(group=ENSEMBLE_GROUP)] = Field(
        default=False,
        description="write members as codes of one byte, within 1.6 %",
    )
    keep_bits: Annotated[int | None, Option(metavar="BITS")] = Field(
        default=None,
        ge=4,
        le=23,
        description="round rain rates and amounts to so many bits of their binary fraction, so "
        "that the file becomes smaller; 7 bits are within 0.4 % (default: no rounding)",
    )
    raw_chances: bool = Field(
        default=False,
        description="chances as the members are counted, or as the network says, without the "
        "calibration of the model; members drawn from chances are drawn from the raw ones",
    )

    @model_validator(mode="after")
    def _of_an_ensemble(self) -> ForecastConfig:
        if self.members is None:
            unused = [name for name in _FOR_ENSEMBLES if name in self.model_fields_set]
            if unused:
                name = unused[0].removesuffix("_mm_h")
                raise ValueError(f"{name}: is for ensembles; give the number of members too")
        if self.percentiles and self.percentiles[-1] >= 100:
            raise ValueError(f"percentiles lie between 0 and 100, found {self.percentiles[-1]:g}")
        if self.codes and "members" not in self.products:
            raise ValueError("codes are for members, and products leaves members out")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> ForecastConfig:
        if self.lead_times and self.minutes:
            raise ValueError("give either lead_times or minutes, not both")
        if self.max_age is not None and not self.max_age:
            raise ValueError("max_age must be longer than nothing, like 20min")
        if self.max_age is not None and self.at != "latest":
            raise ValueError(
                "max_age is a limit for the latest scan; leave it out where 'at' names a time"
            )
        return self
