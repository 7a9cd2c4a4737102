"""The training losses: sums over observed pixels, so that a mean over several ranks is exact.

Public: `LossConfig` and its four kinds, `LossSums`, `loss_sums`.

Dims: B batch, M members, L lead steps, H rows, W columns.
"""

from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from squall.convgru.shi_weights import SHI_THRESHOLDS_MM_H, SHI_WEIGHTS
from squall.convgru.skill_loss import SkillLossConfig, skill_terms


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
            raise ValueError("mse and mae are both 0, so that nothing would be learnt")
        return self


class MaskedL1Config(BaseModel):
    """Mean absolute error of normalised dB."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["masked_l1"] = "masked_l1"


class CrpsConfig(BaseModel):
    """Almost fair CRPS of an ensemble, in normalised dB."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["crps"] = "crps"
    alpha: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="1: fair, but one member may stray freely; towards 0: biased for few members",
    )
    members: int = Field(default=4, ge=2, description="members of the ensemble in training")


def _kind(value: Any) -> Any:
    """Which loss a mapping configures; balanced where it does not say."""
    if isinstance(value, dict):
        return value.get("kind", "balanced")
    return getattr(value, "kind", None)


LossConfig = Annotated[
    Annotated[BalancedLossConfig, Tag("balanced")]
    | Annotated[MaskedL1Config, Tag("masked_l1")]
    | Annotated[CrpsConfig, Tag("crps")]
    | Annotated[SkillLossConfig, Tag("skill")],
    Discriminator(
        _kind,
        custom_error_type="loss_kind",
        custom_error_message="kind must be balanced, masked_l1, crps or skill",
    ),
]


class LossSums(NamedTuple):
    """A loss as sums that add up over batches and ranks: its value is the sum of their ratios."""

    totals: Tensor  # (n,) of each term, float32 at least, with gradient
    counts: Tensor  # (n,) what each is divided by: observed pixels or a soft measure, with gradient

    def value(self) -> Tensor:
        """The loss; a term that nothing was counted for is 0."""
        return (self.totals / self.counts.clamp(min=1 / 1024)).sum()


def loss_sums(
    predicted: Tensor, target: Tensor, target_mm_h: Tensor, observed: Tensor, config: LossConfig
) -> LossSums:
    """Sum of the loss over observed pixels, and how many they are.

    What is predicted or given where nothing was observed, NaN and infinity included, enters
    neither the sum nor a gradient; nor do pixels with the forecast -inf, that is none. Arithmetic
    is in float32 at least, under autocast too.

    Parameters
    ----------
    predicted : normalised dB, -inf where no forecast can be. (B, L, 1, H, W); for the CRPS
        (B, M, L, 1, H, W) with M members, of which one alone gives the absolute error.
    target : (B, L, 1, H, W) normalised dB.
    target_mm_h : the same target as rain rate in mm/h, which chooses the balanced loss's weight;
        may be NaN where not observed.
    observed : 1 where the target counts, 0 where not.

    Raises
    ------
    ValueError
        If shapes do not fit: members without the CRPS, or the CRPS without members.

    References
    ----------
    Balanced MSE + MAE: Shi et al. 2017, arXiv:1706.03458, section 3.3. Almost fair CRPS: Lang et
    al. 2024, arXiv:2412.15832, equation 4.
    """
    _check_shapes(predicted, target, target_mm_h, observed, config)
    reached = ~torch.isneginf(predicted)
    # each member is moved a little differently: what one cannot forecast counts for none
    counts = observed.bool() & (reached.all(dim=1) if isinstance(config, CrpsConfig) else reached)
    predicted, target = (
        x.to(torch.promote_types(x.dtype, torch.float32)) for x in (predicted, target)
    )
    if isinstance(config, SkillLossConfig):
        return LossSums(*skill_terms(predicted, target, target_mm_h, counts, config))
    if isinstance(config, CrpsConfig):
        members = torch.where(counts[:, None], predicted, 0.0)
        crps = _AlmostFairCrps.apply(members, torch.where(counts, target, 0.0), config.alpha)
        return LossSums(crps.sum()[None], counts.sum()[None])
    error = torch.where(counts, predicted - target, 0.0)
    if isinstance(config, MaskedL1Config):
        return LossSums(error.abs().sum()[None], counts.sum()[None])
    weight = _balanced_weight(torch.where(counts, target_mm_h, 0.0), config)
    total = (weight * (config.mse * error.square() + config.mae * error.abs())).sum()
    return LossSums(total[None], counts.sum()[None])


def _check_shapes(
    predicted: Tensor, target: Tensor, target_mm_h: Tensor, observed: Tensor, config: LossConfig
) -> None:
    found = tuple(predicted.shape)
    if not target.shape == target_mm_h.shape == observed.shape:
        raise ValueError(
            f"target {tuple(target.shape)}, target_mm_h {tuple(target_mm_h.shape)} and observed "
            f"{tuple(observed.shape)} must have one shape"
        )
    one = tuple(target.shape)
    if isinstance(config, CrpsConfig):
        if predicted.ndim < 2 or found[:1] + found[2:] != one or found[1] == 0:
            raise ValueError(
                f"the loss 'crps' needs members in dimension 1: for a target {one} a prediction "
                f"{(*one[:1], 'M', *one[1:])}, got {found}; give the network members or choose "
                "another loss"
            )
    elif found != one:
        raise ValueError(
            f"the loss '{config.kind}' needs one prediction of the target's shape {one}, got "
            f"{found}; for members choose the loss 'crps'"
        )


def _balanced_weight(rate_mm_h: Tensor, config: BalancedLossConfig) -> Tensor:
    thresholds = rate_mm_h.new_tensor(config.thresholds_mm_h)
    step = torch.bucketize(rate_mm_h.contiguous(), thresholds, right=True)
    return rate_mm_h.new_tensor(config.weights)[step]


class _AlmostFairCrps(torch.autograd.Function):
    """mean_j |x_j - y| - (1 - e) / (2 M (M - 1)) sum_jk |x_j - x_k|, e = (1 - alpha) / M.

    The two sums are large and nearly equal for a good ensemble, so they are not formed. With
    sorted members the score is an integral over the axis of rain, in which the stretch between
    members i and i + 1 counts, each at least 0,

        i       ((i - 1)     + e (M - i)) / (M (M - 1))  per unit length below y
        (M - i) ((M - i - 1) + e i)       / (M (M - 1))  per unit length above y

    and the stretch from y to an ensemble that lies wholly on one side counts 1. This takes a sort
    and memory of the order M. Autograd of it would tell tied members apart by their number, where
    the definition treats them alike; hence a gradient of its own, from ranks that ties share.
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
        value += (below.diff(dim=-1) * per_length).sum(dim=-1)  # autocast would halve a matmul
        value += (above.diff(dim=-1) * per_length.flip(0)).sum(dim=-1)
        if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            lower = torch.searchsorted(ordered, last_dim, out_int32=True)
            not_higher = torch.searchsorted(ordered, last_dim, right=True, out_int32=True)
            rank = (lower + not_higher - size).to(members.dtype)  # members below less those above
            gradient = torch.sign(last_dim - y) / size - (1 - e) / pairs * rank
            ctx.save_for_backward(gradient.movedim(-1, 1))
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, outer: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * outer[:, None], None, None
