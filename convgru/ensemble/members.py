"""Members of the stochastic ensemble, from scans of rain rate.

Public: `stochastic_members`, `stochastic_forecast`.

Dims: B batch, M members, T context steps, K scale bands, H rows, W columns, h and w of the motion's
coarse grid, N pixels of the frame in a row.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import threshold

from squall.convgru.ensemble.new_rain import NewRain
from squall.convgru.ensemble.noise import NoiseProcess, NoiseState, noise_process
from squall.convgru.ensemble.perturbations import Perturbations
from squall.convgru.ensemble.start import (
    EnsembleRun,
    Start,
    member_groups,
    numbers_of,
    start_of_ensemble,
)
from squall.convgru.heads.interface import Frame
from squall.convgru.heads.matching import probability_matched, sorted_values
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
    values = sorted_values(last, known)
    for smoothed, displacement in start.leads(lead_times):
        matched = probability_matched(smoothed, known, values)
        moved, is_known = transport(matched, known, departure_points(displacement))
        rain = SCALING.denormalise(torch.where(is_known, moved, -torch.inf))
        yield rain[0, 0, : start.size[0], : start.size[1]]


@torch.no_grad()
def stochastic_members(
    scans_THW: Tensor,
    lead_times: int,
    members: int | Sequence[int],
    run: EnsembleRun,
    start: Start | None = None,
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
    start : of the scans, if it is known already.

    Returns
    -------
    (M, H, W) mm/h for each lead time, NaN = not known, on the scans' device.

    Raises
    ------
    ValueError
        If a number is out of range, or the last scan has rain and no other scan was observed: then
        nothing tells how rain moves.
    """
    numbers = numbers_of(members)
    if lead_times < 1:
        raise ValueError(f"asked for {lead_times} lead times; give 1 or more")
    start = start or start_of_ensemble(scans_THW, run)
    noise = noise_process(start.frame, start.processes, run.settings, run.spacing_km)
    amounts = _LastAmounts.of(start.frame)
    perturbations = Perturbations.draw(
        start.motion_B2hw[0], numbers, run.random_source(), run.settings, run.spacing_km
    )
    new_rain = NewRain.draw(
        *(start.frame, numbers, lead_times * run.step_min),
        *(run.random_source(), run.settings, run.spacing_km),
    )
    groups = member_groups(numbers)
    states = [noise.begin(len(group.numbers)) for group in groups]
    known = start.frame.known_BT1HW[:, -1].float()
    height, width = start.size
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for step, (smoothed, displacement) in enumerate(start.leads(lead_times), start=1):
            minutes = step * run.step_min
            is_known, instead = _starts_of_trajectories(known, displacement)
            result = smoothed.new_empty((len(numbers), height, width))
            for number, group in enumerate(groups):
                spectrum = noise.draw_group(run.random_source(), group.numbers, step, threads)
                states[number] = noise.advance(states[number], spectrum)
                noisy = _with_noise(smoothed[0], noise, states[number], run, minutes)
                rain = torch.stack(list(threads.map(amounts.in_order_of, noisy)))
                rain = threshold(rain * perturbations.amount(group.rows, minutes), DRY_MM_H, 0.0)
                new_rain.add_to(rain, group.rows, minutes)
                rain = rain.masked_fill(known[0] == 0, torch.nan)
                places = perturbations.places(group.rows, displacement, minutes)
                moved = _moved(rain, places, is_known, instead)
                result[group.rows] = moved[:, :height, :width]
            yield result


def _with_noise(
    smoothed_1HW: Tensor, noise: NoiseProcess, state: NoiseState, run: EnsembleRun, minutes: float
) -> Tensor:
    """(M, H, W): the forecast of the bands with the members' noise."""
    height, width = smoothed_1HW.shape[-2:]
    factors = [
        run.settings.noise_factor(minutes, 2**band.level * run.spacing_km) for band in noise.bands
    ]
    return smoothed_1HW + noise.field(state, factors)[:, :height, :width]


