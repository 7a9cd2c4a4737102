"""How a network is used on an archive with another time step or grid spacing than it knows.

Public: `Resampling`. The computations are in `squall.pipeline.forecast.interpolation`.

Only whole factors are used: every k-th scan, or k - 1 interpolated scans between two scans; means
of k × k pixels, or k × k pixels in place of one. If no factor brings the archive nearer to what the
network was trained on, the scans are used as they are.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from squall.datasets.errors import DataError
from squall.pipeline.forecast.interpolation import regridded, scan_motion, with_fields_between

log = logging.getLogger("squall.resampling")

Rates = npt.NDArray[np.float32]
NowcastFunction = Callable[[Rates, int, Tensor | None], Iterable[Rates]]

NEAR = 1.25  # steps and spacings that differ by at most this factor count as the same
STEP_MIN = (2.0, 15.0)  # a network trained on 5 to 10 min is made for these steps of an archive
SPACING_KM = (0.5, 2.0)
LONGEST_STEP_MIN = 30.0  # rain changes too much in a longer time
WIDEST_SPACING_KM = 4.0  # wider pixels lack the small scales that the network knows


@dataclass(frozen=True)
class Resampling:
    """How an archive's scans are resampled for a network, and its forecast for the archive.

    Parameters
    ----------
    context : number of the archive's scans that give the network's context.
    lead_times : number of the archive's steps in the time that the network was trained to forecast.
    network_context : number of scans that the network takes.
    time_factor, space_factor : the network's time step and grid spacing, divided by those of the
        archive: k or 1 / k.
    description : text for users and for the provenance of a forecast; empty if nothing changes.
    """

    context: int
    lead_times: int
    network_context: int
    time_factor: Fraction
    space_factor: Fraction
    description: str

    @classmethod
    def for_archive(
        cls, provenance: Mapping[str, Any], *, step_s: float, spacing_m: float
    ) -> Resampling:
        """Choose the factors; warn if the archive is outside the range that networks are made for.

        Parameters
        ----------
        provenance : of the network: ``name``, ``context``, ``lead_times``, and the ``steps_s`` [s]
            and ``spacings_m`` [m] that it was trained on. Old checkpoints have no ``spacings_m``;
            then the grid is not resampled.
        step_s, spacing_m : time step and grid spacing of the archive.

        Raises
        ------
        DataError
            If the archive's step is longer than `LONGEST_STEP_MIN` or its grid spacing wider than
            `WIDEST_SPACING_KM`, and the network was not trained on such a step or spacing.
        """
        name = str(provenance["name"])
        trained_min = [step / 60 for step in provenance["steps_s"]]
        trained_km = [spacing / 1000 for spacing in provenance.get("spacings_m", ())]
        step_min, spacing_km = step_s / 60, spacing_m / 1000
        _check_range(name, "a step", "min", step_min, trained_min, STEP_MIN, LONGEST_STEP_MIN)
        _check_range(
            *(name, "a grid spacing", "km", spacing_km, trained_km, SPACING_KM, WIDEST_SPACING_KM)
        )
        time_factor = _nearest_factor(step_min, trained_min)
        space_factor = _nearest_factor(spacing_km, trained_km)
        network_context = int(provenance["context"])
        return cls(
            context=math.ceil((network_context - 1) * time_factor) + 1,
            lead_times=max(1, math.floor(int(provenance["lead_times"]) * time_factor)),
            network_context=network_context,
            time_factor=time_factor,
            space_factor=space_factor,
            description=_description(time_factor, space_factor, step_min, spacing_km),
        )

    @property
    def stride(self) -> int:
        """Of the archive's scans, only every ``stride``-th is used, counted back from the last."""
        return max(1, int(self.time_factor))

    def __str__(self) -> str:
        return self.description

    def leads(
        self,
        network: NowcastFunction,
        context: Rates,
        lead_times: int,
        thresholds_mm_h: Sequence[float] = (),
    ) -> Iterator[Rates]:
        """Forecast at the network's step and spacing; give the forecast at the archive's.

        Wide pixels of the network become narrow ones that keep their mean rain rate; all of them
        have the chances of the wide pixel. Narrow pixels of the network are averaged.

        Parameters
        ----------
        network : function of scans (T, y, x), a number of lead times, and the scans' motion (1, 2,
            h, w) [px] if it is known already. It gives for each lead time (1 + K, y, x): rain rate
            [mm/h], and the chances of K thresholds; NaN = not known.
        context : (`context`, y, x), scans of the archive, mm/h, NaN = not observed.
        lead_times : number of the archive's steps.
        thresholds_mm_h : of the chances; without any the network gives rain only.

        Yields
        ------
        (1 + K, y, x) as the network for each lead time. Fields of earlier lead times are not kept,
        since those of all lead times of a large grid would need much memory.
        """
        scans = self.network_scans(context)
        motion = scan_motion(scans) if self.time_factor > 1 else None
        fields = iter(network(scans, self.network_lead_times(lead_times), motion))
        if motion is not None:
            last = _reached(scans[-1], thresholds_mm_h)
            in_time = with_fields_between(chain([last], fields), motion, int(self.time_factor))
            fields = islice(in_time, 1, lead_times + 1)
            del last
        elif self.time_factor < 1:
            every = self.time_factor.denominator
            fields = islice(fields, every - 1, None, every)
        rows, columns = context.shape[1:]
        del context, scans  # those of a large grid need much memory
        for lead in fields:
            yield self._on_archive_grid(lead)[:, :rows, :columns]
            del lead

    def network_scans(self, context: Rates) -> Rates:
        """Scans at the network's step and spacing, from those of the archive, see `leads`."""
        scans = regridded(context, self.space_factor)
        if self.time_factor > 1:
            k = int(self.time_factor)
            return scans[::-k][::-1]
        if self.time_factor < 1:
            parts = self.time_factor.denominator
            finer = with_fields_between(scans[:, None], scan_motion(scans), parts)
            return np.concatenate(list(finer))[-self.network_context :]
        return scans

    def network_lead_times(self, lead_times: int) -> int:
        """Number of the network's steps that cover a number of the archive's."""
        return math.ceil(lead_times / self.time_factor)

    def common_lead_times(self, lead_times: int) -> list[tuple[int, int]]:
        """The archive's and the network's number of each lead time that both have."""
        numbers = range(1, self.network_lead_times(lead_times) + 1)
        pairs = [(number * self.time_factor, number) for number in numbers]
        return [
            (int(steps), number)
            for steps, number in pairs
            if steps.denominator == 1 and steps <= lead_times
        ]

    def _on_archive_grid(self, fields: Rates) -> Rates:
        """Rain rate and chances (1 + K, y, x) at the pixels of the archive."""
        factor = self.space_factor
        if factor <= 1:
            return regridded(fields, 1 / factor)
        rain = regridded(fields[:1], 1 / factor)
        side = int(factor)
        return np.concatenate([rain, fields[1:].repeat(side, axis=1).repeat(side, axis=2)])


