"""What the ensembles of a network are worth on one radar: numbers, engine, and tables of chances.

The tables turn shares of members into chances. They are stored in the calibration of a model file
(`squall.convgru.calibration`); `squall.pipeline.calibrate` fits them.

Public: `EnsembleCalibration`, `EngineComparison`, `ShareTables`, `KNOTS`.

Dims: L lead steps, K thresholds, S knots of shares.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from squall.convgru.ensemble.settings import EnsembleSettings
from squall.convgru.thresholds import THRESHOLDS_MM_H

Floats = npt.NDArray[np.float64]
EngineName = Literal["stochastic", "marginal", "mixed"]

KNOTS = np.arange(21) / 20  # shares of members; between them the chances are interpolated
_LOG_THRESHOLDS = np.log(THRESHOLDS_MM_H)


class ShareTables(BaseModel):
    """How often rain reaches a threshold where a share of the members reaches it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    minutes: tuple[float, ...]
    """lead times, L, rising"""
    chances: tuple[tuple[tuple[float, ...], ...], ...]
    """(L, K, S) 0 to 1, at `THRESHOLDS_MM_H` and `KNOTS`; they do not fall with the share"""

    def curves(self, minutes: float, thresholds_mm_h: tuple[float, ...]) -> Floats:
        """(threshold, S): the chances at a lead time, for any thresholds.

        They are interpolated linearly in the lead time and in the logarithm of the threshold.
        Outside, they are those of the nearest lead time and threshold.
        """
        table = np.asarray(self.chances)
        at_lead = _interpolated(minutes, np.asarray(self.minutes), table)
        return np.stack(
            [_interpolated(float(np.log(t)), _LOG_THRESHOLDS, at_lead) for t in thresholds_mm_h]
        )

    def chances_of(
        self, shares: npt.NDArray[np.floating], minutes: float, thresholds_mm_h: tuple[float, ...]
    ) -> npt.NDArray[np.float32]:
        """Chances of shares of members. They do not rise with the threshold.

        Parameters
        ----------
        shares : (threshold, ...), 0 to 1; NaN stays NaN.
        thresholds_mm_h : rising.
        """
        curves = self.curves(minutes, thresholds_mm_h)
        chances = [np.interp(of, KNOTS, curve) for of, curve in zip(shares, curves, strict=True)]
        return np.minimum.accumulate(np.stack(chances), axis=0).astype(np.float32)


def _interpolated(place: float, places: Floats, values: Floats) -> Floats:
    """Values along the first axis, interpolated; outside, those of the nearest place."""
    position = float(np.interp(place, places, np.arange(len(places))))
    below = min(int(position), len(places) - 1)
    above = min(below + 1, len(places) - 1)
    weight = position - below
    return np.asarray((1 - weight) * values[below] + weight * values[above])


class EngineComparison(BaseModel):
    """How much lower the fair CRPS of one ensemble is than that of another, in percent.

    It is that of the mean over lead times, on the same cases, with a 90 % interval.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    gain_percent: float
    low_percent: float | None
    high_percent: float | None
    """None where the cases have no interval"""

    @property
    def is_better(self) -> bool:
        """Whether the interval excludes 0."""
        return self.gain_percent > 0 and self.low_percent is not None and self.low_percent > 0

    def __str__(self) -> str:
        ends = (self.low_percent, self.high_percent)
        interval = ", ".join("?" if end is None else f"{end:.1f}" for end in ends)
        return f"{self.gain_percent:.1f} % [{interval}]"


class EnsembleCalibration(BaseModel):
    """Numbers, engine and tables of the ensembles of a network on one radar."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: EnsembleSettings
    engine: EngineName = "mixed"
    """that makes the members if the user names none"""
    source: dict[str, Any] = {}
    """number of members, cases and periods, for people"""
    fit: EngineComparison | None = None
    """`stochastic` with these settings, compared with the default settings"""
    comparisons: dict[EngineName, EngineComparison] = {}
    """each other engine compared with `mixed`"""
    at_pixel: ShareTables | None = None
    """of the engine `stochastic`"""
    around: dict[EngineName, ShareTables] = {}
    """of chances of rain within a distance, by engine"""
