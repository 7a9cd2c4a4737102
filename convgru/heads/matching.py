"""Probability matching: a field gets the distribution of another field, and keeps its ranks."""

import numpy as np
import torch
from torch import Tensor


def sorted_values(field_B1HW: Tensor, known_B1HW: Tensor) -> Tensor:
    """(B, H*W): each sample's values in rising order, inf for pixels that are not known."""
    values = torch.where(known_B1HW > 0, field_B1HW, torch.inf).flatten(1)
    if values.device.type != "cpu":
        return values.sort().values
    return torch.from_numpy(np.sort(values.numpy(), axis=1))  # ten times faster


@torch.no_grad()
def probability_matched(field_B1HW: Tensor, known_B1HW: Tensor, values_BN: Tensor) -> Tensor:
    """A field whose n-th smallest value is replaced by the n-th smallest of another field.

    Parameters
    ----------
    known_B1HW : 1 where the field is known, 0 where not; the same for both fields.
    values_BN : `sorted_values` of the other field.

    Returns
    -------
    (B, 1, H, W), 0 where not known; without gradient.
    """
    ranked = ascending_order(torch.where(known_B1HW > 0, field_B1HW, torch.inf).flatten(1))
    values = torch.empty_like(values_BN).scatter_(1, ranked, values_BN).view_as(field_B1HW)
    return torch.where(known_B1HW > 0, values, 0.0)


@torch.library.custom_op("squall::ascending_order", mutates_args=())
def ascending_order(field_BN: Tensor) -> Tensor:
    """Indices that put each row in rising order. On the CPU NumPy's sort is six times faster."""
    if field_BN.device.type != "cpu":
        return field_BN.argsort()
    return torch.from_numpy(np.argsort(field_BN.numpy(), axis=1))


@ascending_order.register_fake
def _(field_BN: Tensor) -> Tensor:
    return torch.empty_like(field_BN, dtype=torch.int64)
