"""Probability matching: a field gets the distribution of another field, and keeps its ranks.

Only rain is sorted. All pixels without rain have the same value, so their order does not matter.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def sorted_amounts(field_B1HW: Tensor, known_B1HW: Tensor) -> list[Tensor]:
    """(n,) for each sample: the values above 0 of its known pixels, in rising order."""
    samples = zip(field_B1HW, known_B1HW, strict=True)
    return [_sorted(field[(known > 0) & (field > 0)]) for field, known in samples]


@torch.no_grad()
def probability_matched(
    field_B1HW: Tensor, known_B1HW: Tensor, amounts: Sequence[Tensor]
) -> Tensor:
    """A field whose highest values are replaced by amounts, the highest by the highest, and so on.

    Parameters
    ----------
    known_B1HW : 1 where the field is known, 0 where not.
    amounts : `sorted_amounts` of another field, for each sample.

    Returns
    -------
    (B, 1, H, W), 0 at the other pixels and where not known; without gradient.
    """
    order_BN = torch.where(known_B1HW > 0, field_B1HW, -torch.inf).flatten(1)
    result = torch.zeros_like(order_BN)
    for matched, order, values in zip(result, order_BN, amounts, strict=True):
        if len(values):
            matched[highest(order, len(values))] = values
    return result.view_as(field_B1HW)


def highest(field_N: Tensor, count: int) -> Tensor:
    """Places of the highest values, in rising order of value."""
    if field_N.device.type != "cpu":
        return field_N.topk(count).indices.flip(0)
    values = field_N.numpy()
    least = np.partition(values, len(values) - count)[len(values) - count]
    candidates = np.flatnonzero(values >= least)
    order = np.argsort(values[candidates])
    return torch.from_numpy(candidates[order][-count:])


def _sorted(values_N: Tensor) -> Tensor:
    if values_N.device.type != "cpu":
        return values_N.sort().values
    return torch.from_numpy(np.sort(values_N.numpy()))  # ten times faster
