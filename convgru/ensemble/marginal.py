"""Members drawn from the chances of a network: the marginal ensemble.

Public: `marginal_members`, `marginal_groups`.

Dims: M members, T context steps, K thresholds, H rows, W columns.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import torch
from torch import Tensor

from squall.convgru.distribution import RainDistribution
from squall.convgru.ensemble.normal_scores import NormalScores
from squall.convgru.ensemble.start import (
    EnsembleRun,
    Groups,
    Start,
    gathered,
    member_groups,
    numbers_of,
    start_of_ensemble,
)
from squall.convgru.motion import one_step_longer, place_in_frame, trajectory_starts, upsampled


def marginal_members(
    scans_THW: Tensor, chances: Iterable[Tensor], members: int | Sequence[int], run: EnsembleRun
) -> Iterator[Tensor]:
    """Members whose rain at each pixel has the distribution of given chances.

    ::

        score = standard normal noise with the last scan's scales, in the moving frame
        member = rain that has the same chance of being exceeded as the score

    The scores are those of `squall.convgru.ensemble.normal_scores`, at the place that the nearest
    pixel moves to. Amounts and motion are not perturbed: that they are uncertain is in the chances.
    The members are independent of each other. A member's numbers follow from the scans, the
    chances, the run and the number of the member alone: member 3 of 10 is member 3 of 50, on any
    device (up to rounding).

    Parameters
    ----------
    scans_THW : mm/h, NaN = not observed, oldest first, at equal steps.
    chances : for each lead time (K, H, W), of at least `THRESHOLDS_MM_H` at the place and time of
        the forecast; NaN = not known.
    members : how many, or the numbers of the members, counted from 0.

    Returns
    -------
    (M, H, W) mm/h for each lead time, NaN where the chances are not known, on the scans' device.
    Members of a large grid lie in a temporary file.

    Raises
    ------
    ValueError
        If a number is out of range, or the last scan has rain and no other scan was observed.
    """
    numbers = numbers_of(members)
    start = start_of_ensemble(scans_THW, run)
    del scans_THW  # those of a large grid need much memory
    for groups in marginal_groups(start, chances, numbers, run):
        yield gathered([groups], len(numbers), start)


def marginal_groups(
    start: Start, chances: Iterable[Tensor], numbers: Sequence[int], run: EnsembleRun
) -> Iterator[Groups]:
    """The members of `marginal_members` at each lead time, some at a time.

    The groups of one lead time must be taken before the next lead time.
    """
    noise, scores = start.noise, NormalScores(start.noise)
    groups = member_groups(numbers, noise.sides)
    states = [noise.begin(len(group.numbers), len(numbers)) for group in groups]
    height, width = start.size
    frame_height, frame_width = start.frame.rain_BT1HW.shape[-2:]
    displacement = torch.zeros_like(start.motion_B2hw)

    def places_in_frame(displacement: Tensor) -> Tensor:
        """(N,): the pixel of the frame that the rain of each pixel comes from."""
        columns, rows = trajectory_starts(upsampled(displacement))[0].round()
        place, _ = place_in_frame(columns, rows, frame_height, frame_width)
        return place[:height, :width].flatten()

    @torch.no_grad()
    def rain_of(number: int, step: int, distribution: RainDistribution, place: Tensor) -> Tensor:
        """(M, H, W) of a group."""
        spectrum = noise.draw_group(run.random_source(), groups[number].numbers, step, threads)
        states[number] = noise.advance(states[number], spectrum)
        del spectrum
        field = scores.of_noise(states[number])
        states[number].release()
        field = field[:, :frame_height, :frame_width].flatten(1)
        moved = field.index_select(1, place).unflatten(1, (height, width))
        del field
        return distribution.rain_at_scores(moved)

    def members_of(step: int, distribution: RainDistribution, displacement: Tensor) -> Groups:
        place = places_in_frame(displacement)
        for number, group in enumerate(groups):
            yield group.places, rain_of(number, step, distribution, place)

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        steps = count(1)
        for chances_KHW in chances:  # `enumerate` and `zip` would hold on to them
            step = next(steps)
            factors = [
                run.settings.score_weight(level, step * run.step_min, run.spacing_km)
                for level in range(len(noise.bands))
            ]
            scores.advance(factors)
            displacement = one_step_longer(displacement, start.motion_B2hw)
            distribution = RainDistribution.of(chances_KHW.detach())
            of_lead = members_of(step, distribution, displacement)
            del chances_KHW, distribution  # before the next are made
            yield of_lead
            del of_lead
