"""What a forecast says of the rules. It runs in the child, which has the forecast.

Public: `evaluate`.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely  # type: ignore[import-untyped]
import xarray as xr
from pyproj import Transformer

from squall.datasets.errors import first_line
from squall.datasets.grid import Grid, lonlat_crs
from squall.datasets.times import duration_text
from squall.pipeline.forecast.ensemble_dataset import CHANCES, CHANCES_AROUND, MEDIAN
from squall.pipeline.forecast.ensemble_products import NEIGHBOURHOOD_KM
from squall.pipeline.live.alerts.records import MET, NOT_MET, UNKNOWN, Evaluation, Outcome
from squall.pipeline.live.alerts.rules import AlertRule
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.states import Run, is_late, overdue_at

log = logging.getLogger("squall.live")

HALF_A_HALF_PERCENT = 0.0025  # chances are stored in half percents


@dataclass(frozen=True)
class _Pixels:
    """The pixels of a place or an area: a box, and which pixels in it count."""

    rows: slice
    columns: slice
    mask: npt.NDArray[np.bool_]


def evaluate(
    forecast: xr.Dataset,
    grid: Grid,
    run: Run,
    config: LiveConfig,
    *,
    now: pd.Timestamp,
    step: pd.Timedelta,
) -> Evaluation:
    """Ask a forecast all rules of a service.

    Parameters
    ----------
    forecast : as `squall.pipeline.forecast.run.forecast` returns it.
    now : the present moment; rules are about the time after it.
    step : time between two scans.
    """
    now = now.floor("s")
    return Evaluation(
        run=run.id,
        reference=run.reference,
        sent=now,
        expires=overdue_at(now, run.reference, step, config),
        is_good=not (
            run.fallback
            or forecast.attrs.get("missing_context")
            or is_late(now, run.reference, step, config)
        ),
        outcomes={
            rule.name: _answered(rule, forecast, grid, config, now, step) for rule in config.alerts
        },
    )


def _answered(
    rule: AlertRule,
    forecast: xr.Dataset,
    grid: Grid,
    config: LiveConfig,
    now: pd.Timestamp,
    step: pd.Timedelta,
) -> Outcome:
    """The answer to a rule. A rule that fails must not hold up the forecast."""
    if rule.within < step:
        return _never(f"within is shorter than the step of the radar, {duration_text(step)}")
    try:
        return _outcome(rule, forecast, grid, config, now)
    except Exception as error:  # libraries of geometry and projections have their own exceptions
        log.exception("alert rule '%s'", rule.name)
        return _never(f"{type(error).__name__}: {first_line(error)}")


def _outcome(
    rule: AlertRule, forecast: xr.Dataset, grid: Grid, config: LiveConfig, now: pd.Timestamp
) -> Outcome:
    pixels = _pixels(rule, grid, config)
    if pixels is None:
        whole = "the place lies" if rule.at else "the area lies, at least in part,"
        return _never(f"{whole} outside the radar's grid")
    times = pd.DatetimeIndex(forecast["time"].values)
    leads = np.flatnonzero((times > now) & (times <= now + rule.within))
    if not leads.size:
        return Outcome(state=UNKNOWN, reason="no time of the forecast lies within that span")
    rain = _values(forecast[MEDIAN if MEDIAN in forecast else "rain_rate"], leads, pixels)
    asked, least = rain, float(np.float32(rule.rain_mm_h))
    chances = None
    if rule.chance is not None:
        chances = _chances(rule, forecast)
        if chances is None:
            return _without_chances(rule, forecast)
        asked, least = _values(chances, leads, pixels), rule.chance - HALF_A_HALF_PERCENT
    is_met = (asked >= least).any(axis=1)
    radius_km = _radius_km(rule, grid)
    said = Outcome(
        state=NOT_MET,
        chance=None if chances is None else _highest(asked),
        rain_mm_h=_highest(rain) if chances is None else None,
        radius_km=radius_km,
    )
    if is_met.any():
        return said.model_copy(update={"state": MET, "first": times[leads[is_met.argmax()]]})
    if np.isnan(asked).any():
        where = "the place" if rule.at else "all of the area"
        reason = f"the radar does not let us know {where} until then"
        return said.model_copy(update={"state": UNKNOWN, "reason": reason})
    return said


def _never(reason: str) -> Outcome:
    return Outcome(state=UNKNOWN, reason=reason, is_permanent=True)


def _chances(rule: AlertRule, forecast: xr.Dataset) -> xr.DataArray | None:
    """Chances (lead_time, y, x) of the rule's rain; None if the forecast has none."""
    name = CHANCES if rule.where == "at_pixel" else CHANCES_AROUND
    if name not in forecast:
        return None
    held = np.isclose(forecast["threshold"].values, rule.rain_mm_h)
    return forecast[name].isel(threshold=int(held.argmax())) if held.any() else None


