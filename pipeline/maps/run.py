"""The maps stage: a forecast file becomes maps (PNG), an overview and an animation (GIF).

Public: `MapsConfig`, `MapsResult`, `maps`, `observed_at_valid_times`.

Owns reading a forecast and writing pictures; what they look like is `pipeline.maps.drawing`'s.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.colors import to_rgba_array
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from pyproj.exceptions import CRSError

from squall.datasets.archive.records import OK
from squall.datasets.errors import DataError
from squall.datasets.grid import grid_from_attributes
from squall.datasets.open_archive import open_archive
from squall.pipeline.maps.basemap import basemap_for_grid
from squall.pipeline.maps.config import MapsConfig
from squall.pipeline.maps.drawing import BADGE_COLOURS, Caption, Panel, draw_map, draw_overview
from squall.pipeline.maps.projection import grid_extent
from squall.pipeline.pictures import MAP_STYLE, RAIN_SCALE, RainScale, image_of
from squall.pipeline.progress import tracked
from squall.pipeline.provenance import atomic_path

# What a forecast file holds: dims, kinds of number (numpy's letters) and their name.
_FORECAST_LAYOUT: dict[str, tuple[tuple[str, ...], str, str]] = {
    "rain_rate": (("lead_time", "y", "x"), "f", "float"),
    "observed_rain_rate": (("context_time", "y", "x"), "f", "float"),
    "lead_time": (("lead_time",), "m", "duration"),
    "context_time": (("context_time",), "M", "date and time"),
    "forecast_reference_time": ((), "M", "date and time"),
    "x": (("x",), "fiu", "number"),
    "y": (("y",), "fiu", "number"),
}
_RAIN_UNITS = {"mm h-1", "mm/h", "mm h**-1", "mm h^-1"}
_FRAME_MS = {"observed": 300, "forecast": 450}
_LAST_FRAME_MS = 2500


@dataclass(frozen=True)
class MapsResult:
    """Files written: one map for each lead time in order, the overview, perhaps the animation."""

    maps: tuple[Path, ...]
    overview: Path
    animation: Path | None


def maps(config: MapsConfig, *, observed: xr.DataArray | None = None) -> MapsResult:
    """Draw every lead time of a forecast, an overview and, where wanted, an animation.

    Parameters
    ----------
    observed : (time, y, x), mm h-1, on the forecast's grid, at valid times. Shown in the overview
        above the forecast; where there is none, the overview shows the scans that the forecast
        began with.

    Raises
    ------
    DataError
        The file is not a forecast, or `observed` is on another grid.
    """
    forecast = _read_forecast(config.forecast)
    try:
        extent = grid_extent(forecast["x"].values, forecast["y"].values)
        basemap = basemap_for_grid(forecast["spatial_ref"].attrs["crs_wkt"], extent)
    except DataError as error:
        raise DataError(f"{config.forecast}: {error}") from error
    scans, leads = _frames(forecast, basemap.credit)
    panels = _panels(scans, leads, {} if observed is None else _scans_at(observed, forecast))
    stem = f"{_time(forecast['forecast_reference_time']):%Y%m%dT%H%MZ}"
    config.out.mkdir(parents=True, exist_ok=True)
    gif = _Gif(RAIN_SCALE)
    paths: list[Path] = []
    frames = [*scans, *leads] if config.animate else leads
    for frame in tracked(frames, "maps", len(frames)):
        image = image_of(draw_map(frame.rain_rate_mm_h, basemap, frame.caption, dpi=config.dpi))
        if frame.name:
            paths.append(_save_png(image, f"{stem}_{frame.name}.png", frame.caption, config))
        if config.animate:
            gif.add(image, _FRAME_MS[frame.caption.kind])
    image = image_of(draw_overview(panels, basemap, dpi=config.dpi))
    overview = _save_png(image, f"{stem}_overview.png", panels[-1].caption, config)
    animation = config.out / f"{stem}_animation.gif" if config.animate else None
    if animation:
        gif.save(animation)
    return MapsResult(tuple(paths), overview, animation)


def observed_at_valid_times(forecast: Path, archive: str | Path) -> xr.DataArray:
    """What an archive has at the valid times of a forecast, to be shown beside it.

    Returns
    -------
    (time, y, x), mm h-1, NaN = not observed, at those times that have a good scan; maybe none.

    Raises
    ------
    DataError
        One of the two cannot be read, or they are on different grids.
    """
    made, scans = _read_forecast(forecast), open_archive(archive)
    x, y, crs_wkt = made["x"].values, made["y"].values, made["spatial_ref"].attrs["crs_wkt"]
    try:
        difference = scans.grid.difference(grid_from_attributes(x, y, crs_wkt))
    except (ValueError, CRSError) as error:
        raise DataError(f"{forecast}: has no grid to compare scans on: {error}") from error
    if difference:
        raise DataError(
            f"{forecast}: is not on the grid of {archive} ({difference}); give the archive that "
            "the forecast was made from"
        )
    valid = made["forecast_reference_time"].values + made["lead_time"].values
    status = scans.status
    rows = scans.times.get_indexer(pd.DatetimeIndex(valid))
    good = [int(row) for row in rows if row >= 0 and status[row] == OK]
    first, end = (min(good), max(good) + 1) if good else (0, 0)
    found = scans.read(first, end - first).isel(time=[row - first for row in good])
    return found.assign_coords(x=made["x"], y=made["y"])


class _Frame(NamedTuple):
    """One map to draw; `name` is its part of the file name, empty for a scan."""

    rain_rate_mm_h: NDArray
    caption: Caption
    name: str = ""


class _Gif:
    """Frames of an animation, all in one palette with a place for every rain colour."""

    def __init__(self, scale: RainScale) -> None:
        colours = (*scale.colours, scale.no_radar, MAP_STYLE.land, MAP_STYLE.water, "white")
        fixed = to_rgba_array([*colours, *BADGE_COLOURS.values()])[:, :3]
        self._fixed = np.round(fixed * 255).astype(np.uint8).ravel().tolist()
        self._palette: Image.Image | None = None
        self._frames: list[Image.Image] = []
        self._durations_ms: list[int] = []

    def add(self, image: Image.Image, duration_ms: int) -> None:
        if self._palette is None:
            room = 256 - len(self._fixed) // 3
            others = image.quantize(room, dither=Image.Dither.NONE).getpalette() or []
            self._palette = Image.new("P", (1, 1))
            self._palette.putpalette(self._fixed + others[: 3 * room])
        self._frames.append(image.quantize(palette=self._palette, dither=Image.Dither.NONE))
        self._durations_ms.append(duration_ms)

    def save(self, path: Path) -> None:
        first, *others = self._frames
        durations = [*self._durations_ms[:-1], _LAST_FRAME_MS]
        with atomic_path(path) as part:
            first.save(part, "gif", save_all=True, append_images=others, duration=durations, loop=0)


def _read_forecast(path: Path) -> xr.Dataset:
    """A checked forecast in memory, north up and west to the left."""
    advice = "expected a forecast file as `squall forecast` writes it"
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_timedelta=True) as opened:
            forecast = opened.load()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {advice}.") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be read as netCDF ({error}); {advice}.") from error
    for name, (dims, kinds, kind_name) in _FORECAST_LAYOUT.items():
        if name not in forecast.variables:
            raise DataError(f"{path}: has no variable {name!r}; {advice}.")
        found = forecast[name]
        if found.dims != dims or found.dtype.kind not in kinds or not found.size:
            raise DataError(
                f"{path}: {name!r} is {found.dtype} with sizes {dict(found.sizes)}, expected "
                f"{kind_name} with dimensions {dims}, none empty; {advice}."
            )
        if len(dims) == 3 and found.attrs.get("units") not in _RAIN_UNITS:
            raise DataError(
                f"{path}: {name!r} has units {found.attrs.get('units')!r}, expected 'mm h-1'; "
                "convert it to a rain rate first."
            )
    if "crs_wkt" not in getattr(forecast.get("spatial_ref"), "attrs", {}):
        raise DataError(f"{path}: has no 'spatial_ref' with an attribute 'crs_wkt'; {advice}.")
    return forecast.sortby("x").sortby("y", ascending=False)


def _time(value: object) -> pd.Timestamp:
    return pd.Timestamp(str(np.asarray(value).astype("datetime64[ns]")))


def _frames(forecast: xr.Dataset, shapes_credit: str) -> tuple[list[_Frame], list[_Frame]]:
    """Every scan and every lead time, with what is written around it."""
    attrs, start = forecast.attrs, _time(forecast["forecast_reference_time"])
    title = str(attrs.get("archive_title") or attrs.get("title") or "Rain radar")
    rights = [str(attrs[key]) for key in ("institution", "licence", "license") if attrs.get(key)]
    made_by = {
        "Squall": attrs.get("squall_version"),
        "model": attrs.get("model"),
        "checkpoint": str(attrs.get("checkpoint_sha256", ""))[:12],
        "archive snapshot": attrs.get("archive_snapshot"),
    }
    footer = (
        f"Radar data: {', '.join(rights) or 'source not named in the forecast'}",
        " · ".join(
            [*(f"{k} {v}" for k, v in made_by.items() if v), f"coastlines: {shapes_credit}"]
        ),
    )
    by_radar, by_model = "Observed by radar", f"Forecast by {attrs.get('model') or 'unnamed model'}"
    scans = [
        _Frame(rain, Caption("observed", title, _time(when), start, by_radar, footer))
        for rain, when in zip(
            forecast["observed_rain_rate"].values, forecast["context_time"].values, strict=True
        )
    ]
    minutes = forecast["lead_time"].values / np.timedelta64(1, "m")
    width = 6.2 if (minutes % 1).any() else 3.0  # file names that sort
    leads = []
    for rain, lead_min in zip(forecast["rain_rate"].values, minutes, strict=True):
        valid = start + pd.Timedelta(minutes=lead_min)
        caption = Caption("forecast", title, valid, start, by_model, footer)
        leads.append(_Frame(rain, caption, f"plus{lead_min:0{width}f}min"))
    return scans, leads


def _scans_at(observed: xr.DataArray, forecast: xr.Dataset) -> dict[pd.Timestamp, NDArray]:
    """Observed scans by their time, checked to be on the forecast's grid."""
    observed = observed.transpose("time", "y", "x").sortby("x").sortby("y", ascending=False)
    for axis in ("x", "y"):
        have, want = observed[axis].values, forecast[axis].values
        pixel = abs(want[1] - want[0])
        if have.shape != want.shape or np.abs(have - want).max() > 0.02 * pixel:
            raise DataError(
                f"observed scans have {have.size} {axis} from {have[0]:g} to {have[-1]:g}, the "
                f"forecast {want.size} from {want[0]:g} to {want[-1]:g}; give scans on its grid."
            )
    return dict(zip(map(_time, observed["time"].values), observed.values, strict=True))


