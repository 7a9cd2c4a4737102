"""Rain rate in mm/h to the network's normalised decibels and back.

No other module converts between the two. The constants are stored in the checkpoint.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# A forecast less than this above the floor (0.1 mm/h) is dry; else there is drizzle everywhere.
DRY_DB = 1.0


@dataclass(frozen=True)
class RainScaling:
    """Normalised decibels of rain rate: ``(10 log10(R / 1 mm h-1) - floor_db) / span_db``.

    0 is dry (anything up to ``floor_mm_h``), 1 is the heaviest rain that an archive can store.
    The scale has no jump between dry and wet.
    """

    floor_mm_h: float = 0.08
    ceiling_mm_h: float = 205.0

    def normalise(self, rain_rate_mm_h: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised decibels, and where they were observed.

        Parameters
        ----------
        rain_rate_mm_h : any shape, mm/h. NaN = not observed.

        Returns
        -------
        The same shape twice: normalised dB in 0..1 (0 where not observed) and the validity mask,
        1 = observed, 0 = not, of the same floating type.
        """
        observed = ~torch.isnan(rain_rate_mm_h)
        rate = torch.where(observed, rain_rate_mm_h, self.floor_mm_h)
        # in the memory of `rate`: a large field costs more to store than to compute
        rate.clamp_(self.floor_mm_h, self.ceiling_mm_h).div_(self.floor_mm_h)
        return rate.log_().div_(self._log_span), observed.to(rain_rate_mm_h.dtype)

    def inverse(self, normalised: Tensor) -> Tensor:
        """Rain rate in mm/h, exactly that before `normalise`; `floor_mm_h` where it was lower."""
        return self.floor_mm_h * torch.exp(normalised.clamp(max=1.0).float() * self._log_span)

    def denormalise(self, normalised: Tensor) -> Tensor:
        """Rain rate in mm/h of a forecast in normalised decibels, of any shape.

        Values less than `DRY_DB` above the floor give exactly 0. -inf means no forecast and gives
        NaN. NaN stays NaN: a network that fails must not forecast dry weather.
        """
        rate = self.inverse(normalised)
        dry = normalised * self.span_db < DRY_DB
        rate = torch.where(dry, torch.zeros_like(rate), rate)
        return torch.where(torch.isneginf(normalised), torch.full_like(rate, torch.nan), rate)

    @property
    def span_db(self) -> float:
        """Decibels from floor to ceiling: a step of 1 in normalised decibels."""
        return 10 / math.log(10) * self._log_span

    @property
    def _log_span(self) -> float:
        return math.log(self.ceiling_mm_h / self.floor_mm_h)


DRY_MM_H = RainScaling().floor_mm_h * 10 ** (DRY_DB / 10)  # a forecast of less is dry