def _reached(scan: Rates, thresholds_mm_h: Sequence[float]) -> Rates:
    """(1 + K, y, x): a scan, and 1 where it reaches each threshold, 0 where not; NaN stays."""
    result = np.empty((1 + len(thresholds_mm_h), *scan.shape), np.float32)
    result[0] = scan
    for reached, threshold in zip(result[1:], thresholds_mm_h, strict=True):
        reached[:] = scan >= np.float32(threshold)
        reached[np.isnan(scan)] = np.nan
    return result


def _check_range(
    name: str,
    quantity: str,
    unit: str,
    value: float,
    trained: Sequence[float],
    expected: tuple[float, float],
    limit: float,
) -> None:
    """Warn if an archive's value is outside the expected range; raise if it is above the limit.

    A value near one that the network was trained on is always accepted.
    """
    if any(1 / NEAR <= value / trained_value <= NEAR for trained_value in trained):
        return
    trained_text = ", ".join(f"{v:g}" for v in trained) + f" {unit}" if trained else "not known"
    if value > limit:
        raise DataError(
            f"{name}: the archive has {quantity} of {value:g} {unit}, at most {limit:g} {unit} can "
            f"be forecast (trained on {trained_text}); train a model on such an archive"
        )
    if not expected[0] <= value <= expected[1]:
        log.warning(
            "%s: the archive has %s of %g %s, outside %g to %g %s (trained on %s); "
            "the forecast may be less accurate",
            *(name, quantity, value, unit, *expected, unit, trained_text),
        )


def _nearest_factor(value: float, trained: Sequence[float]) -> Fraction:
    """Factor, k or 1 / k, that brings a step or spacing nearest to one trained on.

    The distance of two values a and b is abs(log(a / b)). The target is the trained value that is
    nearest without a factor.
    """
    if not trained:
        return Fraction(1)

    def distance(factor: Fraction, target: float) -> float:
        return abs(math.log(factor * value / target))

    target = min(trained, key=lambda trained_value: distance(Fraction(1), trained_value))
    ratio = target / value
    whole = math.floor(max(ratio, 1 / ratio))
    factors = [Fraction(whole), Fraction(whole + 1)]
    if ratio < 1:
        factors = [1 / factor for factor in factors]
    return min(factors, key=lambda factor: distance(factor, target))


def _description(
    time_factor: Fraction, space_factor: Fraction, step_min: float, spacing_km: float
) -> str:
    """What is resampled, with the network's step and spacing that result."""
    sentences = []
    if time_factor > 1:
        sentences.append(f"every {int(time_factor)} scans ({step_min * time_factor:g} min)")
    if time_factor < 1:
        between = time_factor.denominator - 1
        sentences.append(f"{between} in between scans ({step_min * time_factor:g} min)")
    if space_factor > 1:
        k = int(space_factor)
        sentences.append(f"means of {k}x{k} pixels ({spacing_km * space_factor:g} km)")
    if space_factor < 1:
        k = space_factor.denominator
        sentences.append(f"{k}x{k} pixels in place of one ({spacing_km * space_factor:g} km)")
    return ", ".join(sentences)
