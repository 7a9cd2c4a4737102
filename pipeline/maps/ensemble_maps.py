"""The pictures of an ensemble: chances, percentiles, members, and when rain begins and ends.

Public: `Picture`, `ensemble_pictures`.

Each shows the products that the file holds; what it does not hold has no picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from squall.datasets.errors import ConfigError
from squall.pipeline.forecast.ensemble_dataset import (
    CHANCES,
    CHANCES_AROUND,
    CHANCES_AT_ANY_TIME,
    FIRST_RAIN,
    MEDIAN,
    MEMBER_CODES,
    MEMBERS,
    PERCENTILES,
    RAIN_END,
    members_of,
)
from squall.pipeline.forecast.ensemble_products import NEIGHBOURHOOD_KM
from squall.pipeline.maps.drawing import Panel
from squall.pipeline.maps.frames import Frame
from squall.pipeline.pictures import CHANCE_SCALE, RainScale, time_scale

MOST_STAMPS = 20
_STAMP = {"panel_in": (1.75, 1.9), "least_step_in": 1.2, "places": ()}
_SMALL = {"panel_in": (2.5, 2.8), "least_step_in": 1.6}
_STEPS_MIN = (5, 10, 15, 20, 30, 60, 120, 180, 360)


class Picture(NamedTuple):
    """Panels of one picture; `name` ends its file name, `look` are options of `draw_overview`."""

    name: str
    panels: list[Panel]
    look: dict[str, Any]


def ensemble_pictures(
    forecast: xr.Dataset, leads: Sequence[Frame], thresholds: Sequence[float] = ()
) -> Iterator[Picture]:
    """The pictures of what a forecast file holds, one after the other.

    Parameters
    ----------
    forecast : as `open_forecast` gives it, cut to the view.
    leads : the frames of its lead times.
    thresholds : mm/h; empty: all of the file.

    Raises
    ------
    ConfigError
        If the file does not hold a threshold.
    """
    chosen = _chosen(forecast, thresholds)
    for name, file_name, where in (
        (CHANCES, "chance_at_pixel", "at the pixel"),
        (CHANCES_AROUND, f"chance_within{NEIGHBOURHOOD_KM}km", f"within {NEIGHBOURHOOD_KM} km"),
    ):
        for index, threshold in chosen if name in forecast else ():
            chances = forecast[name].isel(threshold=index)
            title = f"Chance of {threshold:g} mm/h or more {where}"
            panels = _panels_of_leads(chances, leads, title)
            yield Picture(f"{file_name}_{threshold:g}mmh", panels, {"scale": CHANCE_SCALE})
    if CHANCES_AT_ANY_TIME in forecast and chosen:
        yield _chances_at_any_time(forecast, leads[-1], chosen)
    for index, threshold in chosen if FIRST_RAIN in forecast else ():
        yield _rain_times(forecast.isel(threshold=index), leads[-1], threshold)
    if PERCENTILES in forecast or MEDIAN in forecast:
        yield _percentiles(forecast, leads)
    if MEMBERS in forecast or MEMBER_CODES in forecast:
        for lead in sorted({len(leads) // 2 - 1, len(leads) - 1} - {-1}):
            yield _stamps(forecast, leads[lead], lead)


def _chosen(forecast: xr.Dataset, thresholds: Sequence[float]) -> list[tuple[int, float]]:
    """Index and value of each threshold to show."""
    held = forecast["threshold"].values.tolist() if "threshold" in forecast.dims else []
    missing = [value for value in thresholds if not np.isclose(held, value).any()]
    if missing:
        known = ", ".join(f"{value:g}" for value in held) or "none"
        raise ConfigError(f"--thresholds {missing[0]:g}: is none of the file's ({known})")
    return [
        (index, value)
        for index, value in enumerate(held)
        if not thresholds or np.isclose(thresholds, value).any()
    ]


def _about(frame: Frame, words: str) -> Any:
    """The caption of a frame with words before what made the forecast."""
    maker = frame.caption.origin.partition(" by ")[2]
    return replace(frame.caption, origin=f"{words}, {maker}")


def _percent(chances: xr.DataArray) -> NDArray:
    """Percent; rounded, since 0.3 · 100 may be below 30."""
    return np.round(100 * chances.values.astype(float), 3)


def _panels_of_leads(chances: xr.DataArray, leads: Sequence[Frame], title: str) -> list[Panel]:
    """At most four lead times in two columns."""
    panels = []
    for position, lead in enumerate(_spread(len(leads), 4)):
        values, frame = _percent(chances.isel(lead_time=lead)), leads[lead]
        caption = _about(frame, title)
        panels.append(Panel(position // 2, position % 2, values, caption, frame.is_covered))
    return panels


def _chances_at_any_time(
    forecast: xr.Dataset, frame: Frame, chosen: Sequence[tuple[int, float]]
) -> Picture:
    span = f"from {frame.caption.reference:%H:%M} to {frame.caption.valid:%H:%M} UTC"
    caption = _about(frame, f"Chance of rain at the pixel at any time {span}")
    columns = 2 if len(chosen) <= 4 else 3
    panels = [
        Panel(
            position // columns,
            position % columns,
            _percent(forecast[CHANCES_AT_ANY_TIME].isel(threshold=index)),
            caption,
            frame.is_covered,
            f"{threshold:g} mm/h or more",
        )
        for position, (index, threshold) in enumerate(chosen)
    ]
    return Picture("chance_at_any_time", panels, {"scale": CHANCE_SCALE})


def _rain_times(forecast: xr.Dataset, frame: Frame, threshold: float) -> Picture:
    """Two maps: when the first rain begins, and when it ends."""
    reference = frame.caption.reference
    horizon = (frame.caption.valid - reference).total_seconds() / 60
    is_known = np.isfinite(forecast[CHANCES_AT_ANY_TIME].values)
    begin, end = (
        (forecast[name].values - np.datetime64(reference)) / np.timedelta64(1, "m")
        for name in (FIRST_RAIN, RAIN_END)
    )
    end = np.where(np.isnan(end) & ~np.isnan(begin), horizon + 1, end)  # after the forecast
    caption = _about(frame, f"Rain of {threshold:g} mm/h or more, median of the members with it")
    panels = [
        Panel(
            0,
            column,
            np.where(is_known, np.nan_to_num(minutes, nan=-1.0), np.nan),
            caption,
            frame.is_covered,
            label,
        )
        for column, (minutes, label) in enumerate(((begin, "begins"), (end, "ends")))
    ]
    look = {"scale": _scale_of_times(reference, horizon)}
    return Picture(f"rain_times_{threshold:g}mmh", panels, look)


def _scale_of_times(reference: pd.Timestamp, horizon: float) -> RainScale:
    """Steps of minutes, at most nine; the first colour is rain now, the last after the forecast."""
    step = next((step for step in _STEPS_MIN if horizon / step <= 9), horizon / 9)
    levels = [0.0, 0.01, *np.arange(step, horizon, step).tolist(), horizon + 0.5]
    times = [reference + pd.Timedelta(minutes=level) for level in levels[1:-1]]
    return time_scale(["now", *(f"{time:%H:%M}" for time in times), "later"], levels)


def _percentiles(forecast: xr.Dataset, leads: Sequence[Frame]) -> Picture:
    """Rows of lead times, columns of percentiles with the median."""
    held = forecast["percentile"].values.tolist() if PERCENTILES in forecast else []
    columns = [
        (value, f"{value:g} %", forecast[PERCENTILES].isel(percentile=index))
        for index, value in enumerate(held)
    ]
    if MEDIAN in forecast and 50.0 not in held:
        columns.append((50.0, "median", forecast[MEDIAN]))
    columns.sort(key=lambda column: column[0])
    panels = []
    for row, lead in enumerate(_spread(len(leads), 3)):
        frame = leads[lead]
        caption = _about(frame, "Percentiles of the members' rain rate, at each pixel")
        for column, (_, words, values) in enumerate(columns):
            rain = values.isel(lead_time=lead).values
            label = f"{words}  {frame.caption.valid:%H:%M} UTC"
            panels.append(Panel(row, column, rain, caption, frame.is_covered, label))
    return Picture("percentiles", panels, dict(_SMALL))


def _stamps(forecast: xr.Dataset, frame: Frame, lead: int) -> Picture:
    """The members of one lead time, the first `MOST_STAMPS`."""
    count = forecast.sizes["realization"]
    shown = min(count, MOST_STAMPS)
    one_lead = forecast.isel(lead_time=[lead], realization=slice(shown))
    members = members_of(one_lead)
    assert members is not None
    which = f"{count} members" if shown == count else f"The first {shown} of {count} members"
    caption = _about(frame, f"{which}, {frame.caption.valid:%H:%M} UTC ({frame.caption.lead})")
    columns = min(5, shown)
    panels = [
        Panel(
            *divmod(position, columns),
            members.values[position, 0],
            caption,
            frame.is_covered,
            f"member {number}",
        )
        for position, number in enumerate(members["realization"].values.tolist())
    ]
    return Picture(f"members_{frame.name}", panels, dict(_STAMP))


def _spread(count: int, most: int) -> list[int]:
    """Indices of at most ``most`` lead times, the last among them."""
    shown = min(most, count)
    return [round(count * (i + 1) / shown) - 1 for i in range(shown)]
