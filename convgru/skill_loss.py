"""The skill loss: the errors and skill scores of verification, as terms that are ratios of sums.

Dims: B batch, L lead steps, H rows, W columns.
"""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from squall.convgru.scaling import RainScaling

SCALING = RainScaling()
# added to a divisor for each sample, so that a handful of pixels has little influence
FEW_PIXELS, LITTLE_MM_H = 2.5, 0.25
NO_POWER_DB2 = 30.0  # variance of dry air and rounding in a wavenumber [dB squared]
LITTLE_POWER_DB2 = 1e4  # power of a field with hardly any rain [dB squared]


class SkillLossConfig(BaseModel):
    """A weighted sum of what verification measures: errors, CSI and the power spectrum.

    The terms are the absolute error in dB, weighted by the observed intensity; the soft critical
    success index, 1 - CSI with a sigmoid in place of the threshold, for each threshold and lead
    time; the absolute error in mm/h relative to the observed rain; and the distance of the
    logarithms of radially averaged power spectra.
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
            raise ValueError(
                "l1, csi, mae and spectrum are all 0, so the network would learn nothing"
            )
        if min(self.thresholds_mm_h) <= 0:
            raise ValueError(f"thresholds_mm_h must be above 0, got {list(self.thresholds_mm_h)}")
        return self


def skill_terms(
    predicted: Tensor, target: Tensor, target_mm_h: Tensor, valid: Tensor, config: SkillLossConfig
) -> tuple[Tensor, Tensor]:
    """Numerators and denominators of the terms, each weighted as configured, with gradient.

    Parameters
    ----------
    predicted, target : (B, L, 1, H, W) normalised dB, float32.
    target_mm_h : the target in mm/h.
    valid : bool; other pixels do not change the sums or the gradients.

    Returns
    -------
    (n,) and (n,): the loss is the sum of their ratios, also of sums over batches and ranks.
    """
    forecast, observed, rate_mm_h = (
        torch.where(valid, x, 0.0) for x in (predicted, target, target_mm_h)
    )
    totals: list[Tensor] = []
    divisors: list[Tensor] = []
    if config.l1:
        weight = (1 + config.intensity * observed) * valid
        tens_of_db = 0.1 * SCALING.span_db * (forecast - observed).abs()
        totals.append(config.l1 * (weight * tens_of_db).sum())
        divisors.append(weight.sum())
    if config.csi:
        csi_totals, csi_divisors = _soft_csi_terms(forecast, observed, valid, config)
        totals.extend(csi_totals)
        divisors.extend(csi_divisors)
    if config.mae:
        error_mm_h = (SCALING.denormalise(forecast) - rate_mm_h).abs() * valid
        totals.append(config.mae * error_mm_h.sum())
        divisors.append(rate_mm_h.sum() + LITTLE_MM_H * len(forecast))
    if config.spectrum:
        distance, fields = _spectral_distance(forecast[:, :, 0], observed[:, :, 0])
        totals.append(config.spectrum * distance)
        divisors.append(fields)
    return torch.stack(totals), torch.stack(divisors)


def _soft_csi_terms(
    forecast: Tensor, observed: Tensor, valid: Tensor, config: SkillLossConfig
) -> tuple[list[Tensor], list[Tensor]]:
    """1 - soft CSI for each threshold and lead time: misses and false alarms over all events.

    ::

        1 - hits / (forecast events + observed events - hits)

    with the sigmoid of the forecast's distance from the threshold as forecast event: the Jaccard
    loss of segmentation (Rahman and Wang 2016, doi:10.1007/978-3-319-50835-1_22).
    """
    totals: list[Tensor] = []
    divisors: list[Tensor] = []
    share = config.csi / (len(config.thresholds_mm_h) * forecast.shape[1])
    thresholds, _ = SCALING.normalise(forecast.new_tensor(config.thresholds_mm_h))
    softness = config.softness_db / SCALING.span_db
    for threshold in thresholds:
        forecast_event = torch.sigmoid((forecast - threshold) / softness) * valid
        event = ((observed >= threshold) & valid).to(forecast_event.dtype)
        hits = (forecast_event * event).sum(dim=(0, 2, 3, 4))
        events_in_either = (forecast_event + event).sum(dim=(0, 2, 3, 4)) - hits
        totals.extend(share * (events_in_either - hits))
        divisors.extend(events_in_either + FEW_PIXELS * len(forecast))
    return totals, divisors


def _spectral_distance(forecast_BLHW: Tensor, observed_BLHW: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of |ln(P / P_observed)| over wavenumbers, summed over fields with rain, and their
    number."""
    forecast_power, observed_power = (
        _radial_power(x.clamp(min=0) * SCALING.span_db) for x in (forecast_BLHW, observed_BLHW)
    )
    distance = (forecast_power + NO_POWER_DB2).log() - (observed_power + NO_POWER_DB2).log()
    has_rain = observed_power.sum(dim=-1) > LITTLE_POWER_DB2
    return (distance.abs().mean(dim=-1) * has_rain).sum(), has_rain.sum().to(distance.dtype)


def _radial_power(field_BLHW: Tensor) -> Tensor:
    """Power in each radial wavenumber from 1 on, (B, L, K), under a Hann window."""
    height, width = field_BLHW.shape[-2:]
    wavenumber, modes = _radial_wavenumbers(height, width, field_BLHW.device)
    rows, columns = (torch.hann_window(n, device=field_BLHW.device) for n in (height, width))
    power = torch.fft.rfft2(field_BLHW * rows[:, None] * columns).abs().square().flatten(-2)
    sums = power.new_zeros((*power.shape[:-1], modes.numel())).index_add(-1, wavenumber, power)
    return (sums / modes.clamp(min=1))[..., 1:-1]


def _radial_wavenumbers(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The radial wavenumber of each mode of `rfft2`, flattened, and how many modes each has."""
    rows = torch.fft.fftfreq(height, device=device)[:, None]
    columns = torch.fft.rfftfreq(width, device=device)
    side = min(height, width)
    wavenumber = (torch.hypot(rows, columns.expand(height, -1)) * side).round().long()
    wavenumber = wavenumber.clamp(max=side // 2).flatten()
    # index_add, since the memory estimate runs without values and bincount's shape depends on them
    modes = torch.zeros(side // 2 + 1, device=device)
    ones = torch.ones_like(wavenumber, dtype=modes.dtype)
    return wavenumber, modes.index_add(0, wavenumber, ones)
