"""The forecast as cloud-optimised GeoTIFF, in the projection of the archive (extra ``geotiff``).

Public: `write_geotiffs`, `GEOTIFFS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall.datasets.grid import Grid
from squall.datasets.times import utc_text
from squall.pipeline.forecast.ensemble_dataset import CHANCES, CHANCES_AROUND
from squall.pipeline.live.frames import shown_rain

GEOTIFFS = "geotiff"  # the folder
_UNKNOWN_PERCENT = 255


def write_geotiffs(
    folder: Path, forecast: xr.Dataset, thresholds_mm_h: Sequence[float], grid: Grid
) -> None:
    """Write the rain rate, and the chances of each threshold, with one band for each valid time.

    Rain rates are mm/h, NaN = not known; chances are whole per cents, 255 = not known.

    Parameters
    ----------
    folder : of the files.
    """
    folder.mkdir()
    rain = shown_rain(forecast)
    times = pd.DatetimeIndex(forecast["time"].values)
    tags = {"reference_time": utc_text(pd.Timestamp(forecast["forecast_reference_time"].item()))}
    rates = rain.values.astype(np.float32)
    words = {"long_name": str(rain.attrs["long_name"])}
    _write(folder / "rain_rate.tif", rates, np.nan, "mm h-1", times, tags | words, grid)
    for name, where in ((CHANCES, "at_pixel"), (CHANCES_AROUND, "within_10km")):
        for threshold in thresholds_mm_h if name in forecast else ():
            if not np.isclose(forecast["threshold"].values, threshold).any():
                continue
            chances = forecast[name].sel(threshold=threshold, method="nearest").values
            percents = np.rint(100 * chances)
            codes = np.where(np.isnan(percents), _UNKNOWN_PERCENT, percents).astype(np.uint8)
            words = {"long_name": f"chance of {threshold:g} mm/h or more, {where}"}
            path = folder / f"chance_{where}_{threshold:g}.tif"
            _write(path, codes, _UNKNOWN_PERCENT, "percent", times, tags | words, grid)


def _write(
    path: Path,
    values: npt.NDArray[Any],
    no_data: float,
    units: str,
    times: pd.DatetimeIndex,
    tags: dict[str, str],
    grid: Grid,
) -> None:
    import rasterio  # it is an extra
    from rasterio.transform import Affine

    height, width = grid.pixel_size
    is_rate = values.dtype == np.float32
    with rasterio.open(
        path,
        "w",
        driver="COG",
        height=grid.shape[0],
        width=grid.shape[1],
        count=len(values),
        dtype=values.dtype,
        nodata=no_data,
        crs=rasterio.crs.CRS.from_wkt(grid.crs_wkt),
        transform=Affine(*(width, 0, grid.x[0] - width / 2), *(0, -height, grid.y[0] + height / 2)),
        compress="DEFLATE",
        level=1,
        predictor="FLOATING_POINT" if is_rate else "NO",
        overview_resampling="AVERAGE",
    ) as file:
        file.write(values)
        file.update_tags(**tags)
        file.units = (units,) * len(values)
        for band, time in enumerate(times, start=1):
            file.set_band_description(band, utc_text(time))
