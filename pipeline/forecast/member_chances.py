"""Chances from members: shares of them, and mixtures with the chances of a network.

Public: `shares_of`, `weight_of_shares`, `mixture`, `share_in_words`,
`chances_in_words`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from squall.convgru.ensemble.calibration import ShareTables
from squall.pipeline.forecast.names import MARGINAL, STOCHASTIC, Engine
from squall.pipeline.forecast.pixels import row_strips

Floats = npt.NDArray[np.float32]
EQUAL_ERRORS = 15  # measured, see docs/decisions/0021-mixed-members.md


def shares_of(
    members: Floats,
    thresholds_mm_h: tuple[float, ...],
    table: ShareTables | None = None,
    minutes: float = 0.0,
) -> Floats:
    """Shares of the members that reach thresholds; as chances, if there is a table.

    Parameters
    ----------
    members : (member, y, x) mm/h; NaN = not known.
    thresholds_mm_h : rising.
    table, minutes : what turns shares into chances, and the lead time.

    Returns
    -------
    (threshold, y, x), 0 to 1; NaN where a member is not known.
    """
    shares = np.empty((len(thresholds_mm_h), *members.shape[1:]), np.float32)
    for rows in row_strips(members.shape):
        of_strip = members[:, rows]
        for share, threshold in zip(shares[:, rows], thresholds_mm_h, strict=True):
            share[:] = (of_strip >= np.float32(threshold)).mean(axis=0)
        shares[:, rows][:, np.isnan(of_strip).any(axis=0)] = np.nan
    return shares if table is None else table.chances_of(shares, minutes, thresholds_mm_h)


def weight_of_shares(members: int, share: float) -> float:
    """Weight of the share of stochastic members beside the network's chance.

    With many members it is their share of the ensemble. A share of few members is coarse: its
    sampling error counts as much as the difference between both chances at `EQUAL_ERRORS` members.

    Parameters
    ----------
    members : number of stochastic members.
    share : of such members in the ensemble.
    """
    return share * members / (members + EQUAL_ERRORS)


def mixture(of_network: Floats, of_members: Floats, weight: float) -> Floats:
    """The mean of two chances: that of members with a weight, that of the network with the rest."""
    return np.float32(1 - weight) * of_network + np.float32(weight) * of_members


def share_in_words(is_calibrated: bool) -> str:
    """What a share of members is called in a file."""
    return "calibrated share of the members" if is_calibrated else "share of the members"


def chances_in_words(engine: Engine, are_calibrated: bool) -> str:
    """Where the chances at the pixel come from that a forecast with members has, for people.

    Parameters
    ----------
    are_calibrated : whether the shares of stochastic members are.
    """
    share = share_in_words(are_calibrated)
    if engine == STOCHASTIC:
        return share
    if engine == MARGINAL:
        return "from the network's chances, not from the members"
    return (
        f"mean of the network's chance and the {share} that do not use the network; the more of "
        "these members there are, the more they count"
    )
