"""The training losses: sums over observed pixels, so that a mean over several ranks is exact.

Public: `LossConfig` and its four kinds, `LossSums`, `loss_sums`. The CRPS itself is
`squall.convgru.crps`, the loss of chances `squall.convgru.exceedance_loss`. A new loss adds a
configuration to `LossConfig` and a case to `loss_sums`.

Dims: B batch, M members, L lead steps, H rows, W columns.
"""

from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from torch import Tensor

from squall.convgru.crps import CrpsConfig, almost_fair_crps
from squall.convgru.exceedance_loss import ExceedanceLossConfig, exceedance_terms
from squall.convgru.shi_weights import SHI_THRESHOLDS_MM_H, SHI_WEIGHTS
from squall.convgru.thresholds import THRESHOLDS_MM_H

MIN_DIVISOR = 1 / 1024


class BalancedLossConfig(BaseModel):
    """Balanced MSE + MAE: weights that rise with the observed rain rate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["balanced"] = "balanced"
    thresholds_mm_h: tuple[float, ...] = Field(
        default=SHI_THRESHOLDS_MM_H, description="rain rates where the weight rises [mm h-1]"
    )
    weights: tuple[float, ...] = Field(
        default=SHI_WEIGHTS,
        description="weight below the first threshold, then from each threshold on",
    )
    mse: float = Field(default=1.0, ge=0, description="share of the squared error")
    mae: float = Field(default=1.0, ge=0, description="share of the absolute error")

    @model_validator(mode="after")
    def _consistent(self) -> "BalancedLossConfig":
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
            raise ValueError("mse and mae are both 0, so the network would learn nothing")
        return self


class MaskedL1Config(BaseModel):
    """Mean absolute error of normalised dB."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["masked_l1"] = "masked_l1"


def _kind(value: Any) -> Any:
    """The kind of loss that a mapping or a configuration names; balanced if it names none."""
    if isinstance(value, dict):
        return value.get("kind", "balanced")
    return getattr(value, "kind", None)


LossConfig = Annotated[
    Annotated[BalancedLossConfig, Tag("balanced")]
    | Annotated[MaskedL1Config, Tag("masked_l1")]
    | Annotated[CrpsConfig, Tag("crps")]
    | Annotated[ExceedanceLossConfig, Tag("exceedance")],
    Discriminator(
        _kind,
        custom_error_type="loss_kind",
        custom_error_message="kind must be balanced, masked_l1, crps or exceedance",
    ),
]


class LossSums(NamedTuple):
    """A loss as sums that add up over batches and ranks: its value is the sum of their ratios."""

    totals: Tensor
    """(n,) numerators of the terms, float32 at least, with gradient"""
    divisors: Tensor
    """(n,) denominators of the terms: numbers of pixels or soft measures, with gradient"""

    def value(self) -> Tensor:
        """The loss; a term whose divisor is 0 is 0."""
        return (self.totals / self.divisors.clamp(min=MIN_DIVISOR)).sum()


def loss_sums(
    predicted: Tensor, target: Tensor, target_mm_h: Tensor, observed: Tensor, config: LossConfig
) -> LossSums:
    """Sums of the loss over pixels that were observed and have a forecast.

    Other pixels do not change the sums or the gradients, even if they are NaN or infinite. The
    arithmetic is in float32 or wider, also under autocast.

    Parameters
    ----------
    predicted : normalised dB, -inf where no forecast is possible. (B, L, 1, H, W); for the CRPS
        (B, M, L, 1, H, W) with M members, of which one alone gives the absolute error. A pixel
        where any member is -inf is left out for all members. For the exceedance loss
        (B, L, K, H, W) logits, -inf at all thresholds where no forecast is possible.
    target : (B, L, 1, H, W) normalised dB.
    target_mm_h : the same target as rain rate in mm/h, which determines the balanced loss's
        weight; may be NaN where not observed.
    observed : 1 where the target was observed, 0 where not.

    Raises
    ------
    ValueError
        If shapes do not fit: members without the CRPS, or the CRPS without members.

    References
    ----------
    Balanced MSE + MAE: Shi et al. 2017, arXiv:1706.03458, section 3.3.
    """
    _check_shapes(predicted, target, target_mm_h, observed, config)
    has_forecast = ~torch.isneginf(predicted)
    if isinstance(config, CrpsConfig):  # each member has its own displacement, and so its own edge
        has_forecast = has_forecast.all(dim=1)
    if isinstance(config, ExceedanceLossConfig):
        has_forecast = has_forecast[:, :, :1]
    valid = observed.bool() & has_forecast
    predicted, target = (
        x.to(torch.promote_types(x.dtype, torch.float32)) for x in (predicted, target)
    )
    if isinstance(config, ExceedanceLossConfig):
        return LossSums(*exceedance_terms(predicted, target_mm_h, valid, config))
    if isinstance(config, CrpsConfig):
        members = torch.where(valid[:, None], predicted, 0.0)
        crps = almost_fair_crps(members, torch.where(valid, target, 0.0), config.alpha)
        return LossSums(crps.sum()[None], valid.sum()[None])
    error = torch.where(valid, predicted - target, 0.0)
    if isinstance(config, MaskedL1Config):
        return LossSums(error.abs().sum()[None], valid.sum()[None])
    weight = _balanced_weight(torch.where(valid, target_mm_h, 0.0), config)
    total = (weight * (config.mse * error.square() + config.mae * error.abs())).sum()
    return LossSums(total[None], valid.sum()[None])


def _check_shapes(
    predicted: Tensor, target: Tensor, target_mm_h: Tensor, observed: Tensor, config: LossConfig
) -> None:
    shape = tuple(predicted.shape)
    if not target.shape == target_mm_h.shape == observed.shape:
        raise ValueError(
            f"target {tuple(target.shape)}, target_mm_h {tuple(target_mm_h.shape)} and observed "
            f"{tuple(observed.shape)} must have one shape"
        )
    target_shape = tuple(target.shape)
    if isinstance(config, CrpsConfig):
        if predicted.ndim < 2 or shape[:1] + shape[2:] != target_shape or shape[1] == 0:
            raise ValueError(
                f"the loss 'crps' needs members in dimension 1: for a target {target_shape} a "
                f"prediction {(*target_shape[:1], 'M', *target_shape[1:])}, got {shape}; give the "
                "network members or choose another loss"
            )
    elif isinstance(config, ExceedanceLossConfig):
        expected = (*target_shape[:2], len(THRESHOLDS_MM_H), *target_shape[3:])
        if shape != expected:
            raise ValueError(
                f"the loss 'exceedance' needs logits {expected} for a target {target_shape}, got "
                f"{shape}; choose network.head exceedance or another loss"
            )
    elif shape != target_shape:
        raise ValueError(
            f"the loss '{config.kind}' needs one prediction of the target's shape {target_shape}, "
            f"got {shape}; for members choose the loss 'crps'"
        )


def _balanced_weight(rate_mm_h: Tensor, config: BalancedLossConfig) -> Tensor:
    thresholds = rate_mm_h.new_tensor(config.thresholds_mm_h)
    interval = torch.bucketize(rate_mm_h.contiguous(), thresholds, right=True)
    return rate_mm_h.new_tensor(config.weights)[interval]
