"""Noise of the scale bands: what a member has in the place of what its bands forget.

The bands are a Laplacian pyramid (Burt and Adelson 1983, doi:10.1109/TCOM.1983.1095851): band k has
the grid spacing 2**k pixels, so all bands together cost a third more than the finest. The noise of
a band has the spectrum of this band of the last scan, and its local standard deviation. As in STEPS
(Bowler et al. 2006, doi:10.1256/qj.04.100) the bands are filtered from the same white noise, so
that neighbouring bands add up in phase.

Dims: M members, K scale bands, H rows, W columns of pixels, h and w of the motion's coarse grid,
R rows, C columns of a band's grid, F frequencies of the columns.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from squall.convgru.ensemble.random_numbers import RandomSource
from squall.convgru.ensemble.settings import EnsembleSettings
from squall.convgru.file_arrays import release, zeros
from squall.convgru.heads.cascade import BANDS
from squall.convgru.heads.filling import filled
from squall.convgru.heads.interface import Frame
from squall.convgru.heads.processes import BandProcesses
from squall.convgru.motion import COARSE, pad_to

LAG_CELLS = 4.0  # standard deviation of the window of autocovariances, in cells of a band's grid
COARSE_LEVEL = COARSE.bit_length() - 1  # the band whose grid is the motion's coarse grid


class BandNoise(NamedTuple):
    """The noise of one scale band, an autoregressive process of second order that begins at 0.

    ::

        noise(t) = phi_1 noise(t - 1) + phi_2 noise(t - 2) + shock white(t),
        shock**2 = (1 + phi_2) ((1 - phi_2)**2 - phi_1**2) / (1 - phi_2)

    with the parameters of the band's own process. Its variance is the share of the band's variance
    that does not follow from the last two scans. It rises from 0 to 1, so that forecast and noise
    together keep the variance.
    """

    level: int
    """the grid spacing is 2**level pixels"""
    phi_1_RC: Tensor
    phi_2_RC: Tensor
    shock_RC: Tensor
    deviation_RC: Tensor
    """local standard deviation of the band in the last scan, with a share of that in the domain,
    normalised dB"""
    filter_RF: Tensor
    """complex: from white noise in the frequencies of pixels to noise with the band's spectrum and
    variance 1"""

    def white(self, spectrum_MHF: Tensor) -> Tensor:
        """(M, R, C): noise with the band's spectrum and variance 1, without memory."""
        rows, columns = self.deviation_RC.shape
        lowest = lowest_frequencies(spectrum_MHF, rows, 1)[..., : columns // 2 + 1]
        return torch.fft.irfft2(lowest * self.filter_RF, s=(rows, columns), norm="forward")


class NoiseState(NamedTuple):
    """The noise of some members at a lead time and one step before, for each band."""

    now: list[Tensor]
    """(M, R, C) for each band"""
    before: list[Tensor]

    def release(self) -> None:
        """See `squall.convgru.file_arrays.release`."""
        if self.now[0].device.type == "cpu":
            # the two take turns, and one of them begins where the file does
            release(self.now[0].numpy(), self.before[0].numpy())


class NoiseProcess(NamedTuple):
    """The noise of all scale bands."""

    bands: list[BandNoise]
    """finest first"""
    sides: tuple[int, int]
    """rows and columns of pixels, filled up so that the coarsest grid divides them"""

    def begin(self, members: int, of_members: int = 0) -> NoiseState:
        """No noise at the last scan's time.

        Parameters
        ----------
        of_members : of the ensemble. The noise of all members of a large grid does not fit into
            memory, so it lies in files.
        """
        device = self.bands[0].deviation_RC.device
        shapes = [tuple(band.deviation_RC.shape) for band in self.bands]
        of_bytes = 8 * max(members, of_members) * sum(map(prod, shapes))

        sizes = [members * prod(shape) for shape in shapes] * 2
        if device.type == "cpu":  # one array, since each in a file keeps a file open
            values = torch.from_numpy(zeros((sum(sizes),), np.float32, of_bytes))
        else:
            values = torch.zeros(sum(sizes), device=device)
        bands = [
            part.view(members, *shape)
            for part, shape in zip(values.split(sizes), shapes * 2, strict=True)
        ]
        return NoiseState(bands[: len(shapes)], bands[len(shapes) :])

    def draw_group(
        self, source: RandomSource, numbers: Sequence[int], step: int, threads: ThreadPoolExecutor
    ) -> Tensor:
        """(M, H, F): the spectra of some members from `draw`, on the device of the noise."""
        device = self.bands[0].deviation_RC.device
        if len(numbers) == 1:  # no second copy
            return self.draw(source, numbers[0], step)[None].to(device)
        spectra = threads.map(lambda member: self.draw(source, member, step), numbers)
        return torch.stack(list(spectra)).to(device)

    def draw(self, source: RandomSource, member: int, step: int) -> Tensor:
        """(H, F): the spectrum of white noise of a member and a step, complex, on the CPU."""
        rows, columns = self.sides
        shape = (rows, columns // 2 + 1, 2)
        spectrum = torch.view_as_complex(source.normal(member, f"noise {step}", shape))
        # a real field's spectrum: S(-f) is the conjugate of S(f)
        first = spectrum[:, 0]
        spectrum[:, 0] = (first + first.flip(0).roll(1).conj()) / 2**0.5
        return spectrum

    def advance(self, state: NoiseState, spectrum_MHF: Tensor) -> NoiseState:
        """The noise one step later; the memory of the noise before is used again."""
        later = [
            before.mul_(band.phi_2_RC)
            .addcmul_(band.phi_1_RC, now)
            .addcmul_(band.shock_RC, band.white(spectrum_MHF))
            for band, now, before in zip(self.bands, state.now, state.before, strict=True)
        ]
        return NoiseState(later, state.now)

    def field(self, state: NoiseState, factors_K: Sequence[float]) -> Tensor:
        """(M, H, W): the bands' noise, summed, normalised dB.

        Parameters
        ----------
        factors_K : of the bands' standard deviations, finest band first.
        """
        total: Tensor | None = None
        for band, factor, noise in reversed(
            list(zip(self.bands, factors_K, state.now, strict=True))
        ):
            detail = factor * band.deviation_RC * noise
            total = detail if total is None else detail + finer(total)
        assert total is not None
        return total


def noise_process(
    frame: Frame, processes: BandProcesses, settings: EnsembleSettings, spacing_km: float
) -> NoiseProcess:
    """The noise of a context's bands.

    Parameters
    ----------
    frame : of one context along the trajectories; its last scan tells the noise's spectrum and
        standard deviation.
    processes : of the same context.
    """
    last, known = frame.rain_BT1HW[:1, -1].float(), frame.known_BT1HW[:1, -1].float()
    height, width = last.shape[-2:]
    levels = min(BANDS - 1, min(height, width).bit_length() - 1)
    multiple = max(2**levels, COARSE)
    known = pad_to(known, multiple)
    smooth = filled(pad_to(last, multiple), known)
    more = [x.shape[-1] // COARSE for x in (known.mT, known)]
    bands = []
    for level in range(levels + 1):
        if level < levels:
            smoother = avg_pool2d(smooth, 2)
            detail = smooth - finer(smoother[0])[None]
        else:
            smoother = smooth
            total = known.sum().clamp(min=1e-9)
            detail = smooth - (smooth * known).sum() / total
        number = level if level < levels else BANDS - 1
        phi_1, phi_2 = (
            _on_level(x[:1, number : number + 1], level, more, detail.shape[-2:])
            for x in (processes.phi_1_BKhw, processes.phi_2_BKhw)
        )
        shock = ((1 + phi_2) * ((1 - phi_2).square() - phi_1.square()) / (1 - phi_2)).clamp(min=0)
        local, of_domain = _local_deviation(detail, known, level, settings, spacing_km)
        deviation = local + settings.floor_share(2**level * spacing_km) * of_domain
        # far from rain a division by less than the whole floor would enlarge what little is there
        at_least = local + settings.deviation_floor * of_domain
        filter_RF = _filter(detail[0, 0] * (known[0, 0] > 0), at_least, level)
        bands.append(BandNoise(level, phi_1, phi_2, shock.sqrt(), deviation, filter_RF))
        smooth, known = smoother, avg_pool2d(known, 2) if level < levels else known
    return NoiseProcess(
        bands, (multiple * -(-height // multiple), multiple * -(-width // multiple))
    )


def lowest_frequencies(spectrum: Tensor, side: int, dim: int) -> Tensor:
    """The lowest frequencies of both signs, as many as a side of a coarser grid has cells."""
    own = spectrum.shape[dim]
    if own == side:
        return spectrum
    first = spectrum.narrow(dim, 0, (side + 1) // 2)
    return torch.cat([first, spectrum.narrow(dim, own - side // 2, side // 2)], dim=dim)


def finer(field_MRC: Tensor) -> Tensor:
    """A field on the grid of half the spacing, bilinear."""
    return interpolate(field_MRC[:, None], scale_factor=2, mode="bilinear", align_corners=False)[
        :, 0
    ]


def _on_level(
    parameter_11hw: Tensor, level: int, coarse_hw: list[int], shape: torch.Size
) -> Tensor:
    """(R, C): a parameter on the motion's coarse grid, brought to a band's grid."""
    missing = [side - own for side, own in zip(coarse_hw, parameter_11hw.shape[-2:], strict=True)]
    parameter = pad(parameter_11hw, (0, missing[1], 0, missing[0]), mode="replicate")
    if level > COARSE_LEVEL:
        return avg_pool2d(parameter, 2 ** (level - COARSE_LEVEL))[0, 0]
    return interpolate(parameter, size=tuple(shape), mode="bilinear", align_corners=False)[0, 0]


def _local_deviation(
    detail_11RC: Tensor,
    known_11RC: Tensor,
    level: int,
    settings: EnsembleSettings,
    spacing_km: float,
) -> tuple[Tensor, Tensor]:
    """The standard deviation of a band around each place, (R, C), and in the domain, a scalar."""
    power, weight = detail_11RC.square() * known_11RC, known_11RC
    shape = tuple(power.shape[-2:])
    pooled = max(0, COARSE_LEVEL - level)
    if pooled:
        power, weight = (avg_pool2d(x, 2**pooled) for x in (power, weight))
    mean = power.sum() / weight.sum().clamp(min=1e-9)
    sigma = settings.deviation_window_km / spacing_km / 2 ** max(level, COARSE_LEVEL)
    power, weight = (_gaussian_mean(x, sigma) for x in (power, weight))
    local = torch.where(weight > 1e-6, power / weight.clamp(min=1e-6), 0.0).clamp(min=0).sqrt()
    if pooled:
        local = interpolate(local, size=shape, mode="bilinear", align_corners=False)
    return local[0, 0], mean.sqrt()


def _gaussian_mean(field_11RC: Tensor, sigma_cells: float) -> Tensor:
    """A field under a Gaussian window; zeros beyond the edge."""
    reach = max(1, round(3 * sigma_cells))
    distance = torch.arange(-reach, reach + 1, device=field_11RC.device, dtype=field_11RC.dtype)
    window = torch.softmax(-0.5 * (distance / max(sigma_cells, 0.1)).square(), dim=0)[None, None]
    rows = conv2d(field_11RC, window[..., None, :], padding=(0, reach))
    return conv2d(rows, window[..., None], padding=(reach, 0))


def _filter(detail_RC: Tensor, deviation_RC: Tensor, level: int) -> Tensor:
    """(R, F) complex: what gives white noise the spectrum of a band; see `BandNoise.filter_RF`.

    The spectrum is that of the band divided by its local standard deviation, smoothed by a
    window of its autocovariance (Blackman and Tukey). Without the window the noise would repeat
    the outline of the rain area.

    The phase makes up for the places of the cells: the centre of the first cell of a band lies
    (2**level - 1) / 2 pixels from that of the first pixel.
    """
    rows, columns = detail_RC.shape
    whitened = detail_RC / deviation_RC.clamp(min=1e-9)
    covariance = torch.fft.irfft2(torch.fft.rfft2(whitened).abs().square(), s=(rows, columns))
    lags = [torch.fft.fftfreq(side, 1 / side, device=detail_RC.device) for side in (rows, columns)]
    distance = lags[0][:, None].square() + lags[1].square()
    window = torch.exp(-0.5 * distance / LAG_CELLS**2)
    power = torch.fft.rfft2(covariance * window).real.clamp(min=0)
    power[0, 0] = 0
    if rows % 2 == 0:
        power[rows // 2] = 0
    if columns % 2 == 0:
        power[:, -1] = 0
    total = 2 * power.sum() - power[:, 0].sum()  # over both signs of the columns' frequency
    gain = (power / (2 * total).clamp(min=1e-30)).sqrt() * (total > 1e-12)
    offset = (2**level - 1) / 2 / 2**level
    row, column = (
        torch.fft.fftfreq(rows, device=power.device)[:, None],
        torch.fft.rfftfreq(columns, device=power.device),
    )
    return torch.polar(gain, 2 * torch.pi * offset * (row + column))
