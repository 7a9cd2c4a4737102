"""Synthetic radar: rain that looks, moves and changes like real rain, for demo and tests.

A Gaussian random field with a power-law spectrum is kept as a cascade of scales, each of which
forgets at its own rate (S-PROG and STEPS: Seed 2003; Bowler et al. 2006,
doi:10.1256/qj.04.100) while a smooth flow that varies in space and time carries it. The field's
ranks become rain rates with the wet fraction and intensities of real composites.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import scipy.fft
import torch
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import ndtr, ndtri

from datasets.grid import Grid

Field2D = npt.NDArray[np.float64]

MARGIN_PX = 32  # the periodic field is larger than the domain, so what leaves does not come back


class SyntheticConfig(BaseModel):
    """What synthetic radar to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hours: float = Field(
        default=24.0,
        gt=0,
        le=24 * 366,
        allow_inf_nan=False,
        description="length of the archive [h]",
    )
    seed: int = Field(default=1, ge=0)
    size: int = Field(default=256, ge=32, description="side of the square domain [px of 1 km]")
    step_minutes: int = Field(default=5, gt=0)
    start: str = "2024-06-01T00:00"
    missing_fraction: float = Field(default=0.006, ge=0, lt=1, description="share of scans lost")

    @property
    def times(self) -> pd.DatetimeIndex:
        """Valid times of all scans, the missing ones too, UTC."""
        count = max(1, round(self.hours * 60 / self.step_minutes))
        return pd.date_range(self.start, periods=count, freq=f"{self.step_minutes}min")


@dataclass(frozen=True)
class SyntheticScan:
    """One scan: rain rate (y, x) in mm/h, NaN outside the radars' coverage; or a lost one."""

    time: pd.Timestamp
    rain_rate_mm_h: npt.NDArray[np.float32]
    missing: bool


def synthetic_grid(size: int) -> Grid:
    """A square kilometre grid over the Danish straits, so that maps have coasts to show."""
    crs = pyproj.CRS.from_proj4("+proj=laea +lat_0=55.6 +lon_0=10.9 +ellps=GRS80 +units=m")
    centres = np.asarray((np.arange(size) - (size - 1) / 2) * 1000.0, dtype=np.float64)
    return Grid(x=centres, y=centres[::-1].copy(), crs_wkt=crs.to_wkt())


def coverage(size: int) -> npt.NDArray[np.bool_]:
    """(y, x) where one of the three radars sees: within 0.4 of the domain's side of one."""
    rows, columns = np.mgrid[:size, :size] / (size - 1)
    seen = np.zeros((size, size), dtype=bool)
    for row, column in ((0.35, 0.33), (0.42, 0.72), (0.72, 0.47)):
        seen |= np.hypot(rows - row, columns - column) < 0.40
    return seen


def synthetic_scans(config: SyntheticConfig) -> Iterator[SyntheticScan]:
    """Scans in order of time, the same for the same configuration."""
    rng = np.random.default_rng(config.seed)
    minutes = float(config.step_minutes)
    cascade = _Cascade(config.size + 2 * MARGIN_PX, minutes, rng)
    flow = _Flow(config.size + 2 * MARGIN_PX, minutes, rng)
    wetness = _slow_process(rng, minutes, hours=4.0)
    convection = _slow_process(rng, minutes, hours=6.0)
    seen = coverage(config.size)
    inner = slice(MARGIN_PX, MARGIN_PX + config.size)
    for time in config.times:
        field = cascade.step(flow.step())[inner, inner]
        rate = _rain_rate(field, next(wetness), next(convection))
        rate[~seen] = np.nan
        missing = bool(rng.random() < config.missing_fraction)
        yield SyntheticScan(time, rate.astype(np.float32), missing)


def _rain_rate(field: Field2D, wetness: float, convection: float) -> Field2D:
    """Ranks of a standard Gaussian field as rain rate, mm/h.

    The wettest share becomes log-normal rain: from drizzle (median 0.5 mm/h) to convection
    (median 1.1 mm/h, long tail), as the wet pixels of Dutch, Finnish and Australian composites.
    """
    wet_fraction = 0.06 + 0.4 * ndtr(wetness)
    share = ndtr(convection)
    threshold = ndtri(1 - wet_fraction)
    rank = np.clip((ndtr(field) - (1 - wet_fraction)) / wet_fraction, 0, 1 - 1e-6)
    log_rate = np.log(0.5 + 0.6 * share) + (1.0 + 0.2 * share) * ndtri(np.maximum(rank, 1e-9))
    return np.where(field > threshold, np.minimum(np.exp(log_rate), 200.0), 0.0)


def _slow_process(rng: np.random.Generator, minutes: float, hours: float) -> Iterator[float]:
    """A standard Gaussian number that forgets itself in so many hours."""
    memory = np.exp(-minutes / (60 * hours))
    value = float(rng.standard_normal())
    while True:
        yield value
        value = memory * value + np.sqrt(1 - memory**2) * float(rng.standard_normal())


