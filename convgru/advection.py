"""The advection head: growth, decay and smoothing of rain in the frame that moves with it.

Owns what happens between the forecaster's features and the rain at its place: scale bands of the
last scan, gains, residual, correction of the motion. Motion itself is `convgru.motion`.

Dims: B batch, M members, T context steps, L lead steps, K scale bands, C channels, H rows, W
columns, h and w of the motion's coarse grid.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pad

from convgru.motion import COARSE, coarse_motion, pad_to, trajectories, transport

BANDS = 8  # details of 1, 2, 4, … 64 pixels, and what is smoother
CORRECTION_PX = 4.0  # of the motion by an output of 1, for all steps up to a lead together


class Lagrangian(NamedTuple):
    """A context in the frame that moves with the rain, at the last scan's time."""

    rain_BT1HW: Tensor
    """normalised dB, 0 where not known"""
    known_BT1HW: Tensor
    motion_B2hw: Tensor
    """pixels per step"""


@torch.compiler.disable
def lagrangian(rain_BT1HW: Tensor, observed_BT1HW: Tensor, multiple: int = COARSE) -> Lagrangian:
    """Bring every scan of a context to where its rain is at the last scan's time.

    Parameters
    ----------
    rain_BT1HW, observed_BT1HW : normalised dB and validity mask.
    multiple : of `COARSE`, to which rows and columns are filled up with what is not observed.
    """
    motion = coarse_motion(rain_BT1HW)
    rain_BT1HW, observed_BT1HW = (pad_to(x, multiple) for x in (rain_BT1HW, observed_BT1HW))
    more = [rain_BT1HW.shape[d] // COARSE - motion.shape[d] for d in (-1, -2)]
    motion = pad(motion, (0, more[0], 0, more[1]), mode="replicate")
    steps = rain_BT1HW.shape[1]
    rain, known = [rain_BT1HW[:, -1]], [observed_BT1HW[:, -1]]
    for age, displacement in enumerate(trajectories(motion, steps - 1), start=1):
        moved, there = transport(rain_BT1HW[:, -1 - age], observed_BT1HW[:, -1 - age], displacement)
        rain.append(moved)
        known.append(there.to(moved.dtype))
    return Lagrangian(torch.stack(rain[::-1], 1), torch.stack(known[::-1], 1), motion)


class AdvectionHead(nn.Module):
    """From the forecaster's features to rain, by changing the last scan and moving it.

    For each lead time

        transport(matched(sum_k smoothed_k) + sum_k gain_k band_k + residual, path + correction)

    with the last scan's scale bands band_k. smoothed_k = band_k + trust_k (s_k - band_k), where s_k
    is the band's second-order autoregressive forecast along the trajectories, as in S-PROG (Seed
    2003, doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2): what the context's scans show of a
    scale to be short-lived fades. Matching gives the sum the last scan's distribution of rain
    again. The maps gain_k, residual and correction are the network's and begin as 0; trust is 1
    and is not learnt, for gradients do not pass through ranks. With weights and trust 0 the
    head is exactly optical-flow extrapolation.

    Parameters
    ----------
    features : channels of the forecaster's finest layer.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(features, BANDS + 1, kernel_size=3, padding=1)
        self.correction = nn.Conv2d(features, 2, kernel_size=1)
        self.trust: Tensor
        self.register_buffer("trust", torch.ones(BANDS))
        for layer in (self.maps, self.correction):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    @torch.compiler.disable  # compiled, the maps' gradient is lost (torch 2.13, on the CPU)
    def forward(
        self, features: Tensor, context: Lagrangian, lead_times: int, members: int
    ) -> Tensor:
        """Normalised dB (L, B, M, 1, H, W); -inf where no trajectory comes from what is known.

        Parameters
        ----------
        features : (L*B*M, C, rows, columns) at the finest layer's resolution.
        """
        last, known = context.rain_BT1HW[:, -1].float(), context.known_BT1HW[:, -1].float()
        motion = context.motion_B2hw
        bands, before, phi1, phi2 = band_processes(context)
        trust = self.trust[:, None, None]
        ordered = torch.where(known > 0, last, torch.inf).flatten(1).sort().values
        now, leads = bands, []
        for path, part in zip(
            trajectories(motion, lead_times), features.chunk(lead_times), strict=True
        ):
            now, before = phi1 * now + phi2 * before, now
            smoothed = last + (trust * (now - bands)).sum(dim=1, keepdim=True)
            base = matched(smoothed, known, ordered)
            maps = interpolate(
                self.maps(part).float(), size=last.shape[-2:], mode="bilinear", align_corners=False
            )
            correction = interpolate(
                self.correction(part).float(), size=motion.shape[-2:], mode="area"
            )
            base, details, there, way = (
                x.repeat_interleave(members, dim=0) if members > 1 else x
                for x in (base, bands, known, path)
            )
            changed = base + (maps[:, :BANDS] * details).sum(dim=1, keepdim=True) + maps[:, BANDS:]
            moved, there = transport(changed, there, way + CORRECTION_PX * correction)
            leads.append(torch.where(there, moved, -torch.inf))
        return torch.stack(leads).unflatten(1, (-1, members))


@torch.no_grad()
def matched(field_B1HW: Tensor, known_B1HW: Tensor, ordered_BN: Tensor) -> Tensor:
    """A field with another's distribution: equal ranks have equal values (probability matching).

    Parameters
    ----------
    ordered_BN : the other field's values in rising order, inf for pixels that are not known, which
        are the same as the field's.
    """
    ranked = torch.where(known_B1HW > 0, field_B1HW, torch.inf).flatten(1).argsort()
    values = torch.empty_like(ordered_BN).scatter_(1, ranked, ordered_BN).view_as(field_B1HW)
    # among pixels without rain ranks are arbitrary
    return torch.where((known_B1HW > 0) & (field_B1HW > 0), values, 0.0)


def scale_bands(rain_B1HW: Tensor, known_B1HW: Tensor) -> Tensor:
    """A field as the sum of K bands, finest first: differences of ever smoother versions.

    Pixels that are not known enter no mean; the bands add up to the field where it is known.

    Returns
    -------
    (B, K, H, W)
    """
    height, width = rain_B1HW.shape[-2:]
    smooth, bands = rain_B1HW * known_B1HW, []
    both = torch.cat([smooth, known_B1HW], dim=1)
    for power in range(1, BANDS):
        scale = 2**power
        if scale > min(height, width):
            bands.append(torch.zeros_like(smooth))
            continue
        pooled = avg_pool2d(both, scale, ceil_mode=True)
        means = pooled[:, :1] / pooled[:, 1:].clamp(min=1e-3)
        smoother = interpolate(means, scale_factor=scale, mode="bilinear", align_corners=False)[
            ..., :height, :width
        ]
        bands.append(smooth - smoother)
        smooth = smoother
    return torch.cat([*bands, smooth], dim=1)


@torch.no_grad()
def band_processes(context: Lagrangian) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each band as an autoregressive process of second order along the trajectories.

    Its parameters come from the correlations of the last scan with the two before it
    (Yule–Walker). With two scans the process is of first order; with one it stays as it is.

    Returns
    -------
    The bands of the last scan and of the one before, (B, K, H, W), and the weights (B, K, 1, 1)
    of now and before in the next step.
    """
    rain, known = context.rain_BT1HW.float(), context.known_BT1HW.float()
    newest = [
        scale_bands(rain[:, -1 - age], known[:, -1 - age]) for age in range(min(3, rain.shape[1]))
    ]
    bands = newest[0]
    if len(newest) == 1:
        one = torch.ones_like(bands[..., :1, :1])
        return bands, bands, one, torch.zeros_like(one)
    found = []
    for age, older in enumerate(newest[1:], start=1):
        both = known[:, -1] * known[:, -1 - age]
        product, a, b = (
            (x * y * both).sum(dim=(2, 3), keepdim=True)
            for x, y in ((bands, older), (bands, bands), (older, older))
        )
        found.append(product / (a * b).sqrt().clamp(min=1e-6))
    rho1 = found[0].clamp(0, 0.999)
    # a stationary process that forgets has the second correlation between these two
    rho2 = found[-1].maximum(2 * rho1**2 - 1).minimum(rho1) if len(found) > 1 else rho1**2
    remainder = 1 - rho1**2
    return bands, newest[1], rho1 * (1 - rho2) / remainder, (rho2 - rho1**2) / remainder
