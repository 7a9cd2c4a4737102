"""The pictures of the README: a storm as observed, its forecast, and the chance of heavy rain.

    .venv/bin/python scripts/storm_pictures.py ARCHIVE TIME

forecasts from the scans of an archive until TIME (UTC), and draws docs/storm.webp (an animation of
the hour) and docs/storm.png (one lead time).
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from forecast_pictures import archive_and_time
from numpy.typing import NDArray
from PIL import Image

from squall import ForecastConfig, forecast, open_archive
from squall.pipeline.forecast.forecast_file import open_forecast, read_forecast
from squall.pipeline.maps.basemap import basemap_for_grid
from squall.pipeline.maps.cities import CREDIT, largest_cities
from squall.pipeline.maps.drawing import Panel, draw_overview
from squall.pipeline.maps.frames import frames_of, pairs_of
from squall.pipeline.maps.observed import scans_by_time
from squall.pipeline.maps.projection import grid_extent
from squall.pipeline.maps.view import view_of
from squall.pipeline.pictures import CHANCE_SCALE, image_of

DOCS = Path(__file__).parents[1] / "docs"
HEAVY_MM_H = 5.0
SHOWN_LEAD = 6  # lead time step of the single picture
MARGIN_PX = 40
FRAME_MS, LAST_FRAME_MS = 500, 2500


def main() -> None:
    """Draw both pictures."""
    arguments = archive_and_time(__doc__)
    mpl.use("agg")
    with tempfile.TemporaryDirectory() as folder:
        images = pictures(arguments.archive, arguments.time, Path(folder))
    images[SHOWN_LEAD - 1].save(DOCS / "storm.png", optimize=True)
    first, *others = (image.convert("RGB").reduce(2) for image in images)
    durations = [FRAME_MS] * len(others) + [LAST_FRAME_MS]
    first.save(
        DOCS / "storm.webp", save_all=True, append_images=others, duration=durations, loop=0,
        quality=80, method=6,
    )  # fmt: skip
    for path in (DOCS / "storm.png", DOCS / "storm.webp"):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def pictures(archive: str, time: pd.Timestamp, folder: Path) -> list[Image.Image]:
    """A picture of each lead time: observed, forecast, and the chance of heavy rain."""
    common = {"archive": archive, "model": "squall-base", "at": str(time)}
    rain_file, chance_file = folder / "rain.nc", folder / "chances.nc"
    forecast(ForecastConfig(**common, out=rain_file))
    forecast(
        ForecastConfig(
            **common,
            out=chance_file,
            members=20,
            thresholds_mm_h=(HEAVY_MM_H,),
            products=("chances",),
        )
    )
    nowcast = read_forecast(rain_file)
    opened = open_archive(archive)
    last = round((time - opened.start) / opened.step)
    scans = scans_by_time(opened.read(first=last + 1, count=nowcast.sizes["lead_time"]), nowcast)
    view = view_of(nowcast, None)
    shown = nowcast.isel(y=view.rows, x=view.columns)
    extent = grid_extent(shown["x"].values, shown["y"].values)
    basemap = basemap_for_grid(shown["spatial_ref"].attrs["crs_wkt"], extent)
    context, leads = frames_of(shown, [f"coastlines: {basemap.credit}", CREDIT])
    observed = {at: scan[view] for at, scan in scans.items()}
    pairs = pairs_of(context[-1:], leads, observed)[1:]
    with open_forecast(chance_file) as dataset:
        chances = dataset.probability_of_exceedance.isel(threshold=0, y=view.rows, x=view.columns)
        percents = 100 * chances.values
    places = largest_cities(basemap)
    images = []
    for pair, lead, percent in zip(pairs, leads, percents, strict=True):
        title = f"Chance of {HEAVY_MM_H:g} mm/h or more"
        caption = replace(lead.caption, title=title, origin="20 members", footer=())
        panel = Panel(0, 0, percent, caption, lead.is_covered)
        sides = [
            image_of(draw_overview(pair, basemap, places=places, dpi=150)),
            image_of(draw_overview([panel], basemap, places=places, scale=CHANCE_SCALE, dpi=150)),
        ]
        images.append(Image.fromarray(np.hstack([_without_margin(side) for side in sides])))
    return images


def _without_margin(image: Image.Image) -> NDArray[np.uint8]:
    """(y, x, 3), without the white columns at the right."""
    pixels = np.asarray(image.convert("RGB"))
    end = np.flatnonzero((pixels < 255).any(axis=(0, 2)))[-1]
    return pixels[:, : end + MARGIN_PX]


if __name__ == "__main__":
    main()
