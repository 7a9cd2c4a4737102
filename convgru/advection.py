"""The advection head: growth, decay and smoothing of rain in the frame that moves with it.

Owns what happens between the forecaster's features and the rain at its place: scale bands of the
last scan, gains, residual, correction of the motion. Motion itself is `squall.convgru.motion`.

Dims: B batch, M members, T context steps, L lead steps, K scale bands, C channels, H rows, W
columns, h and w of the motion's coarse grid.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from squall.convgru.motion import COARSE, coarse_motion, pad_to, trajectories, transport, upsampled

BANDS = 8  # details of 1, 2, 4, … 64 pixels, and what is smoother
NEARBY_BANDS, NEARBY_PX = 4, 32.0  # bands whose processes are local, and how far that is: sigma
OF_ALL = 0.2  # weight of the whole domain beside what is near
TINY = 1e-9  # power [normalised dB squared] of bands without rain
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


class BandProcesses(NamedTuple):
    """Scale bands as autoregressive processes of second order along the trajectories."""

    bands_BKHW: Tensor
    before_BKHW: Tensor | None
    """one step before; None with a context of one scan, which tells nothing of processes"""
    of_now_BKhw: Tensor
    of_before_BKhw: Tensor
    """weights of now and before in the next step, on the motion's coarse grid"""

    def forecasts(self, lead_times: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The bands (B, K, H, W) at each lead time, and what share of their variance is forgotten.

        The share (B, K, H, W) is 1 minus the squared correlation of the process with the last
        scan. With one scan the bands stay and the share is 1: nothing is known of it.
        """
        now, before = self.bands_BKHW, self.before_BKHW
        if before is None:
            for _ in range(lead_times):
                yield now, torch.ones_like(now)
            return
        of_now, of_before = upsampled(self.of_now_BKhw), upsampled(self.of_before_BKhw)
        # with the last scan, of the process at a lead time and one step earlier
        correlation = torch.ones_like(self.of_now_BKhw)
        earlier = self.of_now_BKhw / (1 - self.of_before_BKhw)
        for _ in range(lead_times):
            now, before = of_now * now + of_before * before, now
            correlation, earlier = (
                self.of_now_BKhw * correlation + self.of_before_BKhw * earlier,
                correlation,
            )
            yield now, upsampled((1 - correlation.square()).clamp(min=0))


class AdvectionHead(nn.Module):
    """From the forecaster's features to rain, by changing the last scan and moving it.

    For each lead time

        base = matched(sum_k smoothed_k)
        change = sum_k forgotten_k gain_k band_k + forgotten (growth base + residual)
        rain = transport(matched(base + change), path + correction)

    with the last scan's scale bands band_k. smoothed_k = band_k + trust_k (s_k - band_k), where s_k
    is the band's second-order autoregressive forecast along the trajectories, as in S-PROG (Seed
    2003, doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2): what the context's scans show of a
    scale to be short-lived fades, small scales by what is seen nearby. Matching gives a sum the
    last scan's distribution of rain again. forgotten_k is the share of a band's variance that its
    process no longer knows at that lead time, forgotten their mean with the bands' power as
    weights: the network speaks where the past is silent, and hardly at the first lead times.

    The maps gain_k, growth, residual and correction are the network's and begin as 0. It learns
    without the outer matching, for gradients do not pass through ranks, and forecasts with it:
    where it has rain grow and fade moves rain about, and how much there is in all stays that of
    the last scan. trust is 1 and is not learnt. With weights and trust 0 the head is exactly
    optical-flow extrapolation.

    Parameters
    ----------
    features : channels of the forecaster's finest layer.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
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

        Between trained and untrained weights lie models that do better on data unlike those of
        training (Wortsman et al. 2022, arXiv:2109.01903).
        """
        for layer in (self.maps, self.correction):
            for weights in layer.parameters():
                weights.mul_(strength)

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
        processes = band_processes(context)
        bands = processes.bands_BKHW
        power = bands.square().mean(dim=(2, 3), keepdim=True) + TINY
        weight = power / power.sum(dim=1, keepdim=True)
        trust = self.trust[:, None, None]
        ordered = torch.where(known > 0, last, torch.inf).flatten(1).sort().values
        leads = []
        for (lasting, forgotten), path, part in zip(
            processes.forecasts(lead_times),
            trajectories(motion, lead_times),
            features.chunk(lead_times),
            strict=True,
        ):
            smoothed = last + (trust * (lasting - bands)).sum(dim=1, keepdim=True)
            base = matched(smoothed, known, ordered)
            of_all = (weight * forgotten).sum(dim=1, keepdim=True)
            maps = interpolate(
                self.maps(part).float(), size=last.shape[-2:], mode="bilinear", align_corners=False
            )
            correction = interpolate(
                self.correction(part).float(), size=motion.shape[-2:], mode="area"
            )
            base, open_bands, of_all, there, way, values = (
                x.repeat_interleave(members, dim=0) if members > 1 else x
                for x in (base, forgotten * bands, of_all, known, path, ordered)
            )
            gains, growth, residual = maps.split([BANDS, 1, 1], dim=1)
            change = (gains * open_bands).sum(dim=1, keepdim=True)
            change = change + of_all * (growth * base + residual)
            changed = base + change
            if not self.training:
                changed = matched(changed, there, values)
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
    rising = order(torch.where(known_B1HW > 0, field_B1HW, torch.inf).flatten(1))
    values = torch.empty_like(ordered_BN).scatter_(1, rising, ordered_BN).view_as(field_B1HW)
    return torch.where(known_B1HW > 0, values, 0.0)


@torch.library.custom_op("squall::order", mutates_args=())
def order(field_BN: Tensor) -> Tensor:
    """Indices that put each row in rising order; on the CPU NumPy's sort is six times faster."""
    if field_BN.device.type != "cpu":
        return field_BN.argsort()
    return torch.from_numpy(np.argsort(field_BN.numpy(), axis=1))


