"""The almost fair continuous ranked probability score of an ensemble, with its gradient.

Dims: B batch, M members; other dims are those of the target.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


class CrpsConfig(BaseModel):
    """Almost fair CRPS of an ensemble, in normalised dB."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["crps"] = "crps"
    alpha: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="1: fair, but does not limit the error of one member; "
        "towards 0: biased for few members",
    )
    members: int = Field(default=4, ge=2, description="members of the ensemble in training")


def almost_fair_crps(members: Tensor, target: Tensor, alpha: float) -> Tensor:
    """CRPS of each pixel (Lang et al. 2024, arXiv:2412.15832, equation 4).

    ::

        mean_j |x_j - y| - (1 - e) / (2 M (M - 1)) sum_jk |x_j - x_k|,    e = (1 - alpha) / M

    Parameters
    ----------
    members : (B, M, …). With one member the score is its absolute error.
    target : (B, …).
    alpha : 1 for the fair CRPS, which is unbiased for any number of members.

    Returns
    -------
    (B, …), differentiable once with respect to the members.
    """
    result: Tensor = _AlmostFairCrps.apply(members, target, alpha)
    return result


class _AlmostFairCrps(torch.autograd.Function):
    """`almost_fair_crps` from sorted members.

    The two sums of the definition are large and nearly equal for a good ensemble, so they are not
    formed. With sorted members the score is an integral over the axis of rain. There the stretch
    between members i and i + 1 counts, both terms at least 0,

        i       ((i - 1)     + e (M - i)) / (M (M - 1))  per unit length below y
        (M - i) ((M - i - 1) + e i)       / (M (M - 1))  per unit length above y

    and the stretch from y to an ensemble that lies on one side of it counts 1. This takes a sort
    and memory of the order M.

    The gradient is written out, from ranks that tied members share: autograd of the sort would
    treat tied members differently, and the definition treats them alike.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, members: Tensor, target: Tensor, alpha: float) -> Tensor:
        size = members.shape[1]
        e, pairs = (1 - alpha) / size, max(1, size * (size - 1))
        last_dim = members.movedim(1, -1).contiguous()
        ordered = last_dim.sort(dim=-1).values
        y = target[..., None]
        i = torch.arange(1, size, device=members.device, dtype=members.dtype)
        below = torch.minimum(ordered, y)
        above = torch.maximum(ordered, y)
        value = (target - below[..., -1]) + (above[..., 0] - target)
        per_length = i * (i - 1 + e * (size - i)) / pairs
        # sums of products, since autocast would compute a matmul in half precision
        value += (below.diff(dim=-1) * per_length).sum(dim=-1)
        value += (above.diff(dim=-1) * per_length.flip(0)).sum(dim=-1)
        if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            members_below = torch.searchsorted(ordered, last_dim, out_int32=True)
            members_not_above = torch.searchsorted(ordered, last_dim, right=True, out_int32=True)
            # the number of members below this one minus the number above it
            rank = (members_below + members_not_above - size).to(members.dtype)
            gradient = torch.sign(last_dim - y) / size - (1 - e) / pairs * rank
            ctx.save_for_backward(gradient.movedim(-1, 1))
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * outer[:, None], None, None
