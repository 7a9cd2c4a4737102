"""``places.covjson``: the forecast at the configured places after the CoverageJSON standard.

Public: `coverages_of`, `at_places`, `COVERAGES`.

Source: OGC CoverageJSON Community Standard 1.0 (21-069r2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from squall.datasets.grid import Grid
from squall.datasets.times import utc_text
from squall.pipeline.forecast.ensemble_dataset import CHANCES, CHANCES_AROUND, MEDIAN, PERCENTILES
from squall.pipeline.live.config import Place
from squall.pipeline.live.frames import shown_rain

COVERAGES = "places.covjson"
_LONLAT = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_STANDARD_NAME = "http://vocab.nerc.ac.uk/standard_name/"
_UNITS = "http://www.opengis.net/def/uom/UCUM/"


def at_places(
    forecast: xr.Dataset, grid: Grid, places: Mapping[str, Place]
) -> dict[str, xr.Dataset | None]:
    """What a forecast says of the pixel of each place, one row and column; None: outside the grid.

    The fields of a large grid lie in files, so they are read once for all places.
    """
    pixels = {n: grid.pixel_at(place.latitude, place.longitude) for n, place in places.items()}
    inside = {name: pixel for name, pixel in pixels.items() if pixel is not None}
    result: dict[str, xr.Dataset | None] = dict.fromkeys(places)
    if inside:
        numbers = np.array(list(inside.values()))
        rows, columns = (
            xr.DataArray(numbers[:, [k]], dims=("place", dim)) for k, dim in enumerate(("y", "x"))
        )
        # as points: all rows with all columns would be the square of the number of places
        own = forecast.drop_vars(("y", "x")).isel(y=rows, x=columns).load()
        result |= {name: own.isel(place=number) for number, name in enumerate(inside)}
    return result


def coverages_of(
    forecast: xr.Dataset,
    own_of_places: Mapping[str, xr.Dataset | None],
    places: Mapping[str, Place],
    thresholds_mm_h: Sequence[float],
) -> dict[str, Any]:
    """A CoverageCollection with a PointSeries for each place; null = not known.

    Its parameters are the rain rate (the median of an ensemble), percentiles of the members, and
    chances of the thresholds at the pixel and within a distance, as far as the forecast has them.
    A place outside the grid has nulls.

    Parameters
    ----------
    own_of_places : from `at_places`.
    """
    parameters = {name: parameter for name, parameter, _ in _fields(forecast, thresholds_mm_h)}
    times = [utc_text(time) for time in pd.DatetimeIndex(forecast["time"].values)]
    coverages = []
    for name, own in own_of_places.items():
        if own is None:
            series = dict.fromkeys(parameters, np.full(len(times), np.nan))
        else:
            of_fields = _fields(own.isel(y=0, x=0), thresholds_mm_h)
            series = {key: values for key, _, values in of_fields}
        coverages.append(_coverage(name, places[name], times, series))
    return {
        "type": "CoverageCollection",
        "domainType": "PointSeries",
        "parameters": parameters,
        "referencing": [
            {"coordinates": ["x", "y"], "system": {"type": "GeographicCRS", "id": _LONLAT}},
            {
                "coordinates": ["t"],
                "system": {"type": "TemporalRS", "calendar": "Gregorian"},
            },
        ],
        "coverages": coverages,
    }


def _coverage(
    name: str, place: Place, times: list[str], series: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "type": "Coverage",
        "title": {"en": name},
        "domain": {
            "type": "Domain",
            "axes": {
                "x": {"values": [place.longitude]},
                "y": {"values": [place.latitude]},
                "t": {"values": times},
            },
        },
        "ranges": {
            key: {
                "type": "NdArray",
                "dataType": "float",
                "axisNames": ["t"],
                "shape": [len(values)],
                "values": [None if np.isnan(v) else round(float(v), 4) for v in values],
            }
            for key, values in ((key, np.asarray(field)) for key, field in series.items())
        },
    }


def _fields(
    forecast: xr.Dataset, thresholds_mm_h: Sequence[float]
) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Key, parameter and values of each field that the forecast has."""
    rain = shown_rain(forecast)
    label = "median of the members" if rain.name == MEDIAN else "forecast"
    yield "rain_rate", _rate(f"rain rate, {label}"), rain
    if PERCENTILES in forecast:
        for percent in forecast["percentile"].values:
            values = forecast[PERCENTILES].sel(percentile=percent)
            key = f"rain_rate_p{percent:g}"
            yield key, _rate(f"rain rate, percentile {percent:g} of the members"), values
    for name, key, where in (
        (CHANCES, "at_pixel", "here"),
        (CHANCES_AROUND, "within_10km", "within 10 km"),
    ):
        for threshold in thresholds_mm_h if name in forecast else ():
            if np.isclose(forecast["threshold"].values, threshold).any():
                words = f"chance of {threshold:g} mm/h or more {where}"
                values = forecast[name].sel(threshold=threshold, method="nearest")
                yield f"chance_{key}_{threshold:g}", _parameter(words, words, "1"), values


def _rate(description: str) -> dict[str, Any]:
    parameter = _parameter(description, "rainfall rate", "mm/h")
    parameter["observedProperty"]["id"] = f"{_STANDARD_NAME}rainfall_rate/"
    return parameter


def _parameter(description: str, observed: str, unit: str) -> dict[str, Any]:
    return {
        "type": "Parameter",
        "description": {"en": description},
        "unit": {"symbol": {"type": _UNITS, "value": unit}},
        "observedProperty": {"label": {"en": observed}},
    }
