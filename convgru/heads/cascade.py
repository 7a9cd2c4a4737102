"""The cascade: rain as a sum of scale bands, each an autoregressive process along trajectories.

As in S-PROG (Seed 2003, doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2) and STEPS (Bowler et
al. 2006, doi:10.1256/qj.04.100): small scales live shorter than large ones, so each scale is
forecast by itself.

Dims: B batch, T context steps, K scale bands, H rows, W columns, h and w of the motion's coarse
grid.
"""

from collections.abc import Iterator
from itertools import combinations
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


class Pair(NamedTuple):
    """Two scans, by their ages in steps."""

    later: int
    earlier: int


class Moments(NamedTuple):
    """How alike the bands of two scans are."""

    of_pairs: dict[Pair, Tensor]
    """(3B, K, h, w) of each pair: means of xy, xx and yy where both scans x and y are known, on the
    motion's coarse grid; from band `LOCAL_BANDS` on the means of the domain in each cell"""
    power_now_BK11: Tensor
    """mean square of the last scan where it is known"""


class BandForecast(NamedTuple):
    """Scale bands at a lead time."""

    bands: list[Tensor]
    """K times (B, 1, H, W), normalised dB"""
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
    """on the motion's coarse grid; those of bands from `LOCAL_BANDS` on are the same everywhere"""

    def forecasts(self, lead_times: int) -> Iterator[BandForecast]:
        """The bands at each lead time, and what share of their variance is forgotten.

        The autocorrelation follows the same recursion,

            rho(l) = phi_1 rho(l - 1) + phi_2 rho(l - 2), rho(0) = 1, rho(-1) = phi_1 / (1 - phi_2)

        With one scan the bands stay as they are and the forgotten share is 1.
        """
        bands = list(self.bands_BKHW.split(1, dim=1))
        if self.previous_bands_BKHW is None:
            for _ in range(lead_times):
                yield BandForecast(bands, torch.ones_like(self.phi_1_BKhw))
            return
        previous_bands = list(self.previous_bands_BKHW.split(1, dim=1))
        phi_1, phi_2 = _at_pixels(self.phi_1_BKhw), _at_pixels(self.phi_2_BKhw)
        rho = torch.ones_like(self.phi_1_BKhw)
        previous_rho = self.phi_1_BKhw / (1 - self.phi_2_BKhw)
        for _ in range(lead_times):
            later = [
                torch.addcmul(phi_1[k] * band, phi_2[k], previous_bands[k])
                for k, band in enumerate(bands)
            ]
            bands, previous_bands = later, bands
            rho, previous_rho = self.phi_1_BKhw * rho + self.phi_2_BKhw * previous_rho, rho
            yield BandForecast(bands, (1 - rho.square()).clamp(min=0))


def scale_bands(rain_B1HW: Tensor, known_B1HW: Tensor) -> Tensor:
    """A field as the sum of K bands, finest first: differences of ever smoother versions.

    Pixels that are not known enter no mean. The bands add up to the field where it is known.

    Returns
    -------
    (B, K, H, W)
    """
    return torch.cat(list(_band_after_band(rain_B1HW, known_B1HW)), dim=1)


def _band_after_band(rain_B1HW: Tensor, known_B1HW: Tensor) -> Iterator[Tensor]:
    """The K bands of `scale_bands`, (B, 1, H, W) each."""
    height, width = rain_B1HW.shape[-2:]
    smooth = rain_B1HW * known_B1HW
    weighted_and_weight = torch.cat([smooth, known_B1HW], dim=1)
    for power in range(1, BANDS):
        scale = 2**power
        if scale > min(height, width):
            yield torch.zeros_like(smooth)
            continue
        pooled = avg_pool2d(weighted_and_weight, scale, ceil_mode=True)
        means = pooled[:, :1] / pooled[:, 1:].clamp(min=1e-3)
        smoother = interpolate(means, scale_factor=scale, mode="bilinear", align_corners=False)[
            ..., :height, :width
        ]
        yield smooth - smoother
        smooth = smoother
    yield smooth


