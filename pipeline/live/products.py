"""The files of a run besides the forecast itself: frames for a browser, places, the manifest.

Public: `write_products`.

The manifest describes the frames (see `frames`), and lists every file with its size and SHA-256.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from pyproj import Transformer

from squall import __version__
from squall.convgru.digests import sha256_of
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.grid import Grid, lonlat_crs
from squall.datasets.times import utc_text
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.coverages import at_places
from squall.pipeline.live.exports import write_exports
from squall.pipeline.live.frames import Codes, Frames, codes_of_frames
from squall.pipeline.live.overviews import overview_factor
from squall.pipeline.live.stac import ITEM, item_of
from squall.pipeline.live.states import Run
from squall.pipeline.live.store import MANIFEST
from squall.pipeline.point.outlook import outlook_of
from squall.pipeline.point.when import when
from squall.pipeline.provenance import now_utc

FORMAT = 2  # of the manifest
POINTS = "points.json"


def write_products(
    folder: Path, forecast: xr.Dataset, archive: ScanStore, run: Run, config: LiveConfig
) -> Codes:
    """Write frames, places and, last, the manifest of a run.

    Parameters
    ----------
    folder : of the run, with the forecast file in it.
    forecast : that the run is made of.

    Returns
    -------
    (lead_time, y, x) codes of the rain that the frames show.
    """
    layers, codes = Frames(folder, forecast, config.thresholds_mm_h).write()
    own_of_places = at_places(forecast, archive.grid, config.places)
    _write_json(folder / POINTS, _points(own_of_places, config))
    footprint = write_exports(folder, forecast, own_of_places, archive.grid, config)
    created, files = now_utc(), _files(folder)
    item = item_of(run, created, forecast, archive.grid, footprint, files)
    _write_json(folder / ITEM, item)
    manifest = {
        "format": FORMAT,
        "id": run.id,
        "created": created,
        "title": archive.title,
        "reference_time": utc_text(run.reference),
        "step_min": archive.step.total_seconds() / 60,
        "lead_times": run.lead_times,
        "model": run.model,
        "members": forecast.attrs.get("members"),
        "fallback": run.fallback or None,
        "missing_context": _missing(forecast),
        "attribution": archive.attributes.get("institution"),
        "grid": _grid(archive.grid),
        "overview_factor": overview_factor(archive.grid.shape),
        "codes": codes_of_frames(archive.step.total_seconds() / 60),
        "layers": layers,
        "points": POINTS,
        "files": [*files, _file(folder, folder / ITEM)],
        "squall_version": __version__,
    }
    _write_json(folder / MANIFEST, manifest)
    return codes


def _missing(forecast: xr.Dataset) -> list[str]:
    """Times of the scans that the forecast lacks, or that have no observed pixel."""
    times = forecast.attrs.get("missing_context", "").split(", ")
    return [utc_text(pd.Timestamp(time)) for time in times if time]


def _points(own_of_places: Mapping[str, xr.Dataset | None], config: LiveConfig) -> dict[str, Any]:
    """What the forecast says of each place."""
    result: dict[str, Any] = {}
    for name, own in own_of_places.items():
        place = config.places[name]
        at = {"latitude": place.latitude, "longitude": place.longitude}
        if own is None:
            result[name] = at | {"sentence": "not known: outside the radar's grid"} | when(None)
        else:
            threshold = config.thresholds_mm_h[0]
            result[name] = at | outlook_of(own, 0, 0, threshold).as_dict()
    return result


def _grid(grid: Grid) -> dict[str, Any]:
    """Projection and edges; rows run from north to south."""
    height, width = grid.pixel_size
    left, right = grid.x[0] - width / 2, grid.x[-1] + width / 2
    top, bottom = grid.y[0] + height / 2, grid.y[-1] - height / 2
    to_lonlat = Transformer.from_crs(grid.crs, lonlat_crs(grid.crs), always_xy=True)
    lon, lat = to_lonlat.transform([left, right, right, left], [top, top, bottom, bottom])
    return {
        "rows": grid.y.size,
        "columns": grid.x.size,
        "extent": [float(value) for value in (left, bottom, right, top)],
        "aspect": _aspect(grid),
        "crs_wkt": grid.crs_wkt,
        "proj4": _proj4(grid),
        "corners_lonlat": [[float(a), float(b)] for a, b in zip(lon, lat, strict=True)],
    }


def _aspect(grid: Grid) -> float:
    """Length of a y unit divided by that of an x unit, in the middle of the grid."""
    middle = math.radians(float(grid.y[0] + grid.y[-1]) / 2)
    return 1 / max(math.cos(middle), 0.1) if grid.crs.is_geographic else 1.0


def _proj4(grid: Grid) -> str:
    """The projection as web maps read it; pyproj warns that the Earth's shape may be lost."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return str(grid.crs.to_proj4())


def _files(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [_file(folder, path) for path in paths]


def _file(folder: Path, path: Path) -> dict[str, Any]:
    return {
        "name": path.relative_to(folder).as_posix(),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
    }


def _write_json(path: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
