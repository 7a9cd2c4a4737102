"""What the forecast says of one place.

Public: `point_answer`, `pixel_of`.
"""

from __future__ import annotations

from typing import Any

from squall.pipeline.serve.answers import ClientError
from squall.pipeline.serve.published import Snapshot
from squall.pipeline.serve.published_run import (
    CHANCE,
    FORECAST,
    OBSERVED,
    Layer,
    PublishedRun,
)


def point_answer(snapshot: Snapshot, lat: float, lon: float) -> dict[str, Any]:
    """Observed rain, forecast rain and chances at the pixel of a place.

    Raises
    ------
    ClientError
        If the place is outside the grid.
    Unavailable
        If there is no forecast.
    """
    run = snapshot.newest
    row, column = pixel_of(run, lat, lon)
    manifest = run.manifest

    def values(layer: Layer) -> list[float | None]:
        return run.values(layer, layer.codes[:, row, column])

    def rain(name: str) -> list[dict[str, Any]]:
        layer = run.layers[name]
        pairs = zip(layer.times, values(layer), strict=True)
        return [{"time": time, "rain_mm_h": rate} for time, rate in pairs]

    further = [layer for layer in run.layers.values() if layer.name not in (OBSERVED, FORECAST)]
    return {
        "latitude": lat,
        "longitude": lon,
        **snapshot.condition.as_dict(),
        "title": manifest.get("title"),
        "run": run.id,
        "reference_time": manifest.get("reference_time"),
        "model": manifest.get("model"),
        "members": manifest.get("members"),
        "missing_context": manifest.get("missing_context"),
        "attribution": manifest.get("attribution"),
        "units": "mm h-1",
        "observed": rain(OBSERVED),
        "forecast": rain(FORECAST),
        "percentiles": [
            {"percent": layer.about["percent"], "rain_mm_h": values(layer)}
            for layer in further
            if "percent" in layer.about
        ],
        "chances": [
            {
                "threshold_mm_h": layer.about.get("threshold_mm_h"),
                "where": layer.about.get("where"),
                "chance": values(layer),
            }
            for layer in further
            if layer.kind == CHANCE
        ],
    }


def pixel_of(run: PublishedRun, lat: float, lon: float) -> tuple[int, int]:
    """Row and column of the pixel that a place lies in.

    Raises
    ------
    ClientError
        If the place is outside the grid; the message says where the grid is.
    """
    pixel = run.grid.pixel_at(lat, lon)
    if pixel is None:
        west, south, east, north = lonlat_box(run)
        raise ClientError(
            f"latitude {lat:g}, longitude {lon:g} is outside the radar's grid, which lies between "
            f"{south:.2f} and {north:.2f} degrees north, {west:.2f} and {east:.2f} degrees east",
            404,
        )
    return pixel


def lonlat_box(run: PublishedRun) -> tuple[float, float, float, float]:
    """West, south, east, north of the corners of the grid, degrees."""
    lon, lat = zip(*run.manifest["grid"]["corners_lonlat"], strict=True)
    return min(lon), min(lat), max(lon), max(lat)
