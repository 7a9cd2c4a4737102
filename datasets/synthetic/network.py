"""The radars of the synthetic network: where they look, their clutter, and when one is silent.

Clutter is what a radar sees of the ground near it: echoes that stay at their places and flicker.
A radar that is silent leaves the part of the domain unobserved that no other radar reaches.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SITES = ((0.35, 0.33), (0.42, 0.72), (0.72, 0.47))  # row and column, in sides of the domain
REACH = 0.40  # of a radar, in sides of the domain
OUTAGES_PER_DAY = 0.7  # of each radar
CLUTTER_SPOTS = 5  # around each radar
CLUTTER_KM = 22.0  # most distant spot of a radar
SEEN = 0.75  # share of the scans in which a pixel of clutter has an echo


class RadarNetwork:
    """Three radars that see the same rain, each with faults of its own.

    Parameters
    ----------
    size : side of the square domain, pixels of 1 km.
    minutes : between two scans.
    faults : whether there are clutter and outages.
    """

    def __init__(self, size: int, minutes: float, seed: int, *, faults: bool) -> None:
        rows, columns = np.mgrid[:size, :size]
        self._radars = [
            _Radar(np.hypot(rows - row * (size - 1), columns - column * (size - 1)), number, seed)
            for number, (row, column) in enumerate(SITES)
        ]
        self._minutes, self._faults = minutes, faults

    def observe(self, rain_mm_h: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """What the network reports of the rain (y, x) [mm/h]: NaN where no radar looks."""
        seen = np.full(rain_mm_h.shape, np.nan)
        for radar in self._radars:
            if self._faults and radar.is_silent(self._minutes):
                continue
            echo = np.maximum(rain_mm_h, radar.clutter()) if self._faults else rain_mm_h
            seen = np.where(radar.reaches, np.fmax(seen, echo), seen)
        return seen.astype(np.float32)


class _Radar:
    """One radar; its random numbers do not depend on the rain or on other radars."""

    def __init__(self, distance_px: npt.NDArray[np.float64], number: int, seed: int) -> None:
        size = distance_px.shape[0]
        self.reaches = distance_px < REACH * (size - 1)
        self._rng = np.random.default_rng((seed, 1000 + number))
        near = distance_px < min(CLUTTER_KM, 0.2 * size)
        self._strength = np.where(near, _spots(size, near, self._rng), 0.0)
        self._silent_min = 0.0

    def is_silent(self, minutes: float) -> bool:
        """Whether the radar is silent at the next scan; most outages take some 10 to 60 min."""
        draw, duration = self._rng.random(), self._rng.lognormal(np.log(25), 0.6)
        if self._silent_min <= 0 and draw < OUTAGES_PER_DAY * minutes / 1440:
            self._silent_min = duration
        self._silent_min -= minutes
        return self._silent_min > -minutes

    def clutter(self) -> npt.NDArray[np.float64]:
        """(y, x) mm/h of the next scan."""
        places = np.flatnonzero(self._strength)
        flicker = np.exp(self._rng.normal(0, 0.5, places.size))
        flicker *= self._rng.random(places.size) < SEEN
        result = np.zeros_like(self._strength)
        result.flat[places] = self._strength.flat[places] * flicker
        return result


def _spots(
    size: int, near: npt.NDArray[np.bool_], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(y, x) mean rate of clutter, mm/h: groups of some pixels, as of hills and wind farms."""
    result = np.zeros((size, size))
    rows, columns = np.nonzero(near)
    for place in rng.integers(0, rows.size, CLUTTER_SPOTS):
        spread, count = rng.uniform(0.8, 2.5), rng.integers(4, 14)
        offsets = rng.normal(0, spread, (2, count))
        row, column = (np.rint(c[place] + o) for c, o in zip((rows, columns), offsets, strict=True))
        inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        at = row[inside].astype(int), column[inside].astype(int)
        result[at] = rng.lognormal(np.log(1.2), 0.8, inside.sum())
    return result
