"""Drawing rain: one map with its caption, or an overview of several maps.

Public: `Caption`, `Panel`, `draw_map`, `draw_overview`, `MAP_IN`.

The functions return figures and write no files. `basemap.py` draws what is under the rain; the
rain colours are in `squall.pipeline.pictures`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from cartopy.mpl.geoaxes import GeoAxes
from contourpy import contour_generator
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from squall.pipeline.lettering import write
from squall.pipeline.maps.basemap import Basemap, add_map_axes
from squall.pipeline.maps.places import Place, add_places
from squall.pipeline.pictures import (
    BADGE_COLOURS,
    MAP_STYLE,
    NO_FORECAST,
    NO_RADAR,
    RAIN_SCALE,
    RainScale,
)

Kind = Literal["observed", "forecast"]

MAP_IN = (7.6, 7.2)  # largest width and height of a map [inches]


@dataclass(frozen=True)
class Caption:
    """Text around one map: `origin` says what produced the rain, `footer` whose data it is.

    `timezone` is the zone of the local time, such as Europe/Rome. Of a rain amount, `start` is
    the beginning of its period; `valid` is the end. `has_forecast` is False for a scan without a
    forecast, to which no reference time is written.
    """

    kind: Kind
    title: str
    valid: pd.Timestamp
    reference: pd.Timestamp
    origin: str
    footer: tuple[str, ...] = ()
    timezone: str | None = None
    start: pd.Timestamp | None = None
    has_forecast: bool = True

    @property
    def lead(self) -> str:
        """Valid time minus reference time, such as "+35 min"."""
        return f"{(self.valid - self.reference).total_seconds() / 60:+g} min"

    @property
    def when(self) -> str:
        """Valid time or period, UTC."""
        if self.start is None:
            return f"valid {self.valid:%Y-%m-%d %H:%M} UTC"
        same_day = self.valid.date() == self.start.date()
        end = f"{self.valid:{'%H:%M' if same_day else '%d %b %H:%M'}}"
        return f"{self.start:%Y-%m-%d %H:%M} to {end} UTC"

    @property
    def local(self) -> str:
        """Valid time in the zone, such as "Thu 26 Aug 08:35 CEST"; empty without a zone."""
        if self.timezone is None:
            return ""
        local = self.valid.tz_localize("UTC").tz_convert(self.timezone)
        name = local.tzname() or ""
        return f"{local:%a %d %b %H:%M} {f'UTC{name}' if name[:1] in '+-' else name}"

    @property
    def since(self) -> str:
        """The lead time and the reference time, with its date if it is another day."""
        if not self.has_forecast:
            return ""
        same_day = self.valid.date() == self.reference.date()
        if self.start is not None:
            return f"sum of {(self.valid - self.start).total_seconds() / 60:g} min"
        start = f"{self.reference:{'%H:%M' if same_day else '%d %b %H:%M'}} UTC"
        if self.kind == "forecast" or self.valid > self.reference:
            return f"{self.lead} from {start}"
        return "latest scan" if self.lead == "+0 min" else f"{self.lead[1:]} before {start}"


class Panel(NamedTuple):
    """One map of an overview; the rain is (y, x), mm/h, or None if there is no scan.

    `is_covered` is as in `draw_map`. The label stands above the map; by default it is the time.
    """

    row: int
    column: int
    rain_rate_mm_h: NDArray | None
    caption: Caption
    is_covered: NDArray[np.bool_] | None = None
    label: str = ""


def draw_map(
    rain_rate_mm_h: xr.DataArray | NDArray,
    basemap: Basemap,
    caption: Caption,
    *,
    is_covered: NDArray[np.bool_] | None = None,
    places: Sequence[Place] = (),
    scale: RainScale = RAIN_SCALE,
    dpi: int = 110,
) -> Figure:
    """Draw one scan or lead time. All maps of one basemap have the same size.

    Parameters
    ----------
    rain_rate_mm_h : (y, x), mm h-1, north up, on the basemap's grid. NaN = unknown.
    is_covered : (y, x), where the radar observed in the context. A pixel of a forecast that is
        unknown there is "no forecast", elsewhere "no radar". None: nowhere.
    """
    map_width, map_height = _size_within(basemap, *MAP_IN)
    width, height = max(map_width + 1.85, 6.6), map_height + 1.9
    left, top = 0.55, height - 0.32
    figure = _figure(width, height, dpi)
    rect = (left / width, 0.75 / height, map_width / width, map_height / height)
    axes = add_map_axes(figure, rect, basemap)
    _add_rain(axes, np.asarray(rain_rate_mm_h), is_covered, basemap, scale)
    add_places(axes, basemap, places, 8.5)
    _add_colour_bar(
        figure, left + map_width + 0.18, 0.75, map_height, scale, _unknown((caption.kind,))
    )

    write(figure, left, top, caption.title, width - left - 0.2, size=13, weight="bold")
    badge = (left / width, (top - 0.44) / height), 0.98 / width, 0.25 / height
    colour = BADGE_COLOURS[caption.kind]
    figure.add_artist(Rectangle(*badge, fc=colour, lw=0, transform=figure.transFigure))
    look: dict[str, Any] = {"size": 9.5, "weight": "bold", "color": "white", "ha": "center"}
    write(figure, left + 0.49, top - 0.32, caption.kind.upper(), 0.9, **look)
    write(figure, left + 1.08, top - 0.32, caption.when, 2.7, size=11.5, weight="bold")
    end = width - 0.2
    write(figure, end, top - 0.32, caption.since, end - left - 3.7, size=10.5, ha="right")
    room = end - left - (2.2 if caption.local else 0)
    write(figure, left, top - 0.61, caption.origin, room, size=9.5)
    write(figure, end, top - 0.61, caption.local, 2.1, size=9.5, ha="right")
    _write_footer(figure, left, caption)
    return figure


def draw_overview(
    panels: Sequence[Panel],
    basemap: Basemap,
    *,
    places: Sequence[Place] = (),
    panel_in: tuple[float, float] = (3.3, 3.7),
    least_step_in: float = 2.9,
    scale: RainScale = RAIN_SCALE,
    dpi: int = 110,
) -> Figure:
    """Draw scans and lead times with one colour bar, under the title of the last panel.

    Parameters
    ----------
    panel_in : largest width and height of a map [inches].
    least_step_in : least width of a map with its label [inches].
    """
    rows, columns = 1 + max(p.row for p in panels), 1 + max(p.column for p in panels)
    panel_width, panel_height = _size_within(basemap, *panel_in)
    step_x, step_y = max(panel_width, least_step_in) + 0.15, panel_height + 0.42
    width, height = max(columns * step_x + 1.6, 6.3), rows * step_y + 1.35
    figure = _figure(width, height, dpi)
    for row, column, rain, caption, is_covered, label in panels:
        x, y = 0.3 + column * step_x, height - 0.85 - (row + 1) * step_y + 0.1
        rect = (x / width, y / height, panel_width / width, panel_height / height)
        axes = add_map_axes(figure, rect, basemap, labels=False)
        if rain is None:
            _note(axes, "no scan" if caption.kind == "observed" else "starts later")
        else:
            _add_rain(axes, rain, is_covered, basemap, scale)
            add_places(axes, basemap, places, 7)
        lead = f"  {caption.lead}" if caption.kind == "forecast" else ""
        label = label or f"{caption.kind.upper()}  {caption.valid:%d %b %H:%M} UTC{lead}"
        look: dict[str, Any] = {"size": 9.5, "weight": "bold", "color": BADGE_COLOURS[caption.kind]}
        write(figure, x, y + panel_height + 0.14, label, step_x - 0.1, **look)
    unknown = _unknown([panel.caption.kind for panel in panels])
    _add_colour_bar(figure, 0.33 + columns * step_x, 0.6, height - 1.7, scale, unknown)
    last = panels[-1].caption
    start = last.origin
    if last.has_forecast:
        start += f" from {last.reference:%Y-%m-%d %H:%M} UTC"
    write(figure, 0.3, height - 0.34, last.title, width - 0.6, size=14, weight="bold")
    room = width - 0.6 - (3.0 if last.local else 0)
    write(figure, 0.3, height - 0.63, start, room, size=10.5)
    local = f"last map: {last.local}" if last.local else ""
    write(figure, width - 0.3, height - 0.63, local, 2.9, size=10.5, ha="right")
    _write_footer(figure, 0.3, last)
    return figure


def _size_within(basemap: Basemap, width_in: float, height_in: float) -> tuple[float, float]:
    """Width and height [inches] of the largest map in a box."""
    x_min, x_max, y_min, y_max = basemap.extent
    shape = (x_max - x_min) / (y_max - y_min) / basemap.aspect
    return min(width_in, height_in * shape), min(height_in, width_in / shape)


def _add_rain(
    axes: GeoAxes,
    rain: NDArray,
    is_covered: NDArray[np.bool_] | None,
    basemap: Basemap,
    scale: RainScale,
) -> None:
    """Draw each pixel in the grid's own CRS; unknown pixels are hatched."""
    is_unknown = np.isnan(rain)
    is_forecast_missing = is_unknown & (False if is_covered is None else is_covered)
    axes.imshow(
        scale.rgba(rain, is_covered), extent=basemap.extent, origin="upper",
        interpolation="nearest", transform=basemap.projection, aspect=basemap.aspect, zorder=2,
    )  # fmt: skip
    _hatch(axes, is_unknown & ~is_forecast_missing, basemap, _hatching(scale)[NO_RADAR])
    _hatch(axes, is_forecast_missing, basemap, _hatching(scale)[NO_FORECAST])
    if is_unknown.all():
        is_forecast = bool(is_forecast_missing.any())
        _note(axes, "no forecast: unknown everywhere" if is_forecast else "nothing observed")
    elif not np.nanmax(rain) >= scale.levels_mm_h[0]:
        _note(axes, scale.nothing or f"no rain of {scale.levels_mm_h[0]:g} {scale.unit} or more")


