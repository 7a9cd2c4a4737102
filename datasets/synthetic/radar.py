"""Synthetic radar: rain that looks, moves and changes like real rain, for training and tests.

Owns the time axis, the grid, and the episodes of different weather. The rain itself is
`squall.datasets.synthetic.rain`; the radars that see it are `squall.datasets.synthetic.network`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj

from squall.datasets.grid import Grid
from squall.datasets.synthetic.config import SyntheticConfig
from squall.datasets.synthetic.network import RadarNetwork
from squall.datasets.synthetic.rain import rain_rates
from squall.datasets.synthetic.weather import Weather

# The periodic field is larger than the domain, so that rain that leaves does not come back.
MARGIN_PX = 32
EPISODE_MARGIN_PX = 64  # episodes may have a gale


@dataclass(frozen=True)
class SyntheticScan:
    """One scan: rain rate (y, x) in mm/h, NaN where no radar looks.

    If ``missing``, the network has lost the scan, and no file is written.
    """

    time: pd.Timestamp
    rain_rate_mm_h: npt.NDArray[np.float32]
    missing: bool


def synthetic_grid(size: int) -> Grid:
    """A square grid of 1 km pixels over the Danish straits, so that maps show coasts."""
    crs = pyproj.CRS.from_proj4("+proj=laea +lat_0=55.6 +lon_0=10.9 +ellps=GRS80 +units=m")
    centres = np.asarray((np.arange(size) - (size - 1) / 2) * 1000.0, dtype=np.float64)
    return Grid(x=centres, y=centres[::-1].copy(), crs_wkt=crs.to_wkt())


def synthetic_scans(config: SyntheticConfig) -> Iterator[SyntheticScan]:
    """Scans in order of time; the same configuration gives the same scans.

    The weather of an episode depends on the seed, its number and the step, not on the episodes
    before it.
    """
    network = RadarNetwork(
        config.size, config.step_minutes, config.seed, faults=config.radar_faults
    )
    margin = MARGIN_PX if config.episode_hours is None else EPISODE_MARGIN_PX
    inner = slice(margin, margin + config.size)
    times, steps = config.times, config.episode_steps
    for number, first in enumerate(range(0, len(times), steps)):
        if config.episode_hours is None:
            rng, weather = np.random.default_rng(config.seed), Weather.of_a_day()
        else:
            rng = np.random.default_rng((config.seed, number))
            weather = Weather.drawn(rng)
        rates = rain_rates(weather, config.size + 2 * margin, float(config.step_minutes), rng)
        for step, time in enumerate(times[first : first + steps]):
            rate = network.observe(next(rates)[inner, inner])
            missing = bool(rng.random() < config.missing_fraction)
            if config.episode_hours is not None:
                missing |= step == steps - 1  # no window contains scans of two episodes
            yield SyntheticScan(time, rate, missing)
