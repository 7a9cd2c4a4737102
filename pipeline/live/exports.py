"""The forecast of a run in the formats of other programs.

Public: `write_exports`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import shapely  # type: ignore[import-untyped]
import xarray as xr

from squall.datasets.grid import Grid
from squall.pipeline.live.areas import AREAS, write_areas
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.coverages import COVERAGES, coverages_of
from squall.pipeline.live.frames import shown_rain
from squall.pipeline.live.geotiff import GEOTIFFS, write_geotiffs
from squall.pipeline.live.lonlat import LonLat, NoLonLatError
from squall.pipeline.live.zarr_store import write_zarr
from squall.pipeline.maps.config import MapsConfig

FORECAST, ZARR, MAPS = "forecast.nc", "forecast.zarr", "maps"

log = logging.getLogger("squall.live")


def write_exports(
    folder: Path,
    forecast: xr.Dataset,
    own_of_places: Mapping[str, xr.Dataset | None],
    grid: Grid,
    config: LiveConfig,
) -> shapely.MultiPolygon | None:
    """Write the areas above the thresholds, the coverages of the places, and what `also` names.

    Parameters
    ----------
    folder : of the run, with the forecast file in it.
    own_of_places : of the forecast, from `at_places`.

    Returns
    -------
    The area of the grid in longitude and latitude. None if GeoJSON has no polygon for it: then
    there are no areas either.
    """
    coverages = coverages_of(forecast, own_of_places, config.places, config.thresholds_mm_h)
    (folder / COVERAGES).write_text(json.dumps(coverages, allow_nan=False) + "\n", encoding="utf-8")
    if "zarr" in config.also:
        write_zarr(folder / ZARR, folder / FORECAST)
    if "geotiff" in config.also:
        write_geotiffs(folder / GEOTIFFS, forecast, config.thresholds_mm_h, grid)
    if "maps" in config.also:
        from squall.pipeline.maps.run import maps  # imports Matplotlib and Cartopy

        thresholds = config.thresholds_mm_h if "threshold" in forecast.dims else ()
        maps(MapsConfig(forecast=folder / FORECAST, out=folder / MAPS, thresholds=thresholds))
    try:
        lonlat = LonLat(grid)
    except NoLonLatError as error:
        log.warning("%s is left out: %s", AREAS, error)
        return None
    write_areas(folder / AREAS, shown_rain(forecast), config.thresholds_mm_h, lonlat)
    return lonlat.footprint
