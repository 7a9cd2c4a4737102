"""The chances of a mixed ensemble: those of a network and of the stochastic members together.

Public: `mixed_chances`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from squall.convgru.distribution import chances_of_reaching
from squall.convgru.ensemble.calibration import ShareTables
from squall.convgru.strips import strips
from squall.pipeline.forecast.member_chances import mixture, shares_of

Floats = npt.NDArray[np.float32]


def mixed_chances(
    of_network: Floats,
    rates: Floats,
    is_stochastic: npt.NDArray[np.bool_],
    weight: float,
    thresholds_mm_h: tuple[float, ...],
    table: ShareTables | None,
    minutes: float,
) -> Floats:
    """(threshold, y, x), strip by strip; without a stochastic member they are the network's.

    Parameters
    ----------
    of_network : (K, y, x), chances of at least `THRESHOLDS_MM_H`; NaN = not known.
    rates : (member, y, x) mm/h.
    is_stochastic : (member,), whether a member is not drawn from the chances.
    weight : of the shares of these members (`weight_of_shares`).
    thresholds_mm_h, table, minutes : as for `shares_of`.
    """
    height, width = rates.shape[1:]
    result = np.empty((len(thresholds_mm_h), height, width), np.float32)
    for rows in strips(height, width, torch.device("cpu")):
        strip = torch.from_numpy(of_network[:, rows])
        chances = chances_of_reaching(strip, thresholds_mm_h).numpy()
        if is_stochastic.any():
            shares = shares_of(rates[is_stochastic, rows], thresholds_mm_h, table, minutes)
            chances = mixture(chances, shares, weight)
        result[:, rows] = chances
    return result
