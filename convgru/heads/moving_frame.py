"""The frame that moves with the rain: a context, its smoothed continuation, its future there.

A pixel of this frame is named by its place at the last scan's time.

Dims: B batch, T context steps, L lead steps, H rows, W columns, h and w of the motion's coarse
grid.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from squall.convgru.compiling import not_compiled
from squall.convgru.heads.cascade import band_processes
from squall.convgru.heads.interface import Frame
from squall.convgru.heads.processes import BandProcesses
from squall.convgru.motion import (
    COARSE,
    at_nearest,
    coarse_motion,
    departure_points,
    departure_rows,
    from_nearest,
    pad_to,
    trajectories,
    transport,
)
from squall.convgru.scaling import RainScaling
from squall.convgru.strips import strips

MOVING_FRAME_VERSION = "4"  # raise it if `moving_window` gives other numbers than before
LAST_SCAN_SHARE = 0.01  # of the last scan in the smoothed field: it orders what is forgotten


@not_compiled
def lagrangian_frame(
    rain_BT1HW: Tensor,
    observed_BT1HW: Tensor,
    multiple: int = COARSE,
    motion_B2hw: Tensor | None = None,
) -> Frame:
    """Move each scan of a context to where its rain is at the last scan's time.

    Parameters
    ----------
    rain_BT1HW, observed_BT1HW : normalised dB and validity mask.
    multiple : rows and columns are filled up to a multiple of this with pixels that are not
        observed; itself a multiple of `COARSE`.
    motion_B2hw : of the scans (`coarse_motion`), where it is known already.
    """
    motion = motion_B2hw
    if motion is None:
        motion = coarse_motion(RainScaling().inverse(rain_BT1HW))
    rain_BT1HW, observed_BT1HW = (pad_to(x, multiple) for x in (rain_BT1HW, observed_BT1HW))
    more_columns, more_rows = (
        rain_BT1HW.shape[dim] // COARSE - motion.shape[dim] for dim in (-1, -2)
    )
    motion = pad(motion, (0, more_columns, 0, more_rows), mode="replicate")
    scans = rain_BT1HW.shape[1]
    rain, known = [rain_BT1HW[:, -1]], [observed_BT1HW[:, -1]]
    for age, displacement in enumerate(trajectories(motion, scans - 1), start=1):
        points = departure_points(displacement)
        moved, is_known = transport(rain_BT1HW[:, -1 - age], observed_BT1HW[:, -1 - age], points)
        rain.append(moved)
        known.append(is_known.to(moved.dtype))
    return Frame(torch.stack(rain[::-1], 1), torch.stack(known[::-1], 1), motion)


def smoothed_scans(
    frame: Frame, processes: BandProcesses, lead_times: int, *, use_up: bool = False
) -> Iterator[Tensor]:
    """The last scan at each lead time, (B, 1, H, W) normalised dB, with what is forgotten removed.

    The scale bands go on as autoregressive processes, so short-lived scales fade. A small share of
    the last scan keeps its order of pixels where all bands are forgotten.

    Parameters
    ----------
    use_up : see `BandProcesses.forecasts`.
    """
    last = frame.rain_BT1HW[:, -1].float()
    for forecast in processes.forecasts(lead_times, use_up=use_up):
        yield forecast.sum_B1HW.add_(last, alpha=LAST_SCAN_SHARE)


def scans_at_rest(rain_BT1HW: Tensor, observed_BT1HW: Tensor) -> Tensor:
    """(B, 3, H, W): last scan, mean and least of the scans of each pixel, where they were observed.

    They show what does not move with the rain: rain that stays on mountains, and clutter. NaN where
    the last scan (where no scan) observed the pixel.
    """
    is_observed = observed_BT1HW > 0
    last = torch.where(is_observed[:, -1], rain_BT1HW[:, -1], torch.nan)
    count = observed_BT1HW.sum(dim=1)
    mean = (rain_BT1HW * observed_BT1HW).sum(dim=1) / count  # 0 / 0 is NaN
    least = torch.where(is_observed, rain_BT1HW, torch.inf).amin(dim=1)
    return torch.cat([last, mean, torch.where(count > 0, least, torch.nan)], dim=1)


def staying_rain(at_rest_B3HW: Tensor, motion_B2hw: Tensor, lead_times: int) -> Iterator[Tensor]:
    """The scans at rest at the place that the rain of each pixel reaches at each lead time.

    Returns
    -------
    (B, 3, H, W) for each lead time, from the nearest pixel; NaN outside and where not observed.
    """
    for displacement in trajectories(-motion_B2hw, lead_times):
        yield _at_end(at_rest_B3HW, displacement)


def _at_end(at_rest_B3HW: Tensor, displacement_B2hw: Tensor) -> Tensor:
    """`from_nearest`, strip by strip."""
    height, width = at_rest_B3HW.shape[-2:]
    inside = at_rest_B3HW.new_ones(1).expand(len(at_rest_B3HW), 1, height, width)
    result = torch.empty_like(at_rest_B3HW)
    for rows in strips(height, width, result.device, COARSE):
        points = departure_rows(displacement_B2hw, rows)
        is_outside = at_nearest(inside, points) <= 0
        strip = at_nearest(at_rest_B3HW, points).masked_fill_(is_outside, torch.nan)
        result[..., rows, :] = strip
    return result


def paths_of_rain(motion_B2hw: Tensor, lead_times: int) -> Tensor:
    """(B, L, 2, h, w) pixels: from each place at the last scan's time to that at a lead time."""
    return -trajectories(-motion_B2hw, lead_times).transpose(0, 1)


