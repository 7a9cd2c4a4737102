"""The maps stage: a forecast file becomes maps (PNG), an overview and an animation (GIF).

Public: `MapsConfig`, `MapsResult`, `maps`, `Caption`, `Panel`, `draw_map`, `draw_overview`,
`RainScale`, `RAIN_SCALE`.

Owns how rain looks and what is written around it. Drawing functions return figures and touch no
files; `maps` saves them. What lies under the rain is `basemap`'s. Nothing here reads an archive or
the network: observed scans to compare with come from the caller.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from cartopy.mpl.geoaxes import GeoAxes
from contourpy import contour_generator
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, Field
from tqdm import tqdm

from datasets.errors import DataError
from pipeline.basemap import MAP_STYLE, Basemap, add_map_axes, basemap_for_grid, grid_extent

Kind = Literal["observed", "forecast"]

_BADGE = {"observed": "#2f6b4f", "forecast": "#1f3f75"}
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
class RainScale:
    """The one table of rain colours: `colours[i]` is for `levels_mm_h[i]` up to the next level.

    Below the first level is dry and transparent; from the last level on is the last colour. Light
    rain darkens from pale to deep blue, heavy rain brightens from purple to yellow; all colours
    stay apart for colour-blind readers (tests/pipeline/test_maps.py).
    """

    levels_mm_h: tuple[float, ...] = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
    colours: tuple[str, ...] = (
        "#a6daf3", "#72bae6", "#3f98d6", "#2274c4", "#17489c",
        "#3d0d55", "#93196b", "#dd3f4f", "#f9992e", "#ffee4d",
    )  # fmt: skip
    no_radar: str = "#d6d6d4"
    no_radar_hatch: str = "#a5a5a2"
    unit: str = "mm h⁻¹"

    def rgba(self, rain_rate_mm_h: NDArray) -> NDArray[np.uint8]:
        """Colours of shape (..., 4); NaN has the colour of no radar."""
        table = np.vstack([np.zeros(4), to_rgba_array(self.colours), to_rgba_array(self.no_radar)])
        steps = np.digitize(rain_rate_mm_h, self.levels_mm_h)
        steps[np.isnan(rain_rate_mm_h)] = len(table) - 1
        return np.round(table * 255).astype(np.uint8)[steps]


RAIN_SCALE = RainScale()


@dataclass(frozen=True)
class Caption:
    """What is written around one map: `origin` says who made it, `footer` whose data these are."""

    kind: Kind
    title: str
    valid: pd.Timestamp
    reference: pd.Timestamp
    origin: str
    footer: tuple[str, ...] = ()

    @property
    def lead(self) -> str:
        """The time from the reference time to the valid time, such as "+35 min"."""
        return f"{(self.valid - self.reference).total_seconds() / 60:+g} min"

    @property
    def since(self) -> str:
        """The lead and the reference time, with its date only where the day differs."""
        short = self.valid.date() == self.reference.date()
        start = f"{self.reference:{'%H:%M' if short else '%d %b %H:%M'}} UTC"
        if self.kind == "forecast" or self.valid > self.reference:
            return f"{self.lead} from {start}"
        return "latest scan" if self.lead == "+0 min" else f"{self.lead[1:]} before {start}"


class Panel(NamedTuple):
    """One map of an overview: rain is (y, x) in mm/h, or None where there is no scan."""

    row: int
    column: int
    rain_rate_mm_h: NDArray | None
    caption: Caption


def draw_map(
    rain_rate_mm_h: xr.DataArray | NDArray,
    basemap: Basemap,
    caption: Caption,
    *,
    scale: RainScale = RAIN_SCALE,
    dpi: int = 110,
) -> Figure:
    """Draw one scan or lead time. The size depends on the basemap only, so that maps animate.

    Parameters
    ----------
    rain_rate_mm_h : (y, x), mm h-1, north up, on the basemap's grid. NaN = no radar.
    """
    map_width, map_height = _size_within(basemap, 7.6, 7.2)
    width, height = max(map_width + 1.7, 6.6), map_height + 1.9
    left, top = 0.55, height - 0.32
    figure = _figure(width, height, dpi)
    rect = (left / width, 0.75 / height, map_width / width, map_height / height)
    _add_rain(add_map_axes(figure, rect, basemap), rain_rate_mm_h, basemap, scale)
    _add_colour_bar(figure, left + map_width + 0.18, 0.75, map_height, scale)

    _write(figure, left, top, caption.title, width - left - 0.2, size=13, weight="bold")
    badge = (left / width, (top - 0.44) / height), 0.98 / width, 0.25 / height
    colour = _BADGE[caption.kind]
    figure.add_artist(Rectangle(*badge, fc=colour, lw=0, transform=figure.transFigure))
    look: dict[str, Any] = {"size": 9.5, "weight": "bold", "color": "white", "ha": "center"}
    _write(figure, left + 0.49, top - 0.32, caption.kind.upper(), 0.9, **look)
    valid = f"valid {caption.valid:%Y-%m-%d %H:%M} UTC"
    _write(figure, left + 1.08, top - 0.32, valid, 2.7, size=11.5, weight="bold")
    end = width - 0.2
    _write(figure, end, top - 0.32, caption.since, end - left - 3.7, size=10.5, ha="right")
    _write(figure, left, top - 0.61, caption.origin, end - left, size=9.5)
    _write_footer(figure, left, caption)
    return figure


def draw_overview(
    panels: Sequence[Panel],
    basemap: Basemap,
    *,
    scale: RainScale = RAIN_SCALE,
    dpi: int = 110,
) -> Figure:
    """Draw scans and lead times with one colour bar; the last panel's caption heads the whole."""
    rows, columns = 1 + max(p.row for p in panels), 1 + max(p.column for p in panels)
    panel_width, panel_height = _size_within(basemap, 3.3, 3.7)
    step_x, step_y = max(panel_width, 2.5) + 0.15, panel_height + 0.42
    width, height = max(columns * step_x + 1.5, 6.3), rows * step_y + 1.35
    figure = _figure(width, height, dpi)
    for row, column, rain, caption in panels:
        x, y = 0.3 + column * step_x, height - 0.85 - (row + 1) * step_y + 0.1
        rect = (x / width, y / height, panel_width / width, panel_height / height)
        axes = add_map_axes(figure, rect, basemap, labels=False)
        if rain is None:
            _note(axes, "no scan")
        else:
            _add_rain(axes, rain, basemap, scale)
        lead = f"  {caption.lead}" if caption.kind == "forecast" else ""
        label = f"{caption.kind.upper()}  {caption.valid:%H:%M} UTC{lead}"
        look: dict[str, Any] = {"size": 9.5, "weight": "bold", "color": _BADGE[caption.kind]}
        _write(figure, x, y + panel_height + 0.14, label, step_x - 0.1, **look)
    _add_colour_bar(figure, 0.33 + columns * step_x, 0.6, height - 1.7, scale)
    last = panels[-1].caption
    start = f"{last.origin} from {last.reference:%Y-%m-%d %H:%M} UTC"
    _write(figure, 0.3, height - 0.34, last.title, width - 0.6, size=14, weight="bold")
    _write(figure, 0.3, height - 0.63, start, width - 0.6, size=10.5)
    _write_footer(figure, 0.3, last)
    return figure