def _hatch(
    axes: GeoAxes, mask: NDArray[np.bool_], basemap: Basemap, hatching: dict[str, Any]
) -> None:
    """Hatch the pixels of a mask (y, x)."""
    x_min, x_max, y_min, y_max = basemap.extent
    rows, columns = mask.shape
    half_x, half_y = (x_max - x_min) / columns / 2, (y_max - y_min) / rows / 2
    x = np.linspace(x_min - half_x, x_max + half_x, columns + 2)
    y = np.linspace(y_max + half_y, y_min - half_y, rows + 2)
    edges = contour_generator(x, y, np.pad(mask, 1, "edge") * 1.0, fill_type="OuterCode")
    for points, codes in zip(*edges.filled(0.5, 2.0), strict=True):
        patch = PathPatch(Outline(points, codes), transform=axes.transData, zorder=2.5)
        patch.set(fill=False, lw=0, **hatching)
        axes.add_artist(patch)


def _unknown(kinds: Sequence[Kind]) -> dict[str, str]:
    """What the legend calls each kind of unknown pixels on maps of these kinds."""
    if "forecast" in kinds:
        return {NO_RADAR: NO_RADAR, NO_FORECAST: NO_FORECAST}
    return {NO_RADAR: "not observed"}


def _hatching(scale: RainScale) -> dict[str, dict[str, Any]]:
    """Hatching of the two kinds of unknown pixels."""
    return {
        word: {"hatch": hatch, "hatchcolor": colour, "hatch_linewidth": 0.5}
        for word, hatch, colour in (
            (NO_RADAR, "/////", scale.no_radar_hatch),
            (NO_FORECAST, "...", scale.no_forecast_hatch),
        )
    }


