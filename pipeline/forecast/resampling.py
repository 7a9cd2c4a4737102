"""A model on archives of another grid spacing or step than it was trained on.

Owns the choice of the spacing and step that a model runs at, and the way there and back. Only
whole factors are used: every k-th scan or m - 1 scans put in between, means of k × k pixels or
m × m pixels put in place of one. Where an archive is nearest to what the model knows as it is,
nothing is changed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from squall.convgru import RainScaling
from squall.convgru.motion import COARSE, coarse_motion, pad_to, trajectories, transport
from squall.datasets.errors import DataError

log = logging.getLogger("squall.resampling")

Rain = npt.NDArray[np.float32]
Nowcast = Callable[[Rain, int], Rain]

NEAR = 1.25  # a ratio to what was trained up to which it counts as the same
STEP_MIN = (2.0, 15.0)  # of archives that models trained on 5 to 10 min are made for
SPACING_KM = (0.5, 2.0)
LONGEST_STEP_MIN = 30.0  # rain between two scans is no longer the same rain
WIDEST_SPACING_KM = 4.0  # what a model knows of small scales is not in the archive


@dataclass(frozen=True)
class Resampling:
    """How an archive's scans become what a model knows, and its forecast the archive's again.

    Parameters
    ----------
    context, lead_times : how many scans of the archive the model's context takes, and how many of
        the archive's steps the lead times it was trained for.
    scans : of the model's context.
    time, space : the model's step and grid spacing in those of the archive: k or 1 / m.
    words : what is done, for people and for the provenance of a forecast; empty if nothing.
    """

    context: int
    lead_times: int
    scans: int
    time: Fraction
    space: Fraction
    words: str

    @classmethod
    def of(cls, provenance: Mapping[str, Any], *, step_s: float, spacing_m: float) -> Resampling:
        """Choose for an archive; warn outside the range that models are made for.

        Parameters
        ----------
        provenance : of a model: ``name``, ``context``, ``lead_times``, and the ``steps_s`` [s] and
            ``spacings_m`` [m] trained on; without the latter (checkpoints of before they were
            kept) the grid spacing is left as it is.
        step_s, spacing_m : of the archive.

        Raises
        ------
        DataError
            If the archive's scans are further apart than `LONGEST_STEP_MIN` or its pixels wider
            than `WIDEST_SPACING_KM`, and the model was not trained on such.
        """
        name = str(provenance["name"])
        steps_min = [step / 60 for step in provenance["steps_s"]]
        spacings_km = [spacing / 1000 for spacing in provenance.get("spacings_m", ())]
        step_min, spacing_km = step_s / 60, spacing_m / 1000
        _check(name, "a step", "min", step_min, steps_min, STEP_MIN, LONGEST_STEP_MIN)
        _check(name, "a grid spacing", "km", spacing_km, spacings_km, SPACING_KM, WIDEST_SPACING_KM)
        time, space = _factor(step_min, steps_min), _factor(spacing_km, spacings_km)
        words = []
        if time > 1:
            words.append(f"every {int(time)} scans ({step_min * time:g} min)")
        if time < 1:
            words.append(f"{time.denominator - 1} in between scans ({step_min * time:g} min)")
        if space > 1:
            words.append(f"means of {space}x{space} pixels ({spacing_km * space:g} km)")
        if space < 1:
            m = space.denominator
            words.append(f"{m}x{m} pixels in place of one ({spacing_km * space:g} km)")
        scans = int(provenance["context"])
        return cls(
            context=math.ceil((scans - 1) * time) + 1,
            lead_times=max(1, math.floor(int(provenance["lead_times"]) * time)),
            scans=scans,
            time=time,
            space=space,
            words=", ".join(words),
        )

    def __str__(self) -> str:
        return self.words

    def nowcast(self, model: Nowcast, context: Rain, lead_times: int) -> Rain:
        """Forecast at the model's step and spacing, returned at the archive's.

        Rain rates are averaged where pixels become wider. Where they become narrower, decibels
        are interpolated and scaled so that the mean over each wide pixel stays. Between two
        scans, or lead times, both are moved along the motion to the time between them and
        averaged with weights that fall with the distance in time.

        Parameters
        ----------
        model : from scans (T, y, x) and how many lead times to (lead_time, y, x).
        context : (`context`, y, x) scans of the archive, mm/h, NaN = not observed.
        lead_times : how many of the archive's steps.

        Returns
        -------
        (lead_time, y, x), mm/h, NaN where the model's forecast is not known.
        """
        scans = _regridded(context, self.space)
        if self.time > 1:
            forecast = _with_skips(model, scans, int(self.time), lead_times)
        elif self.time < 1:
            parts = self.time.denominator
            filled = _with_between(scans, coarse_motion(_tensor(scans).unsqueeze(0)), parts)
            forecast = model(filled[-self.scans :], lead_times * parts)[parts - 1 :: parts]
        else:
            forecast = model(scans, lead_times)
        height, width = context.shape[1:]
        return _regridded(forecast, 1 / self.space)[:, :height, :width]


def _check(
    name: str,
    what: str,
    unit: str,
    found: float,
    trained: Sequence[float],
    made_for: tuple[float, float],
    limit: float,
) -> None:
    """Warn outside the range that models are made for; raise beyond what makes sense."""
    if any(1 / NEAR <= found / each <= NEAR for each in trained):
        return
    known = ", ".join(f"{each:g}" for each in trained) + f" {unit}" if trained else "not known"
    if found > limit:
        raise DataError(
            f"{name}: the archive has {what} of {found:g} {unit}, at most {limit:g} {unit} can be "
            f"forecast (trained on {known}); train a model on such an archive"
        )
    if not made_for[0] <= found <= made_for[1]:
        log.warning(
            "%s: the archive has %s of %g %s, outside %g to %g %s (trained on %s); "
            "expect less of the forecast",
            *(name, what, found, unit, *made_for, unit, known),
        )


def _factor(found: float, trained: Sequence[float]) -> Fraction:
    """k or 1 / m that brings a step or spacing nearest, by ratio, to the nearest one trained."""
    if not trained:
        return Fraction(1)

    def distance(factor: Fraction, target: float) -> float:
        return abs(math.log(factor * found / target))

    target = min(trained, key=lambda each: distance(Fraction(1), each))
    ratio = target / found
    whole = math.floor(max(ratio, 1 / ratio))
    choices = [Fraction(whole), Fraction(whole + 1)]
    if ratio < 1:
        choices = [1 / choice for choice in choices]
    return min(choices, key=lambda factor: distance(factor, target))


def _with_skips(model: Nowcast, scans: Rain, skip: int, lead_times: int) -> Rain:
    """Forecast from every ``skip``-th scan; the lead times in between are put in."""
    used = scans[::skip]
    known = np.concatenate([used[-1:], model(used, -(-lead_times // skip))])
    return _with_between(known, coarse_motion(_tensor(used).unsqueeze(0)), skip)[1 : lead_times + 1]


def _with_between(scans: Rain, motion_12hw: Tensor, parts: int) -> Rain:
    """Scans with ``parts`` - 1 put in after each but the last.

    Parameters
    ----------
    scans : (T, y, x), mm/h, NaN = not known.
    motion_12hw : pixels between two scans, on the coarse grid.

    Returns
    -------
    ((T - 1) * ``parts`` + 1, y, x); NaN where neither neighbour brings anything.
    """
    height, width = scans.shape[1:]
    padded = pad_to(_tensor(scans), COARSE, value=math.nan)
    result = np.empty(((len(scans) - 1) * parts + 1, height, width), np.float32)
    result[::parts] = scans
    for part in range(1, parts):
        later = part / parts
        onward = trajectories(motion_12hw * later, 1)[0]
        back = trajectories(motion_12hw * (later - 1), 1)[0]
        for i in range(len(scans) - 1):
            before, from_before = _moved(padded[i : i + 1], onward)
            after, from_after = _moved(padded[i + 1 : i + 2], back)
            weight = (1 - later) * from_before + later * from_after
            mean = ((1 - later) * before + later * after) / weight  # 0 / 0 is NaN: not known
            result[i * parts + part] = mean[0, 0, :height, :width].numpy()
    return result


def _moved(rate_11HW: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
    known = ~torch.isnan(rate_11HW)
    return transport(torch.where(known, rate_11HW, 0.0), known.float(), displacement)


def _regridded(rate: Rain, factor: Fraction) -> Rain:
    """(T, y, x) with pixels so many times as wide; a part of one at the edge becomes a whole."""
    if factor == 1:
        return rate
    if factor > 1:
        return _means(_tensor(rate), int(factor))[:, 0].numpy()
    return _finer(_tensor(rate), factor.denominator)[:, 0].numpy()


def _means(rate_T1HW: Tensor, side: int) -> Tensor:
    """Means over ``side`` × ``side`` pixels of those that are known; NaN where none is."""
    padded = pad_to(rate_T1HW, side, value=math.nan)
    blocks = padded.unfold(2, side, side).unfold(3, side, side)
    return blocks.nanmean(dim=(4, 5))


def _finer(rate_T1HW: Tensor, side: int) -> Tensor:
    """``side`` × ``side`` pixels in place of one, whose mean is what that one had."""

    def spread(x: Tensor, mode: str) -> Tensor:
        return interpolate(x, scale_factor=float(side), mode=mode)

    scaling = RainScaling()
    decibels, known = scaling.normalise(rate_T1HW)
    smooth = spread(decibels * known, "bilinear") / spread(known, "bilinear")
    shape = scaling.denormalise(smooth)
    mean = _means(shape, side)
    scaled = shape * spread(rate_T1HW / mean, "nearest")
    # drizzle below the floor of the decibels has no shape of its own
    return torch.where(spread(mean, "nearest") > 0, scaled, spread(rate_T1HW, "nearest"))


def _tensor(rate: Rain) -> Tensor:
    """(T, 1, y, x)."""
    return torch.from_numpy(np.ascontiguousarray(rate))[:, None]
