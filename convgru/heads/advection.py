"""The advection head: growth, decay and smoothing of rain in the frame that moves with it.

Owns what happens between the forecaster's features and the rain at its place. Motion itself is
`squall.convgru.motion`, scale bands are `squall.convgru.heads.cascade`.

Dims: B batch, M members, T context steps, L lead steps, K scale bands, C channels, H rows, W
columns, h and w of the motion's coarse grid.
"""

from math import lcm

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from squall.convgru.heads.cascade import BANDS, TINY_POWER, band_processes
from squall.convgru.heads.filling import filled, latest_known
from squall.convgru.heads.interface import Frame, RainHead
from squall.convgru.heads.matching import probability_matched, sorted_values
from squall.convgru.heads.moving_frame import LAST_SCAN_SHARE, lagrangian_frame
from squall.convgru.motion import COARSE, trajectories, transport

CORRECTION_PX = 4.0  # displacement for an output of 1, over all steps up to a lead time together


class AdvectionHead(RainHead):
    """From the forecaster's features to rain, by changing the last scan and moving it.

    For each lead time

    ::

        base = matched(sum_k smoothed_k + 0.01 last scan)
        smoothed_k = band_k + trust_k (s_k - band_k)
        change = sum_k forgotten_k gain_k band_k + forgotten (growth base + residual)
        rain = transport(matched(base + change), displacement + correction)

    with the last scan's scale bands band_k and their autoregressive forecasts s_k (see
    `squall.convgru.heads.cascade`): scales that the context shows to be short-lived fade.
    Probability matching (matched) gives a field the last scan's distribution of rain again.
    forgotten_k is the share of a band's variance that its process has lost at that lead time, and
    forgotten the mean of these shares, weighted with the bands' power. So the network changes much
    where the past tells little, and hardly anything at the first lead times.

    The share of the last scan keeps its order of pixels where all bands are forgotten. Without it
    the ranks of a nearly constant field, noise, would get the last scan's rain.

    Where a scan is not known, the encoder reads the latest rain that is known in the moving frame,
    and beyond the edge of what any scan observed it reads that this rain continues. It never
    sees an edge or a gap: the maps that it learnt beyond an edge count in no loss, and they would
    leak into the pixels beside it.

    The maps gain_k, growth, residual and correction come from the network and begin as 0. trust
    is 1 and is not learnt. With weights and trust 0 the head is exactly optical-flow
    extrapolation.

    Gradients do not pass through ranks, so the network learns without the outer matching. In
    evaluation the outer matching is on: growth and decay redistribute rain, and the total rain
    amount is kept at that of the last scan.

    Parameters
    ----------
    features : channels of the forecaster's finest layer.
    multiple : pixels of the domain to one pixel of the network's coarsest layer.
    """

    def __init__(self, features: int, *, multiple: int) -> None:
        super().__init__()
        self.multiple = lcm(multiple, COARSE)
        self.maps = nn.Conv2d(features, BANDS + 2, kernel_size=3, padding=1)
        self.correction = nn.Conv2d(features, 2, kernel_size=1)
        self.trust: Tensor
        self.register_buffer("trust", torch.ones(BANDS))
        for layer in (self.maps, self.correction):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    @torch.no_grad()
    def weaken(self, strength: float) -> None:
        """Scale all that the network adds; with 0 the head is as before training.

        Models between trained and untrained weights do better on data that differ from the
        training data (Wortsman et al. 2022, arXiv:2109.01903).
        """
        for layer in (self.maps, self.correction):
            for weights in layer.parameters():
                weights.mul_(strength)

    def frame(self, rain_BT1HW: Tensor, observed_BT1HW: Tensor) -> Frame:
        """The context in the frame that moves with the rain, at the last scan's time."""
        return lagrangian_frame(rain_BT1HW, observed_BT1HW, self.multiple)

    @torch.compiler.disable
    def encoder_input(self, frame: Frame) -> Tensor:
        """(B, T, 2, H, W): the rain, continued where it is not known, and ones."""
        continued = filled(*latest_known(frame))
        rain = torch.where(frame.known_BT1HW > 0, frame.rain_BT1HW, continued[:, None])
        return torch.cat([rain, torch.ones_like(rain)], dim=2)

    @torch.compiler.disable  # compiled, the maps' gradient is lost (torch 2.13, on the CPU)
    def forward(self, features: Tensor, frame: Frame, lead_times: int, members: int) -> Tensor:
        """(L, B, M, 1, H, W) normalised dB; -inf where the trajectory starts at unknown pixels."""
        # half precision has too few digits for ranks, lifetimes and places
        with torch.autocast(features.device.type, enabled=False):
            return self._rain(features.float(), frame, lead_times, members)

    def _rain(self, features: Tensor, frame: Frame, lead_times: int, members: int) -> Tensor:
        """See `forward`."""
        motion = frame.motion_B2hw
        assert motion is not None
        last, known = frame.rain_BT1HW[:, -1].float(), frame.known_BT1HW[:, -1].float()
        last_values = sorted_values(last, known)
        processes = band_processes(frame)
        bands = processes.bands_BKHW
        power = bands.square().mean(dim=(2, 3), keepdim=True) + TINY_POWER
        power_share = power / power.sum(dim=1, keepdim=True)
        trust = self.trust[:, None, None]
        leads = []
        for forecast, displacement, lead_features in zip(
            processes.forecasts(lead_times),
            trajectories(motion, lead_times),
            features.chunk(lead_times),
            strict=True,
        ):
            forgotten_rain = (trust * (bands - forecast.bands_BKHW)).sum(dim=1, keepdim=True)
            smoothed = (1 + LAST_SCAN_SHARE) * last - forgotten_rain
            base = probability_matched(smoothed, known, last_values)
            forgotten = (power_share * forecast.forgotten_BKHW).sum(dim=1, keepdim=True)
            forgotten_bands = forecast.forgotten_BKHW * bands
            base, forgotten, forgotten_bands, is_known, displacement, values = (
                x.repeat_interleave(members, dim=0) if members > 1 else x
                for x in (base, forgotten, forgotten_bands, known, displacement, last_values)
            )
            changed = base + self._change(lead_features, base, forgotten_bands, forgotten)
            if not self.training:
                changed = probability_matched(changed, is_known, values)
            correction = interpolate(
                self.correction(lead_features), size=motion.shape[-2:], mode="area"
            )
            moved, is_reached = transport(
                changed, is_known, displacement + CORRECTION_PX * correction
            )
            leads.append(torch.where(is_reached, moved, -torch.inf))
        return torch.stack(leads).unflatten(1, (-1, members))

    def _change(
        self, features: Tensor, base_B1HW: Tensor, forgotten_bands_BKHW: Tensor, forgotten: Tensor
    ) -> Tensor:
        """(B, 1, H, W): what the network adds to the base at one lead time.

        Parameters
        ----------
        features : (B, C, rows, columns) of this lead time; here B counts members too.
        forgotten_bands_BKHW : the bands, each times the forgotten share of its variance.
        forgotten : (B, 1, H, W), the mean of these shares.
        """
        maps = interpolate(
            self.maps(features),
            size=base_B1HW.shape[-2:],
            mode="bilinear",
            align_corners=False,
        )
        gains, growth, residual = maps.split([BANDS, 1, 1], dim=1)
        change = (gains * forgotten_bands_BKHW).sum(dim=1, keepdim=True)
        return change + forgotten * (growth * base_B1HW + residual)