def _add_colour_bar(
    figure: Figure, x: float, y: float, height: float, scale: RainScale, unknown: Mapping[str, str]
) -> None:
    """Add the colour bar, and swatches for unknown pixels under it; all lengths in inches.

    ``unknown`` has the words of the legend by the kind of unknown pixels.
    """
    width_in, height_in = figure.get_size_inches()
    bar = figure.add_axes(
        (x / width_in, (y + 0.75) / height_in, 0.17 / width_in, (height - 0.75) / height_in)
    )
    if scale.top is None:
        colours = ListedColormap(scale.colours[:-1]).with_extremes(over=scale.colours[-1])
        norm = BoundaryNorm(scale.levels_mm_h, len(scale.colours) - 1)
    else:
        colours = ListedColormap(scale.colours)
        norm = BoundaryNorm([*scale.levels_mm_h, scale.top], len(scale.colours))
    ticks: dict[str, Any] = {"spacing": "uniform", "ticks": scale.levels_mm_h}
    colour_bar = figure.colorbar(
        ScalarMappable(norm, colours),
        cax=bar,
        extend="max" if scale.top is None else "neither",
        **ticks,
    )
    labels = scale.labels or [f"{level:g}" for level in scale.levels_mm_h]
    colour_bar.ax.set_yticklabels(labels)
    colour_bar.ax.tick_params(length=0, labelsize=9, pad=3)
    colour_bar.outline.set(lw=0.5, edgecolor=MAP_STYLE.quiet_text)
    colour_bar.set_label(f"{scale.quantity} [{scale.unit}]", size=10)
    fills = {NO_RADAR: scale.no_radar, NO_FORECAST: scale.no_forecast}
    for bottom, (kind, word) in zip((y + 0.3, y), unknown.items(), strict=False):
        swatch = (x / width_in, bottom / height_in), 0.17 / width_in, 0.2 / height_in
        look = {"fc": fills[kind], "ec": MAP_STYLE.quiet_text, "lw": 0.5, **_hatching(scale)[kind]}
        figure.add_artist(Rectangle(*swatch, transform=figure.transFigure, **look))
        write(figure, x + 0.24, bottom + 0.1, word, 1.0, size=9)


def _note(axes: GeoAxes, text: str) -> None:
    box = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": MAP_STYLE.quiet_text, "lw": 0.5}
    look: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 6, "bbox": box}
    axes.text(0.5, 0.5, text, size=10, color=MAP_STYLE.text, transform=axes.transAxes, **look)


def _write_footer(figure: Figure, left: float, caption: Caption) -> None:
    room = figure.get_size_inches()[0] - left - 0.2
    for line, y in zip(caption.footer, (0.3, 0.15), strict=False):
        write(figure, left, y, line, room, size=7, color=MAP_STYLE.quiet_text)


def _figure(width_in: float, height_in: float, dpi: int) -> Figure:
    figure = Figure((width_in, height_in), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    return figure