def _panels(
    scans: list[_Frame], leads: list[_Frame], observed: dict[pd.Timestamp, NDArray]
) -> list[Panel]:
    """At most four lead times; above them what was observed, or to their left the last scans."""
    count = min(4, len(leads))
    chosen = [leads[round(len(leads) * (i + 1) / count) - 1] for i in range(count)]
    if any(lead.caption.valid in observed for lead in leads):
        seen = [replace(lead.caption, kind="observed") for lead in chosen]
        above = [Panel(0, i, observed.get(c.valid), c) for i, c in enumerate(seen)]
        return above + [
            Panel(1, i, lead.rain_rate_mm_h, lead.caption) for i, lead in enumerate(chosen)
        ]
    context = scans[-4:]
    left, right = (len(context) + 1) // 2, (count + 1) // 2
    return [
        Panel(i // columns, first + i % columns, frame.rain_rate_mm_h, frame.caption)
        for frames, columns, first in ((context, left, 0), (chosen, right, left))
        for i, frame in enumerate(frames)
    ]


def _save_png(image: Image.Image, name: str, caption: Caption, config: MapsConfig) -> Path:
    info = PngImagePlugin.PngInfo()
    title = f"{caption.title}, {caption.kind}, valid {caption.valid:%Y-%m-%d %H:%M} UTC"
    for key, value in (("Title", title), ("Software", "Squall"), ("Source", config.forecast.name)):
        info.add_itxt(key, value)
    info.add_itxt("Configuration", config.model_dump_json())
    with atomic_path(config.out / name) as part:
        image.save(part, "png", pnginfo=info, dpi=(config.dpi, config.dpi))
    return config.out / name
