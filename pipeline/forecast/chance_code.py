"""How forecasts store chances: one byte each, in half percents.

Public: `half_percents`, `chance_codes`, `calibrated_codes`, `UNKNOWN_CHANCE`, `CHANCE_CODE`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from squall.convgru.ensemble.calibration import KNOTS, ShareTables

UNKNOWN_CHANCE = 255
CHANCE_CODE: dict[str, Any] = {"scale_factor": 0.005, "_FillValue": np.uint8(UNKNOWN_CHANCE)}


def half_percents(
    count: npt.NDArray[np.integer], known: npt.NDArray[np.integer], members: int
) -> npt.NDArray[np.uint8]:
    """Share of the known members that count; `UNKNOWN_CHANCE` where more than half are not known.

    Only a chance of no member is stored as 0 %, and only one of all members as 100 %.
    """
    share = np.rint(200 * (count / np.maximum(known, 1))).astype(np.uint8)
    is_between = (count > 0) & (count < known)
    share[is_between] = np.clip(share[is_between], 1, 199)
    share[2 * known < members] = UNKNOWN_CHANCE
    return share


def chance_codes(chances: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Chances (…, y, x), 0 to 1, as the nearest half percents; `UNKNOWN_CHANCE` for NaN."""
    codes = np.empty(chances.shape, np.uint8)
    scaled = np.empty(chances.shape[1:], np.float32)  # for all thresholds at once it would be large
    for code, chance in zip(codes, chances, strict=True):
        np.multiply(chance, 200, out=scaled)
        np.rint(scaled, out=scaled)
        np.copyto(scaled, UNKNOWN_CHANCE, where=np.isnan(scaled))
        code[:] = scaled
    return codes


def calibrated_codes(
    codes: npt.NDArray[np.uint8],
    tables: ShareTables,
    minutes: float,
    thresholds_mm_h: tuple[float, ...],
) -> npt.NDArray[np.uint8]:
    """Chances of shares of members at a lead time, both in half percents (threshold, y, x).

    They do not rise with the threshold. `UNKNOWN_CHANCE` stays.
    """
    result = np.empty_like(codes)
    curves = tables.curves(minutes, thresholds_mm_h)
    for chance, code, curve in zip(result, codes, curves, strict=True):
        of_code = np.full(256, UNKNOWN_CHANCE, np.uint8)
        of_code[:201] = np.rint(200 * np.interp(np.arange(201) / 200, KNOTS, curve))
        chance[:] = of_code[code]
    return np.minimum.accumulate(result, axis=0)