def _without_chances(rule: AlertRule, forecast: xr.Dataset) -> Outcome:
    model = forecast.attrs.get("model", "the model")
    return _never(f"{model} gives no chances of {rule.rain_mm_h:g} mm/h ({rule.where})")


def _values(
    field: xr.DataArray, leads: npt.NDArray[np.intp], pixels: _Pixels
) -> npt.NDArray[np.floating]:
    """(lead, pixel), NaN = not known."""
    box = field.isel(lead_time=leads, y=pixels.rows, x=pixels.columns)
    return np.asarray(box.values[:, pixels.mask])


def _highest(values: npt.NDArray[np.floating]) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.max()), 4) if known.size else None


def _radius_km(rule: AlertRule, grid: Grid) -> float | None:
    """The circle of a place reaches the corners of its pixel."""
    if rule.at is None:
        return None
    return NEIGHBOURHOOD_KM if rule.where == "within_10km" else grid.pixel_size_m / 1000 / 2**0.5


def _pixels(rule: AlertRule, grid: Grid, config: LiveConfig) -> _Pixels | None:
    """The pixels that a rule is about; None if they are not all on the grid."""
    if rule.at is not None:
        place = config.places[rule.at]
        pixel = grid.pixel_at(place.latitude, place.longitude)
        if pixel is None:
            return None
        row, column = pixel
        one = np.ones((1, 1), bool)
        return _Pixels(slice(row, row + 1), slice(column, column + 1), one)
    assert rule.area is not None
    shape = shapely.union_all([_on_grid(shapely.Polygon(corners), grid) for corners in rule.area])
    if shape.is_empty or not np.isfinite(shape.bounds).all():
        return None
    left, bottom, right, top = shape.bounds
    height, width = grid.pixel_size
    columns = [(edge - grid.x[0]) / width for edge in (left, right)]
    rows = [(grid.y[0] - edge) / height for edge in (top, bottom)]
    if min(*rows, *columns) < -0.5 or rows[1] > grid.y.size - 0.5 or columns[1] > grid.x.size - 0.5:
        return None
    box = [
        slice(max(0, math.floor(first)), min(size, math.ceil(last) + 1))
        for (first, last), size in ((rows, grid.y.size), (columns, grid.x.size))
    ]
    x, y = np.meshgrid(grid.x[box[1]], grid.y[box[0]])
    mask = shapely.contains_xy(shape, x, y)
    if not mask.any():  # the area is smaller than a pixel
        middle = shape.representative_point()
        mask = np.hypot(x - middle.x, y - middle.y) == np.hypot(x - middle.x, y - middle.y).min()
    return _Pixels(box[0], box[1], mask)


def _on_grid(polygon: shapely.Polygon, grid: Grid) -> shapely.Polygon:
    """A polygon of longitude and latitude in the coordinates of the grid."""
    from_lonlat = Transformer.from_crs(lonlat_crs(grid.crs), grid.crs, always_xy=True)
    dense = shapely.segmentize(polygon, 0.05)  # edges are straight in longitude and latitude
    lon, lat = shapely.get_coordinates(dense).T
    x, y = from_lonlat.transform(lon, lat)
    if grid.crs.is_geographic:  # grids may count from 0 to 360
        x = x + 360 * np.round((grid.x.mean() - x.mean()) / 360)
    return shapely.Polygon(np.column_stack([x, y]))
