"""Scale bands as autoregressive processes, and their forecast.

How the processes are estimated is in `squall.convgru.heads.cascade`.

Dims: B batch, K scale bands (k some of them), H rows, W columns, h and w of the motion's coarse
grid.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from squall.convgru.motion import COARSE
from squall.convgru.strips import interpolated_rows, strips

LOCAL_BANDS = 4  # the finest bands, whose correlations are estimated locally


class BandForecast(NamedTuple):
    """Scale bands at a lead time."""

    sum_B1HW: Tensor
    """of all bands, normalised dB"""
    forgotten_BKhw: Tensor
    """share of a band's variance that does not follow from the last scan, 1 - rho(lead)**2, on the
    motion's coarse grid"""


class SmoothMeans(NamedTuple):
    """A field that is interpolated from means over squares."""

    means_B1hw: Tensor
    side: int
    """of the squares [px]"""


class SmoothBands(NamedTuple):
    """The bands of a scan from `LOCAL_BANDS` on, kept as the coarse means that they come from.

    A band is the difference of two fields, each interpolated from means over squares. So these
    bands need a hundredth of the memory of fields.
    """

    means: list[SmoothMeans]
    """of the field without the finer bands, for each band, finest first"""
    width: int
    """columns of the domain"""

    def weighted_sum(self, weights_Bk11: Tensor) -> "SmoothField":
        """The sum of the bands times their weights."""
        differences = torch.diff(weights_Bk11, dim=1, prepend=torch.zeros_like(weights_Bk11[:, :1]))
        parts = zip(self.means, differences.split(1, dim=1), strict=True)
        weighted = [SmoothMeans(means * weight, side) for (means, side), weight in parts]
        return SmoothField(weighted, self.width)


class SmoothField(NamedTuple):
    """A field as the sum of fields that are interpolated from means over squares."""

    parts: list[SmoothMeans]
    width: int
    """columns of the domain"""

    def plus(self, other: "SmoothField") -> "SmoothField":
        """The sum with a field whose squares have the same sides."""
        pairs = zip(self.parts, other.parts, strict=True)
        sums = [SmoothMeans(one + more, side) for (one, side), (more, _) in pairs]
        return SmoothField(sums, self.width)

    def in_rows(self, rows: slice) -> Tensor:
        """(B, 1, rows, W): a strip of the domain."""
        fields = (interpolated_rows(means, rows, side, self.width) for means, side in self.parts)
        total = next(fields)
        for field in fields:
            total += field
        return total


class BandProcesses(NamedTuple):
    """Scale bands as autoregressive processes of second order along the trajectories.

    ::

        band(t + 1) = phi_1 band(t) + phi_2 band(t - 1)

    The processes of the finest bands are local. Those of the other bands are the same everywhere.
    """

    finest_BkHW: Tensor
    """the `LOCAL_BANDS` finest bands of the last scan"""
    smooth: SmoothBands
    """the other bands of the last scan"""
    previous: "PreviousBands | None"
    """one step before; None if the context has only one scan"""
    phi_1_BKhw: Tensor
    phi_2_BKhw: Tensor
    """on the motion's coarse grid; those of bands from `LOCAL_BANDS` on are the same everywhere"""

    def forecasts(self, lead_times: int, *, use_up: bool = False) -> Iterator[BandForecast]:
        """The bands at each lead time, and what share of their variance is forgotten.

        The autocorrelation follows the same recursion,

            rho(l) = phi_1 rho(l - 1) + phi_2 rho(l - 2), rho(0) = 1, rho(-1) = phi_1 / (1 - phi_2)

        With one scan the bands stay as they are and the forgotten share is 1.

        Parameters
        ----------
        use_up : whether the bands of the processes may be overwritten; that saves the memory of
            eight fields.
        """
        previous = self.previous
        ones = torch.ones_like(self.phi_1_BKhw)
        if previous is None:
            total = self.finest_BkHW.sum(dim=1, keepdim=True)
            smooth = self.smooth.weighted_sum(ones[:, LOCAL_BANDS:, :1, :1])
            for rows in strips(*_size(total), total.device):
                total[..., rows, :] += smooth.in_rows(rows)
            for _ in range(lead_times):
                yield BandForecast(total.clone(), ones)
            return
        now, before = (
            finest if use_up else finest.clone()
            for finest in (self.finest_BkHW, previous.finest_BkHW)
        )
        phis = torch.cat([phi[:, :LOCAL_BANDS] for phi in (self.phi_1_BKhw, self.phi_2_BKhw)], 1)
        phi_1, phi_2 = (phi[:, LOCAL_BANDS:, :1, :1] for phi in (self.phi_1_BKhw, self.phi_2_BKhw))
        # a smooth band is w_0 band(0) + w_1 band(-1), with the recursion of the band for w_0, w_1
        one, zero = torch.ones_like(phi_1), torch.zeros_like(phi_1)
        weights, weights_before = (one, zero), (zero, one)
        rho, previous_rho = ones, self.phi_1_BKhw / (1 - self.phi_2_BKhw)
        for _ in range(lead_times):
            w_0, w_1 = (
                phi_1 * w + phi_2 * w_before
                for w, w_before in zip(weights, weights_before, strict=True)
            )
            weights, weights_before = (w_0, w_1), weights
            rho, previous_rho = self.phi_1_BKhw * rho + self.phi_2_BKhw * previous_rho, rho
            smooth = self.smooth.weighted_sum(w_0).plus(previous.smooth.weighted_sum(w_1))
            expected = self.smooth.weighted_sum(w_0 + w_1 * previous.rho_1_Bk11)
            total = torch.empty_like(now[:, :1])
            for rows in strips(*_size(total), total.device, COARSE):
                at_pixels = interpolated_rows(phis, rows, COARSE).split(LOCAL_BANDS, dim=1)
                later = before[..., rows, :]  # the memory of the band before
                later.mul_(at_pixels[1]).addcmul_(at_pixels[0], now[..., rows, :])
                finest, is_known = (
                    later.sum(dim=1, keepdim=True),
                    previous.is_known_B1HW[..., rows, :],
                )
                of_bands = smooth.in_rows(rows)
                if not is_known.all():
                    of_bands = torch.where(is_known, of_bands, expected.in_rows(rows))
                torch.add(finest, of_bands, out=total[..., rows, :])
            now, before = before, now
            yield BandForecast(total, (1 - rho.square()).clamp(min=0))

    def as_previous(self) -> "PreviousBands":
        """The bands of the last scan, as if they were those one step before."""
        return PreviousBands(
            self.finest_BkHW.clone(),  # both may be used up
            self.smooth,
            torch.ones_like(self.finest_BkHW[:, :1], dtype=torch.bool),
            torch.ones_like(self.phi_1_BKhw[:, LOCAL_BANDS:, :1, :1]),
        )


class PreviousBands(NamedTuple):
    """The bands one step before the last scan.

    Where that scan is not known, a band is what its process expects, rho_1 times the last band.
    """

    finest_BkHW: Tensor
    smooth: SmoothBands
    """of the scan"""
    is_known_B1HW: Tensor
    """bool"""
    rho_1_Bk11: Tensor
    """of the smooth bands"""


def _size(field_BCHW: Tensor) -> tuple[int, int]:
    return field_BCHW.shape[-2], field_BCHW.shape[-1]
