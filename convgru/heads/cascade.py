"""The cascade: rain as a sum of scale bands, each an autoregressive process along trajectories.

As in S-PROG (Seed 2003, doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2) and STEPS (Bowler et
al. 2006, doi:10.1256/qj.04.100): small scales live shorter than large ones, so each scale is
forecast by itself.

Dims: B batch, T context steps, K scale bands, H rows, W columns, h and w of the motion's coarse
grid.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from squall.convgru.heads.interface import Frame
from squall.convgru.motion import COARSE, upsampled

BANDS = 8  # details of 1, 2, 4, … 64 pixels, and the remaining smooth field
LOCAL_BANDS = 4  # the finest bands, whose correlations are estimated locally
LOCAL_SIGMA_PX = 32.0  # standard deviation of the Gaussian window of local estimates
DOMAIN_WEIGHT = 0.03  # weight of rain anywhere in the domain; the local mean has weight 1
TINY_POWER = 1e-9  # [normalised dB squared] keeps the correlation of bands without rain finite
MAX_RHO_1 = 0.999
LONGEST_LAG = 3  # steps between two scans whose correlation tells a lifetime
FULL_EVIDENCE = 0.1  # see `_correlation`
NO_POWER = 1e-20  # prevents 0 / 0


class Correlation(NamedTuple):
    """What pairs of scans a number of steps apart say of the bands."""

    rho_BKhw: Tensor
    """on the motion's coarse grid"""
    evidence_BK11: Tensor
    """1 where the pairs determine the correlation, 0 where they say nothing"""


class BandForecast(NamedTuple):
    """Scale bands at a lead time."""

    bands_BKHW: Tensor
    """normalised dB"""
    forgotten_BKhw: Tensor
    """share of a band's variance that does not follow from the last scan, 1 - rho(lead)**2, on the
    motion's coarse grid"""


class BandProcesses(NamedTuple):
    """Scale bands as autoregressive processes of second order along the trajectories.

    ::

        band(t + 1) = phi_1 band(t) + phi_2 band(t - 1)
    """

    bands_BKHW: Tensor
    """of the last scan"""
    previous_bands_BKHW: Tensor | None
    """one step before; None if the context has only one scan"""
    phi_1_BKhw: Tensor
    phi_2_BKhw: Tensor
    """on the motion's coarse grid"""

    def forecasts(self, lead_times: int) -> Iterator[BandForecast]:
        """The bands at each lead time, and what share of their variance is forgotten.

        The autocorrelation follows the same recursion,

            rho(l) = phi_1 rho(l - 1) + phi_2 rho(l - 2), rho(0) = 1, rho(-1) = phi_1 / (1 - phi_2)

        With one scan the bands stay as they are and the forgotten share is 1.
        """
        bands, previous_bands = self.bands_BKHW, self.previous_bands_BKHW
        if previous_bands is None:
            for _ in range(lead_times):
                yield BandForecast(bands, torch.ones_like(self.phi_1_BKhw))
            return
        phi_1, phi_2 = upsampled(self.phi_1_BKhw), upsampled(self.phi_2_BKhw)
        rho = torch.ones_like(self.phi_1_BKhw)
        previous_rho = self.phi_1_BKhw / (1 - self.phi_2_BKhw)
        for _ in range(lead_times):
            bands, previous_bands = phi_1 * bands + phi_2 * previous_bands, bands
            rho, previous_rho = self.phi_1_BKhw * rho + self.phi_2_BKhw * previous_rho, rho
            yield BandForecast(bands, (1 - rho.square()).clamp(min=0))


