"""Answers in CoverageJSON (OGC 21-069r2).

Public: `coverage`, `MEDIA_TYPE`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from squall.pipeline.serve.published_run import RAIN, Layer, Values
from squall.pipeline.serve.queries import CRS84

MEDIA_TYPE = "application/prs.coverage+json"


def coverage(
    layers: Sequence[Layer],
    times: Sequence[str],
    places: Sequence[tuple[float, float]],
    values: Mapping[str, Sequence[float | None] | Values],
    *,
    is_point: bool,
) -> dict[str, Any]:
    """A coverage: a series at one point, or at the centres of several pixels.

    Parameters
    ----------
    layers : of the values.
    places : longitude and latitude.
    values : by name of the layer: of the first time for all places, then of the next.
    """
    if is_point:
        ((lon, lat),) = places
        axes: dict[str, Any] = {"x": {"values": [lon]}, "y": {"values": [lat]}}
        names, shape = ["t"], [len(times)]
    else:
        axes = {
            "composite": {
                "dataType": "tuple",
                "coordinates": ["x", "y"],
                "values": [list(place) for place in places],
            }
        }
        names, shape = ["t", "composite"], [len(times), len(places)]
    axes["t"] = {"values": list(times)}
    return {
        "type": "Coverage",
        "domain": {
            "type": "Domain",
            "domainType": "PointSeries" if is_point else "MultiPointSeries",
            "axes": axes,
            "referencing": [
                {"coordinates": ["x", "y"], "system": {"type": "GeographicCRS", "id": CRS84}},
                {"coordinates": ["t"], "system": {"type": "TemporalRS", "calendar": "Gregorian"}},
            ],
        },
        "parameters": {layer.name: parameter(layer) for layer in layers},
        "ranges": {
            layer.name: {
                "type": "NdArray",
                "dataType": "float",
                "axisNames": names,
                "shape": shape,
                "values": list(values[layer.name]),
            }
            for layer in layers
        },
    }


def parameter(layer: Layer) -> dict[str, Any]:
    """What a layer is, for coverages and for the description of a collection."""
    is_rain = layer.kind == RAIN
    code, label = ("mm/h", "mm per hour") if is_rain else ("1", "share")
    observed: dict[str, Any] = {"label": {"en": "rain rate" if is_rain else "chance of rain"}}
    if is_rain:
        observed["id"] = "http://vocab.nerc.ac.uk/standard_name/rainfall_rate/"
    return {
        "type": "Parameter",
        "description": {"en": _description(layer)},
        "unit": {
            "label": {"en": label},
            "symbol": {"value": code, "type": "http://www.opengis.net/def/uom/UCUM/"},
        },
        "observedProperty": observed,
    }


def _description(layer: Layer) -> str:
    about = layer.about
    if layer.kind == RAIN:
        if "percent" in about:
            return f"percentile {about['percent']:g} of the members' rain rates"
        return f"rain rate: {about.get('title', 'observed')}"
    where = str(about.get("where", "")).replace("_", " ")
    return f"chance of {about.get('threshold_mm_h')} mm/h or more, {where}"
