"""Opening a file with keys tried in turn, until it opens: so one sees which keys are missing.

Owns the keys that are tried, and what an open file says. A key that is only needed to open the file
has a placeholder here, which is never written into a configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import ConfigError, DataError, ForecastError
from squall.datasets.grid import Grid
from squall.datasets.radar.fields import Field
from squall.datasets.radar.formats import format_of, recognised_format
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.opening import open_product
from squall.datasets.radar.product import Packing
from squall.datasets.radar.readers.field_lists import time_variables
from squall.datasets.radar.readers.projection_texts import projections_in
from squall.datasets.radar.unpacked import unpacked
from squall.pipeline.init.pictures import importer_keys

# any whole second of a minute is on the step
ANY_STEP: dict[str, Any] = {"name": "init", "step": "60s", "snap_tolerance": "29.9s"}
_SOME_PROJECTION, _LONLAT = "EPSG:3857", "EPSG:4326"
# one of them is held by the pixels of any type, so that a reader accepts the list
_SOME_VALUES = [-9999.0, 255.0, 65535.0, -1.0, 0.0]
_MOST_KEYS = 2  # of which all sets are tried


@dataclass(frozen=True)
class Content:
    """What a file's first bytes and its list of fields say.

    Parameters
    ----------
    projections : texts of attributes that describe a map projection, with their places.
    keys : that name the format and its options, where the content does not tell them.
    """

    format: str
    title: str
    fields: tuple[Field, ...]
    needs_variable: bool
    time_variables: tuple[str, ...]
    projections: Mapping[str, str]
    keys: Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """What an open file says.

    Parameters
    ----------
    stored : one scan as stored, (y, x); without pixels if it was not read.
    """

    grid: Grid
    times: tuple[pd.Timestamp, ...]
    intervals: tuple[pd.Timedelta | None, ...]
    packing: Packing
    stored: npt.NDArray[Any]

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """The scan's numbers in the unit of the packing, (y, x)."""
        return self.stored.astype(np.float64) * self.packing.scale + self.packing.offset


def content_of(path: str) -> Content:
    """Recognise the format of a local file, perhaps packed, and list its fields.

    Raises
    ------
    DataError
        If the format is not known, or the file is broken.
    """
    with unpacked(path) as plain:
        keys = importer_keys(plain)
        if keys:
            return Content(keys["format"], "a picture", (), False, (), {}, keys)
        format = format_of(plain, None)
        name = recognised_format(plain) or ""
        times = time_variables(plain) if name == "netcdf" else []
        return Content(
            name,
            format.title,
            tuple(format.fields(plain)),
            format.needs_variable,
            tuple(times),
            _projections(plain, name),
            {},
        )


def _projections(path: str, format: str) -> dict[str, str]:
    try:
        return projections_in(path, format)
    except Exception:  # libraries raise any exception for a broken file; its reader says what
        return {}


def facts_of(path: str, keys: Mapping[str, Any], *, most_px: int | None = None) -> Facts:
    """Open a file with the keys of a configuration and read its first scan.

    Parameters
    ----------
    most_px : larger scans are not read; None reads all.

    Raises
    ------
    ConfigError, DataError
        If the file cannot be read with them.
    """
    try:
        config = RadarNetworkConfig(**{**ANY_STEP, **keys})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    with open_product(path, config) as product:
        first = next((i for i, time in enumerate(product.times) if not pd.isna(time)), 0)
        height, width = product.grid.shape
        is_read = most_px is None or height * width <= most_px
        if product.grid.crs.is_geographic:
            _check_degrees(product.grid)
        return Facts(
            product.grid,
            product.times,
            product.intervals,
            product.packing,
            np.array(product.read_stored(first)) if is_read else np.empty((0, 0), np.uint8),
        )


def _check_degrees(grid: Grid) -> None:
    """Refuse metres that are taken for degrees."""
    if np.abs(grid.x).max() > 360 or np.abs(grid.y).max() > 90:
        raise DataError(
            f"its coordinates, up to {grid.x.max():g} and {grid.y.max():g}, are no longitudes and "
            "latitudes"
        )


def tried(
    path: str,
    keys: Mapping[str, Any],
    remedies: Sequence[Mapping[str, Any]],
    *,
    most_px: int | None = None,
) -> tuple[dict[str, Any], Facts]:
    """Find the fewest further keys with which a file opens.

    Parameters
    ----------
    remedies : keys to try, the most probable first.
    most_px : larger scans are not read; None reads all.

    Returns
    -------
    The further keys, and what the file says with them.

    Raises
    ------
    ForecastError
        If the file holds forecasts alone: no key can help.
    ConfigError, DataError
        What the reader says without further keys, if none of them helps.
    """
    first_error: ConfigError | DataError | None = None
    for further in _sets_of(remedies):
        try:
            return further, facts_of(path, {**keys, **further}, most_px=most_px)
        except ForecastError:
            raise
        except (ConfigError, DataError) as error:
            first_error = first_error or error
    assert first_error is not None
    return _step_by_step(path, keys, remedies, first_error, most_px)


def _step_by_step(
    path: str,
    keys: Mapping[str, Any],
    remedies: Sequence[Mapping[str, Any]],
    first_error: ConfigError | DataError,
    most_px: int | None,
) -> tuple[dict[str, Any], Facts]:
    """Add one or two keys that change what the reader says, again and again, until the file opens.

    A guessed CRS would change it, too, so it is none of these keys.
    """
    steps = [step for step in _sets_of(remedies) if step and step.get("crs") != _LONLAT]
    further: dict[str, Any] = {}
    said = {str(first_error)}
    for _ in remedies:
        progress: dict[str, Any] | None = None
        for step in steps:
            if set(step) & set(further) or (progress is not None and len(step) > 1):
                continue
            try:
                changed = {**further, **step}
                return changed, facts_of(path, {**keys, **changed}, most_px=most_px)
            except ForecastError:
                raise
            except (ConfigError, DataError) as error:
                if progress is None and str(error) not in said:
                    progress, news = changed, str(error)
        if progress is None:
            break
        further = progress
        said.add(news)
    raise first_error


def _sets_of(remedies: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for count in range(_MOST_KEYS + 1):
        for chosen in combinations(remedies, count):
            names = [name for keys in chosen for name in keys]
            if len(set(names)) == len(names):
                yield {name: value for keys in chosen for name, value in keys.items()}


def remedies_for(content: Content, field: Field | None) -> list[dict[str, Any]]:
    """The keys that may be missing for a file."""
    remedies: list[dict[str, Any]] = [{"units": "mm h-1"}]
    remedies += [{"time_variable": name} for name in content.time_variables]
    remedies += [{"missing_values": _SOME_VALUES}, {"dry_values": [0.5, *_SOME_VALUES[:1]]}]
    remedies += [{"coordinate_units": unit} for unit in ("degrees", "m", "km")]
    crs = [*content.projections, _LONLAT, _SOME_PROJECTION]
    remedies += [{"crs": text} for text in dict.fromkeys(crs)]
    if field is not None and len(field.shape) >= 2:
        rows, columns = field.shape[-2:]
        edges = {"west": 0.0, "south": 0.0, "east": 1000.0 * columns, "north": 1000.0 * rows}
        remedies.append({"grid": {"crs": _SOME_PROJECTION, **edges, "nx": columns, "ny": rows}})
    return remedies


def is_placeholder(key: str, value: Any) -> bool:
    """Whether a key's value only serves to open a file."""
    if key in ("units", "missing_values", "dry_values", "grid"):
        return True
    return key == "crs" and value == _SOME_PROJECTION