def _size_within(basemap: Basemap, width_in: float, height_in: float) -> tuple[float, float]:
    """Width and height [inches] of the largest map in a box."""
    x_min, x_max, y_min, y_max = basemap.extent
    shape = (x_max - x_min) / (y_max - y_min) / basemap.aspect
    return min(width_in, height_in * shape), min(height_in, width_in / shape)


def _add_rain(
    axes: GeoAxes, rain: xr.DataArray | NDArray, basemap: Basemap, scale: RainScale
) -> None:
    """Rain pixel by pixel in the grid's own CRS; hatched where there is no radar."""
    values = np.asarray(rain, dtype=np.float32)
    missing = np.isnan(values)
    axes.imshow(
        scale.rgba(values), extent=basemap.extent, origin="upper", interpolation="nearest",
        transform=basemap.projection, aspect=basemap.aspect, zorder=2,
    )  # fmt: skip
    x_min, x_max, y_min, y_max = basemap.extent
    rows, columns = values.shape
    half_x, half_y = (x_max - x_min) / columns / 2, (y_max - y_min) / rows / 2
    x = np.linspace(x_min - half_x, x_max + half_x, columns + 2)
    y = np.linspace(y_max + half_y, y_min - half_y, rows + 2)
    edges = contour_generator(x, y, np.pad(missing, 1, "edge") * 1.0, fill_type="OuterCode")
    for points, codes in zip(*edges.filled(0.5, 2.0), strict=True):
        hatching = PathPatch(Outline(points, codes), transform=axes.transData, zorder=2.5)
        hatching.set(fill=False, lw=0, **_hatch(scale))
        axes.add_artist(hatching)
    if missing.all():
        _note(axes, "no radar data")
    elif not np.nanmax(values) >= scale.levels_mm_h[0]:
        _note(axes, f"no rain of {scale.levels_mm_h[0]:g} {scale.unit} or more")


