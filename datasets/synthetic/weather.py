"""Kinds of weather: how much rain falls, how it moves, and how long it lasts.

Owns the parameters; the rain that follows from them is `squall.datasets.synthetic.rain`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Weather:
    """Kind of rain; the defaults give mixed rain without growth and cells.

    Parameters
    ----------
    wet_fraction : smallest and largest share of the domain with rain.
    convective : smallest and largest convective share: 0 stratiform rates, 1 convective rates.
    intensity : factor of all rates.
    tail : factor of the part of a standard score above 2; values below 1 reduce heavy rain.
    slope : of the radially averaged (1-D) power spectrum of log rain rate.
    aspect, orientation : length of rain bands divided by their width, and the angle between their
        length and the rows, radians.
    lifetime_min : of the 2 px scale, minutes.
    speed_m_s, eddy_m_s : speed of the mean wind, and of its shear and eddies.
    growth : standard deviation of the field of growth and decay; that of the rain field is 1.
    growth_min : lifetime of growth or decay, minutes.
    cells : number of new cells in an hour on 100 × 100 pixels.
    cell_drift_m_s : speed of cells relative to the wind, southward and eastward.
    """

    wet_fraction: tuple[float, float] = (0.06, 0.46)
    convective: tuple[float, float] = (0.0, 1.0)
    intensity: float = 1.0
    tail: float = 1.0
    slope: float = 2.1
    aspect: float = 1.0
    orientation: float = 0.0
    lifetime_min: float = 10.0
    speed_m_s: float = 11.0
    eddy_m_s: float = 2.75
    growth: float = 0.0
    growth_min: float = 40.0
    cells: float = 0.0
    cell_drift_m_s: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of_a_day(cls) -> Weather:
        """The weather of an archive without episodes: bands of rain, and cells that come and go."""
        return cls(
            wet_fraction=(0.12, 0.5),
            convective=(0.0, 0.7),
            tail=0.75,
            slope=2.4,
            aspect=2.4,
            orientation=2.2,
            lifetime_min=12.0,
            growth=0.6,
            growth_min=45.0,
            cells=7.0,
            cell_drift_m_s=(0.8, -1.2),
        )

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Weather:
        """Random weather, from wide stratiform rain to scattered showers, from calm to gale."""
        kind = rng.random()  # 0 stratiform, 1 convective
        wet = np.exp(rng.normal(np.log(0.45 - 0.33 * kind), 0.4))
        convective = 0.8 * kind + 0.2 * rng.random()
        return cls(
            wet_fraction=(max(0.02, 0.7 * wet), min(0.75, 1.4 * wet)),
            convective=(max(0.0, convective - 0.2), min(1.0, convective + 0.2)),
            intensity=np.exp(rng.normal(0.35 * kind - 0.4, 0.35)),
            tail=rng.uniform(0.5, 0.8),
            slope=rng.normal(2.6 - 0.6 * kind, 0.15),
            aspect=1 + rng.gamma(1.5, 0.6),
            orientation=rng.uniform(0, np.pi),
            lifetime_min=rng.lognormal(np.log(14 - 5 * kind), 0.3),
            speed_m_s=rng.uniform(0, 25),
            eddy_m_s=rng.gamma(3, 1.0),
            growth=rng.uniform(0.3, 1.0),
            growth_min=rng.uniform(20, 60),
            cells=rng.gamma(2, 4.0) * kind,
            cell_drift_m_s=(rng.normal(0, 2), rng.normal(0, 2)),
        )
