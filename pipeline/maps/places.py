"""Names of places on maps, and reading them from a file of the user.

Public: `Place`, `read_places`, `add_places`. The places that need no file are in `cities.py`.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cartopy.mpl.geoaxes import GeoAxes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox, Transform, offset_copy

from squall.datasets.errors import DataError
from squall.pipeline.lettering import plain, readable
from squall.pipeline.maps.basemap import Basemap
from squall.pipeline.maps.projection import inside, project, read_crs
from squall.pipeline.pictures import MAP_STYLE

SUFFIXES = (".csv", ".geojson", ".json")
_NAMES = {
    "name": ("name", "place", "city"),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "long", "longitude"),
}


class Place(NamedTuple):
    """A name at a longitude and latitude [degrees].

    An optional place is left out, with its dot, where its name has no room.
    """

    name: str
    lon: float
    lat: float
    is_optional: bool = False


def read_places(path: Path) -> list[Place]:
    """Read places from CSV with the columns name, lat, lon, or from GeoJSON points with a name.

    Raises
    ------
    DataError
        If the file cannot be read, or a place has no name or no position on Earth.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no UTF-8 text; save the places as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    is_json = path.suffix.lower() in (".geojson", ".json")
    entries = _geojson(path, text) if is_json else _csv(path, text)
    places = [_place(f"{path}, {where}", values) for where, values in entries]
    if not places:
        raise DataError(f"{path}: holds no place; expected lines of name, lat, lon")
    return places


def _csv(path: Path, text: str) -> Iterator[tuple[str, tuple[Any, Any, Any]]]:
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=first.count)
    rows = csv.reader(text.splitlines(), delimiter=delimiter)
    header = [column.strip().lower() for column in next(rows, [])]
    found = {
        key: next((i for i, column in enumerate(header) if column in names), None)
        for key, names in _NAMES.items()
    }
    if None in found.values():
        lacking = " and ".join(key for key, column in found.items() if column is None)
        raise DataError(f"{path}: the first line names no column {lacking}; expected name,lat,lon")
    for row in rows:
        if any(cell.strip() for cell in row):
            cells = [row[i] if i < len(row) else "" for i in found.values() if i is not None]
            yield f"line {rows.line_num}", (cells[0], cells[1], cells[2])


def _geojson(path: Path, text: str) -> Iterator[tuple[str, tuple[Any, Any, Any]]]:
    try:
        features = json.loads(text)["features"]
        for number, feature in enumerate(features, start=1):
            geometry = feature["geometry"] or {}
            if geometry.get("type") == "Point":
                lon, lat, *_ = geometry["coordinates"]
                properties = feature.get("properties") or {}
                names = {key.lower(): value for key, value in properties.items()}
                yield f"feature {number}", (names.get("name", ""), lat, lon)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is no GeoJSON with a list of features") from error


def _place(where: str, values: tuple[Any, Any, Any]) -> Place:
    name = readable(values[0])
    try:
        lat, lon = float(values[1]), float(values[2])
    except (TypeError, ValueError):
        lat = lon = math.nan
    if not name:
        raise DataError(f"{where}: has no name")
    if not (-90 <= lat <= 90 and -180 <= lon <= 360):
        raise DataError(
            f"{where}: '{name}' has latitude {readable(values[1])!r} and longitude "
            f"{readable(values[2])!r}; expected degrees, -90 to 90 and -180 to 360, with a point"
        )
    return Place(name, lon, lat)


def add_places(axes: GeoAxes, basemap: Basemap, places: Sequence[Place], size_pt: float) -> int:
    """Draw dots with names above the rain; returns how many places lie on the map.

    A name that would cover an earlier one is left out; its dot is drawn if the place is not
    optional.
    """
    crs = read_crs(basemap.crs_wkt)
    x_centre = (basemap.extent.x_min + basemap.extent.x_max) / 2
    taken: list[Bbox] = []
    count = 0
    halo = [withStroke(linewidth=2.2, foreground="white")]
    for place in places:
        lonlat = np.array([[place.lon, place.lat]])
        points = project(crs, lonlat, x_centre=x_centre)
        if not inside(points, basemap.extent):
            continue
        count += 1
        x, y = points[0]
        (dot,) = axes.plot(
            [x], [y], "o", ms=3, mfc=MAP_STYLE.text, mec="white", mew=0.7, zorder=5.1,
            transform=axes.transData, scalex=False, scaley=False,
        )  # fmt: skip
        label = axes.text(
            x, y, "", va="center", size=size_pt, color=MAP_STYLE.text, zorder=5.2,
            path_effects=halo, clip_on=True, transform=_beside(axes, 4),
        )  # fmt: skip
        plain(label, place.name if len(place.name) <= 30 else place.name[:29] + "…")
        if label.get_window_extent().x1 > axes.bbox.x1:  # the map would cut the name
            label.set(ha="right", transform=_beside(axes, -4))
        box = label.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            label.remove()
            if place.is_optional:
                dot.remove()
        else:
            taken.append(box)
    return count


def _beside(axes: GeoAxes, offset_pt: float) -> Transform:
    return offset_copy(axes.transData, axes.figure, offset_pt, units="points")
