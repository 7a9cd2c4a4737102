"""Which windows an archive holds, and which of them to take: pure index arithmetic.

Owns contiguity, splits by time, importance sampling by rain and crop positions. Reads no frames:
the archive's block statistics say where it rains.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Bools = npt.NDArray[np.bool_]


class Period(BaseModel):
    """Valid times from ``start`` (inclusive) to ``end`` (exclusive), UTC."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Annotated[str, BeforeValidator(str)]  # YAML makes a date of one without quotes
    end: Annotated[str, BeforeValidator(str)]

    @model_validator(mode="after")
    def _ordered(self) -> "Period":
        try:
            start, end = _utc(self.start), _utc(self.end)
        except ValueError as error:
            raise ValueError(f"not a time: {error}") from error
        if not start < end:
            raise ValueError(f"start {self.start} must be before end {self.end}")
        return self

    def contains(self, times: pd.DatetimeIndex) -> Bools:
        """(time,) which times lie in the period."""
        return np.asarray((times >= _utc(self.start)) & (times < _utc(self.end)))


def _utc(text: str) -> pd.Timestamp:
    """A time as written, ``…Z`` and other offsets too, on the archives' axis (naive UTC)."""
    time = pd.Timestamp(text)
    return time if time.tz is None else time.tz_convert(None)


class SplitConfig(BaseModel):
    """Which part of the time axis is for training, validation and nothing at all (test)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    validation: tuple[Period, ...] = Field(default=(), description="periods to validate on")
    test: tuple[Period, ...] = Field(
        default=(), description="periods kept for `squall verify`: neither trained nor validated on"
    )
    validation_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="the last share of an archive's scans validates, where no period above lies "
        "in the archive",
    )

    def regions(self, times: pd.DatetimeIndex, ok: Bools) -> tuple[Bools, Bools]:
        """(time,) parts of the time axis for training and for validation; disjoint.

        ``ok`` says which times hold a good scan; shares are counted in those.
        """
        test = _inside(self.test, times)
        validation = _inside(self.validation, times) & ~test
        if not validation.any():
            free = np.flatnonzero(ok & ~test)
            tail = free[int(np.ceil(free.size * (1 - self.validation_fraction))) :]
            if tail.size:
                validation = ~test & (np.arange(times.size) >= tail[0])
        return ~test & ~validation, validation


def _inside(periods: tuple[Period, ...], times: pd.DatetimeIndex) -> Bools:
    inside = np.zeros(times.size, dtype=bool)
    for period in periods:
        inside |= period.contains(times)
    return inside


def runs(mask: Bools) -> list[tuple[int, int]]:
    """First index and end (exclusive) of each stretch where the mask holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def window_starts(usable: Bools, length: int) -> npt.NDArray[np.int64]:
    """Indices where ``length`` consecutive time steps are all usable."""
    if usable.size < length:
        return np.zeros(0, dtype=np.int64)
    broken = np.concatenate([[0], np.cumsum(~usable)])
    return np.flatnonzero(broken[length:] == broken[:-length])


@dataclass(frozen=True)
class Crop:
    """Where a sample lies: its first scan and upper left pixel."""

    scan: int
    row: int
    column: int


class RainSampler:
    """Draws windows and crops that prefer rain.

    A window is drawn with a probability proportional to ``1 + strength * score``, then a crop
    inside it the same way; the score is the block means of ``1 - exp(-R / 1 mm h-1)``, scaled to
    mean 1, as in the importance sampling of Ravuri et al. (2021, doi:10.1038/s41586-021-03854-z),
    here from the archive's block statistics.

    Parameters
    ----------
    starts : numbers of the scans that windows to draw from start with.
    length : scans of a window.
    block_rain : (scan, block_y, block_x), mean rain rate in mm/h over observed pixels.
    block_observed : (scan, block_y, block_x), share of observed pixels.
    shape, block, crop : pixels of the domain (H, W), of a block's side, of the crop's side.
    strength : 0 draws evenly; 10 makes rain ten times as likely as its share.
    """

    def __init__(
        self,
        starts: npt.NDArray[np.int64],
        length: int,
        block_rain: npt.NDArray[np.float32],
        block_observed: npt.NDArray[np.float32],
        *,
        shape: tuple[int, int],
        block: int,
        crop: int,
        strength: float,
    ) -> None:
        self._starts, self._length = starts, length
        self._shape, self._block, self._crop, self._strength = shape, block, crop, strength
        self._score = block_observed * (1 - np.exp(-block_rain))
        self._observed = block_observed
        per_scan = self._score.mean(axis=(1, 2), dtype=np.float64)
        sums = np.concatenate([[0.0], np.cumsum(per_scan)])
        self._window_weights = _weights(sums[starts + length] - sums[starts], strength)

    def draw(self, rng: np.random.Generator) -> Crop:
        """One crop; the same generator state gives the same crop."""
        scan = int(rng.choice(self._starts, p=self._window_weights))
        window = slice(scan, scan + self._length)
        rain = _crop_sums(self._score[window].mean(axis=0), self._blocks_per_crop)
        observed = _crop_sums(self._observed[window].mean(axis=0), self._blocks_per_crop)
        weights = _weights(rain.ravel(), self._strength) * (observed.ravel() + 1e-6)
        place = rng.choice(weights.size, p=weights / weights.sum())
        block_row, block_column = divmod(int(place), rain.shape[1])
        jitter = rng.integers(0, self._block, size=2)
        height, width = self._shape
        row = min(block_row * self._block + int(jitter[0]), max(0, height - self._crop))
        column = min(block_column * self._block + int(jitter[1]), max(0, width - self._crop))
        return Crop(scan, row, column)

    @property
    def _blocks_per_crop(self) -> int:
        return max(1, self._crop // self._block)


def _weights(score: npt.NDArray[np.float64], strength: float) -> npt.NDArray[np.float64]:
    mean = score.mean()
    weights = 1 + strength * score / mean if mean > 0 else np.ones_like(score)
    return np.asarray(weights / weights.sum())


def _crop_sums(blocks: npt.NDArray[np.floating], side: int) -> npt.NDArray[np.float64]:
    """Sums over all crops of ``side`` × ``side`` blocks, by their upper left block."""
    side_y, side_x = min(side, blocks.shape[0]), min(side, blocks.shape[1])
    sums = np.pad(blocks.astype(np.float64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    total = sums[side_y:, side_x:] - sums[:-side_y, side_x:]
    return np.asarray(total - sums[side_y:, :-side_x] + sums[:-side_y, :-side_x])
