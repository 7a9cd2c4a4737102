"""The grid that all scans of an archive share: projection and pixel centres, north up, in metres.

Owns comparing grids and converting them from and to CF attributes. Units of length and the order of
rows in radar files belong to `squall.datasets.radar.coordinates`.
"""

import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj

from squall.datasets.errors import DataError

GRID_MAPPING = "spatial_ref"
MAX_AWAY_PX = 0.1  # from a regular grid; real files in single precision reach 0.0002
# CF attributes of the Earth's shape
_EARTH = {
    "semi_major_axis", "semi_minor_axis", "inverse_flattening", "earth_radius",
    "reference_ellipsoid_name", "horizontal_datum_name", "geographic_crs_name",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Grid:
    """Pixel centres and projection of a radar composite.

    Parameters
    ----------
    x : (W,) ascending, metres; degrees east where the CRS is geographic.
    y : (H,) descending (north up), metres; degrees north where the CRS is geographic.
    crs_wkt : the coordinate reference system as WKT 2.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    crs_wkt: str

    def __post_init__(self) -> None:
        for name, values, direction in (("x", self.x, 1), ("y", self.y, -1)):
            if values.ndim != 1 or values.size < 2:
                raise ValueError(f"{name} must be one-dimensional with 2 or more pixels")
            spacing = np.diff(values) * direction
            if not spacing.min() > 0:  # NaN too
                raise ValueError(f"{name} must {'rise' if direction > 0 else 'fall'} throughout")
            if spacing.max() - spacing.min() > 0.01 * spacing.mean():
                raise ValueError(
                    f"{name} is not regular: spacing from {spacing.min():g} to {spacing.max():g}"
                )
            regular = np.linspace(values[0], values[-1], values.size)
            away_px = np.abs(values - regular).max() / spacing.mean()
            if away_px > MAX_AWAY_PX:  # small differences of spacing add up
                raise ValueError(
                    f"{name} is not regular: pixels lie up to {away_px:.2g} pixels from where "
                    "regular ones would"
                )

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.y.size, self.x.size

    @property
    def crs(self) -> pyproj.CRS:
        """The coordinate reference system."""
        return pyproj.CRS.from_wkt(self.crs_wkt)

    @property
    def projection_name(self) -> str:
        """The projection in words, such as ``polar stereographic``."""
        if self.crs.is_geographic:
            return f"{'rotated ' if is_rotated(self.crs) else ''}latitude and longitude"
        name = grid_mapping_attributes(self.crs).get("grid_mapping_name") or self.crs.name
        return str(name).replace("_", " ")

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Height and width of a pixel, in the units of the coordinates."""
        return abs(float(np.diff(self.y).mean())), float(np.diff(self.x).mean())

    @property
    def pixel_size_m(self) -> float:
        """Mean side of a pixel in metres (on a geographic grid, in the middle of the domain)."""
        height, width = self.pixel_size
        if self.crs.is_geographic:
            m_per_degree = 111_195.0
            height *= m_per_degree
            width *= m_per_degree * float(np.cos(np.radians(self.y.mean())))
        return (height + width) / 2

    def row_pixel_sizes_m(self) -> npt.NDArray[np.float64]:
        """Height and width of the pixels of each row in metres, (H, 2).

        These are distances on the map where they are within 10 % of the true distances in the
        middle of each row, and otherwise the true ones: on a geographic grid pixels are narrower
        near the poles, and on a Mercator map they are smaller than the map says.
        """
        height, width = self.pixel_size
        x = self.x[self.x.size // 2]
        to_lonlat = pyproj.Transformer.from_crs(self.crs, lonlat_crs(self.crs), always_xy=True)
        ends = [
            to_lonlat.transform(x + dx * np.ones_like(self.y), self.y + dy)
            for dx, dy in ((0, -height / 2), (0, height / 2), (-width / 2, 0), (width / 2, 0))
        ]
        geod = lonlat_crs(self.crs).get_geod() or pyproj.Geod(ellps="WGS84")
        true = np.stack(
            [geod.inv(*ends[i], *ends[i + 1], return_back_azimuth=False)[2] for i in (0, 2)], axis=1
        )
        nominal = np.broadcast_to([height, width], true.shape)
        is_usable = np.isfinite(true).all() and (true > 0).all()
        if self.crs.is_geographic:
            return true if is_usable else np.full(true.shape, self.pixel_size_m)
        is_near = is_usable and (np.abs(true / nominal - 1) <= 0.1).all()
        return true if is_usable and not is_near else nominal

    def pixel_at(self, lat: float, lon: float) -> tuple[int, int] | None:
        """Row and column of the pixel that a place lies in; None if it lies outside the grid.

        Parameters
        ----------
        lat, lon : degrees north and east, -180 to 360.
        """
        row, column = self.pixels_at(np.float64(lat), np.float64(lon))
        return (int(row), int(column)) if row >= 0 else None

    def pixels_at(
        self, lat: npt.ArrayLike, lon: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Rows and columns of the pixels that places lie in; -1 for places outside the grid.

        Parameters
        ----------
        lat, lon : degrees north and east, -180 to 360; of shapes that broadcast to one.
        """
        from_lonlat, is_geographic = _from_lonlat(self.crs_wkt)
        lon, lat = np.broadcast_arrays(lon, lat)
        x, y = (np.asarray(values) for values in from_lonlat.transform(lon, lat))
        height, width = self.pixel_size
        with np.errstate(invalid="ignore"):  # PROJ gives infinity where there is no projection
            if is_geographic:  # grids may count from 0 to 360
                x = x + 360 * np.round((self.x.mean() - x) / 360)
            row = np.rint((self.y[0] - y) / height + 1e-9)
            column = np.rint((x - self.x[0]) / width + 1e-9)
            is_inside = (row >= 0) & (row < self.y.size) & (column >= 0) & (column < self.x.size)
        return (
            np.where(is_inside, row, -1).astype(np.int32),
            np.where(is_inside, column, -1).astype(np.int32),
        )

    def difference(self, other: "Grid") -> str | None:
        """How another grid differs from this one, in words; None if they are the same.

        Coordinates may differ by 2 % of a pixel, because files store them in single precision.
        """
        equal = np.array_equal(self.x, other.x) and np.array_equal(self.y, other.y)
        if equal and self.crs_wkt == other.crs_wkt:
            return None
        if self.shape != other.shape:
            (height, width), (expected_height, expected_width) = other.shape, self.shape
            return f"{height}×{width} pixels instead of {expected_height}×{expected_width}"
        for name, size in zip(("y", "x"), self.pixel_size, strict=True):
            shifts = getattr(self, name) - getattr(other, name)
            if name == "x" and self.crs.is_geographic:  # 190° and -170° are the same meridian
                shifts = shifts - 360 * np.rint(shifts.mean() / 360)
            shift = np.abs(shifts).max()
            if shift > 0.02 * size:
                return f"{name} coordinates differ by up to {shift:g} (a pixel is {size:g})"
        same = self.crs_wkt == other.crs_wkt or self.crs.equals(other.crs, ignore_axis_order=True)
        return None if same or _same_projection(self.crs, other.crs) else "another map projection"

    def coords(self) -> dict[str, Any]:
        """CF coordinates ``y``, ``x`` and the grid mapping, for an xarray Dataset or DataArray."""
        if is_rotated(self.crs):
            attributes = {
                "y": {"standard_name": "grid_latitude", "units": "degrees", "axis": "Y"},
                "x": {"standard_name": "grid_longitude", "units": "degrees", "axis": "X"},
            }
        elif self.crs.is_geographic:
            attributes = {
                "y": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
                "x": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
            }
        else:
            attributes = {
                "y": {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"},
                "x": {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"},
            }
        return {
            "y": ("y", self.y, attributes["y"]),
            "x": ("x", self.x, attributes["x"]),
            GRID_MAPPING: ((), 0, grid_mapping_attributes(self.crs)),
        }


@lru_cache(maxsize=16)
def _from_lonlat(crs_wkt: str) -> tuple[pyproj.Transformer, bool]:
    """From longitude and latitude to a CRS, and whether that is geographic; slow to make."""
    crs = pyproj.CRS.from_wkt(crs_wkt)
    transformer = pyproj.Transformer.from_crs(lonlat_crs(crs), crs, always_xy=True)
    return transformer, bool(crs.is_geographic)


def is_rotated(crs: pyproj.CRS) -> bool:
    """Whether the coordinates are longitudes and latitudes of a rotated pole, not the true ones."""
    return bool(crs.is_geographic and crs.is_derived)


def lonlat_crs(crs: pyproj.CRS) -> pyproj.CRS:
    """The CRS of the true longitudes and latitudes under a CRS, on the same Earth.

    Raises
    ------
    DataError
        As `check_map_projection`.
    """
    check_map_projection(crs)
    lonlat = crs.source_crs if is_rotated(crs) else crs.geodetic_crs
    assert lonlat is not None, f"PROJ gives {crs.name} no longitude and latitude"
    return lonlat


def check_map_projection(crs: pyproj.CRS) -> None:
    """Refuse coordinates without a known place on the Earth, like those of a building site.

    Raises
    ------
    DataError
        If the CRS is neither a map projection nor longitude and latitude.
    """
    if not (crs.is_projected or crs.is_geographic):
        raise DataError(
            f"the CRS '{crs.name}' is no map projection ({crs.type_name}); expected a projection "
            "or longitude and latitude, like EPSG:3035 or EPSG:4326"
        )


def grid_mapping_attributes(crs: pyproj.CRS) -> dict[str, Any]:
    """CF grid-mapping attributes of a CRS, with ``crs_wkt`` and GDAL's ``spatial_ref``."""
    with warnings.catch_warnings():
        # Swiss grids: CF has no parameter for an angle, but crs_wkt has it
        warnings.filterwarnings("ignore", ".*lost in conversion to CF")
        of_cf = crs.to_cf()
    attributes: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in of_cf.items()
    }
    if attributes.get("grid_mapping_name") == "polar_stereographic":
        # CF requires the pole and the standard parallel; PROJ writes only the parallel.
        pole = -90.0 if attributes.get("standard_parallel", 90.0) < 0 else 90.0
        attributes.setdefault("latitude_of_projection_origin", pole)
    attributes["long_name"] = "coordinate reference system"
    return attributes | {"crs_wkt": crs.to_wkt(), "spatial_ref": crs.to_wkt()}


def grid_from_attributes(x: npt.ArrayLike, y: npt.ArrayLike, crs_wkt: str) -> Grid:
    """The grid of stored coordinates, which are north up and in metres."""
    return Grid(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), crs_wkt)


def crs_from_attributes(attributes: dict[str, Any]) -> pyproj.CRS:
    """The CRS of CF grid-mapping attributes; ``crs_wkt`` or ``spatial_ref`` first.

    Raises
    ------
    ValueError
        If the attributes describe no projection that PROJ knows.
    """
    return next(iter(all_crs_from_attributes(attributes).values()))


def all_crs_from_attributes(attributes: dict[str, Any]) -> dict[str, pyproj.CRS]:
    """All descriptions of the CRS in CF grid-mapping attributes, the one that counts first.

    Returns
    -------
    ``crs_wkt``, ``spatial_ref`` and ``grid_mapping_name``, as far as there are.

    Raises
    ------
    ValueError
        As `crs_from_attributes`.
    """
    plain = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in attributes.items()}
    return _all_crs(json.dumps(plain, sort_keys=True))


