"""Members drawn from the chances of a network: the marginal ensemble.

Public: `marginal_members`.

Dims: M members, T context steps, K thresholds, H rows, W columns.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from squall.convgru.distribution import RainDistribution
from squall.convgru.ensemble.noise import NoiseProcess, noise_process
from squall.convgru.ensemble.normal_scores import NormalScores
from squall.convgru.ensemble.random_numbers import RandomSource
from squall.convgru.ensemble.start import (
    EnsembleRun,
    Start,
    member_groups,
    numbers_of,
    start_of_ensemble,
)
from squall.convgru.motion import place_in_frame, trajectories, trajectory_starts, upsampled

NOMINAL = RandomSource(0, np.datetime64(0, "s"))  # of the texture where no scan tells one
NOMINAL_SLOPE = 2.7  # of its power spectrum


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
    noise = band_noise(start, run)
    scores = NormalScores(noise)
    groups = member_groups(numbers)
    states = [noise.begin(len(group.numbers)) for group in groups]
    height, width = start.size
    frame_sides = start.frame.rain_BT1HW.shape[-2:]
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for step, chances_KHW in enumerate(chances, start=1):
            factors = [
                run.settings.score_weight(level, step * run.step_min, run.spacing_km)
                for level in range(len(noise.bands))
            ]
            scores.advance(factors)
            distribution = RainDistribution.of(chances_KHW)
            place = _nearest_start(start, step)
            result = scans_THW.new_empty((len(numbers), height, width), dtype=torch.float32)
            for number, group in enumerate(groups):
                spectrum = noise.draw_group(run.random_source(), group.numbers, step, threads)
                states[number] = noise.advance(states[number], spectrum)
                field = scores.of_noise(states[number])
                field = field[:, : frame_sides[0], : frame_sides[1]].flatten(1)
                moved = field[:, place[:height, :width]]
                result[group.rows] = distribution.rain_at_scores(moved)
            yield result


def _nearest_start(start: Start, step: int) -> Tensor:
    """(H, W): number of the frame's pixel that is nearest to the start of each trajectory."""
    displacement = trajectories(start.motion_B2hw, step)[-1]
    columns, rows = trajectory_starts(upsampled(displacement))[0].round()
    place, _ = place_in_frame(columns, rows, *start.frame.rain_BT1HW.shape[-2:])
    return place


def band_noise(start: Start, run: EnsembleRun) -> NoiseProcess:
    """The noise of the last scan's bands; of a nominal texture where the scan has no variation."""
    frame = start.frame
    last, known = frame.rain_BT1HW[:, -1:], frame.known_BT1HW[:, -1:]
    rain = last[known > 0]
    if not rain.numel() or rain.min() == rain.max():
        rows, columns = last.shape[-2:]
        squared = torch.fft.fftfreq(rows)[:, None].square() + torch.fft.rfftfreq(columns).square()
        squared[0, 0] = torch.inf
        white = NOMINAL.normal(0, "texture", (rows, columns))
        texture = torch.fft.irfft2(
            torch.fft.rfft2(white) * squared ** (-NOMINAL_SLOPE / 4), s=(rows, columns)
        )
        frame = frame._replace(
            rain_BT1HW=(texture / texture.std()).to(last.device).expand_as(last),
            known_BT1HW=torch.ones_like(last),
        )
    return noise_process(frame, start.processes, run.settings, run.spacing_km)
