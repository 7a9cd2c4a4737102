"""The maps stage: a forecast file becomes maps (PNG), an overview and an animation.

Public: `MapsResult`, `maps`.

It writes the files. `frames.py` says which maps there are,
and `drawing.py` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from squall.datasets.errors import DataError
from squall.pipeline.forecast.forecast_file import open_forecast, timestamp
from squall.pipeline.maps.animation import Animation
from squall.pipeline.maps.basemap import Basemap, basemap_for_grid
from squall.pipeline.maps.cities import CREDIT, largest_cities
from squall.pipeline.maps.config import NO_PLACES, MapsConfig
from squall.pipeline.maps.drawing import MAP_IN, Caption, Panel, draw_map, draw_overview
from squall.pipeline.maps.ensemble_maps import ensemble_pictures
from squall.pipeline.maps.frames import Frame, amounts_of, frames_of, overview_panels, pairs_of
from squall.pipeline.maps.observed import scans_by_time
from squall.pipeline.maps.places import Place, read_places
from squall.pipeline.maps.projection import grid_extent
from squall.pipeline.maps.sampling import sampled, sampled_forecast, samples
from squall.pipeline.maps.view import view_of
from squall.pipeline.outputs import check_output_folder
from squall.pipeline.pictures import AMOUNT_SCALE, RAIN_SCALE, RainScale, image_of
from squall.pipeline.progress import tracked
from squall.pipeline.provenance import atomic_path

_FRAME_MS = {"observed": 300, "forecast": 450}
_PAIR_IN = (5.0, 5.6)  # largest map of an animation that shows observed beside forecast


@dataclass(frozen=True)
class MapsResult:
    """Files written; `maps` are those of the lead times in order, then those of amounts.

    `ensemble` are the pictures of chances, percentiles, members and times of rain.
    """

    maps: tuple[Path, ...]
    overview: Path
    animation: Path | None
    ensemble: tuple[Path, ...] = ()


def maps(config: MapsConfig, *, observed: xr.DataArray | None = None) -> MapsResult:
    """Draw every lead time of a forecast, an overview and, if asked for, an animation.

    Parameters
    ----------
    observed : (time, y, x), mm h-1, on the forecast's grid, at valid times. The overview shows
        these scans above the forecast, the animation beside it; without them both show the scans
        of the context.

    Raises
    ------
    ConfigError
        If nothing can be written to the folder, or the extent is not on the grid.
    DataError
        If the places cannot be read, the file is not a forecast, or `observed` is on another grid.
    """
    check_output_folder(config.out, "--out")
    named = _places_of_file(config)
    # one field after the other: several at once would need much memory
    with open_forecast(config.forecast) as opened, dask.config.set(scheduler="synchronous"):
        try:
            view = view_of(opened, config.extent)
            shown = opened.isel(y=view.rows, x=view.columns)
            extent = grid_extent(shown["x"].values, shown["y"].values)
            basemap = basemap_for_grid(shown["spatial_ref"].attrs["crs_wkt"], extent)
        except DataError as error:
            raise DataError(f"{config.forecast}: {error}") from error
        rows, columns = (
            samples(shown.sizes[axis], inches, config.dpi)
            for axis, inches in zip(("y", "x"), reversed(MAP_IN), strict=True)
        )

        def as_drawn(scan: NDArray) -> NDArray:
            return sampled(scan[view], (rows, columns))

        later = {} if observed is None else scans_by_time(observed, opened, as_drawn)
        places = largest_cities(basemap) if named is None else named
        credits = [f"coastlines: {basemap.credit}", *([] if named is not None else [CREDIT])]
        painter = _Painter(config, basemap, places)
        return _drawn(sampled_forecast(shown, (rows, columns)), later, credits, painter, config)


def _drawn(
    forecast: xr.Dataset,
    observed: dict[pd.Timestamp, NDArray],
    credits: Sequence[str],
    painter: _Painter,
    config: MapsConfig,
) -> MapsResult:
    """Draw and write all pictures of a forecast, with the scans that were observed later."""
    rain = forecast[["rain_rate", "observed_rain_rate"]].load()
    scans, leads = frames_of(rain, credits, config.timezone)
    config.out.mkdir(parents=True, exist_ok=True)
    stem = f"{timestamp(forecast['forecast_reference_time']):%Y%m%dT%H%MZ}"
    in_animation = config.animate and not observed
    animation = Animation(painter.scale)
    paths: list[Path] = []
    frames = [*scans, *leads] if in_animation else leads
    for frame in tracked(frames, "maps", len(frames), "map"):
        image = painter.map(frame, painter.scale)
        if frame.name:
            paths.append(_save_png(image, f"{stem}_{frame.name}.png", frame.caption, config))
        if in_animation:
            animation.add(image, _FRAME_MS[frame.caption.kind])
    for frame in amounts_of(scans[-1], leads) if config.accumulation else []:
        image = painter.map(frame, painter.amount_scale)
        paths.append(_save_png(image, f"{stem}_{frame.name}.png", frame.caption, config))
    panels = overview_panels(scans, leads, observed)
    overview = _save_png(
        painter.overview(panels), f"{stem}_overview.png", panels[-1].caption, config
    )
    if config.animate and observed:
        for pair in pairs_of(scans, leads, observed):
            kind = "observed" if pair[1].rain_rate_mm_h is None else "forecast"
            animation.add(painter.overview(pair, panel_in=_PAIR_IN), _FRAME_MS[kind])
    ensemble = []
    for picture in ensemble_pictures(forecast, leads, config.thresholds):
        image = painter.overview(picture.panels, **picture.look)
        name = f"{stem}_{picture.name}.png"
        ensemble.append(_save_png(image, name, picture.panels[-1].caption, config))
    path = config.out / f"{stem}_animation.{config.animation_format}" if config.animate else None
    if path:
        animation.save(path)
    return MapsResult(tuple(paths), overview, path, tuple(ensemble))


def _places_of_file(config: MapsConfig) -> list[Place] | None:
    """The places that the user names; None if he leaves the choice to the program."""
    if config.places is None:
        return None
    return [] if config.places == NO_PLACES else read_places(config.places)


class _Painter:
    """Draws the maps of one forecast with its scale and places."""

    def __init__(self, config: MapsConfig, basemap: Basemap, places: Sequence[Place]) -> None:
        self.scale, self.amount_scale = RAIN_SCALE, AMOUNT_SCALE
        if config.levels:
            self.scale = RAIN_SCALE.with_levels(config.levels)
            self.amount_scale = AMOUNT_SCALE.with_levels(config.levels)
        self._basemap, self._places, self._dpi = basemap, places, config.dpi

    def map(self, frame: Frame, scale: RainScale) -> Image.Image:
        figure = draw_map(
            frame.rain_rate_mm_h,
            self._basemap,
            frame.caption,
            is_covered=frame.is_covered,
            places=self._places,
            scale=scale,
            dpi=self._dpi,
        )
        return image_of(figure)

    def overview(self, panels: Sequence[Panel], **options: Any) -> Image.Image:
        own: dict[str, Any] = {"places": self._places, "scale": self.scale, "dpi": self._dpi}
        options = own | options
        return image_of(draw_overview(panels, self._basemap, **options))


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
