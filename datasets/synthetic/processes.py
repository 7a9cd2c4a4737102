"""The processes that make up synthetic rain: cascade, growth and decay, cells, flow.

The cascade is a sum of scales: each scale is an autoregressive process of order 1 with its own
memory (S-PROG: Seed 2003; STEPS: Bowler et al. 2006, doi:10.1256/qj.04.100), and a smooth flow that
varies in space and time advects it. Areas of growth and decay, and convective cells, move with the
same flow.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch
from scipy.special import ndtr

from squall.datasets.synthetic.weather import Weather

Field2D = npt.NDArray[np.float64]


def slow_process(rng: np.random.Generator, minutes: float, hours: float) -> Iterator[float]:
    """Autoregressive process of order 1: standard Gaussian, with an e-folding time in hours."""
    memory = np.exp(-minutes / (60 * hours))
    value = float(rng.standard_normal())
    while True:
        yield value
        value = memory * value + np.sqrt(1 - memory**2) * float(rng.standard_normal())


class Cascade:
    """A Gaussian field with unit variance: the sum of scales, each with its own memory."""

    LIFETIME_EXPONENT = 0.9  # the lifetime of a scale grows with this power of the scale

    def __init__(
        self, weather: Weather, size: int, minutes: float, rng: np.random.Generator
    ) -> None:
        self._size, self._rng = size, rng
        frequency = _frequency(size, weather.aspect, weather.orientation)
        frequency[0, 0] = 1 / size
        scales = 2.0 ** np.arange(1, int(np.log2(size)))  # up to a third of the domain
        octaves = np.log2(frequency[None] * scales[:, None, None])
        bands = np.maximum(0, 1 - np.abs(octaves))  # triangular: the bands add up to 1
        self._bands = bands > 0
        self._filters = bands * frequency ** (-(weather.slope + 1) / 2)
        self._filters[:, 0, 0] = 0
        power = (self._filters**2).sum(axis=(1, 2))
        self._weights = np.sqrt(power / power.sum())
        lifetimes = weather.lifetime_min * (scales / 2) ** self.LIFETIME_EXPONENT
        self._memory = np.exp(-minutes / lifetimes)[:, None, None]
        self._levels = self._noise()

    def step(self, displacement_px: Field2D) -> Field2D:
        """Advect and renew all scales by one time step; returns their sum, variance 1.

        Each scale is x(t + 1) = φ x(t) + sqrt(1 - φ²) noise in the moving frame.
        """
        spectrum = scipy.fft.rfft2(_advect(self._levels, displacement_px))
        # Shear stretches large scales into filaments. Evaporation and growth keep real rain from
        # that, so the part of the spectrum outside a scale's band is removed.
        shape = (self._size, self._size)
        advected = _standardised(scipy.fft.irfft2(self._bands * spectrum, s=shape))
        self._levels = self._memory * advected + np.sqrt(1 - self._memory**2) * self._noise()
        field = (self._weights[:, None, None] * self._levels).sum(axis=0)
        return np.asarray(field)

    def _noise(self) -> Field2D:
        white = scipy.fft.rfft2(self._rng.standard_normal((self._size, self._size)))
        return _standardised(scipy.fft.irfft2(self._filters * white, s=(self._size, self._size)))


class Growth:
    """A field with unit variance: the rain that wide areas have gained or lost as they moved.

    The tendency (growth or decay) is a field with a memory of its own, so an area that grew keeps
    growing. The total is the sum of the tendencies along the way, with a longer memory.
    """

    TOTAL_MEMORY = 1.5  # lifetime of the total, in lifetimes of the tendency

    def __init__(
        self, weather: Weather, size: int, minutes: float, rng: np.random.Generator
    ) -> None:
        self._size, self._rng = size, rng
        scale = 1 / np.maximum(_frequency(size), 1 / size)  # px
        self._filter = np.exp(-0.5 * (np.log(scale / 60) / 0.4) ** 2) * scale
        tendency = np.exp(-minutes / weather.growth_min)
        total = np.exp(-minutes / (self.TOTAL_MEMORY * weather.growth_min))
        self._memory = np.array([tendency, total])
        # with this gain the variance of the total is 1
        self._gain = np.sqrt((1 - total**2) * (1 - total * tendency) / (1 + total * tendency))
        self._fields = np.stack([self._noise()] * 2)

    def step(self, displacement_px: Field2D) -> Field2D:
        """Advect and renew tendency and total by one time step; returns the total."""
        tendency, total = _advect(self._fields, displacement_px)
        tendency_memory, total_memory = self._memory
        tendency = tendency_memory * tendency + np.sqrt(1 - tendency_memory**2) * self._noise()
        total = total_memory * total + self._gain * tendency
        self._fields = np.stack([tendency, total])
        return total

    def _noise(self) -> Field2D:
        white = scipy.fft.rfft2(self._rng.standard_normal((self._size, self._size)))
        return _standardised(scipy.fft.irfft2(self._filter * white, s=(self._size, self._size)))


class Cells:
    """Convective cells: round or long, born where it rains or nearly rains, with a short life.

    A cell has a median radius of 3.5 px, a median life of 40 min, and is up to 2.2 times as long as
    wide.
    """

    REACH = 3.0  # a cell has no effect beyond this many radii

    def __init__(
        self, weather: Weather, size: int, minutes: float, rng: np.random.Generator
    ) -> None:
        self._size, self._rng, self._minutes = size, rng, minutes
        self._births_per_min = weather.cells / 60 * (size / 100) ** 2
        self._drift_px = np.array(weather.cell_drift_m_s) * minutes * 60 / 1000
        names = ("row", "column", "age_min", "life_min", "peak", "radius_px", "aspect", "angle")
        self._cells = np.zeros(0, dtype=[(name, np.float64) for name in names])
        self._since_min = 90.0  # the first step also makes the cells born before the start

    def step(self, displacement_px: Field2D, field: Field2D) -> Field2D:
        """Move and age the cells, remove old ones, add new ones.

        Returns
        -------
        (y, x), the amount that the cells add to the standard Gaussian field.
        """
        cells = self._cells
        pixels = cells["row"].astype(int) % self._size, cells["column"].astype(int) % self._size
        cells["row"] += displacement_px[0][pixels] + self._drift_px[0]
        cells["column"] += displacement_px[1][pixels] + self._drift_px[1]
        cells["age_min"] += self._minutes
        alive = cells[cells["age_min"] < cells["life_min"]]
        born = self._born(field)
        self._cells = np.concatenate([alive, born[born["age_min"] < born["life_min"]]])
        self._since_min = self._minutes
        added = np.zeros_like(field)
        for cell in self._cells:
            self._add(added, cell)
        return added * (1 - np.clip(field, 0, 3) / 4)  # less where rain is already heavy

    def _born(self, field: Field2D) -> npt.NDArray[np.void]:
        count = self._rng.poisson(3 * self._births_per_min * self._since_min)
        born = np.zeros(count, dtype=self._cells.dtype)
        for name, values in {
            "row": self._rng.uniform(0, self._size, count),
            "column": self._rng.uniform(0, self._size, count),
            "age_min": self._rng.uniform(0, self._since_min, count),
            "life_min": self._rng.lognormal(np.log(40), 0.4, count),
            "peak": self._rng.uniform(1.0, 3.2, count),
            "radius_px": self._rng.lognormal(np.log(3.5), 0.35, count),
            "aspect": self._rng.uniform(1, 2.2, count),
            "angle": self._rng.uniform(0, np.pi, count),
        }.items():
            born[name] = values
        field_at_birth = field[born["row"].astype(int), born["column"].astype(int)]
        # the probability is a third on average, and higher in rain
        return born[self._rng.random(count) < ndtr(field_at_birth - 0.43)]

    def _add(self, field: Field2D, cell: np.void) -> None:
        age = cell["age_min"] / cell["life_min"]
        radius = cell["radius_px"] * (0.6 + 0.6 * age)  # a cell becomes wider with age
        strength = cell["peak"] * np.sin(np.pi * age**0.7)  # and grows faster than it decays
        reach = int(np.ceil(self.REACH * radius * cell["aspect"]))
        first = int(cell["row"]) - reach, int(cell["column"]) - reach
        rows, columns = (np.arange(start, start + 2 * reach + 1) for start in first)
        offset = np.meshgrid(rows - cell["row"], columns - cell["column"], indexing="ij")
        along = np.cos(cell["angle"]) * offset[1] + np.sin(cell["angle"]) * offset[0]
        across = np.cos(cell["angle"]) * offset[0] - np.sin(cell["angle"]) * offset[1]
        distance_squared = (along / cell["aspect"]) ** 2 + across**2
        # np.add.at adds repeated pixels, too: a long cell may reach around a small domain
        np.add.at(
            field,
            np.ix_(rows % self._size, columns % self._size),
            strength * np.exp(-0.5 * distance_squared / radius**2),
        )


class Flow:
    """A non-divergent wind: its direction and speed change slowly, and its eddies drift."""

    def __init__(
        self, weather: Weather, size: int, minutes: float, rng: np.random.Generator
    ) -> None:
        self._speed_m_s, self._eddy_m_s = weather.speed_m_s, weather.eddy_m_s
        self._px_per_m_s = minutes * 60 / 1000.0
        self._direction = rng.uniform(0, 2 * np.pi)
        self._turn = slow_process(rng, minutes, hours=5.0)
        self._gust = slow_process(rng, minutes, hours=3.0)
        self._phase_speed = rng.uniform(-1, 1, size=4) * 2 * np.pi * minutes / 180
        self._phases = rng.uniform(0, 2 * np.pi, size=4)
        self._grid = 2 * np.pi * np.mgrid[:size, :size] / size
        self._waves = ((1, 0), (0, 1), (1, 1), (1, -1))

    def step(self) -> Field2D:
        """(2, y, x) displacement in one time step, pixels: rows (southward), columns (eastward)."""
        gust = np.exp(0.25 * next(self._gust))
        angle = self._direction + 0.5 * next(self._turn)
        self._phases = self._phases + self._phase_speed
        rows = np.full(self._grid.shape[1:], self._speed_m_s * np.sin(angle))
        columns = np.full(self._grid.shape[1:], self._speed_m_s * np.cos(angle))
        for (ky, kx), phase in zip(self._waves, self._phases, strict=True):
            eddy = np.cos(ky * self._grid[0] + kx * self._grid[1] + phase) / np.hypot(ky, kx)
            rows += self._eddy_m_s * kx * eddy
            columns -= self._eddy_m_s * ky * eddy
        return gust * self._px_per_m_s * np.stack([rows, columns])


def _frequency(size: int, aspect: float = 1.0, orientation: float = 0.0) -> Field2D:
    """Frequency of each coefficient of a real 2-D transform, 1 / px.

    With ``aspect`` above 1, frequencies are stretched so that a field has long bands.
    """
    rows, columns = scipy.fft.fftfreq(size)[:, None], scipy.fft.rfftfreq(size)[None, :]
    along = np.cos(orientation) * columns + np.sin(orientation) * rows
    across = np.cos(orientation) * rows - np.sin(orientation) * columns
    return np.asarray(np.hypot(across / aspect**0.5, along * aspect**0.5))


def _advect(levels: Field2D, displacement_px: Field2D) -> Field2D:
    """Semi-Lagrangian advection on the periodic domain: a pixel takes its value from upstream."""
    size = levels.shape[-1]
    pad = int(np.ceil(np.abs(displacement_px).max())) + 3
    padded = torch.nn.functional.pad(torch.from_numpy(levels)[None], (pad,) * 4, mode="circular")
    position = np.mgrid[:size, :size] + pad - displacement_px
    unit = 2 * position / (size + 2 * pad - 1) - 1
    grid = torch.from_numpy(np.stack([unit[1], unit[0]], axis=-1))[None]
    advected = torch.nn.functional.grid_sample(padded, grid, mode="bicubic", align_corners=True)
    return advected[0].numpy()


def _standardised(levels: Field2D) -> Field2D:
    levels = levels - levels.mean(axis=(-2, -1), keepdims=True)
    return np.asarray(levels / levels.std(axis=(-2, -1), keepdims=True))
