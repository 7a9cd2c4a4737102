"""``areas.geojson``: where it rains at least as much as each threshold, at each valid time.

Public: `write_areas`, `AREAS`, `SMALLEST`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import contourpy
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import shapely  # type: ignore[import-untyped]
import xarray as xr

from squall.datasets.times import utc_text
from squall.pipeline.live.lonlat import LonLat, bounds, geojson

AREAS = "areas.geojson"
SMALLEST = 4  # pixels; smaller pieces and holes are left out
_TOLERANCE = 0.5  # pixels
_POLYGON = shapely.GeometryType.POLYGON
_EARTH = pyproj.Geod(ellps="WGS84")

Rates = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.integer]


def write_areas(
    path: Path, rain: xr.DataArray, thresholds_mm_h: Sequence[float], lonlat: LonLat
) -> None:
    """Write the areas of a forecast as GeoJSON (RFC 7946).

    Each valid time has a feature of kind ``rain`` for each threshold, and one of kind ``not
    observed``. Where there is no such area there is no feature. Borders run along the edges of
    pixels, simplified to half a pixel; ``area_km2`` is the area of the polygons.

    Parameters
    ----------
    rain : (lead_time, y, x), mm/h, NaN = not known, with the coordinates of a forecast.
    lonlat : of the grid.
    """
    times = pd.DatetimeIndex(rain["time"].values)
    minutes = rain["lead_time"].values / np.timedelta64(1, "m")
    head = {
        "type": "FeatureCollection",
        "bbox": bounds(lonlat.footprint),
        "reference_time": utc_text(pd.Timestamp(rain["forecast_reference_time"].item())),
        "valid_times": [utc_text(time) for time in times],
        "thresholds_mm_h": list(thresholds_mm_h),
        "smallest_pixels": SMALLEST,
    }
    features: list[str] = []
    for of_lead, time, lead_min in zip(rain, times, minutes, strict=True):
        rates = of_lead.values  # one lead time after the other: all need much memory
        when = {"valid_time": utc_text(time), "lead_min": float(lead_min)}
        features += _features(rates, when, thresholds_mm_h, lonlat)
    text = json.dumps(head)[:-1] + ', "features": [\n' + ",\n".join(features) + "\n]}\n"
    path.write_text(text, encoding="utf-8")


def _features(
    rates: Rates, when: dict[str, Any], thresholds_mm_h: Sequence[float], lonlat: LonLat
) -> Iterator[str]:
    """The features of one valid time as JSON texts."""
    masks: list[tuple[dict[str, Any], Mask]] = [({"kind": "not observed"}, np.isnan(rates))]
    for threshold in thresholds_mm_h:
        masks.append(({"kind": "rain", "threshold_mm_h": threshold}, rates >= threshold))
    for properties, mask in masks:
        shape = lonlat.polygons(_outline(mask))
        if shape.is_empty:
            continue
        area_m2, _ = _EARTH.geometry_area_perimeter(shape)
        text = json.dumps(properties | when | {"area_km2": round(area_m2 / 1e6, 1)})
        yield f'{{"type": "Feature", "properties": {text}, "geometry": {geojson(shape)}}}'


def _outline(mask: Mask) -> shapely.Geometry:
    """Polygons around the pixels of a mask, in columns and rows, without the small pieces."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return shapely.MultiPolygon()
    part = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    lines = contourpy.contour_generator(
        z=part.astype(np.float64),
        name="serial",
        fill_type=contourpy.FillType.ChunkCombinedOffsetOffset,
    )
    filled: Any = lines.filled(0.5, 2.0)
    (points,), (rings,), (polygons,) = filled  # of the one chunk
    points, (rings, polygons) = _without_specks(points, rings, polygons)
    corner = np.array([columns[0] - 1, rows[0] - 1])
    shapes = shapely.from_ragged_array(_POLYGON, points + corner, (rings, polygons))
    return shapely.multipolygons(shapely.simplify(shapes, _TOLERANCE))


def _without_specks(
    points: Points, rings: Offsets, polygons: Offsets
) -> tuple[Points, tuple[Offsets, Offsets]]:
    """Without polygons and holes of fewer than `SMALLEST` pixels.

    Parameters
    ----------
    points, rings, polygons : ragged arrays as in `shapely.from_ragged_array`. The first ring of a
        polygon is the outer one. As the corners of pixels are cut, a ring of n pixels has an area
        of n - 1/2.
    """
    lengths, counts = np.diff(rings).astype(int), np.diff(polygons).astype(int)
    alone = shapely.from_ragged_array(_POLYGON, points, (rings, np.arange(rings.size)))
    is_kept = shapely.area(alone) > SMALLEST - 1
    is_kept &= np.repeat(is_kept[polygons[:-1]], counts)
    kept = np.add.reduceat(is_kept.astype(int), polygons[:-1])
    offsets = [np.cumsum([0, *sizes]) for sizes in (lengths[is_kept], kept[kept > 0])]
    return points[np.repeat(is_kept, lengths)], (offsets[0], offsets[1])