@lru_cache(maxsize=64)
def _all_crs(attributes_json: str) -> dict[str, pyproj.CRS]:
    """Cached: PROJ takes a quarter of a second for some datums, and all files have the same CRS."""
    attributes = json.loads(attributes_json)
    found = {}
    for name in ("crs_wkt", "spatial_ref"):
        text = attributes.pop(name, None)
        if text:
            try:
                found[name] = _usable(pyproj.CRS.from_user_input(text))
            except pyproj.exceptions.CRSError as error:
                raise ValueError(f"'{name}' is no valid CRS: {error}") from error
    if found and not _EARTH.intersection(attributes):
        # the parameters alone say nothing of the Earth's shape
        ellipsoid = next(iter(found.values())).ellipsoid
        if ellipsoid is not None:
            attributes |= {
                "semi_major_axis": ellipsoid.semi_major_metre,
                "semi_minor_axis": ellipsoid.semi_minor_metre,
            }
    try:
        found["grid_mapping_name"] = _usable(pyproj.CRS.from_cf(attributes))
    except (pyproj.exceptions.CRSError, KeyError, TypeError, ValueError) as error:
        if not found:
            raise ValueError(f"grid mapping attributes give no CRS: {error}") from error
    return found


def _usable(crs: pyproj.CRS) -> pyproj.CRS:
    """The CRS, if it is a map projection or longitude and latitude on an Earth in metres."""
    check_map_projection(crs)
    check_earth(crs)
    return crs


