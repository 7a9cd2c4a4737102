"""``item.json``: a run as a STAC item, with all its files as assets.

Public: `item_of`, `ITEM`.

Source: SpatioTemporal Asset Catalog 1.1.0, with the extensions forecast 0.1.0, projection 2.0.0 and
file 2.1.0. Links and addresses of assets are relative, so that a run can be copied as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import shapely  # type: ignore[import-untyped]
import xarray as xr

from squall.datasets.grid import Grid
from squall.datasets.times import utc_text
from squall.pipeline.live.lonlat import bounds, geojson
from squall.pipeline.live.states import Run
from squall.pipeline.live.store import MANIFEST

ITEM = "item.json"
_EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("forecast/v0.1.0", "projection/v2.0.0", "file/v2.1.0")
)
_SHA256 = "1220"  # multihash: the code of SHA-256, and its length of 32 bytes
_ZARR = ".zarr/"

# ending or name: media type, role, title
_KINDS: dict[str, tuple[str, str, str]] = {
    "forecast.nc": ("application/netcdf", "data", "forecast, CF netCDF"),
    "points.json": ("application/json", "data", "forecast of the places"),
    "places.covjson": ("application/vnd.cov+json", "data", "forecast of the places, CoverageJSON"),
    "areas.geojson": ("application/geo+json", "data", "areas above the thresholds"),
    ".tif": ("image/tiff; application=geotiff; profile=cloud-optimized", "data", "GeoTIFF"),
    ".json": ("application/json", "metadata", "JSON"),
    ".png": ("image/png", "visual", "picture"),
}


def item_of(
    run: Run,
    created: str,
    forecast: xr.Dataset,
    grid: Grid,
    footprint: shapely.MultiPolygon | None,
    files: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The STAC item of a run.

    Parameters
    ----------
    created : when, in UTC.
    footprint : area of the grid in longitude and latitude, if there is one.
    files : name, bytes and sha256 of each file, as in the manifest.
    """
    height, width = grid.pixel_size
    times = pd.DatetimeIndex(forecast["time"].values)
    horizon_min = (times[-1] - run.reference) / pd.Timedelta("1min")
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(_EXTENSIONS),
        "id": run.id,
        "geometry": None if footprint is None else json.loads(geojson(footprint)),
        "properties": {
            "datetime": None,
            "start_datetime": utc_text(times[0]),
            "end_datetime": utc_text(times[-1]),
            "created": created,
            "title": forecast.attrs["title"],
            "forecast:reference_datetime": utc_text(run.reference),
            "forecast:horizon": f"PT{horizon_min:g}M",
            "proj:wkt2": grid.crs_wkt,
            "proj:shape": list(grid.shape),
            "proj:transform": [
                *(width, 0.0, float(grid.x[0]) - width / 2),
                *(0.0, -height, float(grid.y[0]) + height / 2),
            ],
        },
        "links": [],
        "assets": _assets(files),
    }
    if footprint is not None:
        item["bbox"] = bounds(footprint)
    return item


def _assets(files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each file, the folders of Zarr as one, and the manifest, which is written last."""
    assets: dict[str, Any] = {}
    for entry in files:
        name = entry["name"]
        if _ZARR in name:
            folder = name.partition(_ZARR)[0] + _ZARR.rstrip("/")
            media = "application/vnd.zarr; version=3"
            assets[folder] = _asset(folder, media, "data", "forecast, Zarr")
            continue
        assets[name] = _asset(name, *_kind(name)) | {
            "file:size": entry["bytes"],
            "file:checksum": _SHA256 + entry["sha256"],
        }
    assets[MANIFEST] = _asset(MANIFEST, "application/json", "metadata", "manifest of the run")
    return assets


def _asset(name: str, media: str, role: str, title: str) -> dict[str, Any]:
    return {"href": f"./{name}", "type": media, "roles": [role], "title": title}


def _kind(name: str) -> tuple[str, str, str]:
    for ending, (media, role, title) in _KINDS.items():
        if name.endswith(ending):
            return media, role, title if ending == name else f"{title} {name}"
    return "application/octet-stream", "data", name
