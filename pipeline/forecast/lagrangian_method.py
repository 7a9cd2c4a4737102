"""The Lagrangian probability forecast: chances from the moved rain around each pixel.

Public: `LagrangianMethod`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from squall.pipeline.forecast.pysteps_methods import (
    Doubles,
    Prepared,
    PystepsMethod,
    Rates,
    quiet,
    submodule,
)

KM_PER_MIN = 1.0  # growth of the width of the neighbourhood (Germann and Zawadzki 2004)


@dataclass(frozen=True)
class LagrangianMethod(PystepsMethod):
    """Chances from the spatial distribution of the moved scan; a `ChanceMethod`.

    The chance at a pixel is the share of pixels at or above the threshold in a disc around it, in
    the last scan moved along (Germann and Zawadzki 2004,
    https://doi.org/10.1175/1520-0450(2004)043<0074:SDOTPO>2.0.CO;2). The disc becomes wider by 1 km
    a minute. Pixels that are not known do not belong to it. The forecast of rain is that of
    ``pysteps-extrapolation``.

    A disc has an odd number of pixels across: `pysteps.nowcasts.lagrangian_probability` moves
    chances of an even number by a pixel.
    """

    def chance_thresholds(self, thresholds_mm_h: Sequence[float]) -> tuple[float, ...]:
        """All thresholds; see `ChanceMethod`."""
        return tuple(thresholds_mm_h)

    def leads_with_chances(
        self, context: Rates, lead_times: int, thresholds_mm_h: Sequence[float]
    ) -> Iterator[Rates]:
        """Rain rate and chances, lead time by lead time; see `ChanceMethod`.

        Raises
        ------
        DataError
            If a scan of the context is missing.
        """
        with quiet():
            prepared = self.prepared(context, lead_times)
        rain_rate = np.where(prepared.is_known, prepared.extrapolated, np.nan)
        for number, rain_HW in enumerate(rain_rate, start=1):
            with quiet():
                chances = [self._chance(rain_HW, number, level) for level in thresholds_mm_h]
            yield np.stack([rain_HW, *chances]).astype(np.float32)

    def _forecast(self, prepared: Prepared) -> Doubles:
        return prepared.extrapolated

    def _chance(self, rain_HW: Doubles, number: int, threshold_mm_h: float) -> Doubles:
        """Chance of a threshold at lead time `number`, (y, x), from the moved rain."""
        width_px = number * self.step_minutes * KM_PER_MIN / self.pixel_km
        odd_px = 2 * int(width_px // 2) + 1
        forecast = submodule("nowcasts.lagrangian_probability").forecast
        # The rain is moved already. The width is the integer part of slope x 1 time step.
        still = {"extrap_method": "eulerian", "slope": odd_px + 0.5}
        motion = np.zeros((2, *rain_HW.shape))
        return forecast(rain_HW.copy(), motion, [1], threshold_mm_h, **still)[0]