def check_earth(crs: pyproj.CRS) -> None:
    """Refuse a radius in other units than metres: PROJ takes 6370 for a ball of 6 km.

    Raises
    ------
    ValueError
        If the semi-major axis is not between 6,000 and 7,000 km.
    """
    radius_m = crs.ellipsoid.semi_major_metre if crs.ellipsoid is not None else 6.4e6
    if not 6e6 < radius_m < 7e6:
        raise ValueError(
            f"the Earth has a radius of {radius_m:g} m, expected 6,000 to 7,000 km, in metres"
        )


def _same_projection(a: pyproj.CRS, b: pyproj.CRS) -> bool:
    """Whether two CRS have the same parameters; a WKT that was stored in a file loses its names."""
    parameters = proj_parameters(a)
    return bool(parameters) and parameters == proj_parameters(b)


def proj_parameters(crs: pyproj.CRS) -> dict[str, Any]:
    """PROJ parameters of a CRS, without names and area of use (PROJ warns of this loss)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return dict(crs.to_dict())


def is_wide_pixel_known(observed: Any, pixels: Any) -> Any:
    """Whether the mean over a square of pixels counts: at least half of them are observed.

    Training and forecasts make wide pixels by this rule.

    Parameters
    ----------
    observed : number of observed pixels in each square, an array or a tensor.
    pixels : number of pixels of each square that lie in the domain.
    """
    return 2 * observed >= pixels
