"""The files of a run besides the forecast itself: frames for a browser, places, the manifest.

Public: `write_products`.

Frames are grey PNG pictures whose values are codes, so that a browser reads them without loss. The
manifest says what each code means, and lists every file with its size and SHA-256.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from PIL import Image
from pyproj import Transformer

from squall import __version__
from squall.convgru.digests import sha256_of
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.coding import RAIN_CODE
from squall.datasets.grid import Grid, lonlat_crs
from squall.datasets.times import utc_text
from squall.pipeline.forecast.chance_code import UNKNOWN_CHANCE, chance_codes
from squall.pipeline.forecast.ensemble_dataset import CHANCES, CHANCES_AROUND, MEDIAN
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.states import Run
from squall.pipeline.live.store import MANIFEST
from squall.pipeline.point.outlook import outlook_of
from squall.pipeline.provenance import now_utc

FORMAT = 1  # of the manifest
FRAMES, PLACES = "frames", "places.json"
Codes = npt.NDArray[np.uint8]


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
    (folder / FRAMES).mkdir()
    rain = _shown_rain(forecast)
    codes = RAIN_CODE.encode(rain.values)
    layers = [
        _observed(folder, forecast),
        {
            "name": "rain_rate",
            "title": "median of the members" if rain.name == MEDIAN else "forecast",
            "code": "rain_rate",
            "frames": list(_frames(folder, "rain_rate", codes, _valid_times(forecast))),
        },
    ]
    for name in (CHANCES, CHANCES_AROUND):
        if name in forecast:
            layers += _chances(folder, forecast, name, config.thresholds_mm_h)
    _write_json(folder / PLACES, _places(forecast, archive.grid, config))
    manifest = {
        "format": FORMAT,
        "id": run.id,
        "created": now_utc(),
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
        "codes": {
            "rain_rate": {
                "units": "mm h-1",
                "dry": RAIN_CODE.DRY,
                "unknown": RAIN_CODE.NOT_OBSERVED,
                "lowest": RAIN_CODE.lowest_mm_h,
                "highest": RAIN_CODE.highest_mm_h,
                "formula": "lowest * (highest / lowest) ** ((code - 1) / 253), code 1 to 254",
            },
            "chance": {"units": "1", "unknown": UNKNOWN_CHANCE, "formula": "code / 200"},
        },
        "layers": layers,
        "places": PLACES,
        "files": _files(folder),
        "squall_version": __version__,
    }
    _write_json(folder / MANIFEST, manifest)
    return codes


def _missing(forecast: xr.Dataset) -> list[str]:
    """Times of the scans that the forecast lacks, or that have no observed pixel."""
    times = forecast.attrs.get("missing_context", "").split(", ")
    return [utc_text(pd.Timestamp(time)) for time in times if time]


def _observed(folder: Path, forecast: xr.Dataset) -> dict[str, Any]:
    codes = RAIN_CODE.encode(forecast["observed_rain_rate"].values)
    times = pd.DatetimeIndex(forecast["context_time"].values)
    frames = list(_frames(folder, "observed", codes, times))
    return {"name": "observed", "code": "rain_rate", "frames": frames}


def _shown_rain(forecast: xr.Dataset) -> xr.DataArray:
    """(lead_time, y, x) mm/h: the median of an ensemble, or the one forecast."""
    return forecast[MEDIAN if MEDIAN in forecast else "rain_rate"]


def _chances(
    folder: Path, forecast: xr.Dataset, name: str, thresholds_mm_h: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    where = "within_10km" if name == CHANCES_AROUND else "at_pixel"
    held = forecast["threshold"].values
    for threshold in thresholds_mm_h:
        if not np.isclose(held, threshold).any():
            continue
        of_threshold = forecast[name].sel(threshold=threshold, method="nearest")
        codes = chance_codes(of_threshold.values.astype(np.float32))
        layer = f"chance_{where}_{threshold:g}"
        frames = list(_frames(folder, layer, codes, _valid_times(forecast)))
        yield {
            "name": layer,
            "code": "chance",
            "threshold_mm_h": threshold,
            "where": where,
            "frames": frames,
        }


def _frames(
    folder: Path, layer: str, codes: Codes, times: pd.DatetimeIndex
) -> Iterator[dict[str, str]]:
    for field, time in zip(codes, times, strict=True):
        name = f"{FRAMES}/{layer}_{time:%Y%m%dT%H%M}.png"
        Image.fromarray(field, mode="L").save(folder / name, compress_level=6)
        yield {"time": utc_text(time), "file": name}


def _valid_times(forecast: xr.Dataset) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(forecast["time"].values)


def _places(forecast: xr.Dataset, grid: Grid, config: LiveConfig) -> dict[str, Any]:
    """What the forecast says of each place."""
    result: dict[str, Any] = {}
    for name, place in config.places.items():
        pixel = grid.pixel_at(place.latitude, place.longitude)
        at = {"latitude": place.latitude, "longitude": place.longitude}
        if pixel is None:
            result[name] = at | {"sentence": "not known: outside the radar's grid"}
        else:
            threshold = config.thresholds_mm_h[0]
            result[name] = at | outlook_of(forecast, *pixel, threshold).as_dict()
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
        "crs_wkt": grid.crs_wkt,
        "proj4": _proj4(grid),
        "corners_lonlat": [[float(a), float(b)] for a, b in zip(lon, lat, strict=True)],
    }


def _proj4(grid: Grid) -> str:
    """The projection as web maps read it; pyproj warns that the Earth's shape may be lost."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return str(grid.crs.to_proj4())


def _files(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        {
            "name": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in paths
    ]


def _write_json(path: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
