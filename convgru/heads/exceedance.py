"""The exceedance head: chances of exceeding rain rates, in the frame that moves with the rain.

Owns what happens between the forecaster's features and the logits of the chances at a lead time.
How chances become rain is `squall.convgru.products`.

Dims: B batch, T context steps, L lead steps, K thresholds, C channels, H rows, W columns, h and w
of the motion's coarse grid.
"""

from collections.abc import Iterator
from math import lcm
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, softplus

from squall.convgru.compiling import not_compiled
from squall.convgru.heads.cascade import band_processes
from squall.convgru.heads.filling import filled, latest_known
from squall.convgru.heads.interface import Frame, Head
from squall.convgru.heads.matching import sorted_values
from squall.convgru.heads.moving_frame import (
    lagrangian_frame,
    paths_of_rain,
    scans_at_rest,
    smoothed_scans,
    staying_rain,
)
from squall.convgru.heads.place import MapGrid, PlaceMap, places_of
from squall.convgru.layers import strided_convolution
from squall.convgru.motion import COARSE, departure_points, pad_to, trajectories
from squall.convgru.scaling import RainScaling
from squall.convgru.thresholds import THRESHOLDS_MM_H

KNOTS_MIN = (5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0)  # lead times of the tables
# Tables that an untrained network begins with, a row for each knot: maximum likelihood of the
# smoothed scan alone, on 25 windows of the Italian composite (10 to 60 min).
FIRST_SLOPES = (
    *[(24.2, 9.2, 3.5, 5.5, 6.7, 9.9)] * 2, (21.0, 8.1, -1.5, 5.0, 6.7, 9.5),
    (19.8, 8.8, -3.0, 2.4, 6.8, 8.6), (17.7, 12.2, -3.7, 3.2, 5.6, 8.2),
    *[(16.6, 16.7, -4.3, 1.4, 4.8, 8.7)] * 3,
)  # fmt: skip
FIRST_OFFSETS = (
    *[(-0.9, 1.4, 5.5, 3.5, 2.2, 3.2)] * 2, (-1.0, 0.5, 4.7, 2.7, 1.0, 2.2),
    (-1.1, -0.1, 4.4, 2.2, 0.8, 1.1), (-1.2, -1.2, 4.0, 1.7, 0.2, -0.4),
    *[(-1.2, -2.3, 3.7, 1.7, 0.7, -1.0)] * 3,
)  # fmt: skip
AT_REST = 3  # fields of `scans_at_rest`
HIDDEN = 24  # channels of the head's convolutions
SHIFT = 0.1  # normalised dB for an output of 1
LARGEST_LOG_SPREAD = 0.7  # natural logarithm of the largest factor of the spread
SLOPE_UNIT, OFFSET_UNIT = 10.0, 3.0  # of the tables' parameters, so that they learn fast enough
USUAL_STEP_MIN, USUAL_SPACING_KM = 10.0, 1.0  # the network is told 0 for these
ALL_PIXELS = (slice(None), slice(None))


class LeadChances(NamedTuple):
    """What the head says of one lead time, in the moving frame."""

    logits_BKHW: Tensor
    """of the chances that the rain rate is at least `THRESHOLDS_MM_H`; they fall with K"""
    last_B1HW: Tensor
    """the last scan, normalised dB"""
    known_B1HW: Tensor
    """1 where the last scan is known, 0 where not: there the logits mean nothing"""
    amounts_BN: Tensor
    """`sorted_values` of the last scan, the same for all lead times"""
    points_BHW2: Tensor
    """`departure_points` of the trajectories that end at the lead time"""
    bands_BKHW: Tensor
    """the scale bands of the last scan (`scale_bands`), the same for all lead times"""