class _Cascade:
    """A unit-variance Gaussian field as a sum of scales with a memory each."""

    SLOPE = 2.1  # of the radially averaged (1-D) power spectrum of log rain rate
    LIFETIME_MIN = 10.0  # of the 2 px scale; grows with scale to the power below
    LIFETIME_GROWTH = 0.9

    def __init__(self, size: int, minutes: float, rng: np.random.Generator) -> None:
        self._size, self._rng = size, rng
        frequency = np.hypot(scipy.fft.fftfreq(size)[:, None], scipy.fft.rfftfreq(size)[None, :])
        frequency[0, 0] = 1 / size
        scales = 2.0 ** np.arange(1, int(np.log2(size)))  # the largest a third of the domain
        octaves = np.log2(frequency[None] * scales[:, None, None])
        bands = np.maximum(0, 1 - np.abs(octaves))  # triangular: the bands of all scales add to 1
        self._bands = bands > 0
        self._filters = bands * frequency ** (-(self.SLOPE + 1) / 2)
        self._filters[:, 0, 0] = 0
        power = (self._filters**2).sum(axis=(1, 2))
        self._weights = np.sqrt(power / power.sum())
        lifetimes = self.LIFETIME_MIN * (scales / 2) ** self.LIFETIME_GROWTH
        self._memory = np.exp(-minutes / lifetimes)[:, None, None]
        self._levels = self._noise()

    def step(self, displacement_px: Field2D) -> Field2D:
        """Carry, forget and renew every scale once; returns the sum, variance 1."""
        moved = scipy.fft.rfft2(_carry(self._levels, displacement_px))
        # a flow with shear draws large scales out into filaments; evaporation and growth do not
        # let rain do so: what has left its band of scales is dropped
        shape = (self._size, self._size)
        moved = _standardised(scipy.fft.irfft2(self._bands * moved, s=shape))
        self._levels = self._memory * moved + np.sqrt(1 - self._memory**2) * self._noise()
        field = (self._weights[:, None, None] * self._levels).sum(axis=0)
        return np.asarray(field)

    def _noise(self) -> Field2D:
        white = scipy.fft.rfft2(self._rng.standard_normal((self._size, self._size)))
        return _standardised(scipy.fft.irfft2(self._filters * white, s=(self._size, self._size)))


class _Flow:
    """A wind that turns and changes slowly, with eddies that drift (non-divergent)."""

    SPEED_M_S = 11.0
    EDDY_SHARE = 0.25

    def __init__(self, size: int, minutes: float, rng: np.random.Generator) -> None:
        self._px_per_m_s = minutes * 60 / 1000.0
        self._direction = rng.uniform(0, 2 * np.pi)
        self._turn = _slow_process(rng, minutes, hours=5.0)
        self._gust = _slow_process(rng, minutes, hours=3.0)
        self._phase_speed = rng.uniform(-1, 1, size=4) * 2 * np.pi * minutes / 180
        self._phases = rng.uniform(0, 2 * np.pi, size=4)
        self._grid = 2 * np.pi * np.mgrid[:size, :size] / size
        self._waves = ((1, 0), (0, 1), (1, 1), (1, -1))

    def step(self) -> Field2D:
        """(2, y, x) displacement in one step, pixels: rows (southward), columns (eastward)."""
        speed = self.SPEED_M_S * np.exp(0.25 * next(self._gust))
        angle = self._direction + 0.5 * next(self._turn)
        self._phases = self._phases + self._phase_speed
        rows = np.full(self._grid.shape[1:], np.sin(angle))
        columns = np.full(self._grid.shape[1:], np.cos(angle))
        for (ky, kx), phase in zip(self._waves, self._phases, strict=True):
            eddy = np.cos(ky * self._grid[0] + kx * self._grid[1] + phase) / np.hypot(ky, kx)
            rows += self.EDDY_SHARE * kx * eddy
            columns -= self.EDDY_SHARE * ky * eddy
        return speed * self._px_per_m_s * np.stack([rows, columns])


def _carry(levels: Field2D, displacement_px: Field2D) -> Field2D:
    """Semi-Lagrangian transport on the periodic domain: each pixel takes what was upstream."""
    size = levels.shape[-1]
    pad = int(np.ceil(np.abs(displacement_px).max())) + 3
    padded = torch.nn.functional.pad(torch.from_numpy(levels)[None], (pad,) * 4, mode="circular")
    position = np.mgrid[:size, :size] + pad - displacement_px
    unit = 2 * position / (size + 2 * pad - 1) - 1
    grid = torch.from_numpy(np.stack([unit[1], unit[0]], axis=-1))[None]
    carried = torch.nn.functional.grid_sample(padded, grid, mode="bicubic", align_corners=True)
    return carried[0].numpy()


def _standardised(levels: Field2D) -> Field2D:
    levels = levels - levels.mean(axis=(-2, -1), keepdims=True)
    return np.asarray(levels / levels.std(axis=(-2, -1), keepdims=True))
