"""The cascade: rain as a sum of scale bands, each an autoregressive process along trajectories.

As in S-PROG (Seed 2003, doi:10.1175/1520-0450(2003)042<0381:ADASSA>2.0.CO;2) and STEPS (Bowler et
al. 2006, doi:10.1256/qj.04.100): small scales live shorter than large ones, so each scale is
forecast by itself.

Dims: B batch, T context steps, K scale bands, H rows, W columns, h and w of the motion's coarse
grid.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import combinations, islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from squall.convgru.heads.interface import Frame
from squall.convgru.heads.processes import (
    LOCAL_BANDS,
    BandProcesses,
    PreviousBands,
    SmoothBands,
    SmoothMeans,
)
from squall.convgru.motion import COARSE, upsampled
from squall.convgru.strips import interpolated_rows, strips

BANDS = 8  # details of 1, 2, 4, … 64 pixels, and the remaining smooth field
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


def scale_bands(rain_B1HW: Tensor, known_B1HW: Tensor) -> Tensor:
    """A field as the sum of K bands, finest first: differences of ever smoother versions.

    Pixels that are not known enter no mean. The bands add up to the field where it is known.

    Returns
    -------
    (B, K, H, W)
    """
    height, width = rain_B1HW.shape[-2:]
    versions = _smoother_versions(rain_B1HW, known_B1HW)
    return torch.cat(list(_bands_in_rows(versions, slice(0, height), width)), dim=1)


def _smoother_versions(rain_B1HW: Tensor, known_B1HW: Tensor) -> list[SmoothMeans]:
    """Ever smoother versions of a field, as means of its known pixels over ever larger squares.

    Returns
    -------
    `BANDS` versions; the first is the field itself, 0 where it is not known. A square that is
    larger than the domain has no version of its own.
    """
    height, width = rain_B1HW.shape[-2:]
    total, count = rain_B1HW * known_B1HW, known_B1HW
    versions = [SmoothMeans(total, 1)]
    for power in range(1, BANDS):
        side = 2**power
        if side > min(height, width):
            versions.append(versions[-1])
            continue
        total, count = (
            avg_pool2d(x, 2, ceil_mode=True, divisor_override=1) for x in (total, count)
        )
        rows, columns = (_sides_inside(size, side, total.device) for size in (height, width))
        pixels = rows[:, None] * columns
        versions.append(SmoothMeans(total / pixels / (count / pixels).clamp(min=1e-3), side))
    return versions


def _sides_inside(size: int, side: int, device: torch.device) -> Tensor:
    """(n,): how many of a domain's pixels each square has along one side."""
    first = torch.arange(0, size, side, device=device)
    return (size - first).clamp(max=side)


def _bands_in_rows(versions: Sequence[SmoothMeans], rows: slice, width: int) -> Iterator[Tensor]:
    """The bands (B, 1, rows, W) in a strip, finest first."""
    fine = versions[0].means_B1hw[..., rows, :]
    for means, side in versions[1:]:
        smoother = fine if side == 1 else interpolated_rows(means, rows, side, width)
        yield fine - smoother
        fine = smoother
    yield fine


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
        versions = _smoother_versions(rain[:, 0], known[:, 0])
        whole = slice(0, rain.shape[-2])
        bands = islice(_bands_in_rows(versions, whole, rain.shape[-1]), LOCAL_BANDS)
        finest = torch.cat(list(bands), dim=1)
        smooth = SmoothBands(versions[LOCAL_BANDS:], rain.shape[-1])
        ones = torch.ones_like(rain[:, 0, :, ::COARSE, ::COARSE]).repeat(1, BANDS, 1, 1)
        return BandProcesses(finest, smooth, None, ones, torch.zeros_like(ones))
    (finest, smooth), (previous, previous_smooth), moments = _bands_and_moments(rain, known)
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
    is_known = known[:, -2] > 0
    if not is_known.all():
        for k in range(LOCAL_BANDS):
            band, last = previous[:, k : k + 1], finest[:, k : k + 1]
            band.copy_(torch.where(is_known, band, upsampled(rho_1[:, k : k + 1]) * last))
    of_previous = PreviousBands(
        previous, previous_smooth, is_known, rho_1[:, LOCAL_BANDS:, :1, :1].clone()
    )
    return BandProcesses(finest, smooth, of_previous, phi_1, phi_2)


def _bands_and_moments(
    rain_BT1HW: Tensor, known_BT1HW: Tensor
) -> tuple[tuple[Tensor, SmoothBands], tuple[Tensor, SmoothBands], Moments]:
    """The bands of the last scan and of the one before, and the moments of all pairs of scans.

    They are computed strip by strip: the bands of all scales and scans would not fit into the
    processor's cache, and a large grid's hardly into memory.
    """
    batch, scans, _, height, width = rain_BT1HW.shape
    known = [known_BT1HW[:, -1 - age] for age in range(scans)]
    by_age = [_smoother_versions(rain_BT1HW[:, -1 - age], known[age]) for age in range(scans)]
    pairs = [
        Pair(later, earlier)
        for later, earlier in combinations(range(scans), 2)
        if earlier - later <= LONGEST_LAG
    ]
    finest = [rain_BT1HW.new_empty((batch, LOCAL_BANDS, height, width)) for _ in range(2)]
    cells = (3 * batch, BANDS, height // COARSE, width // COARSE)
    of_pairs = {pair: rain_BT1HW.new_zeros(cells) for pair in pairs}
    power_now = rain_BT1HW.new_zeros((batch, BANDS, 1, 1), dtype=torch.float64)
    for rows in strips(height, width, rain_BT1HW.device, COARSE):
        of_cells = slice(rows.start // COARSE, rows.stop // COARSE)
        is_known = [field[..., rows, :] for field in known]
        of_ages = (_bands_in_rows(versions, rows, width) for versions in by_age)
        for number, bands in enumerate(zip(*of_ages, strict=True)):
            if number < LOCAL_BANDS:
                for field, band in zip(finest, bands[:2], strict=True):
                    field[:, number, rows] = band[:, 0]
            masked = [band * mask for band, mask in zip(bands, is_known, strict=True)]
            squares = [band.square() for band in masked]
            power_now[:, number] += squares[0].sum(dim=(2, 3), dtype=torch.float64)[..., None]
            for pair in pairs:
                products = [
                    masked[pair.later] * masked[pair.earlier],
                    squares[pair.later] * is_known[pair.earlier],
                    squares[pair.earlier] * is_known[pair.later],
                ]
                means = avg_pool2d(torch.cat(products), COARSE)
                of_pairs[pair][:, number, of_cells] = means[:, 0]
    for moment in of_pairs.values():
        smooth = moment[:, LOCAL_BANDS:]
        smooth.copy_(_domain_mean(smooth).expand_as(smooth))
    newest = [
        (field, SmoothBands(versions[LOCAL_BANDS:], width))
        for field, versions in zip(finest, by_age[:2], strict=True)
    ]
    power_now = (power_now / (height * width)).to(rain_BT1HW.dtype)
    return newest[0], newest[1], Moments(of_pairs, power_now)


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
        shared = reduce(torch.minimum, (known_BT1HW[:, -1 - age] for age in needed))
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
    domain_mean = _domain_mean(x_BKhw)
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


def _domain_mean(x_BKhw: Tensor) -> Tensor:
    """(B, K, 1, 1): the mean, summed in double precision.

    The processes of long-lived bands follow from the small difference of a correlation from 1.
    """
    return x_BKhw.mean(dim=(2, 3), keepdim=True, dtype=torch.float64).to(x_BKhw.dtype)
