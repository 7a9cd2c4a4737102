"""Members of the stochastic ensemble, from scans of rain rate.

Public: `stochastic_members`, `stochastic_groups`, `stochastic_forecast`.

Dims: B batch, M members, T context steps, K scale bands, H rows, W columns, h and w of the motion's
coarse grid, N pixels of the frame in a row.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, threshold

from squall.convgru.ensemble.new_rain import NewRain
from squall.convgru.ensemble.noise import NoiseProcess, NoiseState
from squall.convgru.ensemble.perturbations import Perturbations
from squall.convgru.ensemble.start import (
    EnsembleRun,
    Groups,
    Start,
    gathered,
    member_groups,
    numbers_of,
    start_of_ensemble,
)
from squall.convgru.heads.interface import Frame
from squall.convgru.heads.matching import highest, probability_matched, sorted_amounts
from squall.convgru.motion import (
    departure_points,
    moved_known,
    place_in_frame,
    trajectory_starts,
    transport,
    upsampled,
)
from squall.convgru.scaling import DRY_MM_H, RainScaling

SCALING = RainScaling()


def stochastic_forecast(scans_THW: Tensor, lead_times: int, run: EnsembleRun) -> Iterator[Tensor]:
    """The forecast that the members are perturbations of: what lasts of the bands, moved.

    Returns
    -------
    (H, W) mm/h for each lead time, with the amounts of the last scan; NaN = not known.

    Raises
    ------
    ValueError
        As `stochastic_members`.
    """
    start = start_of_ensemble(scans_THW, run)
    last, known = start.frame.rain_BT1HW[:, -1].float(), start.frame.known_BT1HW[:, -1].float()
    amounts = sorted_amounts(last, known)
    for smoothed, displacement in start.leads(lead_times):
        matched = probability_matched(smoothed, known, amounts)
        moved, is_known = transport(matched, known, departure_points(displacement))
        rain = SCALING.denormalise(torch.where(is_known, moved, -torch.inf))
        yield rain[0, 0, : start.size[0], : start.size[1]]


def stochastic_members(
    scans_THW: Tensor, lead_times: int, members: int | Sequence[int], run: EnsembleRun
) -> Iterator[Tensor]:
    """Members of the stochastic ensemble at each lead time.

    ::

        field = forecast of the bands + noise of the bands, in the moving frame
        rain = amounts of the last scan in the order of the field, times exp(log-normal factor),
               and far from it a few new showers (`squall.convgru.ensemble.new_rain`)
        member = rain at the place that the perturbed trajectory comes from

    as in STEPS (Bowler et al. 2006, doi:10.1256/qj.04.100), with the local processes of
    `squall.convgru.heads.cascade`. Rain moves by the nearest pixel, so it keeps its amounts and
    its small scales. A member's numbers follow from the scans, the run and the number of the member
    alone: member 3 of 10 is member 3 of 50, on any device (up to rounding).

    All members are known where the forecast without perturbations is. If a perturbed trajectory
    comes from a pixel that is not known, the pixel gets what the trajectory without perturbation
    brings.

    Parameters
    ----------
    scans_THW : mm/h, NaN = not observed, oldest first, at equal steps.
    lead_times : how many.
    members : how many, or the numbers of the members, counted from 0.

    Returns
    -------
    (M, H, W) mm/h for each lead time, NaN = not known, on the scans' device. Members of a large
    grid lie in a temporary file.

    Raises
    ------
    ValueError
        If a number is out of range, or the last scan has rain and no other scan was observed: then
        nothing tells how rain moves.
    """
    numbers = numbers_of(members)
    if lead_times < 1:
        raise ValueError(f"asked for {lead_times} lead times; give 1 or more")
    start = start_of_ensemble(scans_THW, run)
    del scans_THW  # those of a large grid need much memory
    for groups in stochastic_groups(start, lead_times, numbers, run):
        yield gathered([groups], len(numbers), start)


def stochastic_groups(
    start: Start, lead_times: int, numbers: Sequence[int], run: EnsembleRun
) -> Iterator[Groups]:
    """The members of `stochastic_members` at each lead time, some at a time.

    The groups of one lead time must be taken before the next lead time. It uses up the start.
    """
    noise = start.noise
    amounts = _LastAmounts.of(start.frame)
    perturbations = Perturbations.draw(
        start.motion_B2hw[0], numbers, run.random_source(), run.settings, run.spacing_km
    )
    new_rain = NewRain.draw(
        *(start.frame, numbers, lead_times * run.step_min),
        *(run.random_source(), run.settings, run.spacing_km),
    )
    groups = member_groups(numbers, noise.sides)
    states = [noise.begin(len(group.numbers), len(numbers)) for group in groups]
    known = start.frame.known_BT1HW[:, -1].float()
    height, width = start.size

    @torch.no_grad()
    def rain_of(
        number: int, step: int, smoothed: Tensor, displacement: Tensor, of_scans: _Unperturbed
    ) -> Tensor:
        """(M, H, W) of a group."""
        minutes, group = step * run.step_min, groups[number]
        spectrum = noise.draw_group(run.random_source(), group.numbers, step, threads)
        states[number] = noise.advance(states[number], spectrum)
        del spectrum
        noisy = _with_noise(smoothed[0], noise, states[number], run, minutes)
        states[number].release()
        rain = torch.zeros_like(noisy)
        list(threads.map(amounts.put_in_order_of, noisy, rain))
        del noisy
        rain.mul_(perturbations.amount(group.rows, minutes))
        threshold(rain, DRY_MM_H, 0.0, inplace=True)
        new_rain.add_to(rain, group.rows, minutes)
        places = perturbations.places(group.rows, displacement, minutes)
        return _moved(rain.add_(amounts.nan_HW), places, of_scans)[:, :height, :width]

    def members_of(step: int, smoothed: Tensor, displacement: Tensor) -> Groups:
        of_scans = _Unperturbed.of(known, displacement)
        for number, group in enumerate(groups):
            yield group.places, rain_of(number, step, smoothed, displacement, of_scans)

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for step, lead in enumerate(start.leads(lead_times), start=1):
            yield members_of(step, *lead)
            del lead


def _with_noise(
    smoothed_1HW: Tensor, noise: NoiseProcess, state: NoiseState, run: EnsembleRun, minutes: float
) -> Tensor:
    """(M, H, W): the forecast of the bands with the members' noise."""
    height, width = smoothed_1HW.shape[-2:]
    factors = [
        run.settings.noise_factor(minutes, 2**band.level * run.spacing_km) for band in noise.bands
    ]
    return noise.field(state, factors)[:, :height, :width] + smoothed_1HW


