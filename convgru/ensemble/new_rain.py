"""Rain that begins far from any rain of the last scan: seldom, and where no scan tells it.

Public: `NewRain`.

Dims: M members, T context steps, H rows, W columns, h and w of the grid of the showers, N pixels
with new rain of one member.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d
from torch.special import ndtr, ndtri

from squall.convgru.ensemble.random_numbers import RandomSource
from squall.convgru.ensemble.settings import EnsembleSettings
from squall.convgru.heads.interface import Frame
from squall.convgru.motion import COARSE
from squall.convgru.scaling import RainScaling

CELLS_IN_A_SHOWER = 2  # the grid of the showers has at least so many cells in their length


class NewRain(NamedTuple):
    """The showers of each member, in the moving frame.

    ::

        share(t) = share of the dry area that has new rain at the lead time t
        rain(x, t) = R_min (share(t) / (1 - Phi(z(x))))**(1 / a)    where 1 - Phi(z(x)) < share(t)

    with a smooth normal field z of each member, which lasts as long as the forecast. So the rates
    have a Pareto distribution, P(R > r) = (r / R_min)**-a, and a shower grows with time.
    """

    settings: EnsembleSettings
    places: list[Tensor]
    """(N,) numbers of the frame's pixels, for each member"""
    tails: list[Tensor]
    """(N,) 1 - Phi(z)"""

    @classmethod
    def draw(
        cls,
        frame: Frame,
        numbers: Sequence[int],
        minutes: float,
        source: RandomSource,
        settings: EnsembleSettings,
        spacing_km: float,
    ) -> "NewRain":
        """The showers of the members with these numbers that begin in the first minutes."""
        most = settings.new_rain_share(minutes)
        if not most:
            return cls(settings, [], [])
        last = frame.rain_BT1HW[:1, -1].float()
        is_far = _is_far(last, settings.new_rain_distance_km / spacing_km)
        length_px = settings.new_rain_scale_km / spacing_km
        side = COARSE
        while side > 1 and side * CELLS_IN_A_SHOWER > length_px:
            side //= 2
        height, width = last.shape[-2:]
        limit = -float(ndtri(torch.tensor(most, dtype=torch.float64)))
        places, tails = [], []
        for member in numbers:
            shape = (height // side, width // side)
            coarse = source.smooth(member, "new rain", shape, length_px / side)
            field = interpolate(
                coarse[None, None], scale_factor=side, mode="bicubic", align_corners=False
            ).to(last.device)
            place = ((field > limit) & is_far).flatten().nonzero()[:, 0]
            places.append(place)
            tails.append(ndtr(-field.flatten()[place].double()))
        return cls(settings, places, tails)

    def add_to(self, rain_MHW: Tensor, rows: slice, minutes: float) -> None:
        """Put the showers of some members into their rain (mm/h), where it is lower."""
        if not self.places:
            return
        share = self.settings.new_rain_share(minutes)
        showers = zip(rain_MHW.flatten(1), self.places[rows], self.tails[rows], strict=True)
        for rain, places, tails in showers:
            begun = tails < share
            place, tail = places[begun], tails[begun]
            rate = self.settings.new_rain_least_mm_h * (share / tail) ** (
                1 / self.settings.new_rain_exponent
            )
            rate = rate.clamp(max=RainScaling().ceiling_mm_h).to(rain.dtype)
            rain[place] = rain[place].maximum(rate)


def _is_far(last_11HW: Tensor, distance_px: float) -> Tensor:
    """(1, 1, H, W): whether no rain of a scan is within a distance, in whole coarse cells."""
    is_wet = max_pool2d((last_11HW > 0).float(), COARSE)
    reach = -int(-distance_px // COARSE)
    is_near = max_pool2d(is_wet, 2 * reach + 1, stride=1, padding=reach)
    return interpolate(is_near, scale_factor=COARSE, mode="nearest") == 0
