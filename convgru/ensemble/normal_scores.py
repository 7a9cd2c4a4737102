"""Standard normal noise with the scales, the places and the memory of the bands' noise.

The sum of the bands' noise, with a weight for each band, divided by its standard deviation:

::

    score = sum_k w_k n_k / sqrt(sum_jk w_j w_k R_jk G_jk)

with the weights w, the noise n_k of band k (`squall.convgru.ensemble.noise`), the correlation R_jk
of white noise of two bands at a pixel, and what their memories of the past steps have in common,

::

    G_jk(t) = sum_(s < t) h_j(s) h_k(s),
    h(0) = shock, h(s) = phi_1 h(s - 1) + phi_2 h(s - 2).

R_jk is exact at each pixel, edges included: interpolation from the grids of the bands to pixels is
smoother in the middle between cells than at their centres. Weights and memories are those of the
coarse grid, and are taken as constant over the few cells that interpolation uses.

Dims: M members, K scale bands, P pairs of bands, H rows, W columns of pixels, h and w of the
motion's coarse grid, R rows, C columns of a band's grid.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from squall.convgru.ensemble.noise import (
    COARSE_LEVEL,
    BandNoise,
    NoiseProcess,
    NoiseState,
    finer,
    lowest_frequencies,
)
from squall.convgru.motion import COARSE
from squall.convgru.strips import interpolated_rows, strips

NEGLIGIBLE = 1e-3  # correlation of two bands' noise that is left out


class NormalScores:
    """Turns the noise of the bands into standard normal scores, lead time by lead time.

    `advance` must be called once for each step, before `of_noise`.
    """

    def __init__(self, process: NoiseProcess) -> None:
        self.process = process
        bands = process.bands
        self._deviation = [_on_coarse(band.deviation_RC, band.level) for band in bands]
        self._phi_1, self._phi_2, self._shock = (
            torch.stack([_on_coarse(parameter, band.level) for parameter, band in pairs])
            for pairs in (
                [(band.phi_1_RC, band) for band in bands],
                [(band.phi_2_RC, band) for band in bands],
                [(band.shock_RC, band) for band in bands],
            )
        )
        self._pairs = pair_correlations(process)
        self._response = torch.zeros_like(self._shock)
        self._response_before = torch.zeros_like(self._shock)
        self._common = {pair: torch.zeros_like(self._shock[0]) for pair in self._pairs}
        self._step = 0
        self._weights: list[Tensor] = []  # each on its band's grid, or on the coarse grid
        self._scale = torch.empty(0)

    def advance(self, factors_K: list[float]) -> None:
        """Go on by one step.

        Parameters
        ----------
        factors_K : of the weights at this lead time, finest band first. A weight is the factor
            times the band's local standard deviation in the last scan (`BandNoise.deviation_RC`).
        """
        if self._step:
            later = self._phi_1 * self._response + self._phi_2 * self._response_before
            self._response, self._response_before = later, self._response
        else:
            self._response = self._shock
        self._step += 1
        weights = [f * d for f, d in zip(factors_K, self._deviation, strict=True)]
        parts = []
        for (j, k), correlation in self._pairs.items():
            common = self._common[j, k]
            common += self._response[j] * self._response[k]
            parts.append((weights[j] * weights[k] * common * (1 if j == k else 2), correlation))
        height, width = self.process.sides
        self._scale = torch.zeros(height, width, device=self._shock.device)
        for rows in strips(height, width, self._scale.device, COARSE):
            variance = self._scale[rows]
            for coarse, correlation in parts:
                part = interpolated_rows(coarse[None, None], rows, COARSE)[0, 0]
                variance += part.mul_(correlation.in_rows(rows))
            variance.clamp_(min=1e-30).rsqrt_()
        self._weights = [
            weight if band.level >= COARSE_LEVEL else _on_grid(weight, band.deviation_RC.shape)
            for band, weight in zip(self.process.bands, weights, strict=True)
        ]

    def of_noise(self, state: NoiseState) -> Tensor:
        """(M, H, W): standard normal scores of members from the noise of this step."""
        total: Tensor | None = None
        for band, weight, noise in reversed(
            list(zip(self.process.bands, self._weights, state.now, strict=True))
        ):
            if band.level >= COARSE_LEVEL:
                for _ in range(band.level - COARSE_LEVEL):
                    noise = finer(noise)
                part = weight * noise
                total = part if total is None else total + part
            else:
                part = weight * noise
                total = part if total is None else part.add_(finer(total))
        assert total is not None
        return total.mul_(self._scale)


class PairCorrelation(NamedTuple):
    """The correlation of two bands' white noise at each pixel.

    It repeats with the cells of the coarser band, but near the edges. So it is kept for the pixels
    of a few cells.
    """

    table: Tensor
    """(rows, columns) that differ, half precision"""
    rows_H: Tensor
    """the row of the table for each row of pixels"""
    columns_W: Tensor

    def in_rows(self, rows: slice) -> Tensor:
        """(rows, W): the correlation in a strip."""
        return self.table[self.rows_H[rows]].index_select(1, self.columns_W)


def pair_correlations(process: NoiseProcess) -> dict[tuple[int, int], PairCorrelation]:
    """For pairs j <= k of bands the correlation of their white noise at each pixel, R_jk.

    The noise of band k at a pixel is the sum over the cells of the band of the interpolation's
    weights times the noise of the cells. With X the spectrum of white noise, F_k the filter and
    I_k the Fourier transform of the interpolation's weights,

    ::

        noise_k(pixel) = sum_f X(f) F_k(f) I_k(f, pixel)
        R_jk(pixel) = sum_f E|X(f)|**2 F_j(f) conj(F_k(f)) I_j(f, pixel) conj(I_k(f, pixel))

    over the frequencies that both have. I_k is the product of a factor of the row and one of the
    column, so the sum is two products of matrices. Correlations that are `NEGLIGIBLE` at all pixels
    are left out; they are kept in half precision.
    """
    bands, sides = process.bands, process.sides
    device = bands[0].deviation_RC.device
    result = {}
    for j, k in combinations_with_replacement(range(len(bands)), 2):
        (n_rows, n_columns), filter_k = bands[k].deviation_RC.shape, bands[k].filter_RF
        filter_j = lowest_frequencies(bands[j].filter_RF, n_rows, 0)[:, : filter_k.shape[1]]
        product = filter_j * filter_k.conj()
        product[:, 1:] *= 2  # of both signs of the columns' frequency
        if bands[k].level == 0:  # no interpolation, so it is the same at all pixels
            numbers = (torch.zeros(side, dtype=torch.long, device=device) for side in sides)
            result[j, k] = PairCorrelation((2 * product.real.sum()).half().view(1, 1), *numbers)
            continue
        both_signs = torch.arange(n_rows) - n_rows * (torch.arange(n_rows) >= (n_rows + 1) // 2)
        period = 2 ** bands[k].level
        (rows, rows_H), (columns, columns_W) = (_that_differ(side, period) for side in sides)
        of_row, of_column = (
            _interpolation_spectrum(bands[j], pixels, side, frequencies)
            * _interpolation_spectrum(bands[k], pixels, side, frequencies).conj()
            for pixels, side, frequencies in (
                (rows, sides[0], both_signs),
                (columns, sides[1], torch.arange(n_columns // 2 + 1)),
            )
        )
        correlation = 2 * _real_product(of_row @ product, of_column.mT)  # E|X|**2 is 2
        if j == k or correlation.abs().max() > NEGLIGIBLE:
            result[j, k] = PairCorrelation(
                correlation.half(), rows_H.to(device), columns_W.to(device)
            )
    return result


def _that_differ(side: int, period: int) -> tuple[Tensor, Tensor]:
    """The pixels along a side that have correlations of their own, and which of them each pixel is.

    Interpolation from a band repeats with its cells, the ``period`` [px]. The edge changes it in
    one cell.
    """
    pixels = torch.arange(side)
    if side <= 3 * period:
        return pixels, pixels
    end = side - period
    of_pixels = torch.where(pixels < 2 * period, pixels, period + pixels % period)
    of_pixels = torch.where(pixels >= end, pixels - end + 2 * period, of_pixels)
    return torch.cat([pixels[: 2 * period], pixels[end:]]), of_pixels


def _real_product(a: Tensor, b: Tensor) -> Tensor:
    """The real part of a product of complex matrices, at half its cost."""
    return torch.cat([a.real, -a.imag], dim=1) @ torch.cat([b.real, b.imag])


def _interpolation_spectrum(
    band: BandNoise, pixels: Tensor, side: int, frequencies: Tensor
) -> Tensor:
    """(pixels, frequencies), complex: the Fourier transform of the interpolation's weights from
    the cells of a band to some pixels along a side.

    Parameters
    ----------
    pixels, side : numbers of the pixels, and how many the side has.
    frequencies : their numbers in a transform of the band's cells; negative ones count back.
    """
    weights = torch.zeros(len(pixels), side)
    weights[torch.arange(len(pixels)), pixels] = 1
    for _ in range(band.level):
        weights = _from_twice_as_many(weights)
    cells = weights.shape[1]
    cell = weights.any(dim=0).nonzero()[:, 0]
    phase = 2 * torch.pi * (frequencies * cell[:, None] % cells) / cells
    spectrum = weights[:, cell].to(torch.complex64) @ torch.polar(torch.ones_like(phase), phase)
    return spectrum.to(band.filter_RF.device)


def _from_twice_as_many(weights: Tensor) -> Tensor:
    """Weights of cells (n, C) from those of the cells of half their size (n, 2 C), which are
    interpolated as `finer` does."""
    even, odd = weights[:, ::2], weights[:, 1::2]
    result = 0.75 * (even + odd)
    result[:, :-1] += 0.25 * even[:, 1:]
    result[:, 0] += 0.25 * even[:, 0]
    result[:, 1:] += 0.25 * odd[:, :-1]
    result[:, -1] += 0.25 * odd[:, -1]
    return result


def _on_coarse(field_RC: Tensor, level: int) -> Tensor:
    """(h, w): a field on a band's grid, brought to the motion's coarse grid."""
    if level < COARSE_LEVEL:
        return avg_pool2d(field_RC[None, None], 2 ** (COARSE_LEVEL - level))[0, 0]
    for _ in range(level - COARSE_LEVEL):
        field_RC = finer(field_RC[None])[0]
    return field_RC


def _on_grid(field_hw: Tensor, shape: torch.Size) -> Tensor:
    """(R, C): a field on the motion's coarse grid, brought to a finer band's grid."""
    field = field_hw[None, None]
    return interpolate(field, size=tuple(shape), mode="bilinear", align_corners=False)[0, 0]