def _at_pixels(parameter_BKhw: Tensor) -> list[Tensor]:
    """A parameter of each band at each pixel; (B, 1, 1, 1) where it is the same everywhere."""
    return [
        upsampled(band) if number < LOCAL_BANDS else band[..., :1, :1]
        for number, band in enumerate(parameter_BKhw.split(1, dim=1))
    ]


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
    if scans == 1:
        bands = scale_bands(rain[:, 0], known[:, 0])
        ones = torch.ones_like(bands[..., ::COARSE, ::COARSE])
        return BandProcesses(bands, None, ones, torch.zeros_like(ones))
    bands, previous, moments = _bands_and_moments(rain, known)
    lags = range(1, min(LONGEST_LAG, scans - 1) + 1)
    correlations = [_correlation(moments, known, lag) for lag in lags]
    rho_1 = torch.full_like(correlations[0].rho_BKhw, MAX_RHO_1)
    for lag, (rho, evidence) in reversed(list(zip(lags, correlations, strict=True))):
        rho_1 = rho_1.lerp(rho.clamp(0, MAX_RHO_1) ** (1 / lag), evidence)
    rho_2 = rho_1**2
    if scans > 2:  # a stationary process whose correlation decays has rho_2 between these bounds
        measured, evidence = _correlation(moments, known, 2, linked=True)
        measured = measured.maximum(2 * rho_1**2 - 1).minimum(rho_1)
        rho_2 = rho_2.lerp(measured, evidence.expand_as(rho_2))
    remainder = 1 - rho_1**2
    phi_1, phi_2 = rho_1 * (1 - rho_2) / remainder, (rho_2 - rho_1**2) / remainder
    if not known[:, -2].all():
        for k, rho in enumerate(_at_pixels(rho_1)):
            band = previous[:, k : k + 1]
            band.copy_(torch.where(known[:, -2] > 0, band, rho * bands[:, k : k + 1]))
    return BandProcesses(bands, previous, phi_1, phi_2)


def _bands_and_moments(rain_BT1HW: Tensor, known_BT1HW: Tensor) -> tuple[Tensor, Tensor, Moments]:
    """The bands of the last scan and of the one before, (B, K, H, W), and the moments of all pairs.

    One scale is computed after the other, for all scans: the bands of all scales and scans would
    not fit into the processor's cache, and a large grid's hardly into memory.
    """
    scans = range(rain_BT1HW.shape[1])
    known = [known_BT1HW[:, -1 - age] for age in scans]
    by_age = [_band_after_band(rain_BT1HW[:, -1 - age], known[age]) for age in scans]
    pairs = [
        Pair(later, earlier)
        for later, earlier in combinations(scans, 2)
        if earlier - later <= LONGEST_LAG
    ]
    of_last, of_previous, power_now, moments = [], [], [], []
    for number, bands in enumerate(zip(*by_age, strict=True)):
        of_last.append(bands[0])
        of_previous.append(bands[1])
        masked = [band * is_known for band, is_known in zip(bands, known, strict=True)]
        squares = [band.square() for band in masked]
        reduce = _cell_means if number < LOCAL_BANDS else _domain_means
        power_now.append(squares[0].mean(dim=(2, 3), keepdim=True))
        moments.append(
            {
                pair: torch.cat(
                    [
                        reduce(masked[pair.later] * masked[pair.earlier]),
                        reduce(squares[pair.later] * known[pair.earlier]),
                        reduce(squares[pair.earlier] * known[pair.later]),
                    ]
                )
                for pair in pairs
            }
        )
    of_pairs = {pair: torch.cat([band[pair] for band in moments], dim=1) for pair in pairs}
    return (
        torch.cat(of_last, dim=1),
        torch.cat(of_previous, dim=1),
        Moments(of_pairs, torch.cat(power_now, dim=1)),
    )


def _cell_means(field_B1HW: Tensor) -> Tensor:
    """(B, 1, h, w): means over the cells of the motion's coarse grid."""
    return avg_pool2d(field_B1HW, COARSE)


def _domain_means(field_B1HW: Tensor) -> Tensor:
    """(B, 1, h, w): the mean of the domain in each cell."""
    height, width = field_B1HW.shape[-2:]
    mean = field_B1HW.mean(dim=(2, 3), keepdim=True)
    return mean.expand(-1, -1, height // COARSE, width // COARSE)


def _correlation(
    moments: Moments, known_BT1HW: Tensor, lag: int, *, linked: bool = False
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
    weighted, weights = [], []
    known_now = known_BT1HW[:, -1].mean(dim=(2, 3), keepdim=True)
    for pair, of_pair in moments.of_pairs.items():
        if pair.later + lag != pair.earlier:
            continue
        _, xx, yy = (m.mean(dim=(2, 3), keepdim=True) for m in of_pair.chunk(3))
        most = xx.maximum(yy).maximum(moments.power_now_BK11)
        power_ratio = xx.minimum(yy) / most.clamp(min=NO_POWER)
        ends = [pair.later, pair.earlier]
        needed = range(pair.later, pair.earlier + 1) if linked and pair.later > 0 else ends
        shared = torch.stack([known_BT1HW[:, -1 - age] for age in needed]).amin(dim=0)
        overlap = shared.mean(dim=(2, 3), keepdim=True) / known_now.clamp(min=NO_POWER)
        weight = (power_ratio.minimum(overlap) / FULL_EVIDENCE).clamp(max=1)
        weights.append(weight)
        weighted.append(of_pair * weight.repeat(3, 1, 1, 1))
    xy, xx, yy = torch.stack(weighted).sum(dim=0).chunk(3)
    weight = DOMAIN_WEIGHT / _share_with_power(xx)
    xy, xx, yy = (_local_means(moment, weight) for moment in (xy, xx, yy))
    rho = xy / (xx * yy).sqrt().clamp(min=TINY_POWER)
    return Correlation(rho, torch.stack(weights).amax(dim=0))


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