class _LastAmounts(NamedTuple):
    """The last scan's rain, to be dealt out in the order of a field."""

    nan_HW: Tensor
    """0 where the frame is known, NaN elsewhere"""
    below_all_HW: Tensor
    """0 where the frame is known, minus infinity elsewhere"""
    wet_N: Tensor
    """mm/h of its wet pixels in rising order"""

    @classmethod
    def of(cls, frame: Frame) -> "_LastAmounts":
        known = frame.known_BT1HW[0, -1, 0] > 0
        rates = SCALING.denormalise(frame.rain_BT1HW[0, -1, 0].float())[known]
        zeros = torch.zeros_like(known, dtype=torch.float32)
        return cls(
            zeros.masked_fill(~known, torch.nan),
            zeros.masked_fill(~known, -torch.inf),
            rates[rates > 0].sort().values,
        )

    def put_in_order_of(self, field_HW: Tensor, rain_HW: Tensor) -> None:
        """Put the last scan's rain, in the order of a field, into a field that is dry (mm/h).

        Only the wet pixels are sorted; it gives what `probability_matched` gives.
        """
        wet = len(self.wet_N)
        if wet:
            places = highest((field_HW + self.below_all_HW).flatten(), wet)
            rain_HW.view(-1)[places] = self.wet_N


class _Unperturbed(NamedTuple):
    """Where the rain of the forecast without perturbations comes from, at a lead time."""

    known_N: Tensor
    """1 where the last scan is known, 0 elsewhere; the frame's pixels in a row"""
    is_known_HW: Tensor
    """whether the forecast is known"""
    starts_2N: Tensor
    """column and row of the start of the trajectory that ends in each pixel"""

    @classmethod
    def of(cls, known_B1HW: Tensor, displacement_B2hw: Tensor) -> "_Unperturbed":
        is_known, _ = moved_known(known_B1HW, departure_points(displacement_B2hw))
        starts = trajectory_starts(upsampled(displacement_B2hw))[0]
        return cls(known_B1HW.flatten(), is_known[0, 0], starts.flatten(1))

    def sources(self, pixels: Tensor) -> Tensor:
        """(pixels,): the known pixel that has most weight at the start of each trajectory.

        Parameters
        ----------
        pixels : numbers of pixels that the trajectories end in.
        """
        height, width = self.is_known_HW.shape
        columns, rows = self.starts_2N[:, pixels]
        most, result = torch.zeros_like(rows), torch.zeros_like(pixels)
        for row in (rows.floor(), rows.floor() + 1):
            for column in (columns.floor(), columns.floor() + 1):
                place, is_inside = place_in_frame(column, row, height, width)
                overlap = (1 - (rows - row).abs()) * (1 - (columns - column).abs())
                weight = overlap * is_inside * self.known_N[place]
                result = torch.where(weight > most, place, result)
                most = most.maximum(weight)
        return result


def _moved(rain_MHW: Tensor, displacement_M2HW: Tensor, of_scans: _Unperturbed) -> Tensor:
    """(M, H, W): rain at the nearest pixel to the start of each trajectory; NaN = not known.

    Parameters
    ----------
    rain_MHW : NaN = not known.
    of_scans : tells which pixels are known. If the nearest pixel is not known, the rain comes from
        the pixel that the trajectory without perturbation comes from.
    """
    height, width = rain_MHW.shape[-2:]
    columns, rows = trajectory_starts(displacement_M2HW).round_().unbind(1)
    # pixels in a margin around the frame are not known
    row, column = rows.clamp_(-1, height).int(), columns.clamp_(-1, width).int()
    place = row.add_(1).mul_(width + 2).add_(column).add_(1).flatten(1)
    with_margin = pad(rain_MHW, (1, 1, 1, 1), value=torch.nan).flatten(1)
    moved = torch.stack([f.index_select(0, at) for f, at in zip(with_margin, place, strict=True)])
    is_known = of_scans.is_known_HW.flatten()
    astray = (moved.isnan() & is_known).flatten().nonzero()[:, 0]
    pixels = astray % len(is_known)
    member = astray // len(is_known)
    moved.view(-1)[astray] = rain_MHW.flatten(1)[member, of_scans.sources(pixels)]
    return moved.masked_fill_(~is_known, torch.nan).view_as(rain_MHW)