class ExceedanceHead(Head):
    """From the forecaster's features to the chances of exceeding rain rates.

    At each lead time and pixel of the moving frame

    ::

        mu = smoothed + mixing (last - smoothed) + sum_i stay_i (staying_i - smoothed) + shift
        logit_0 = slope_0 (mu - threshold_0) spread + offset_0
        logit_k = logit_(k-1) - softplus(offset_k - slope_k (mu - threshold_k) spread + tilt)

    with the smoothed last scan of `smoothed_scans`. The chances fall with the threshold by
    construction. Slopes and offsets are tables over the lead time in minutes. mixing, stay, shift,
    spread and tilt are maps that come from the network and begin as 0 (spread: 1). So an untrained
    network gives the chances that follow from the smoothed scan alone. staying are the scans where
    they were observed, at the place that the rain reaches (`staying_rain`): rain that stays on
    mountains, and clutter.

    The network is told the lead time, the time step and the grid spacing, so archives with
    different ones can train it together.

    A network for one radar network alone may have a map of the place (`PlaceMap`): it is read where
    the rain will be at the lead time, and added to what the first convolution gives.

    Parameters
    ----------
    features : channels of the forecaster's finest layer.
    stride : pixels of the domain to one pixel of that layer.
    multiple : pixels of the domain to one pixel of the network's coarsest layer.
    place_channels : of the map of the place; 0 = no map.
    place_grid : cells of the map.
    """

    input_channels = 4

    def __init__(
        self,
        features: int,
        stride: int,
        *,
        multiple: int,
        place_channels: int = 0,
        place_grid: MapGrid | None = None,
    ) -> None:
        super().__init__()
        self.multiple = lcm(multiple, COARSE)
        self.stride = stride
        self.look = strided_convolution(3 + AT_REST, HIDDEN, stride)
        self.told = nn.Linear(3, HIDDEN)
        self.mix = nn.Conv2d(features + HIDDEN, HIDDEN, kernel_size=3, padding=1)
        self.mix_again = nn.Conv2d(HIDDEN, HIDDEN, kernel_size=3, padding=1)
        self.maps = nn.Conv2d(HIDDEN, 4 + AT_REST, kernel_size=3, padding=1)
        nn.init.zeros_(self.maps.weight)
        nn.init.zeros_(self.maps.bias)  # type: ignore[arg-type]
        self.slopes = nn.Parameter(torch.tensor(FIRST_SLOPES) / SLOPE_UNIT)
        self.offsets = nn.Parameter(torch.tensor(FIRST_OFFSETS) / OFFSET_UNIT)
        self.place: PlaceMap | None = None
        if place_channels:
            if place_grid is None:
                raise ValueError("place_channels needs place_grid, the cells of the map")
            self.place = PlaceMap(place_channels, place_grid, HIDDEN)
        thresholds, _ = RainScaling().normalise(torch.tensor(THRESHOLDS_MM_H))
        self._thresholds = thresholds.tolist()  # normalised dB; half precision would change them

    def frame(
        self, rain_BT1HW: Tensor, observed_BT1HW: Tensor, motion_B2hw: Tensor | None = None
    ) -> Frame:
        """The context in the frame that moves with the rain, and at rest."""
        at_rest = pad_to(scans_at_rest(rain_BT1HW, observed_BT1HW), self.multiple, value=torch.nan)
        frame = lagrangian_frame(rain_BT1HW, observed_BT1HW, self.multiple, motion_B2hw)
        return frame._replace(at_rest_B3HW=at_rest)

    @not_compiled
    def encoder_input(self, frame: Frame) -> Tensor:
        """(B, T, 4, H, W): the rain, continued where it is not known; where it is known; the
        logarithms of time step and grid spacing."""
        rain, known = frame.rain_BT1HW, frame.known_BT1HW
        continued = filled(*latest_known(frame))
        rain = torch.where(known > 0, rain, continued[:, None])
        told = _told_resolution(frame)[:, None, :, None, None]
        told = told.expand(-1, rain.shape[1], -1, *rain.shape[-2:])
        return torch.cat([rain, known, told.to(rain.dtype)], dim=2)

    def chances(self, features: Tensor, frame: Frame, lead_times: int) -> Iterator[LeadChances]:
        """What the head says of each lead time.

        Parameters
        ----------
        features : (L * B, C, rows, columns) of the forecaster's finest layer.
        frame : of the context, from `frame`.
        """
        assert frame.motion_B2hw is not None
        assert frame.at_rest_B3HW is not None
        placed = frame
        if self.place is not None:  # the context is the whole grid
            paths = paths_of_rain(frame.motion_B2hw, lead_times)
            corner = paths.new_zeros(len(paths), 2)
            placed = frame._replace(paths_BL2hw=paths, corner_B2=corner)
        last, known = frame.rain_BT1HW[:, -1].float(), frame.known_BT1HW[:, -1].float()
        trust = _share_of_older_scans(frame)
        amounts = sorted_values(last, known)
        processes = band_processes(frame)
        leads = zip(
            smoothed_scans(frame, processes, lead_times),
            staying_rain(frame.at_rest_B3HW.float(), frame.motion_B2hw, lead_times),
            trajectories(frame.motion_B2hw, lead_times),
            features.chunk(lead_times),
            strict=True,
        )
        for number, (smoothed, staying, displacement, x) in enumerate(leads, start=1):
            logits = self.logits(x, smoothed, staying, placed, number, trust_B111=trust)
            points = departure_points(displacement)
            yield LeadChances(logits, last, known, amounts, points, processes.bands_BKHW)

    def logits(
        self,
        features: Tensor,
        smoothed_B1HW: Tensor,
        staying_B3HW: Tensor,
        frame: Frame,
        lead: int,
        pixels: tuple[slice, slice] = ALL_PIXELS,
        *,
        trust_B111: Tensor | None = None,
    ) -> Tensor:
        """(B, K, H, W) logits of the chances at one lead time, in the moving frame.

        Parameters
        ----------
        features : (B, C, rows, columns) of this lead time.
        smoothed_B1HW : the smoothed last scan at this lead time, normalised dB.
        staying_B3HW : see `staying_rain`, of this lead time; the last scan takes the place of NaN.
        lead : number of the lead time, in steps of the frame's resolution.
        pixels : rows and columns that are asked for.
        trust_B111 : share of the maps that counts; None: all.
        """
        assert frame.resolution_B2 is not None
        last, known = frame.rain_BT1HW[:, -1], frame.known_BT1HW[:, -1]
        minutes = lead * frame.resolution_B2[:, 0]
        told = torch.cat([(minutes / USUAL_STEP_MIN).log()[:, None], _told_resolution(frame)], 1)
        staying_B3HW = torch.where(torch.isnan(staying_B3HW), last, staying_B3HW)
        looked = self.look(torch.cat([smoothed_B1HW, last, known, staying_B3HW], dim=1))
        x = self.mix(torch.cat([features, looked], dim=1)) + self.told(told)[:, :, None, None]
        if self.place is not None:
            assert frame.paths_BL2hw is not None
            assert frame.corner_B2 is not None
            path, (rows, columns) = frame.paths_BL2hw[:, lead - 1], features.shape[-2:]
            x = x + self.place(places_of(path, frame.corner_B2, (rows, columns), self.stride))
        x = leaky_relu(self.mix_again(leaky_relu(x, 0.2)), 0.2)
        with torch.autocast(features.device.type, enabled=False):
            size = smoothed_B1HW.shape[-2:]
            maps = self.maps(x.float())
            if trust_B111 is not None:
                maps = trust_B111 * maps
            maps = interpolate(maps, size=size, mode="bilinear")
            maps, smoothed_B1HW, last, staying_B3HW = (
                field[..., *pixels] for field in (maps, smoothed_B1HW, last, staying_B3HW)
            )
            shift, mixing, log_spread, tilt, *stay = maps.split(1, dim=1)
            mu = torch.add(smoothed_B1HW, shift, alpha=SHIFT)
            for weight, field in zip(
                (mixing, *stay), (last, *staying_B3HW.split(1, 1)), strict=True
            ):
                mu = torch.addcmul(mu, weight, field - smoothed_B1HW)
            spread = torch.exp(LARGEST_LOG_SPREAD * torch.tanh(log_spread))
            mu_spread = mu * spread
            slopes = SLOPE_UNIT * _at_lead_time(self.slopes, minutes)
            offsets = OFFSET_UNIT * _at_lead_time(self.offsets, minutes)
            logits: list[Tensor] = []
            for number, threshold in enumerate(self._thresholds):
                slope, offset = (x[:, number, None, None, None] for x in (slopes, offsets))
                above = torch.sub(mu_spread, spread, alpha=threshold)
                if not logits:
                    logits.append(torch.addcmul(offset, slope, above))
                else:
                    fall = torch.addcmul(offset + tilt, slope, above, value=-1)
                    logits.append(logits[-1] - softplus(fall))
            return torch.cat(logits, dim=1)