def _hatch(scale: RainScale) -> dict[str, Any]:
    return {"hatch": "/////", "hatchcolor": scale.no_radar_hatch, "hatch_linewidth": 0.5}


def _add_colour_bar(figure: Figure, x: float, y: float, height: float, scale: RainScale) -> None:
    """Colour bar with a swatch for no radar under it; position and height in inches."""
    width_in, height_in = figure.get_size_inches()
    bar = figure.add_axes(
        (x / width_in, (y + 0.5) / height_in, 0.17 / width_in, (height - 0.5) / height_in)
    )
    colours = ListedColormap(scale.colours[:-1]).with_extremes(over=scale.colours[-1])
    norm = BoundaryNorm(scale.levels_mm_h, len(scale.colours) - 1)
    mappable = ScalarMappable(norm, colours)
    drawn = figure.colorbar(
        mappable, cax=bar, extend="max", spacing="uniform", ticks=scale.levels_mm_h
    )
    drawn.ax.set_yticklabels([f"{level:g}" for level in scale.levels_mm_h])
    drawn.ax.tick_params(length=0, labelsize=9, pad=3)
    drawn.outline.set(lw=0.5, edgecolor=MAP_STYLE.quiet_text)
    drawn.set_label(f"Rain rate [{scale.unit}]", size=10)
    swatch = (x / width_in, y / height_in), 0.17 / width_in, 0.2 / height_in
    look = {"fc": scale.no_radar, "ec": MAP_STYLE.quiet_text, "lw": 0.5, **_hatch(scale)}
    figure.add_artist(Rectangle(*swatch, transform=figure.transFigure, **look))
    _write(figure, x + 0.24, y + 0.1, "no radar", 1.0, size=9)


def _note(axes: GeoAxes, text: str) -> None:
    box = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": MAP_STYLE.quiet_text, "lw": 0.5}
    look: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 6, "bbox": box}
    axes.text(0.5, 0.5, text, size=10, color=MAP_STYLE.text, transform=axes.transAxes, **look)


def _write(figure: Figure, x: float, y: float, text: str, room_in: float, **look: Any) -> None:
    """Write at a position in inches; text too long for its room is set smaller, then cut."""
    width, height = figure.get_size_inches()
    look = {"color": MAP_STYLE.text, "va": "center", **look}
    drawn = figure.text(x / width, y / height, text, **look)
    room, smallest = room_in * figure.dpi, 0.8 * float(drawn.get_fontsize())
    while len(text) > 4 and (wide := drawn.get_window_extent().width) > room:
        if (size := float(drawn.get_fontsize())) > smallest:
            drawn.set_fontsize(max(smallest, 0.93 * size))
        else:
            text = text[: min(len(text) - 1, int(len(text) * room / wide))]
            drawn.set_text(text.rstrip() + "…")


