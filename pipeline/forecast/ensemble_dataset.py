"""An ensemble as variables of the CF conventions: names, attributes, and how they are stored.

Public: `with_products`, `member_variable`, `members_of`, `coded_rates`, and the names of the
variables. The mean is the variable ``rain_rate``, which `dataset.forecast_dataset` makes.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall.convgru.file_arrays import release, zeros
from squall.datasets.coding import RAIN_CODE
from squall.datasets.grid import GRID_MAPPING
from squall.pipeline.forecast.chance_code import CHANCE_CODE
from squall.pipeline.forecast.ensemble_products import (
    NEIGHBOURHOOD_KM,
    EnsembleProducts,
    Floats,
)
from squall.pipeline.forecast.member_chances import share_in_words
from squall.pipeline.forecast.spells import SHORTEST_GAP_MIN, SHORTEST_GAP_STEPS

CHANCES = "probability_of_exceedance"
CHANCES_AROUND = f"probability_of_exceedance_within_{NEIGHBOURHOOD_KM}km"
CHANCES_AT_ANY_TIME = "probability_of_exceedance_at_any_time"
FIRST_RAIN, RAIN_END = "time_of_first_rain", "time_of_rain_end"
FIRST_RAIN_PERCENTILES = "time_of_first_rain_percentile"
MEDIAN, PERCENTILES = "rain_rate_median", "rain_rate_percentile"
MEMBERS, MEMBER_CODES, RATE_OF_CODE = "rain_rate_member", "rain_rate_member_code", "rate_of_code"
AMOUNT = "rain_amount"
KEPT_BITS = "quantization_nsb"  # attribute: number of significant bits, as CF 1.13 names it

THRESHOLD = {"standard_name": "rainfall_rate", "long_name": "threshold", "units": "mm h-1"}

_RATE = {"standard_name": "rainfall_rate", "units": "mm h-1", "grid_mapping": GRID_MAPPING}
_AMOUNT = {
    "standard_name": "lwe_thickness_of_precipitation_amount",
    "units": "mm",
    "grid_mapping": GRID_MAPPING,
}
_CHANCE = {"units": "1", "grid_mapping": GRID_MAPPING}
_TIME = {"standard_name": "time", "grid_mapping": GRID_MAPPING}
_PERCENTILE = {"long_name": "percentile of the members", "units": "percent"}

_Variables = dict[Hashable, Any]


def with_products(forecast: xr.Dataset, products: EnsembleProducts) -> xr.Dataset:
    """Add the products of an ensemble to the dataset of its mean.

    Chances and times are as the file stores them; `xarray.decode_cf` decodes them.
    """
    wanted = products.wanted
    variables = {**_rates(products), **_chances(products), **_amounts(products)}
    if wanted.times:
        variables |= _times(products, pd.Timestamp(forecast["forecast_reference_time"].item()))
    used = {dim for dims, *_ in variables.values() for dim in dims}
    coords: _Variables = {"realization": realization(products.members)}
    if "threshold" in used:
        coords["threshold"] = ("threshold", list(wanted.thresholds_mm_h), THRESHOLD)
    if "percentile" in used:
        coords["percentile"] = ("percentile", list(wanted.percentiles), _PERCENTILE)
    result = forecast.assign(variables).assign_coords(coords)
    result["rain_rate"].attrs |= {
        "long_name": "mean of the members' rain rate",
        "cell_methods": "realization: mean",
        "comment": "a mean of members is smoother than rain is: it has too much light rain and too "
        "little heavy rain; use the probabilities to judge heavy rain",
    }
    return result.assign_attrs(members=products.members)


def realization(members: int) -> tuple[str, Any, dict[str, str]]:
    """The coordinate of the members."""
    attributes = {"standard_name": "realization", "long_name": "member", "units": "1"}
    return "realization", np.arange(1, members + 1, dtype=np.int32), attributes


def member_variable(
    codes: bool, keep_bits: int | None = None
) -> tuple[str, np.dtype[Any], dict[str, Any]]:
    """Name, type and attributes of the variable (realization, lead_time, y, x) of the members."""
    if not codes:
        attributes: dict[str, Any] = {"long_name": "rain rate of the members", **_RATE}
        if keep_bits is not None:
            attributes[KEPT_BITS] = keep_bits
        return MEMBERS, np.dtype(np.float32), attributes | {"_FillValue": np.float32(np.nan)}
    attributes = {
        "long_name": f"rain rate of the members as a code; {RATE_OF_CODE}[code] is the rain rate",
        "units": "1",
        "grid_mapping": GRID_MAPPING,
        "comment": f"code 0 is dry, below {RAIN_CODE.lowest_mm_h:g} mm/h; codes c from 1 to 254 "
        f"are {RAIN_CODE.lowest_mm_h:g} * ({RAIN_CODE.highest_mm_h:g} / "
        f"{RAIN_CODE.lowest_mm_h:g}) ** ((c - 1) / 253) mm/h, within 1.6 %; 255 is not known. With "
        f"xarray: forecast.{RATE_OF_CODE}[forecast.{MEMBER_CODES}]",
    }
    return MEMBER_CODES, np.dtype(np.uint8), attributes


def rate_of_code() -> xr.DataArray:
    """(code,), mm/h: the rain rate of each code, NaN = not known."""
    attributes = {
        "standard_name": "rainfall_rate",
        "long_name": f"rain rate of each code of {MEMBER_CODES}",
        "units": "mm h-1",
    }
    return xr.DataArray(RAIN_CODE.table, dims="code", attrs=attributes)


def members_of(forecast: xr.Dataset) -> xr.DataArray | None:
    """The members (realization, lead_time, y, x), mm/h, of a forecast file; None if it has none."""
    if MEMBERS in forecast:
        return forecast[MEMBERS]
    if MEMBER_CODES not in forecast:
        return None
    codes = forecast[MEMBER_CODES]
    rates = forecast[RATE_OF_CODE].values[codes.values]
    return codes.copy(data=rates).assign_attrs({"long_name": "rain rate of the members", **_RATE})


def _rates(products: EnsembleProducts) -> _Variables:
    variables: _Variables = {}
    if products.wanted.median:
        attributes = {"long_name": "median of the members' rain rate", **_RATE}
        attributes["cell_methods"] = "realization: median"
        variables[MEDIAN] = (("lead_time", "y", "x"), products.median, attributes)
    if len(products.percentiles):
        attributes = {"long_name": "percentile of the members' rain rate", **_RATE}
        dims = ("percentile", "lead_time", "y", "x")
        variables[PERCENTILES] = (dims, products.percentiles, attributes)
    return variables


def _chances(products: EnsembleProducts) -> _Variables:
    variables: _Variables = {}
    at_least = ", at least the highest chance at such a pixel" if products.are_chances_given else ""
    for name, values, where in (
        (CHANCES, products.chances, "at the pixel"),
        (CHANCES_AROUND, products.chances_around, f"anywhere within {NEIGHBOURHOOD_KM} km"),
    ):
        if len(values):
            long_name = f"chance that the rain rate {where} is at least the threshold"
            attributes = {"long_name": long_name, **_CHANCE, **CHANCE_CODE}
            if name == CHANCES_AROUND:
                share = share_in_words(products.table_around is not None)
                attributes["comment"] = (
                    f"{share} whose highest rate within {NEIGHBOURHOOD_KM} km of the pixel is at "
                    f"least the threshold{at_least}; near the edge of the grid and of the known "
                    "area, only known pixels count"
                )
            else:
                attributes["comment"] = products.source_of_chances
            variables[name] = (("threshold", "lead_time", "y", "x"), values, attributes)
    return variables


def _amounts(products: EnsembleProducts) -> _Variables:
    if not len(products.amounts):
        return {}
    span = f"over {products.lead_min[-1]:g} min from the reference time"
    fractions = [0.5, *(p / 100 for p in products.wanted.percentiles)]
    median, *percentiles = products.amount_quantiles(fractions)
    variables: _Variables = {}
    for name, dims, values, words in (
        (f"{AMOUNT}_member", ("realization", "y", "x"), products.amounts, "of each member"),
        (f"{AMOUNT}_mean", ("y", "x"), products.mean_amount, "mean of the members"),
        (f"{AMOUNT}_median", ("y", "x"), median, "median of the members"),
    ):
        attributes = {"long_name": f"rain amount {span}, {words}", **_AMOUNT}
        variables[name] = (dims, np.asarray(values, np.float32), attributes)
    if percentiles:
        attributes = {"long_name": f"rain amount {span}, percentile of the members", **_AMOUNT}
        values = np.stack(percentiles)
        variables[f"{AMOUNT}_percentile"] = (("percentile", "y", "x"), values, attributes)
    return variables


def _times(products: EnsembleProducts, reference: pd.Timestamp) -> _Variables:
    times = products.times
    at_least = ", at least the highest chance of a time" if products.are_chances_given else ""
    dims = ("threshold", "y", "x")
    span = f"from the reference time to {products.lead_min[-1]:g} min after it"
    variables: _Variables = {
        CHANCES_AT_ANY_TIME: (
            dims,
            times.chance,
            {
                "long_name": "chance that the rain rate at the pixel is at least the threshold at "
                f"any time {span}",
                "comment": f"share of the members{at_least}",
                **_CHANCE,
                **CHANCE_CODE,
            },
        )
    }
    for name, minutes, words, comment in (
        (
            FIRST_RAIN,
            times.start_min,
            "time of the first rain of at least the threshold at the pixel",
            "median of the members that have such rain; the reference time where it rains already; "
            "missing where fewer than two members or a tenth of them have such rain",
        ),
        (
            RAIN_END,
            times.end_min,
            "time when the first rain of at least the threshold ends at the pixel",
            "median of the members that have such rain; a dry gap of less than "
            f"{SHORTEST_GAP_MIN:g} min, or of less than {SHORTEST_GAP_STEPS} steps, does not end "
            f"it; missing where {FIRST_RAIN} is, and where the rain lasts beyond the forecast",
        ),
    ):
        variables[name] = (dims, *_times_in_seconds(minutes, reference, words, comment))
    if products.wanted.percentiles:
        stored = _times_in_seconds(
            times.start_quantiles_min,
            reference,
            "percentile of the time of the first rain of at least the threshold at the pixel",
            f"among the members that have such rain; missing where {FIRST_RAIN} is",
        )
        variables[FIRST_RAIN_PERCENTILES] = (("percentile", *dims), *stored)
    return variables


def _times_in_seconds(
    minutes: Floats, reference: pd.Timestamp, long_name: str, comment: str
) -> tuple[npt.NDArray[np.int32], dict[str, Any]]:
    """Minutes after the reference time, NaN = missing, as a file stores them."""
    seconds = zeros(minutes.shape, np.int32)
    for number in np.ndindex(minutes.shape[:-2]):
        of_field = minutes[number]
        seconds[number] = np.where(np.isnan(of_field), _NO_TIME, np.rint(of_field * 60))
        release(seconds, minutes)
    attributes: dict[str, Any] = {"long_name": long_name, "comment": comment, **_TIME}
    attributes |= {"units": f"seconds since {reference:%Y-%m-%d %H:%M:%S}"}
    attributes |= {"_FillValue": np.int32(_NO_TIME), "calendar": "proleptic_gregorian"}
    return seconds, attributes


_NO_TIME = -1