class MovingWindow(NamedTuple):
    """A training window in the moving frame."""

    fields_BCHW: Tensor
    """(B, T + 5 L, H, W) mm/h, NaN = not known: the T scans of the context; for the L lead times
    the smoothed last scan, and three fields each of `staying_rain`; the L scans after the
    context"""
    paths_BL2hw: Tensor
    """of the rain, see `paths_of_rain`"""


@torch.no_grad()
def moving_window(rain_rate_BS1HW: Tensor, context: int) -> MovingWindow:
    """A training window in the moving frame: context, smoothed and staying rain, and future.

    The future is the scan at each lead time, taken from the nearest pixel to the end of the
    trajectory that starts in a pixel of the last scan. So a network that works in the moving frame
    trains on it without transport.

    Parameters
    ----------
    rain_rate_BS1HW : S = T + L consecutive scans, mm/h, NaN = not observed, oldest first.
    context : T.
    """
    height, width = rain_rate_BS1HW.shape[-2:]
    scaling = RainScaling()
    lead_times = rain_rate_BS1HW.shape[1] - context
    rain, observed = scaling.normalise(rain_rate_BS1HW[:, :context])
    frame = lagrangian_frame(rain, observed)
    assert frame.motion_B2hw is not None
    known = frame.known_BT1HW
    smoothed = torch.stack(list(smoothed_scans(frame, band_processes(frame), lead_times)), dim=1)
    past = torch.cat([frame.rain_BT1HW, smoothed], dim=1)
    is_known = torch.cat([known, known[:, -1:].expand_as(smoothed)], dim=1) > 0
    past = torch.where(is_known, scaling.denormalise(past), torch.nan)[:, :, 0, :height, :width]
    at_rest = scaling.denormalise(scans_at_rest(rain, observed))
    staying, future = [], []
    paths = paths_of_rain(frame.motion_B2hw, lead_times)
    for lead, path in enumerate(paths.unbind(1)):
        later = rain_rate_BS1HW[:, context + lead]
        points = departure_points(-path, (height, width))
        at_end = from_nearest(torch.cat([at_rest, later], dim=1), points)
        staying.append(at_end[:, :-1])
        future.append(at_end[:, -1:])
    return MovingWindow(torch.cat([past, *staying, *future], dim=1), paths)
