"""The loss that asks for what verification asks for: terms that are ratios of sums.

Dims: B batch, L lead steps, H rows, W columns.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from squall.convgru.scaling import RainScaling

SCALING = RainScaling()
# of each sample, added to what is divided by, so that a handful of pixels decides little
FEW_PIXELS, LITTLE_MM_H = 2.5, 0.25
# of a field in dB: the variance that dry air and rounding have in a wavenumber, and the power of a
# field with next to no rain
NO_POWER_DB2, LITTLE_POWER_DB2 = 30.0, 1e4


class SkillLossConfig(BaseModel):
    """What verification asks for: small errors, events in their place, fields that look like rain.

    The sum of weighted terms: an absolute error in dB that rises with the intensity observed; the
    soft critical success index, 1 - CSI with a sigmoid in place of the threshold, of each
    threshold and lead time; the absolute error in mm/h as a share of the rain observed; and the
    distance of the logarithms of radially averaged power spectra.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["skill"] = "skill"
    l1: float = Field(default=1.0, ge=0, description="weight of the absolute error, a 10 dB step")
    intensity: float = Field(
        default=4.0, ge=0, description="how much more an error counts at the heaviest rain"
    )
    csi: float = Field(default=1.0, ge=0, description="weight of 1 - soft CSI")
    thresholds_mm_h: tuple[float, ...] = Field(
        default=(0.5, 2.0, 5.0, 10.0), min_length=1, description="of the soft CSI [mm h-1]"
    )
    softness_db: float = Field(default=1.0, gt=0, description="width of the soft CSI's sigmoid")
    mae: float = Field(default=0.5, ge=0, description="weight of the relative error in mm/h")
    spectrum: float = Field(default=0.1, ge=0, description="weight of the spectral distance")

    @model_validator(mode="after")
    def _consistent(self) -> "SkillLossConfig":
        if self.l1 + self.csi + self.mae + self.spectrum == 0:
            raise ValueError("l1, csi, mae and spectrum are all 0, so that nothing would be learnt")
        if min(self.thresholds_mm_h) <= 0:
            raise ValueError(f"thresholds_mm_h must be above 0, got {list(self.thresholds_mm_h)}")
        return self


def skill_terms(
    predicted: Tensor, target: Tensor, target_mm_h: Tensor, counts: Tensor, config: SkillLossConfig
) -> tuple[Tensor, Tensor]:
    """Numerators and denominators of the terms, each weighted as configured, with gradient.

    Parameters
    ----------
    predicted, target : (B, L, 1, H, W) normalised dB, float32.
    target_mm_h : the target in mm/h.
    counts : bool, where it counts; what is elsewhere enters nothing.

    Returns
    -------
    (n,) and (n,): the loss is the sum of their ratios, also of sums over batches and ranks.

    References
    ----------
    Soft CSI: the Jaccard loss of segmentation (Rahman and Wang 2016,
    doi:10.1007/978-3-319-50835-1_22).
    """
    forecast, observed, rate = (
        torch.where(counts, x, 0.0) for x in (predicted, target, target_mm_h)
    )
    totals: list[Tensor] = []
    divisors: list[Tensor] = []
    if config.l1:
        weight = (1 + config.intensity * observed) * counts
        tens_of_db = 0.1 * SCALING.span_db * (forecast - observed).abs()
        totals.append(config.l1 * (weight * tens_of_db).sum())
        divisors.append(weight.sum())
    if config.csi:
        each = config.csi / (len(config.thresholds_mm_h) * forecast.shape[1])
        thresholds, _ = SCALING.normalise(forecast.new_tensor(config.thresholds_mm_h))
        softness = config.softness_db / SCALING.span_db
        for threshold in thresholds:
            warned = torch.sigmoid((forecast - threshold) / softness) * counts
            event = ((observed >= threshold) & counts).to(warned.dtype)
            hits = (warned * event).sum(dim=(0, 2, 3, 4))
            either = (warned + event).sum(dim=(0, 2, 3, 4)) - hits
            totals.extend(each * (either - hits))
            divisors.extend(either + FEW_PIXELS * len(forecast))
    if config.mae:
        error = (SCALING.denormalise(forecast) - rate).abs() * counts
        totals.append(config.mae * error.sum())
        divisors.append(rate.sum() + LITTLE_MM_H * len(forecast))
    if config.spectrum:
        distance, spectra = _spectral_distance(forecast[:, :, 0], observed[:, :, 0])
        totals.append(config.spectrum * distance)
        divisors.append(spectra)
    return torch.stack(totals), torch.stack(divisors)


def _spectral_distance(forecast_BLHW: Tensor, observed_BLHW: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over fields with rain of the mean |ln(P / P_observed)| over wavenumbers, and how many."""
    powers = [
        _radial_power(x.clamp(min=0) * SCALING.span_db) for x in (forecast_BLHW, observed_BLHW)
    ]
    distance = (powers[0] + NO_POWER_DB2).log() - (powers[1] + NO_POWER_DB2).log()
    rainy = powers[1].sum(dim=-1) > LITTLE_POWER_DB2
    return (distance.abs().mean(dim=-1) * rainy).sum(), rainy.sum().to(distance.dtype)


def _radial_power(field_BLHW: Tensor) -> Tensor:
    """Power in each radial wavenumber from 1 on, (B, L, K), under a Hann window."""
    height, width = field_BLHW.shape[-2:]
    ring, members = _rings(height, width, field_BLHW.device)
    rows, columns = (torch.hann_window(n, device=field_BLHW.device) for n in (height, width))
    power = torch.fft.rfft2(field_BLHW * rows[:, None] * columns).abs().square().flatten(-2)
    sums = power.new_zeros((*power.shape[:-1], members.numel())).index_add(-1, ring, power)
    return (sums / members.clamp(min=1))[..., 1:-1]


def _rings(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The radial wavenumber of each mode of `rfft2`, flattened, and how many modes each has."""
    rows = torch.fft.fftfreq(height, device=device)[:, None]
    columns = torch.fft.rfftfreq(width, device=device)
    side = min(height, width)
    ring = (torch.hypot(rows, columns.expand(height, -1)) * side).round().long()
    ring = ring.clamp(max=side // 2).flatten()
    members = torch.zeros(side // 2 + 1, device=device)  # bincount has no shape before it has run
    return ring, members.index_add(0, ring, torch.ones_like(ring, dtype=members.dtype))