def _write_footer(figure: Figure, left: float, caption: Caption) -> None:
    room = figure.get_size_inches()[0] - left - 0.2
    for line, y in zip(caption.footer, (0.3, 0.15), strict=False):
        _write(figure, left, y, line, room, size=7, color=MAP_STYLE.quiet_text)


def _figure(width_in: float, height_in: float, dpi: int) -> Figure:
    figure = Figure((width_in, height_in), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _image(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


class MapsConfig(BaseModel):
    """What `squall maps` draws, and where to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forecast: Path = Field(description="forecast file (CF netCDF) written by `squall forecast`")
    out: Path = Field(description="folder for the pictures, made where it is missing")
    animate: bool = Field(False, description="also write an animated GIF")
    dpi: int = Field(110, ge=40, le=600, description="resolution of the pictures [dots per inch]")


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
        above the forecast; without it, the overview shows the scans that the forecast began with.

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
    scans, leads = _frames(forecast)
    panels = _panels(scans, leads, None if observed is None else _scans_at(observed, forecast))
    stem = f"{_time(forecast['forecast_reference_time']):%Y%m%dT%H%MZ}"
    config.out.mkdir(parents=True, exist_ok=True)
    gif = _Gif(RAIN_SCALE)
    paths: list[Path] = []
    frames = [*scans, *leads] if config.animate else leads
    for frame in tqdm(frames, desc="maps", unit="map", disable=None):
        image = _image(draw_map(frame.rain_rate_mm_h, basemap, frame.caption, dpi=config.dpi))
        if frame.name:
            paths.append(_save_png(image, f"{stem}_{frame.name}.png", frame.caption, config))
        if config.animate:
            gif.add(image, _FRAME_MS[frame.caption.kind])
    image = _image(draw_overview(panels, basemap, dpi=config.dpi))
    overview = _save_png(image, f"{stem}_overview.png", panels[-1].caption, config)
    animation = config.out / f"{stem}_animation.gif" if config.animate else None
    if animation:
        gif.save(animation)
    return MapsResult(tuple(paths), overview, animation)


class _Frame(NamedTuple):
    """One map to draw; `name` is its part of the file name, empty for a scan."""

    rain_rate_mm_h: NDArray
    caption: Caption
    name: str = ""


class _Gif:
    """Frames of an animation, all in one palette with a place for every rain colour."""

    def __init__(self, scale: RainScale) -> None:
        colours = (*scale.colours, scale.no_radar, MAP_STYLE.land, MAP_STYLE.water, "white")
        fixed = to_rgba_array([*colours, *_BADGE.values()])[:, :3]
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
        with _replacing(path) as stream:
            first.save(
                stream, "gif", save_all=True, append_images=others, duration=durations, loop=0
            )


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


def _frames(forecast: xr.Dataset) -> tuple[list[_Frame], list[_Frame]]:
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
        " · ".join([*(f"{k} {v}" for k, v in made_by.items() if v), "coastlines: GSHHG"]),
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
        if have.shape != want.shape or not np.allclose(have, want, rtol=1e-6):
            raise DataError(
                f"observed scans have {have.size} {axis} from {have[0]:g} to {have[-1]:g}, the "
                f"forecast {want.size} from {want[0]:g} to {want[-1]:g}; give scans on its grid."
            )
    return dict(zip(map(_time, observed["time"].values), observed.values, strict=True))


def _panels(
    scans: list[_Frame], leads: list[_Frame], observed: dict[pd.Timestamp, NDArray] | None
) -> list[Panel]:
    """At most four lead times; above them what was observed, or to their left the last scans."""
    count = min(4, len(leads))
    chosen = [leads[round(len(leads) * (i + 1) / count) - 1] for i in range(count)]
    if observed is not None:
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
    with _replacing(config.out / name) as stream:
        image.save(stream, "png", pnginfo=info, dpi=(config.dpi, config.dpi))
    return config.out / name


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream that becomes the file when all is written; nothing half-written is ever seen."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
