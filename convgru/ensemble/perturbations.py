"""How the motion and the amounts of the members differ.

Dims: M members, B batch, H rows, W columns, h and w of the motion's coarse grid.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from squall.convgru.ensemble.random_numbers import RandomSource
from squall.convgru.ensemble.settings import EnsembleSettings
from squall.convgru.motion import COARSE, upsampled

SLOW_PX = 1e-6  # per step: such a motion has no direction


class Perturbations(NamedTuple):
    """How motion and amounts of the members differ; the patterns last as long as the forecast."""

    settings: EnsembleSettings
    spacing_km: float
    direction_2hw: Tensor
    """of the motion, a unit vector"""
    along_Mhw: Tensor
    across_Mhw: Tensor
    """displacement in standard deviations, smooth"""
    amount_Mhw: Tensor
    """logarithm of the factor, in standard deviations"""

    @classmethod
    def draw(
        cls,
        motion_2hw: Tensor,
        numbers: Sequence[int],
        source: RandomSource,
        settings: EnsembleSettings,
        spacing_km: float,
    ) -> "Perturbations":
        """The patterns of the members with these numbers, on the device of the motion."""
        motion = motion_2hw
        speed = motion.norm(dim=0, keepdim=True)
        east = torch.zeros_like(motion)
        east[0] = 1
        direction = torch.where(speed > SLOW_PX, motion / speed.clamp(min=SLOW_PX), east)
        shape = (motion.shape[1], motion.shape[2])
        cell_km = COARSE * spacing_km

        def fields(purpose: str, length_km: float) -> Tensor:
            drawn = [source.smooth(m, purpose, shape, length_km / cell_km) for m in numbers]
            return torch.stack(drawn).to(motion.device)

        common = torch.stack([source.normal(m, "amount", (1, 1)) for m in numbers])
        share = settings.amount_common
        amount = share**0.5 * common.to(motion.device)
        amount = amount + (1 - share) ** 0.5 * fields("local amount", settings.amount_scale_km)
        along, across = (
            fields(purpose, settings.displacement_scale_km) for purpose in ("along", "across")
        )
        return cls(settings, spacing_km, direction, along, across, amount)

    def amount(self, rows: slice, minutes: float) -> Tensor:
        """(M, H, W): the members' factors of the amount; their mean is that of the tendency."""
        deviation = self.settings.amount.at(minutes)
        mean = self.settings.tendency_per_hour * minutes / 60 - deviation**2 / 2
        logarithm = deviation * self.amount_Mhw[rows] + mean
        return upsampled(logarithm[:, None].exp())[:, 0]

    def places(self, rows: slice, displacement_B2hw: Tensor, minutes: float) -> Tensor:
        """(M, 2, H, W) pixels: the displacements along the members' trajectories."""
        along, across = (
            growth.at(minutes) / self.spacing_km * pattern[rows, None]
            for growth, pattern in (
                (self.settings.along_km, self.along_Mhw),
                (self.settings.across_km, self.across_Mhw),
            )
        )
        right, down = self.direction_2hw
        return upsampled(
            displacement_B2hw + along * self.direction_2hw + across * torch.stack([-down, right])
        )
