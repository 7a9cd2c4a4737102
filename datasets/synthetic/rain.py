"""The rain of synthetic radar, one scan after the other.

The rain is a Gaussian random field with a power-law spectrum, which
`squall.datasets.synthetic.processes` moves and renews. The ranks of the field are mapped to rain
rates with the wet fraction and the intensities of real composites.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr, ndtri

from squall.datasets.synthetic.processes import (
    Cascade,
    Cells,
    Field2D,
    Flow,
    Growth,
    slow_process,
)
from squall.datasets.synthetic.weather import Weather


def rain_rates(
    weather: Weather, size: int, minutes: float, rng: np.random.Generator
) -> Iterator[Field2D]:
    """Yield the rain rate (y, x) in mm/h of one scan after the other, on a periodic square.

    Parameters
    ----------
    size : side of the square in pixels of 1 km.
    minutes : between two scans.
    """
    cascade = Cascade(weather, size, minutes, rng)
    flow = Flow(weather, size, minutes, rng)
    wetness = slow_process(rng, minutes, hours=4.0)
    convection = slow_process(rng, minutes, hours=6.0)
    growth = Growth(weather, size, minutes, rng) if weather.growth else None
    cells = Cells(weather, size, minutes, rng) if weather.cells else None
    while True:
        displacement = flow.step()
        field = cascade.step(displacement)
        if growth:
            field = (field + weather.growth * growth.step(displacement)) / np.hypot(
                1, weather.growth
            )
        if cells:
            field += cells.step(displacement, field)
        low, high = weather.wet_fraction
        wet_fraction = low + (high - low) * ndtr(next(wetness))
        low, high = weather.convective
        convective_share = low + (high - low) * ndtr(next(convection))
        rate_mm_h = _rain_rate(field, wet_fraction, convective_share, weather.tail)
        yield np.minimum(weather.intensity * rate_mm_h, 200.0)


def _rain_rate(
    field: Field2D, wet_fraction: float, convective_share: float, tail: float
) -> Field2D:
    """Map the ranks of a standard Gaussian field to rain rate, mm/h.

    The highest ``wet_fraction`` of the ranks becomes log-normal rain, with the standard score z of
    the rank among the wet pixels::

        R = (0.5 + 0.6 c) exp((1 + 0.2 c) z)

    The convective share c is 0 for drizzle (median 0.5 mm/h) and 1 for convection (median 1.1 mm/h,
    long tail), as in the wet pixels of Dutch, Finnish and Australian composites.
    """
    threshold = ndtri(1 - wet_fraction)
    rank = np.clip((ndtr(field) - (1 - wet_fraction)) / wet_fraction, 0, 1 - 1e-6)
    score = ndtri(np.maximum(rank, 1e-9))
    score -= (1 - tail) * np.maximum(score - 2, 0)
    log_median = np.log(0.5 + 0.6 * convective_share)
    log_rate = log_median + (1.0 + 0.2 * convective_share) * score
    return np.where(field > threshold, np.exp(log_rate), 0.0)