def _share_of_older_scans(frame: Frame) -> Tensor:
    """(B, 1, 1, 1): the share of the scans before the last that observed anything.

    The network learns from whole contexts. Where scans are missing it counts less, and with the
    last scan alone the chances are those of this scan.
    """
    older = frame.known_BT1HW[:, :-1]
    count = (older > 0).flatten(2).any(dim=2).sum(dim=1)
    return (count / max(1, older.shape[1]))[:, None, None, None]


def _told_resolution(frame: Frame) -> Tensor:
    """(B, 2): logarithms of time step and grid spacing, 0 for usual ones."""
    assert frame.resolution_B2 is not None
    usual = frame.resolution_B2.new_tensor([USUAL_STEP_MIN, USUAL_SPACING_KM])
    return (frame.resolution_B2 / usual).log()


def _at_lead_time(table: Tensor, minutes_B: Tensor) -> Tensor:
    """(B, K): a table over `KNOTS_MIN`, (knots, K), interpolated in the logarithm of minutes."""
    knots = torch.tensor(KNOTS_MIN, device=minutes_B.device).log()
    place = minutes_B.log()
    upper = torch.searchsorted(knots, place).clamp(1, len(KNOTS_MIN) - 1)
    share = (place - knots[upper - 1]) / (knots[upper] - knots[upper - 1])
    return torch.lerp(table[upper - 1], table[upper], share.clamp(0, 1)[:, None])
