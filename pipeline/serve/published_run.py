"""One published run as arrays: the frames that are rain rates or chances, and where they lie.

Public: `PublishedRun`, `Layer`, `Frame`, `read_run`, `read_manifest`, `read_frame`,
`observed_frames`, `time_of`, `RAIN`, `CHANCE`, `OBSERVED`, `FORECAST`.

The manifest says what the codes mean, so a run of another version of Squall is read right.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from squall.datasets.coding import RainCode
from squall.datasets.errors import DataError
from squall.datasets.grid import Grid, grid_from_attributes
from squall.pipeline.live.store import MANIFEST, RUNS, Store

RAIN, CHANCE = "rain_rate", "chance"  # kinds of codes
OBSERVED, FORECAST = "observed", "rain_rate"  # names of layers
Codes = npt.NDArray[np.uint8]
Values = tuple[float | None, ...]


class Layer(NamedTuple):
    """Frames of one quantity."""

    name: str
    kind: str
    """`RAIN` or `CHANCE`"""
    about: dict[str, Any]
    """what the manifest says of it besides: threshold, percentile …"""
    times: tuple[str, ...]
    """valid times, ISO format, UTC"""
    codes: Codes
    """(time, y, x)"""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of rain.

    Parameters
    ----------
    codes : (y, x).
    """

    time: pd.Timestamp
    codes: Codes
    grid: Grid

    @cached_property
    def seconds(self) -> int:
        """Valid time in Unix seconds."""
        return int(self.time.timestamp())


@dataclass(frozen=True, eq=False)
class PublishedRun:
    """A run whose frames are in memory.

    Parameters
    ----------
    layers : by name; `OBSERVED` and `FORECAST` are always there.
    """

    id: str
    manifest: dict[str, Any]
    grid: Grid
    layers: dict[str, Layer]

    @cached_property
    def reference(self) -> pd.Timestamp:
        """The reference time, naive UTC."""
        return time_of(self.manifest["reference_time"])

    def frames(self, name: str) -> tuple[Frame, ...]:
        """The frames of a layer of rain: `OBSERVED` or `FORECAST`."""
        if name not in self._frames:
            layer = self.layers[name]
            self._frames[name] = tuple(
                Frame(time_of(text), codes, self.grid)
                for text, codes in zip(layer.times, layer.codes, strict=True)
            )
        return self._frames[name]

    @cached_property
    def _frames(self) -> dict[str, tuple[Frame, ...]]:
        return {}

    @cached_property
    def rain_of_code(self) -> Values:
        """Rain rate [mm/h] of each of the 256 codes; None: not known."""
        code = self.manifest["codes"][RAIN]
        table = RainCode(code["lowest"], code["highest"]).table
        return tuple(None if np.isnan(rate) else round(float(rate), 3) for rate in table)

    @cached_property
    def chance_of_code(self) -> Values:
        """Chance, 0 to 1, of each of the 256 codes; None: not known."""
        unknown = self.manifest["codes"][CHANCE]["unknown"]
        return tuple(None if code == unknown or code > 200 else code / 200 for code in range(256))

    def values(self, layer: Layer, codes: npt.ArrayLike) -> list[float | None]:
        """What one-dimensional codes of a layer mean."""
        table = self.rain_of_code if layer.kind == RAIN else self.chance_of_code
        return [table[code] for code in np.asarray(codes).tolist()]

    def without_chances(self) -> PublishedRun:
        """The run without what only the newest run is asked for."""
        kept = {name: self.layers[name] for name in (OBSERVED, FORECAST)}
        return replace(self, layers=kept)


def read_run(store: Store, run: str) -> PublishedRun | None:
    """Read the manifest and the frames of a run; None if it is not there, or is being deleted.

    Raises
    ------
    DataError
        If the store does not answer, or the run is damaged.
    """
    manifest = read_manifest(store, run)
    if manifest is None:
        return None
    layers: dict[str, Layer] = {}
    with _as_data_error(run):
        grid = grid_of(manifest)
        for entry in manifest["layers"]:
            if entry["code"] not in (RAIN, CHANCE):
                continue
            codes = np.empty((len(entry["frames"]), *grid.shape), np.uint8)
            for place, frame in zip(codes, entry["frames"], strict=True):
                of_frame = read_frame(store, run, frame["file"], grid)
                if of_frame is None:
                    return None
                place[:] = of_frame
            times = tuple(str(frame["time"]) for frame in entry["frames"])
            about = {k: v for k, v in entry.items() if k not in ("name", "code", "frames")}
            layer = Layer(entry["name"], entry["code"], about, times, codes)
            layers[layer.name] = layer
        if not all(name in layers and layers[name].times for name in (OBSERVED, FORECAST)):
            raise ValueError("no frames of observed or of forecast rain")
    return PublishedRun(run, manifest, grid, layers)


def read_manifest(store: Store, run: str) -> dict[str, Any] | None:
    """The manifest of a run; None if there is none."""
    text = store.read(f"{RUNS}/{run}/{MANIFEST}")
    if text is None:
        return None
    with _as_data_error(run):
        manifest = json.loads(text)
        return dict(manifest)


def observed_frames(manifest: dict[str, Any]) -> Iterator[tuple[pd.Timestamp, str]]:
    """Valid time and file of each observed frame of a run."""
    with _as_data_error(str(manifest.get("id"))):
        for layer in manifest["layers"]:
            if layer["name"] == OBSERVED:
                for frame in layer["frames"]:
                    yield time_of(frame["time"]), frame["file"]


def read_frame(store: Store, run: str, file: str, grid: Grid) -> Codes | None:
    """(y, x) codes of a frame; None if it is not there.

    Raises
    ------
    DataError
        If the store does not answer, or the frame is damaged.
    """
    content = store.read_bytes(f"{RUNS}/{run}/{file}")
    if content is None:
        return None
    with _as_data_error(f"{run}/{file}"):
        codes = np.asarray(Image.open(io.BytesIO(content)))
        if codes.shape != grid.shape or codes.dtype != np.uint8:
            raise ValueError(f"{codes.shape} {codes.dtype}, expected {grid.shape} uint8")
        return codes


def grid_of(manifest: dict[str, Any]) -> Grid:
    """The grid of a run; runs with the same grid have the same object."""
    return _grid(json.dumps(manifest["grid"], sort_keys=True))


def time_of(text: str) -> pd.Timestamp:
    """A time of a manifest, naive UTC."""
    return pd.Timestamp(text).tz_localize(None)


@lru_cache(maxsize=4)
def _grid(text: str) -> Grid:
    grid = json.loads(text)
    left, bottom, right, top = grid["extent"]
    width, height = (right - left) / grid["columns"], (top - bottom) / grid["rows"]
    x = left + width * (np.arange(grid["columns"]) + 0.5)
    y = top - height * (np.arange(grid["rows"]) + 0.5)
    return grid_from_attributes(x, y, grid["crs_wkt"])


@contextmanager
def _as_data_error(where: str) -> Iterator[None]:
    """Turn what a damaged file raises into a message that names it."""
    try:
        yield
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, OSError, SyntaxError) as error:
        raise DataError(
            f"{where}: is damaged, or of another version of Squall "
            f"({type(error).__name__}: {error})"
        ) from error