@order.register_fake
def _(field_BN: Tensor) -> Tensor:
    return torch.empty_like(field_BN, dtype=torch.int64)


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
def band_processes(context: Lagrangian) -> BandProcesses:
    """The processes of a context's bands.

    Their parameters come from the correlations of scans one and two steps apart (Yule–Walker),
    all pairs of the context together: of the finest bands those nearby, for showers live shorter
    than the bands of rain beside them; of the others those of the whole domain. With two scans the
    processes are of first order.
    """
    rain, known = context.rain_BT1HW.float(), context.known_BT1HW.float()
    steps = rain.shape[1]
    by_age = [scale_bands(rain[:, -1 - age], known[:, -1 - age]) for age in range(steps)]
    bands = by_age[0]
    if steps == 1:
        one = torch.ones_like(bands[..., ::COARSE, ::COARSE])
        return BandProcesses(bands, None, one, torch.zeros_like(one))
    found = []
    for lag in range(1, min(3, steps)):
        moments = [
            _moments(by_age[age], by_age[age + lag], known[:, -1 - age] * known[:, -1 - age - lag])
            for age in range(steps - lag)
        ]
        covariance, a, b = (_nearby(each) for each in torch.stack(moments).sum(dim=0).chunk(3))
        found.append(covariance / (a * b).sqrt().clamp(min=TINY))
    rho1 = found[0].clamp(0, 0.999)
    # a stationary process that forgets has the second correlation between these two
    rho2 = found[-1].maximum(2 * rho1**2 - 1).minimum(rho1) if len(found) > 1 else rho1**2
    remainder = 1 - rho1**2
    return BandProcesses(
        bands, by_age[1], rho1 * (1 - rho2) / remainder, (rho2 - rho1**2) / remainder
    )


def _moments(x_BKHW: Tensor, y_BKHW: Tensor, known_B1HW: Tensor) -> Tensor:
    """(3B, K, h, w): means over cells of xy, xx and yy."""
    x, y = x_BKHW * known_B1HW, y_BKHW * known_B1HW
    return torch.cat([avg_pool2d(product, COARSE) for product in (x * y, x * x, y * y)])


def _nearby(x_BKhw: Tensor) -> Tensor:
    """Means of the finest bands under a Gaussian window, with a share of the domain's mean."""
    of_all = x_BKhw.mean(dim=(2, 3), keepdim=True)
    sigma = NEARBY_PX / COARSE
    reach = round(3 * sigma)
    away = torch.arange(-reach, reach + 1, device=x_BKhw.device, dtype=x_BKhw.dtype)
    window = torch.softmax(-0.5 * (away / sigma).square(), dim=0).repeat(NEARBY_BANDS, 1, 1, 1)
    near = x_BKhw[:, :NEARBY_BANDS]
    near = conv2d(near, window, padding=(0, reach), groups=NEARBY_BANDS)
    near = conv2d(near, window.mT, padding=(reach, 0), groups=NEARBY_BANDS)
    near = near + OF_ALL * of_all[:, :NEARBY_BANDS]
    return torch.cat([near, of_all[:, NEARBY_BANDS:].expand_as(x_BKhw[:, NEARBY_BANDS:])], dim=1)
