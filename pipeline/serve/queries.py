"""Reads the parameters of OGC API EDR queries: places, areas, times, names.

Public: `point_of`, `polygon_of`, `times_within`, `names_among`, `check_crs`.

Every mistake is a `ClientError` that says what is expected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import shapely  # type: ignore[import-untyped]

from squall.datasets.spelling import did_you_mean
from squall.datasets.times import parse_time
from squall.pipeline.serve.answers import ClientError
from squall.pipeline.serve.published_run import time_of

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
MOST_CORNERS = 2000  # of a polygon


def point_of(coords: str) -> tuple[float, float]:
    """Longitude and latitude of ``POINT(lon lat)``."""
    geometry = _geometry(coords, ("Point",), "POINT(4.9 52.4)")
    return float(geometry.x), float(geometry.y)


def polygon_of(coords: str) -> Any:
    """The shapely geometry of ``POLYGON((lon lat, …))`` or ``MULTIPOLYGON``."""
    example = "POLYGON((4 52, 5 52, 5 53, 4 52))"
    geometry = _geometry(coords, ("Polygon", "MultiPolygon"), example)
    if shapely.get_num_coordinates(geometry) > MOST_CORNERS:
        raise ClientError(f"coords: the polygon has more than {MOST_CORNERS} corners")
    if not geometry.is_valid:
        reason = shapely.is_valid_reason(geometry)
        raise ClientError(f"coords: the polygon is not valid ({reason})")
    return geometry


def times_within(times: Sequence[str], wanted: str | None) -> list[int]:
    """Indices of the times that a ``datetime`` asks for.

    Parameters
    ----------
    times : ISO format, UTC.
    wanted : a time; an interval ``start/end``, where an open end is ``..``; None: all times.

    Raises
    ------
    ClientError
        If it is none of these (400), or if no time is within (404).
    """
    if wanted is None:
        return list(range(len(times)))
    start_text, slash, end_text = wanted.partition("/")
    if not slash:
        start = end = _time(start_text)
    else:
        start = pd.Timestamp.min if start_text in ("", "..") else _time(start_text)
        end = pd.Timestamp.max if end_text in ("", "..") else _time(end_text)
    kept = [i for i, text in enumerate(times) if start <= time_of(text) <= end]
    if not kept:
        raise ClientError(f"datetime: there is {times[0]} to {times[-1]}, nothing at {wanted}", 404)
    return kept


def names_among(names: Sequence[str], wanted: str | None) -> list[str]:
    """The parameters that a ``parameter-name`` asks for; None: all."""
    if wanted is None:
        return list(names)
    asked = [name.strip() for name in wanted.split(",")]
    unknown = [name for name in asked if name not in names]
    if unknown:
        meant = did_you_mean(unknown[0], names)
        raise ClientError(f"parameter-name: '{unknown[0]}' is none of {', '.join(names)}{meant}")
    return [name for name in names if name in asked]


def check_crs(crs: str | None) -> None:
    """Refuse other coordinates than longitude and latitude."""
    if crs not in (None, "", "CRS84", "OGC:CRS84", CRS84):
        raise ClientError(f"crs: '{crs}' is not served; use CRS84 (longitude, latitude)")


def _geometry(coords: str, kinds: tuple[str, ...], example: str) -> Any:
    mistake = ClientError(f"coords: write longitude and latitude like {example}")
    try:
        geometry = shapely.from_wkt(coords)
    except (shapely.GEOSException, ValueError, TypeError) as error:
        raise mistake from error
    if geometry is None or geometry.geom_type not in kinds or geometry.is_empty:
        raise mistake
    west, south, east, north = geometry.bounds
    if not all(math.isfinite(value) for value in geometry.bounds):
        raise mistake
    if not (-180 <= west <= east <= 360 and -90 <= south <= north <= 90):
        raise ClientError("coords: longitude is -180 to 360 degrees, latitude -90 to 90")
    return geometry


def _time(text: str) -> pd.Timestamp:
    try:
        return parse_time(text)
    except ValueError as error:
        raise ClientError(f"datetime: {error}, or an interval like A/B, A/.. or ../B") from error