def scale_bands(rain_B1HW: Tensor, known_B1HW: Tensor) -> Tensor:
    """A field as the sum of K bands, finest first: differences of ever smoother versions.

    Pixels that are not known enter no mean. The bands add up to the field where it is known.

    Returns
    -------
    (B, K, H, W)
    """
    height, width = rain_B1HW.shape[-2:]
    smooth, bands = rain_B1HW * known_B1HW, []
    weighted_and_weight = torch.cat([smooth, known_B1HW], dim=1)
    for power in range(1, BANDS):
        scale = 2**power
        if scale > min(height, width):
            bands.append(torch.zeros_like(smooth))
            continue
        pooled = avg_pool2d(weighted_and_weight, scale, ceil_mode=True)
        means = pooled[:, :1] / pooled[:, 1:].clamp(min=1e-3)
        smoother = interpolate(means, scale_factor=scale, mode="bilinear", align_corners=False)[
            ..., :height, :width
        ]
        bands.append(smooth - smoother)
        smooth = smoother
    return torch.cat([*bands, smooth], dim=1)


@torch.no_grad()
def band_processes(frame: Frame) -> BandProcesses:
    """Estimate the processes of a context's bands.

    With the correlations rho_1 and rho_2 of scans one and two steps apart, over all such pairs of
    the context, the Yule–Walker equations give

        phi_1 = rho_1 (1 - rho_2) / (1 - rho_1**2)
        phi_2 = (rho_2 - rho_1**2) / (1 - rho_1**2)

    The correlations of the finest bands are local, since showers have shorter lives than the
    rain bands around them. The correlations of the other bands are of the whole domain.

    Where the context tells less, because scans are missing or were dry before the rain came
    (see `_correlation`), the processes are simpler. Without rho_2 they are of first order (phi_2
    = 0); a pair of older scans tells rho_2 only if the scan between them is known. Without rho_1
    the correlation at lag n > 1 gives rho_1 = rho_n**(1/n). If no pair of scans tells anything,
    the bands last. Where the scan before the last is not known, its band is the mean that the
    process expects, rho_1 times the last band.

    Parameters
    ----------
    frame : a context along the trajectories, each scan moved to the last scan's time.
    """
    rain, known = frame.rain_BT1HW.float(), frame.known_BT1HW.float()
    scans = rain.shape[1]
    bands_by_age = [scale_bands(rain[:, -1 - age], known[:, -1 - age]) for age in range(scans)]
    bands = bands_by_age[0]
    if scans == 1:
        ones = torch.ones_like(bands[..., ::COARSE, ::COARSE])
        return BandProcesses(bands, None, ones, torch.zeros_like(ones))
    lags = range(1, min(LONGEST_LAG, scans - 1) + 1)
    correlations = [_correlation(bands_by_age, known, lag) for lag in lags]
    rho_1 = torch.full_like(correlations[0].rho_BKhw, MAX_RHO_1)
    for lag, (rho, evidence) in reversed(list(zip(lags, correlations, strict=True))):
        rho_1 = rho_1.lerp(rho.clamp(0, MAX_RHO_1) ** (1 / lag), evidence)
    rho_2 = rho_1**2
    if scans > 2:  # a stationary process whose correlation decays has rho_2 between these bounds
        measured, evidence = _correlation(bands_by_age, known, 2, linked=True)
        measured = measured.maximum(2 * rho_1**2 - 1).minimum(rho_1)
        rho_2 = rho_2.lerp(measured, evidence.expand_as(rho_2))
    remainder = 1 - rho_1**2
    phi_1, phi_2 = rho_1 * (1 - rho_2) / remainder, (rho_2 - rho_1**2) / remainder
    previous = torch.where(known[:, -2] > 0, bands_by_age[1], upsampled(rho_1) * bands)
    return BandProcesses(bands, previous, phi_1, phi_2)