class _LastAmounts(NamedTuple):
    """The last scan's rain, to be dealt out in the order of a field."""

    known_places_N: Tensor
    """numbers of the frame's pixels that are known"""
    wet_N: Tensor
    """mm/h of its wet pixels in rising order"""

    @classmethod
    def of(cls, frame: Frame) -> "_LastAmounts":
        places = (frame.known_BT1HW[0, -1, 0] > 0).flatten().nonzero()[:, 0]
        rates = SCALING.denormalise(frame.rain_BT1HW[0, -1, 0].float()).flatten()[places]
        return cls(places, rates[rates > 0].sort().values)

    def in_order_of(self, field_HW: Tensor) -> Tensor:
        """Rain of the last scan in the order of a field, (H, W) mm/h; 0 where not known.

        Only the wet pixels are sorted; it gives what `probability_matched` gives.
        """
        wet = len(self.wet_N)
        result = torch.zeros_like(field_HW)
        if not wet:
            return result
        places = self.known_places_N
        result.view(-1)[places[_highest(field_HW.flatten()[places], wet)]] = self.wet_N
        return result


def _highest(field_N: Tensor, count: int) -> Tensor:
    """Places of the highest values, in rising order of value."""
    if field_N.device.type != "cpu":
        return field_N.topk(count).indices.flip(0)
    values = field_N.numpy()
    least = np.partition(values, len(values) - count)[len(values) - count]
    candidates = np.flatnonzero(values >= least)
    order = np.argsort(values[candidates])
    return torch.from_numpy(candidates[order][-count:])


def _starts_of_trajectories(known_B1HW: Tensor, displacement_B2hw: Tensor) -> tuple[Tensor, Tensor]:
    """Where the forecast without perturbations is known, and where its rain comes from.

    Returns
    -------
    (H, W) bool; and (N,) the place in the frame of the known pixel that has most weight at the
    start of each pixel's trajectory.
    """
    is_known, _ = moved_known(known_B1HW, departure_points(displacement_B2hw))
    height, width = known_B1HW.shape[-2:]
    columns, rows = trajectory_starts(upsampled(displacement_B2hw))[0]
    known = known_B1HW.flatten()
    most, instead = torch.zeros_like(rows), torch.zeros_like(rows, dtype=torch.int64)
    for row in (rows.floor(), rows.floor() + 1):
        for column in (columns.floor(), columns.floor() + 1):
            place, is_inside = place_in_frame(column, row, height, width)
            overlap = (1 - (rows - row).abs()) * (1 - (columns - column).abs())
            weight = overlap * is_inside * known[place]
            instead = torch.where(weight > most, place, instead)
            most = most.maximum(weight)
    return is_known[0, 0], instead.flatten()


def _moved(
    rain_MHW: Tensor, displacement_M2HW: Tensor, is_known_HW: Tensor, instead_N: Tensor
) -> Tensor:
    """(M, H, W): rain at the nearest pixel to the start of each trajectory; NaN = not known.

    Parameters
    ----------
    rain_MHW : NaN = not known.
    is_known_HW, instead_N : from `_starts_of_trajectories`. If the nearest pixel is not known, the
        rain comes from the place ``instead_N``.
    """
    height, width = rain_MHW.shape[-2:]
    columns, rows = trajectory_starts(displacement_M2HW).round().unbind(1)
    place, is_inside = place_in_frame(columns, rows, height, width)
    rain = rain_MHW.flatten(1)
    moved = rain.gather(1, place.flatten(1))
    is_known = is_known_HW.flatten()
    is_astray = (moved.isnan() | ~is_inside.flatten(1)) & is_known
    member, pixel = is_astray.nonzero(as_tuple=True)
    moved[member, pixel] = rain[member, instead_N[pixel]]
    return moved.masked_fill_(~is_known, torch.nan).view_as(rain_MHW)
