"""The training loss: errors in dB, weighted by how heavy the observed rain is, masked."""

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor


class LossConfig(BaseModel):
    """Balanced MSE + MAE: weights that rise with the observed rain rate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    thresholds_mm_h: tuple[float, ...] = Field(
        default=(2.0, 5.0, 10.0, 30.0), description="rain rates where the weight steps up [mm h-1]"
    )
    weights: tuple[float, ...] = Field(
        default=(1.0, 2.0, 5.0, 10.0, 30.0),
        description="weight below the first threshold, then from each threshold on",
    )
    mse: float = Field(default=1.0, ge=0, description="share of the squared error")
    mae: float = Field(default=1.0, ge=0, description="share of the absolute error")

    @model_validator(mode="after")
    def _consistent(self) -> "LossConfig":
        if len(self.weights) != len(self.thresholds_mm_h) + 1:
            raise ValueError(
                f"{len(self.thresholds_mm_h)} thresholds_mm_h need "
                f"{len(self.thresholds_mm_h) + 1} weights, got {len(self.weights)}"
            )
        if list(self.thresholds_mm_h) != sorted(set(self.thresholds_mm_h)):
            raise ValueError(f"thresholds_mm_h must rise, got {list(self.thresholds_mm_h)}")
        if min(self.weights) < 0 or max(self.weights) == 0:
            raise ValueError(f"weights must be 0 or more and not all 0, got {list(self.weights)}")
        if self.mse + self.mae == 0:
            raise ValueError("mse and mae are both 0, so that nothing would be learnt")
        return self


def balanced_loss(
    predicted: Tensor, target: Tensor, target_mm_h: Tensor, observed: Tensor, config: LossConfig
) -> Tensor:
    """Balanced MSE + MAE of Shi et al. (2017, arXiv:1706.03458), section 3.3.

    Parameters
    ----------
    predicted, target : normalised dB, any equal shapes.
    target_mm_h : the same target as rain rate in mm/h, which chooses the weight; may be NaN
        where not observed.
    observed : 1 where the target counts, 0 where not.

    Returns
    -------
    Scalar: the mean over observed pixels; 0 (with zero gradients) where none is observed.
    """
    counts = observed.bool()
    rate = torch.where(counts, target_mm_h, torch.zeros_like(target_mm_h)).contiguous()
    thresholds = rate.new_tensor(config.thresholds_mm_h)
    weight = rate.new_tensor(config.weights)[torch.bucketize(rate, thresholds, right=True)]
    error = torch.where(counts, predicted.float() - target, torch.zeros_like(target))
    total = (weight * (config.mse * error.square() + config.mae * error.abs())).sum()
    return total / counts.sum().clamp(min=1)