def _correlation(
    bands_by_age: list[Tensor], known_BT1HW: Tensor, lag: int, *, linked: bool = False
) -> Correlation:
    """The correlation of each band's scans ``lag`` steps apart, where both are known.

    Two scans say little of a band's lifetime if one of them has hardly any rain beside the other or
    the last scan, or if they share few pixels. Such a pair has a small weight: `FULL_EVIDENCE` of
    the power, or of the last scan's known pixels, gives the whole weight.

    Parameters
    ----------
    linked : whether a pair of older scans counts only as far as the scans between them are known.
        The second order of a process follows from the difference of two correlations. If rho_1
        came from the newest scans and rho_2 from older ones alone, the difference would say how
        the rain has changed meanwhile, and the bands would oscillate.
    """
    moments, weights = [], []
    known_now = known_BT1HW[:, -1].mean(dim=(2, 3), keepdim=True)
    power_now = (bands_by_age[0] * known_BT1HW[:, -1]).square().mean(dim=(2, 3), keepdim=True)
    for age in range(len(bands_by_age) - lag):
        both_known = known_BT1HW[:, -1 - age] * known_BT1HW[:, -1 - age - lag]
        pair = _moments(bands_by_age[age], bands_by_age[age + lag], both_known)
        _, xx, yy = (m.mean(dim=(2, 3), keepdim=True) for m in pair.chunk(3))
        power_ratio = xx.minimum(yy) / xx.maximum(yy).maximum(power_now).clamp(min=NO_POWER)
        link = both_known
        if linked and age > 0:
            for between in range(age + 1, age + lag):
                link = link * known_BT1HW[:, -1 - between]
        overlap = link.mean(dim=(2, 3), keepdim=True) / known_now.clamp(min=NO_POWER)
        weight = (power_ratio.minimum(overlap) / FULL_EVIDENCE).clamp(max=1)
        weights.append(weight)
        moments.append(pair * weight.repeat(3, 1, 1, 1))
    xy, xx, yy = torch.stack(moments).sum(dim=0).chunk(3)
    weight = DOMAIN_WEIGHT / _share_with_power(xx)
    xy, xx, yy = (_local_means(moment, weight) for moment in (xy, xx, yy))
    rho = xy / (xx * yy).sqrt().clamp(min=TINY_POWER)
    return Correlation(rho, torch.stack(weights).amax(dim=0))


def _moments(x_BKHW: Tensor, y_BKHW: Tensor, known_B1HW: Tensor) -> Tensor:
    """(3B, K, h, w): means over cells of xy, xx and yy."""
    x, y = x_BKHW * known_B1HW, y_BKHW * known_B1HW
    return torch.cat([avg_pool2d(product, COARSE) for product in (x * y, x * x, y * y)])


def _share_with_power(power_BKhw: Tensor) -> Tensor:
    """(B, K, 1, 1): the share of the domain that a band's power fills; 1 if it is the same
    everywhere.

    It is the square of the mean over the mean of squares.
    """
    mean = power_BKhw.mean(dim=(2, 3), keepdim=True)
    root_mean_square = power_BKhw.square().mean(dim=(2, 3), keepdim=True).sqrt()
    share = (mean / root_mean_square.clamp(min=NO_POWER)).square()
    return torch.where(mean > NO_POWER, share.clamp(max=1), 1.0)


def _local_means(x_BKhw: Tensor, domain_weight_BK11: Tensor) -> Tensor:
    """Means under a Gaussian window for the finest bands, of the domain for the other bands.

    The domain's mean is added to the local ones, for places with little rain around them. Its
    weight is the larger, the smaller the share of the domain where it rains: so a lone shower
    gets the lifetime of all showers, and not one that its few pixels happen to have.
    """
    domain_mean = x_BKhw.mean(dim=(2, 3), keepdim=True)
    sigma = LOCAL_SIGMA_PX / COARSE
    reach = round(3 * sigma)
    distance = torch.arange(-reach, reach + 1, device=x_BKhw.device, dtype=x_BKhw.dtype)
    window = torch.softmax(-0.5 * (distance / sigma).square(), dim=0).repeat(LOCAL_BANDS, 1, 1, 1)
    local = x_BKhw[:, :LOCAL_BANDS]
    local = conv2d(local, window, padding=(0, reach), groups=LOCAL_BANDS)
    local = conv2d(local, window.mT, padding=(reach, 0), groups=LOCAL_BANDS)
    local = local + (domain_weight_BK11 * domain_mean)[:, :LOCAL_BANDS]
    coarser = domain_mean[:, LOCAL_BANDS:].expand_as(x_BKhw[:, LOCAL_BANDS:])
    return torch.cat([local, coarser], dim=1)
