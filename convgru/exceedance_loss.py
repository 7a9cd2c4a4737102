"""The exceedance loss: cross-entropy of the chances that the rain reaches thresholds.

Dims: B batch, L lead steps, K thresholds, H rows, W columns.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from squall.convgru.thresholds import THRESHOLDS_MM_H

# Shares of the pixels of rainy training crops that reach the thresholds, and weights. Measured on
# crops of the Italian composite; they only balance the terms.
USUAL_SHARES = (0.15, 0.09, 0.03, 0.007, 0.002, 0.0004)
WEIGHTS = (0.5, 1.0, 1.0, 0.8, 0.6, 0.2)


class ExceedanceLossConfig(BaseModel):
    """Cross-entropy of exceeding each threshold of the exceedance head.

    Each threshold's cross-entropy is divided by that of a forecast that knows only how often the
    threshold is reached: as often as usual, or as often as in this window, if that is more. So a
    term is at most about 1 without skill, whatever the threshold and however heavy the rain. A
    few windows of extreme rain would otherwise outweigh all others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["exceedance"] = "exceedance"
    weights: tuple[float, ...] = Field(
        default=WEIGHTS,
        description="weight of each threshold of the head: "
        + ", ".join(f"{threshold:g}" for threshold in THRESHOLDS_MM_H)
        + " mm h-1",
    )
    lead_times_per_step: int = Field(
        default=3,
        gt=0,
        description="lead times that a training step computes, drawn each time",
    )
    pixel_spacing: int = Field(
        default=2,
        gt=0,
        description="a training step computes one pixel of each square of this side, the same in "
        "each square and drawn each time; neighbours hardly differ",
    )
    usual_shares: tuple[float, ...] = Field(
        default=USUAL_SHARES, description="usual share of the pixels that reach each threshold"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ExceedanceLossConfig":
        count = len(THRESHOLDS_MM_H)
        for name, values in (("weights", self.weights), ("usual_shares", self.usual_shares)):
            if len(values) != count:
                raise ValueError(f"{name} needs {count} numbers, got {len(values)}")
        if min(self.weights) < 0 or max(self.weights) == 0:
            raise ValueError(f"weights must be 0 or more and not all 0, got {list(self.weights)}")
        if not all(0 < share < 1 for share in self.usual_shares):
            raise ValueError(f"usual_shares must be between 0 and 1, got {list(self.usual_shares)}")
        return self


def exceedance_terms(
    logits_BLKHW: Tensor, target_mm_h: Tensor, valid: Tensor, config: ExceedanceLossConfig
) -> tuple[Tensor, Tensor]:
    """Numerators and denominators of the loss, one for each threshold.

    Parameters
    ----------
    target_mm_h : (B, L, 1, H, W) mm/h.
    valid : bool, of the target's shape; other pixels do not change the sums or the gradients.

    Returns
    -------
    (K,) and (K,): the loss is the sum of their ratios, also of sums over batches and ranks.
    """
    thresholds = target_mm_h.new_tensor(THRESHOLDS_MM_H)[:, None, None]
    is_reached = (torch.where(valid, target_mm_h, 0.0) >= thresholds).to(logits_BLKHW.dtype)
    logits = torch.where(valid, logits_BLKHW, 0.0)
    entropy = binary_cross_entropy_with_logits(logits, is_reached, reduction="none") * valid
    without_skill = _entropy(_shares(is_reached, valid, config))
    totals = (entropy.sum(dim=(1, 3, 4)) / without_skill).sum(dim=0)
    totals = totals * totals.new_tensor(config.weights)
    return totals, valid.sum().to(totals.dtype).expand_as(totals)


def _shares(is_reached_BLKHW: Tensor, valid: Tensor, config: ExceedanceLossConfig) -> Tensor:
    """Share of a window's pixels that reach each threshold, (B, K); at least the usual share."""
    reached = (is_reached_BLKHW * valid).sum(dim=(1, 3, 4))
    shares = reached / valid.sum(dim=(1, 2, 3, 4)).clamp(min=1)[:, None]
    usual = shares.new_tensor(config.usual_shares)
    return shares.clamp(max=0.5).maximum(usual)


def _entropy(share: Tensor) -> Tensor:
    """Cross-entropy of a forecast that always gives an event its share."""
    return -share * share.log() - (1 - share) * (1 - share).log()
