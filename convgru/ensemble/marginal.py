"""Members drawn from the chances of a network: the marginal ensemble.

Public: `marginal_members`.

Dims: M members, T context steps, K thresholds, H rows, W columns.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from squall.convgru.distribution import RainDistribution
from squall.convgru.ensemble.normal_scores import NormalScores
from squall.convgru.ensemble.start import (
    EnsembleRun,
    Start,
    member_groups,
    numbers_of,
    start_of_ensemble,
)
from squall.convgru.motion import one_step_longer, place_in_frame, trajectory_starts, upsampled


@torch.no_grad()
def marginal_members(
    scans_THW: Tensor,
    chances: Iterable[Tensor],
    members: int | Sequence[int],
    run: EnsembleRun,
    start: Start | None = None,
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
    start : of the scans, if it is known already.

    Returns
    -------
    (M, H, W) mm/h for each lead time, NaN where the chances are not known, on the scans' device.

    Raises
    ------
    ValueError
        If a number is out of range, or the last scan has rain and no other scan was observed.
    """
    numbers = numbers_of(members)
    start = start or start_of_ensemble(scans_THW, run)
    noise, scores = start.noise, NormalScores(start.noise)
    groups = member_groups(numbers)
    states = [noise.begin(len(group.numbers)) for group in groups]
    height, width = start.size
    frame_height, frame_width = start.frame.rain_BT1HW.shape[-2:]
    displacement = torch.zeros_like(start.motion_B2hw)
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for step, chances_KHW in enumerate(chances, start=1):
            factors = [
                run.settings.score_weight(level, step * run.step_min, run.spacing_km)
                for level in range(len(noise.bands))
            ]
            scores.advance(factors)
            distribution = RainDistribution.of(chances_KHW)
            displacement = one_step_longer(displacement, start.motion_B2hw)
            columns, rows = trajectory_starts(upsampled(displacement))[0].round()
            place, _ = place_in_frame(columns, rows, frame_height, frame_width)
            place = place[:height, :width].flatten()
            result = scans_THW.new_empty((len(numbers), height, width), dtype=torch.float32)
            for number, group in enumerate(groups):
                spectrum = noise.draw_group(run.random_source(), group.numbers, step, threads)
                states[number] = noise.advance(states[number], spectrum)
                field = scores.of_noise(states[number])
                field = field[:, :frame_height, :frame_width].flatten(1)
                moved = field.index_select(1, place).unflatten(1, (height, width))
                result[group.rows] = distribution.rain_at_scores(moved)
            yield result
