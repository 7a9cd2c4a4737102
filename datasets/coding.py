"""The code of rain rate: one logarithmic byte a pixel.

Owns the constants, encoding and decoding; no other module may assume what a code means.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class RainCode:
    """Logarithmic 1-byte code of rain rate.

    Code 0 is dry (below ``lowest_mm_h``), 255 is not observed. Codes c = 1 to 254 are

        R = lowest_mm_h * (highest_mm_h / lowest_mm_h) ** ((c - 1) / 253),

    with a relative error below 1.6 %. Heavier rain is stored as ``highest_mm_h``.
    """

    lowest_mm_h: float = 0.08
    highest_mm_h: float = 205.0

    DRY = 0
    WETTEST = 254
    NOT_OBSERVED = 255

    def encode(self, rain_rate_mm_h: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """Encode a field of any shape, mm/h, NaN = not observed.

        Raises
        ------
        ValueError
            If a rate is negative, because then a unit or a fill value is wrong.
        """
        rate = np.asarray(rain_rate_mm_h, dtype=np.float32)
        codes = np.empty(rate.shape, np.uint8)
        flat_rate, flat_codes = rate.reshape(-1), codes.reshape(-1)
        for first in range(0, flat_rate.size, _BLOCK):  # a large field does not fit into the cache
            block = slice(first, first + _BLOCK)
            flat_codes[block] = self._encoded(flat_rate[block])
        return codes

    def _encoded(self, rate: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        if (rate < 0).any():
            raise ValueError(f"negative rain rate {np.nanmin(rate):g} mm/h cannot be stored")
        observed = ~np.isnan(rate)
        wet = observed & (rate >= np.float32(self.lowest_mm_h))
        codes = np.where(observed, self.DRY, self.NOT_OBSERVED).astype(np.uint8)
        steps = np.log(rate[wet] / np.float32(self.lowest_mm_h)) / np.float32(self._log_step)
        codes[wet] = np.minimum(np.rint(steps), self.WETTEST - 1).astype(np.uint8) + 1
        return codes

    def decode(self, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Rain rate of codes of any shape, mm/h; NaN = not observed."""
        codes = np.ascontiguousarray(codes)
        rates = np.empty(codes.shape, np.float32)
        flat_codes, flat_rates = codes.reshape(-1), rates.reshape(-1)
        for first in range(0, len(flat_codes), _BLOCK):  # NumPy makes eight bytes of each code
            block = slice(first, first + _BLOCK)
            flat_rates[block] = self.table[flat_codes[block]]
        return rates

    @cached_property
    def table(self) -> npt.NDArray[np.float32]:
        """(256,) rain rate in mm/h of each code."""
        rates = self.lowest_mm_h * np.exp(self._log_step * (np.arange(256) - 1.0))
        rates[self.DRY] = 0.0
        rates[self.NOT_OBSERVED] = np.nan
        return rates.astype(np.float32)

    @property
    def _log_step(self) -> float:
        return float(np.log(self.highest_mm_h / self.lowest_mm_h) / (self.WETTEST - 1))


_BLOCK = 2**16
RAIN_CODE = RainCode()
