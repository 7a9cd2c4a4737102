"""A made-up forecast, and functions to look at the pictures of it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from squall.pipeline.maps import run as maps_module
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.drawing import Caption, Panel
from squall.pipeline.maps.run import maps

START = pd.Timestamp("2010-08-26 06:00")
KNMI_CRS = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=0 +a=6378137 +b=6356752 +units=m +type=crs"
MELBOURNE_CRS = "+proj=aea +lat_1=-18 +lat_2=-36 +lat_0=-37.852 +lon_0=144.752 +type=crs"
# CRS, x and y of the first pixel, pixel size
GRIDS = {
    "knmi": (KNMI_CRS, 100_000.0, -3_900_000.0, 8000.0),
    "melbourne": (MELBOURNE_CRS, -126_000.0, 126_000.0, 4000.0),
    "geographic": ("EPSG:4326", 3.0, 54.0, 0.06),
}


def forecast_dataset(leads: int = 3, *, grid: str = "knmi", size: int = 64) -> xr.Dataset:
    crs, x, y, step = GRIDS[grid]
    rain = np.zeros((leads + 2, size, size), np.float32)
    for i, scan in enumerate(rain):
        scan[20:30, 10 + 2 * i : 20 + 2 * i] = 3.0
    rain[:, :, -5:] = np.nan
    minutes = np.arange(1, leads + 1) * 5
    lead_time = minutes.astype("timedelta64[m]").astype("timedelta64[ns]")
    attrs = {"units": "mm h-1", "grid_mapping": "spatial_ref"}
    return xr.Dataset(
        {
            "rain_rate": (("lead_time", "y", "x"), rain[2:], attrs),
            "observed_rain_rate": (("context_time", "y", "x"), rain[:2], attrs),
        },
        coords={
            "lead_time": lead_time,
            "time": ("lead_time", START.to_datetime64() + lead_time),
            "forecast_reference_time": START.to_datetime64(),
            "context_time": pd.date_range(end=START, periods=2, freq="5min").values,
            "x": x + np.arange(size) * step,
            "y": y - np.arange(size) * step,
            "spatial_ref": ((), 0, {"crs_wkt": pyproj.CRS(crs).to_wkt()}),
        },
        attrs={
            "archive_title": "Test radar",
            "institution": "Test Office",
            "licence": "CC0",
            "model": "test-model",
            "archive_snapshot": "SNAPSHOT1",
        },
    )


def caption(kind: str = "forecast", lead_min: float = 35) -> Caption:
    valid = START + pd.Timedelta(minutes=lead_min)
    return Caption(kind, "Test radar", valid, START, "Forecast by test-model", ("a", "b"))


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def drawn_text(figure: Figure) -> str:
    return "\n".join(t.get_text() for t in [*figure.texts, *figure.axes[0].texts])


def load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def share(picture: np.ndarray, colour: str) -> float:
    """Part of the pixels that have a colour."""
    return float((picture == rgb(colour)).all(-1).mean())


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(round(component * 255) for component in to_rgb(colour))


def panels_of(
    monkeypatch: pytest.MonkeyPatch, config: MapsConfig, observed: xr.DataArray | None = None
) -> list[Panel]:
    seen: list[Panel] = []
    draw = maps_module.draw_overview
    monkeypatch.setattr(
        maps_module,
        "draw_overview",
        lambda panels, *args, **options: seen.extend(panels) or draw(panels, *args, **options),
    )
    maps(config, observed=observed)
    return seen
