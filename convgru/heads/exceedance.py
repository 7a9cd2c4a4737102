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
from torch.nn.functional import leaky_relu, softplus

from squall.convgru.compiling import not_compiled
from squall.convgru.heads.cascade import band_processes
from squall.convgru.heads.filling import filled, latest_known
from squall.convgru.heads.interface import Frame, Head
from squall.convgru.heads.matching import sorted_amounts
from squall.convgru.heads.moving_frame import (
    lagrangian_frame,
    paths_of_rain,
    scans_at_rest,
    smoothed_scans,
    staying_rain,
)
from squall.convgru.heads.place import MapGrid, PlaceMap, places_of
from squall.convgru.heads.processes import LOCAL_BANDS, BandProcesses, SmoothBands
from squall.convgru.layers import strided_convolution, strided_in_strips
from squall.convgru.motion import COARSE, pad_to, trajectories
from squall.convgru.scaling import RainScaling
from squall.convgru.strips import interpolated_at, interpolated_rows, strips
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
TEXTURE_BANDS = 5  # details of 1 to 16 pixels
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
    """of the chances that the rain rate is at least `THRESHOLDS_MM_H`; they fall with K; 0 where
    the last scan is not known: there they mean nothing"""
    last_B1HW: Tensor
    """the last scan, normalised dB"""
    known_B1HW: Tensor
    """1 where the last scan is known, 0 where not"""
    amounts: list[Tensor]
    """`sorted_amounts` of the last scan, the same for all lead times"""
    displacement_B2hw: Tensor
    """pixels, of the `trajectories` that end at the lead time, on the motion's coarse grid"""
    smooth: SmoothBands
    """of the last scan, the same for all lead times"""

    def texture(self) -> Tensor:
        """(B, 1, H, W): the sum of the `TEXTURE_BANDS` finest scale bands of the last scan."""
        texture = self.last_B1HW * self.known_B1HW
        means, scale = self.smooth.means[TEXTURE_BANDS - LOCAL_BANDS]
        height, width = texture.shape[-2:]
        for rows in strips(height, width, texture.device):
            texture[..., rows, :] -= interpolated_rows(means, rows, scale, width)
        return texture


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
    def encoder_inputs(self, frame: Frame) -> Iterator[Tensor]:
        """(B, 4, H, W) for each scan: the rain, continued where it is not known; where it is known;
        the logarithms of time step and grid spacing."""
        continued = filled(*latest_known(frame))
        told = _told_resolution(frame)[:, :, None, None]
        told = told.expand(-1, -1, *continued.shape[-2:]).to(continued.dtype)
        for rain, known in zip(
            frame.rain_BT1HW.unbind(1), frame.known_BT1HW.unbind(1), strict=True
        ):
            yield torch.cat([torch.where(known > 0, rain, continued), known, told], dim=1)

    @torch.no_grad()
    def chances(
        self, features: Iterator[Tensor], frame: Frame, lead_times: int
    ) -> Iterator[LeadChances]:
        """What the head says of each lead time.

        Parameters
        ----------
        features : for each lead time (B, C, rows, columns) of the forecaster's finest layer.
        frame : of the context, from `frame`.
        """
        motion = frame.motion_B2hw
        assert motion is not None
        processes = band_processes(frame)
        trust = _share_of_older_scans(frame)
        # the older scans of a large grid need much memory, and are not needed from here on
        last, known = (
            field[:, -1:].float().clone() for field in (frame.rain_BT1HW, frame.known_BT1HW)
        )
        frame = frame._replace(rain_BT1HW=last, known_BT1HW=known)
        if self.place is not None:  # the context is the whole grid
            paths = paths_of_rain(motion, lead_times)
            frame = frame._replace(paths_BL2hw=paths, corner_B2=paths.new_zeros(len(paths), 2))
        return self._leads(features, frame, processes, trust, lead_times)

    def _leads(
        self,
        features: Iterator[Tensor],
        frame: Frame,
        processes: BandProcesses,
        trust_B111: Tensor,
        lead_times: int,
    ) -> Iterator[LeadChances]:
        """`chances`, from a frame with the last scan alone. It uses up the processes.

        Of a large grid no field is held while the caller works on a lead time, but those that the
        next lead times need.
        """
        motion, at_rest = frame.motion_B2hw, frame.at_rest_B3HW
        assert motion is not None
        assert at_rest is not None
        last, known = frame.rain_BT1HW[:, -1], frame.known_BT1HW[:, -1]
        amounts = sorted_amounts(last, known)
        smooth = processes.smooth
        smoothed_leads = smoothed_scans(frame, processes, lead_times, use_up=True)
        staying = staying_rain(at_rest.float(), motion, lead_times)
        for number, displacement in enumerate(trajectories(motion, lead_times), start=1):
            yield LeadChances(
                self._logits_of_lead(
                    next(features), next(smoothed_leads), next(staying), frame, number, trust_B111
                ),
                *(last, known, amounts, displacement, smooth),
            )

    @torch.no_grad()
    def _logits_of_lead(
        self,
        features: Tensor,
        smoothed_B1HW: Tensor,
        staying_B3HW: Tensor,
        frame: Frame,
        lead: int,
        trust_B111: Tensor,
    ) -> Tensor:
        """`logits`, strip by strip, with a share of the maps; 0 where not known."""
        last, known = frame.rain_BT1HW[:, -1], frame.known_BT1HW[:, -1]
        height, width = smoothed_B1HW.shape[-2:]
        for rows in strips(height, width, last.device):  # in its own memory
            of_strip = staying_B3HW[..., rows, :]
            of_strip.copy_(_known_or(of_strip, last[..., rows, :]))
        maps = trust_B111 * self._maps(features, smoothed_B1HW, staying_B3HW, frame, lead)
        tables = self._tables(frame, lead)
        logits = smoothed_B1HW.new_empty(len(maps), len(THRESHOLDS_MM_H), height, width)
        for rows in strips(height, width, maps.device, self.stride):
            of_strip = interpolated_rows(maps, rows, self.stride)
            fields = (field[..., rows, :] for field in (smoothed_B1HW, last, staying_B3HW))
            of_pixels = self._logits_of_pixels(tables, of_strip, *fields)
            torch.mul(of_pixels, known[..., rows, :], out=logits[..., rows, :])
        return logits

    def logits(
        self,
        features: Tensor,
        smoothed_B1HW: Tensor,
        staying_B3HW: Tensor,
        frame: Frame,
        lead: int,
        pixels: tuple[slice, slice] = ALL_PIXELS,
    ) -> Tensor:
        """(B, K, H, W) logits of the chances at one lead time, in the moving frame.

        Parameters
        ----------
        features : (B, C, rows, columns) of this lead time.
        smoothed_B1HW : the smoothed last scan at this lead time, normalised dB.
        staying_B3HW : see `staying_rain`, of this lead time; the last scan takes the place of NaN.
        lead : number of the lead time, in steps of the frame's resolution.
        pixels : rows and columns that are asked for.
        """
        last = frame.rain_BT1HW[:, -1]
        staying_B3HW = _known_or(staying_B3HW, last)
        maps = self._maps(features, smoothed_B1HW, staying_B3HW, frame, lead)
        with torch.autocast(features.device.type, enabled=False):
            maps = interpolated_at(maps, self.stride, pixels)
            fields = (field[..., *pixels] for field in (smoothed_B1HW, last, staying_B3HW))
            return self._logits_of_pixels(self._tables(frame, lead), maps, *fields)

    def _maps(
        self,
        features: Tensor,
        smoothed_B1HW: Tensor,
        staying_B3HW: Tensor,
        frame: Frame,
        lead: int,
    ) -> Tensor:
        """(B, 4 + AT_REST, rows, columns), float32: the maps of `logits` on the features' grid;
        parameters as there, without NaN."""
        assert frame.resolution_B2 is not None
        last, known = frame.rain_BT1HW[:, -1], frame.known_BT1HW[:, -1]
        minutes = lead * frame.resolution_B2[:, 0]
        told = torch.cat([(minutes / USUAL_STEP_MIN).log()[:, None], _told_resolution(frame)], 1)
        looked = self._looked([smoothed_B1HW, last, known, staying_B3HW])
        x = self.mix(torch.cat([features, looked], dim=1))
        x = x.add_(self.told(told)[:, :, None, None])
        if self.place is not None:
            assert frame.paths_BL2hw is not None
            assert frame.corner_B2 is not None
            path, (rows, columns) = frame.paths_BL2hw[:, lead - 1], features.shape[-2:]
            x = x + self.place(places_of(path, frame.corner_B2, (rows, columns), self.stride))
        x = self.mix_again(leaky_relu(x, 0.2, inplace=True))
        x = leaky_relu(x, 0.2, inplace=True)
        with torch.autocast(features.device.type, enabled=False):
            maps: Tensor = self.maps(x.float())
            return maps

    def _looked(self, fields: list[Tensor]) -> Tensor:
        """(B, HIDDEN, rows, columns): what the head sees of fields (B, C, H, W).

        Without gradient strip by strip.
        """
        if torch.is_grad_enabled():
            looked: Tensor = self.look(torch.cat(fields, dim=1))
            return looked
        return strided_in_strips(self.look, fields)

    def _tables(self, frame: Frame, lead: int) -> tuple[Tensor, Tensor]:
        """Slopes and offsets at a lead time, (B, K)."""
        assert frame.resolution_B2 is not None
        minutes = lead * frame.resolution_B2[:, 0]
        return (
            SLOPE_UNIT * _at_lead_time(self.slopes, minutes),
            OFFSET_UNIT * _at_lead_time(self.offsets, minutes),
        )

    def _logits_of_pixels(
        self,
        tables: tuple[Tensor, Tensor],
        maps_BCHW: Tensor,
        smoothed_B1HW: Tensor,
        last_B1HW: Tensor,
        staying_B3HW: Tensor,
    ) -> Tensor:
        """(B, K, H, W): the formula of the class, for each pixel by itself."""
        shift, mixing, log_spread, tilt, *stay = maps_BCHW.split(1, dim=1)
        mu = torch.add(smoothed_B1HW, shift, alpha=SHIFT)
        for weight, field in zip(
            (mixing, *stay), (last_B1HW, *staying_B3HW.split(1, 1)), strict=True
        ):
            mu = torch.addcmul(mu, weight, field - smoothed_B1HW)
        spread = torch.exp(LARGEST_LOG_SPREAD * torch.tanh(log_spread))
        mu_spread = mu * spread
        logits: list[Tensor] = []
        for number, threshold in enumerate(self._thresholds):
            slope, offset = (table[:, number, None, None, None] for table in tables)
            above = torch.sub(mu_spread, spread, alpha=threshold)
            if not logits:
                logits.append(torch.addcmul(offset, slope, above))
            else:
                fall = torch.addcmul(offset + tilt, slope, above, value=-1)
                logits.append(logits[-1] - softplus(fall))
        return torch.cat(logits, dim=1)


def _known_or(fields: Tensor, instead: Tensor) -> Tensor:
    return torch.where(torch.isnan(fields), instead, fields)


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
