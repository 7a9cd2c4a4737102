"""Metadata of a store of the MLCast source-data convention: everything except the scans.

Owns global attributes, coordinates and their encoding, and which rules of the convention depend on
the data. `squall.datasets.mlcast.writer` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import xarray as xr
import zarr
from zarr.storage import MemoryStore

from squall import __version__
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.grid import Grid, grid_mapping_attributes, is_rotated
from squall.datasets.mlcast.store import NAME_ATTRIBUTE
from squall.datasets.mlcast.times import CONSISTENT_START, MISSING_TIMES, RESOLUTION_ATTRIBUTE
from squall.datasets.times import now, utc_text

SPECIFICATION = "0.3.0"  # source_data/radar_precipitation
VALIDATOR = "0.4.0"  # the mlcast-dataset-validator that checks it
VARIABLE = "rainfall_rate"
NOT_COPIED = ("name", "title", "configuration", "license")
COARSEST_M = 1010.0
SMALLEST_PX = 256
SHORTEST_YEARS = 3

# attributes that an archive does not know, and the options that give them
GIVEN_BY_OPTION = {
    "mlcast_created_by": "--creator",
    "mlcast_created_with": "--created-with",
    "mlcast_dataset_identifier": "--identifier",
}


def global_attributes(
    archive: ScanStore,
    license: str,
    times: pd.DatetimeIndex,
    missing: pd.DatetimeIndex,
    from_options: Mapping[str, str | None],
) -> dict[str, str]:
    """Global attributes; those of the archive are copied, also its ``mlcast_…`` attributes.

    Parameters
    ----------
    times, missing : those of the scans, and those that the archive has no scan for.
    from_options : attributes that people give by options; None is left out.
    """
    copied = {k: str(v) for k, v in archive.attributes.items() if k not in NOT_COPIED}
    written_at = utc_text(now())
    attributes = {
        "Conventions": "CF-1.11",
        "title": archive.title,
        NAME_ATTRIBUTE: archive.name,
        "license": license,
        "history": f"{written_at} squall export {__version__}: archive {archive.name}, snapshot "
        f"{archive.snapshot}",
        "time_coverage_start": utc_text(times[0]),
        "time_coverage_end": utc_text(times[-1]),
        RESOLUTION_ATTRIBUTE: archive.step.isoformat(),
        "mlcast_created_on": written_at,
        "mlcast_dataset_version": SPECIFICATION,
        "mlcast_dataset_validator_version": VALIDATOR,
    }
    if missing.size:  # the checker takes a gap for a change of step, even if missing_times lists it
        attributes[CONSISTENT_START] = f"{times[0]:%Y-%m-%dT%H:%M:%S}"
    return copied | attributes | {k: v for k, v in from_options.items() if v is not None}


def store_metadata(
    grid: Grid, times: pd.DatetimeIndex, missing: pd.DatetimeIndex, attributes: Mapping[str, str]
) -> dict[str, bytes]:
    """Every key of the store except the scans, in Zarr version 2.

    The convention's checker accepts the zstd codec of version 2 only.

    Parameters
    ----------
    times, missing : those of the scans, and those that the archive has no scan for.
    """
    described = {"units": "seconds since 1970-01-01 00:00:00", "calendar": "standard"}
    dataset = _coordinates(grid).assign_attrs(attributes)
    dataset = dataset.assign_coords(
        time=("time", _epoch_s(times), {"standard_name": "time", "axis": "T"} | described)
    )
    if missing.size:
        listed = {"long_name": "times without data, not in the time axis"} | described
        dataset = dataset.assign_coords({MISSING_TIMES: (MISSING_TIMES, _epoch_s(missing), listed)})
    stored: dict[str, Any] = {}
    store = MemoryStore(stored)
    encoding = {str(name): {"chunks": v.shape} for name, v in dataset.variables.items() if v.ndim}
    dataset.to_zarr(store, mode="w", zarr_format=2, consolidated=False, encoding=encoding)
    _create_rain_array(store, times.size, grid, has_lat_lon="lat" in dataset.coords)
    zarr.consolidate_metadata(store, zarr_format=2)
    return {key: value.to_bytes() for key, value in stored.items()}


def _create_rain_array(store: MemoryStore, length: int, grid: Grid, *, has_lat_lon: bool) -> None:
    """Metadata of the rain variable; its chunks are one scan each."""
    attributes: dict[str, Any] = {
        "_ARRAY_DIMENSIONS": ["time", "y", "x"],
        "standard_name": "rainfall_flux",
        "long_name": "rain rate",
        "units": "kg m-2 h-1",
        "grid_mapping": "crs",
    }
    if has_lat_lon:
        attributes["coordinates"] = "lat lon"
    zarr.create_array(
        store,
        name=VARIABLE,
        shape=(length, *grid.shape),
        chunks=(1, *grid.shape),
        dtype="float32",
        fill_value=np.nan,
        compressors=dict[str, Any](id="zstd", level=5),
        zarr_format=2,
        attributes=attributes,
    )


def _epoch_s(times: pd.DatetimeIndex) -> npt.NDArray[np.int64]:
    return np.asarray(times.values.astype("datetime64[s]"), dtype=np.int64)


def _coordinates(grid: Grid) -> xr.Dataset:
    """``x``, ``y``, ``crs`` with its area of use and, on a projected grid, ``lat`` and ``lon``."""
    coords: dict[str, Any] = {k: v for k, v in grid.coords().items() if k in ("y", "x")}
    to_degrees = pyproj.Transformer.from_crs(grid.crs, 4326, always_xy=True)
    lon, lat = to_degrees.transform(*np.meshgrid(grid.x, grid.y))
    if not grid.crs.is_geographic or is_rotated(grid.crs):
        # off the disc of a satellite there is neither longitude nor latitude
        lon, lat = (np.where(np.isfinite(lon + lat), degrees, np.nan) for degrees in (lon, lat))
        for name, values, standard_name, units in (
            ("lat", lat, "latitude", "degrees_north"),
            ("lon", lon, "longitude", "degrees_east"),
        ):
            described = {"standard_name": standard_name, "units": units}
            coords[name] = (("y", "x"), values.astype(np.float32), described)
    crs = _with_area(grid.crs, lon, lat)
    dataset = xr.Dataset(
        {"crs": ((), np.int32(0), grid_mapping_attributes(crs))},
        coords=coords,
    )
    for coordinate in dataset.coords.values():
        coordinate.encoding["_FillValue"] = None
    return dataset


def _with_area(
    crs: pyproj.CRS, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]
) -> pyproj.CRS:
    """The same CRS with the domain as its area of use, from which plotting tools take extents."""
    replaced = {"scope", "area", "bbox", "usages"}
    members = {key: value for key, value in crs.to_json_dict().items() if key not in replaced}
    members["scope"] = "Radar precipitation composite."
    members["area"] = "Domain of the composite."
    known = np.isfinite(lon) & np.isfinite(lat)
    if not known.any():
        return crs
    middle = lon[known].flat[known.sum() // 2]
    # without a jump at 180°; west is larger than east if the domain crosses it, as ISO 19111 says
    offsets = (lon[known] - middle + 180) % 360 - 180
    west, east = ((middle + limit + 180) % 360 - 180 for limit in (offsets.min(), offsets.max()))
    members["bbox"] = {
        "south_latitude": round(float(lat[known].min()), 4),
        "west_longitude": round(float(west), 4),
        "north_latitude": round(float(lat[known].max()), 4),
        "east_longitude": round(float(east), 4),
    }
    return pyproj.CRS.from_json_dict(members)


def unmet_rules(
    grid: Grid, times: pd.DatetimeIndex, attributes: Mapping[str, str]
) -> Iterator[str]:
    """Rules of the convention that a store breaks because of its data or of a missing option."""
    if grid.crs.is_geographic:
        yield "3.1 projected x and y: the grid is one of latitude and longitude"
    if grid.pixel_size_m > COARSEST_M:
        yield f"3.2 pixels of 1 km or finer: they have {grid.pixel_size_m / 1000:.3g} km"
    if min(grid.shape) < SMALLEST_PX:
        yield f"3.2 256 × 256 pixels: the grid has {grid.shape[0]} × {grid.shape[1]}"
    years = (times[-1] - times[0]).days / 365.25
    if years < SHORTEST_YEARS:
        yield f"3.3 a record of {SHORTEST_YEARS} years: it has {years:.2g}"
    for name, option in GIVEN_BY_OPTION.items():
        if name not in attributes:
            yield f"5.4 attribute {name}: not given, see {option}"
