"""The maps stage: a forecast file becomes maps (PNG), an overview and an animation (GIF).

Public: `MapsResult`, `maps`.

It writes the files. `forecast_file.py` reads the forecast, `frames.py` says which maps there are,
and `drawing.py` draws them.
"""

from dataclasses import dataclass
from pathlib import Path

import xarray as xr
from PIL import Image, PngImagePlugin

from squall.datasets.errors import DataError
from squall.pipeline.maps.animation import Animation
from squall.pipeline.maps.basemap import basemap_for_grid
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.drawing import Caption, draw_map, draw_overview
from squall.pipeline.maps.forecast_file import read_forecast, timestamp
from squall.pipeline.maps.frames import frames_of, overview_panels
from squall.pipeline.maps.observed import scans_by_time
from squall.pipeline.maps.projection import grid_extent
from squall.pipeline.outputs import check_output_folder
from squall.pipeline.pictures import RAIN_SCALE, image_of
from squall.pipeline.progress import tracked
from squall.pipeline.provenance import atomic_path

_FRAME_MS = {"observed": 300, "forecast": 450}


@dataclass(frozen=True)
class MapsResult:
    """Files written: the map of each lead time in order, the overview, the animation or None."""

    maps: tuple[Path, ...]
    overview: Path
    animation: Path | None


def maps(config: MapsConfig, *, observed: xr.DataArray | None = None) -> MapsResult:
    """Draw every lead time of a forecast, an overview and, if asked for, an animation.

    Parameters
    ----------
    observed : (time, y, x), mm h-1, on the forecast's grid, at valid times. The overview shows
        these scans above the forecast; without them it shows the scans of the context.

    Raises
    ------
    DataError
        If the file is not a forecast, or `observed` is on another grid.
    """
    check_output_folder(config.out, "--out")
    forecast = read_forecast(config.forecast)
    try:
        extent = grid_extent(forecast["x"].values, forecast["y"].values)
        basemap = basemap_for_grid(forecast["spatial_ref"].attrs["crs_wkt"], extent)
    except DataError as error:
        raise DataError(f"{config.forecast}: {error}") from error
    scans, leads = frames_of(forecast, basemap.credit)
    observed_by_time = {} if observed is None else scans_by_time(observed, forecast)
    panels = overview_panels(scans, leads, observed_by_time)
    stem = f"{timestamp(forecast['forecast_reference_time']):%Y%m%dT%H%MZ}"
    config.out.mkdir(parents=True, exist_ok=True)
    animation = Animation(RAIN_SCALE)
    paths: list[Path] = []
    frames = [*scans, *leads] if config.animate else leads
    for frame in tracked(frames, "maps", len(frames), "map"):
        figure = draw_map(
            frame.rain_rate_mm_h,
            basemap,
            frame.caption,
            is_covered=frame.is_covered,
            dpi=config.dpi,
        )
        image = image_of(figure)
        if frame.name:
            paths.append(_save_png(image, f"{stem}_{frame.name}.png", frame.caption, config))
        if config.animate:
            animation.add(image, _FRAME_MS[frame.caption.kind])
    image = image_of(draw_overview(panels, basemap, dpi=config.dpi))
    overview = _save_png(image, f"{stem}_overview.png", panels[-1].caption, config)
    animation_path = config.out / f"{stem}_animation.gif" if config.animate else None
    if animation_path:
        animation.save(animation_path)
    return MapsResult(tuple(paths), overview, animation_path)


def _save_png(image: Image.Image, name: str, caption: Caption, config: MapsConfig) -> Path:
    """Write a picture with its title and configuration as PNG text."""
    info = PngImagePlugin.PngInfo()
    title = f"{caption.title}, {caption.kind}, valid {caption.valid:%Y-%m-%d %H:%M} UTC"
    for key, value in (("Title", title), ("Software", "Squall"), ("Source", config.forecast.name)):
        info.add_itxt(key, value)
    info.add_itxt("Configuration", config.model_dump_json())
    with atomic_path(config.out / name) as temporary_path:
        image.save(temporary_path, "png", pnginfo=info, dpi=(config.dpi, config.dpi))
    return config.out / name
