"""CRPS of the published ensembles against the scans that came since, in the child process.

Public: `MemberSample`, `RememberedMembers`, `STRIDE`.

The members are not published. Their codes at every `STRIDE`-th row and column stay compressed in
the memory, as long as scans come that they were valid for.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.coding import RAIN_CODE
from squall.pipeline.live.self_check import METHODS, Counts
from squall.pipeline.scores.member_sums import crps_terms

STRIDE = 4  # a sixteenth of the pixels

Rates = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


class MemberSample:
    """A sample of the members of one forecast, taken while they exist."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.fields: list[bytes] = []

    def take(self, rates: Rates) -> None:
        """Take the members (member, y, x), mm/h, of the next lead time."""
        codes = RAIN_CODE.encode(rates[:, ::STRIDE, ::STRIDE])
        self.shape = codes.shape
        self.fields.append(zlib.compress(codes.tobytes(), level=1))

    def rates(self, lead: int) -> Rates:
        """(member, row, column), mm/h, of a lead time."""
        codes = np.frombuffer(zlib.decompress(self.fields[lead]), np.uint8)
        return RAIN_CODE.decode(codes.reshape(self.shape))


class _Kept(NamedTuple):
    members: MemberSample
    extrapolated: Codes  # (lead_time, row, column)


class RememberedMembers:
    """The ensembles of the last hours, and the extrapolation beside each."""

    def __init__(self, lead_times: int) -> None:
        self._lead_times = lead_times
        self._kept: dict[pd.Timestamp, _Kept] = {}

    def add(self, reference: pd.Timestamp, members: MemberSample, extrapolated: Codes) -> None:
        """Keep an ensemble and the extrapolation, (lead_time, y, x) codes of rain rate."""
        own = extrapolated[:, ::STRIDE, ::STRIDE].copy()
        self._kept[reference] = _Kept(members, own)

    def score(
        self, time: pd.Timestamp, observed: Rates, step: pd.Timedelta, counts: Counts
    ) -> Counts:
        """Add the CRPS of a scan to its counts; forget the ensembles that are too old.

        With members x, observation y and M members, the fair CRPS of a pixel is

            mean|x - y| - sum_ij |x_i - x_j| / (2 M (M - 1))

        (Ferro 2014, doi:10.1002/qj.2270), and that of the extrapolation is |x - y|.

        Parameters
        ----------
        observed : (y, x), mm/h, NaN = not observed.
        """
        truth = observed[::STRIDE, ::STRIDE]
        sums = np.zeros((self._lead_times, len(METHODS)))
        pixels = np.zeros(self._lead_times, np.int64)
        for lead in range(self._lead_times):
            kept = self._kept.get(time - (lead + 1) * step)
            if kept is None or lead >= min(len(kept.members.fields), len(kept.extrapolated)):
                continue
            members = kept.members.rates(lead)
            other = RAIN_CODE.decode(kept.extrapolated[lead])
            known = ~np.isnan(truth) & ~np.isnan(members).any(axis=0) & ~np.isnan(other)
            x, y = members[:, known].astype(np.float64), truth[known].astype(np.float64)
            error, difference = crps_terms(np.sort(x, axis=0), y)
            sums[lead] = (error - 0.5 * difference).sum(), np.abs(other[known] - y).sum()
            pixels[lead] = y.size
        for reference in [r for r in self._kept if r + self._lead_times * step <= time]:
            del self._kept[reference]
        return counts._replace(crps=sums, crps_pixels=pixels)
