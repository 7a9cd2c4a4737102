"""The motion of rain: optical flow, trajectories, and transport along them.

Public: `coarse_motion`, `trajectories`, `one_step_longer`, `transport`, `moved_strips`,
`moved_known`, `departure_points`, `departure_rows`, `at_points`, `at_nearest`, `from_nearest`,
`trajectory_starts`, `place_in_frame`, `extrapolate`, `extrapolated_leads`.

Fields move with the rain by semi-Lagrangian transport: a pixel gets the value from the start of
the trajectory that ends in it.

Dims: B batch, T context steps, L lead steps, C channels, H rows, W columns, h and w those of the
coarse grid. Vectors are (columns to the right, rows down) in pixels.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from os import cpu_count

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad

from squall.convgru.scaling import RainScaling
from squall.convgru.strips import in_strips, interpolated_rows, strips

Image = npt.NDArray[np.uint8]

COARSE = 8  # side of the cells of the coarse grid [px]; motion is smooth enough for it
SMOOTHING_PX = 20.0  # standard deviation of the Gaussian that smooths motion
MIN_FLOW_SIDE_PX = 64  # narrower images are padded, since OpenCV's optical flow crashes on them
RAIN_BLUR_PX = 15  # of the later image, so that rain which moved still overlaps the earlier one
MEAN_MOTION_WEIGHT = 0.02  # of the field's mean, relative to the mean weight of rain
LEAST_RAIN_SHARE = 0.05  # a scan with less of the rain of another one does not tell its motion
FLOW_SCANS = 4  # motion is measured from this many of the newest scans


def coarse_motion(rain_rate_BT1HW: Tensor) -> Tensor:
    """How far rain moves in one step, as means over cells of `COARSE` × `COARSE` pixels.

    This is the only function that computes motion. It takes rain rate, and it alone decides on
    which scale the optical flow sees it.

    Dense inverse search optical flow (Kroeger et al. 2016, arXiv:1603.03590) is computed between
    consecutive scans of logarithmic rain rate. Scans without rain are passed over; a flow over n
    steps is divided by n. The flows of all pairs are averaged under a Gaussian window, with the
    rain as weight. Then each scan is moved along this field to the time of the last scan. The
    remaining flow between it and the last scan, divided by its age in steps, is averaged in the
    same way and added. So the motion is that at the present place of the rain, measured over up
    to three steps. Far from rain the field tends to its mean; without any rain it is 0.

    Parameters
    ----------
    rain_rate_BT1HW : mm/h, NaN = not observed, which counts as dry.

    Returns
    -------
    (B, 2, h, w) pixels per step, float32, on the rain's device, without gradient. The last row
    and column of cells may reach over the domain's edge.
    """
    # The operator is for graphs and for tensors without values. It imports torch's compiler, which
    # takes a second or more.
    has_values = type(rain_rate_BT1HW) is Tensor and not torch.compiler.is_compiling()
    motion: Tensor = (_measured if has_values else _coarse_motion)(rain_rate_BT1HW)
    return motion


def _measured(rain_rate_BT1HW: Tensor) -> Tensor:
    images = in_strips(_image, rain_rate_BT1HW[:, -FLOW_SCANS:, 0].detach()).cpu().numpy()
    # threads, since OpenCV and NumPy release Python's lock
    with ThreadPoolExecutor(min(len(images), cpu_count() or 1)) as threads:
        fields = np.stack(list(threads.map(_flow, images)))
    return torch.from_numpy(fields).to(rain_rate_BT1HW.device)


def _image(rain_rate: Tensor) -> Tensor:
    normalised, _ = RainScaling().normalise(rain_rate.float())
    return normalised.mul_(255).round_().to(torch.uint8)


@torch.library.custom_op("squall::coarse_motion", mutates_args=())
def _coarse_motion(rain_rate_BT1HW: Tensor) -> Tensor:
    """`coarse_motion` as an operator, which torch's compiler does not look into."""
    return _measured(rain_rate_BT1HW)


@_coarse_motion.register_fake
def _(rain_rate_BT1HW: Tensor) -> Tensor:
    batch, _, _, height, width = rain_rate_BT1HW.shape
    shape = (batch, 2, -(-height // COARSE), -(-width // COARSE))
    return rain_rate_BT1HW.new_empty(shape, dtype=torch.float32)


def _flow(images_THW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(2, h, w) pixels per step from the 8-bit images of consecutive scans, oldest first."""
    height, width = images_THW.shape[1:]
    missing = [(0, max(0, MIN_FLOW_SIDE_PX - side)) for side in (height, width)]
    images_THW = np.pad(images_THW, ((0, 0), *missing))
    with_rain = list(pairwise(np.flatnonzero(images_THW.any(axis=(1, 2)))))
    pairs = [(images_THW[earlier], images_THW[later]) for earlier, later in with_rain]
    steps = [int(later - earlier) for earlier, later in with_rain]
    field = _mean_flow(pairs, steps, height, width)
    last, older = images_THW[-1], images_THW[-2::-1]
    displacements = trajectories(torch.from_numpy(field)[None], len(older))
    moved = [
        _moved(image, displacement[0].numpy())
        for image, displacement in zip(older, displacements, strict=True)
    ]
    ages = list(range(1, len(older) + 1))
    return field + _mean_flow([(image, last) for image in moved], ages, height, width)


def _mean_flow(
    pairs: list[tuple[Image, Image]], steps: list[int], height: int, width: int
) -> npt.NDArray[np.float32]:
    """(2, h, w) pixels per step: the flows of pairs of images, averaged and smoothed.

    Parameters
    ----------
    pairs : earlier and later image.
    steps : time steps between the two images of each pair.
    height, width : the domain's; images may be larger.
    """
    rows, columns = -(-height // COARSE), -(-width // COARSE)
    total = np.zeros((rows, columns, 2), np.float32)
    weight = np.zeros((rows, columns), np.float32)
    optical_flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    optical_flow.setFinestScale(2)  # a quarter of the resolution is as good, and faster
    for (earlier, later), steps_apart in zip(pairs, steps, strict=True):
        less, more = sorted((int(earlier.sum()), int(later.sum())))
        if less <= LEAST_RAIN_SHARE * more:  # also if both are dry
            continue
        flow = optical_flow.calc(earlier, later, None)  # type: ignore[call-overload]
        # the weight is high where the earlier image has rain and the later one has rain nearby
        later_blurred = cv2.blur(later, (RAIN_BLUR_PX, RAIN_BLUR_PX))
        rain = np.sqrt(earlier.astype(np.float32) * later_blurred)[:height, :width]
        total += _cell_means(flow[:height, :width] * (rain / steps_apart)[..., None], rows, columns)
        weight += _cell_means(rain, rows, columns)
    if not weight.any():
        return np.zeros((2, rows, columns), np.float32)
    mean = total.sum(axis=(0, 1)) / weight.sum()
    sigma = SMOOTHING_PX / COARSE
    summed, smooth = (
        cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) for x in (total, weight)
    )
    mean_weight = MEAN_MOTION_WEIGHT * float(weight.mean()) + 1e-6
    field = (summed + mean_weight * mean) / (smooth + mean_weight)[..., None]
    return np.ascontiguousarray(field.transpose(2, 0, 1), dtype=np.float32)


def _moved(image_HW: Image, displacement_2hw: npt.NDArray[np.float32]) -> Image:
    """An image moved along trajectories; 0 where a trajectory starts outside the image."""
    height, width = image_HW.shape
    rows, columns = displacement_2hw.shape[1:]
    right, down = (cv2.resize(x, (columns * COARSE, rows * COARSE)) for x in displacement_2hw)
    missing = [(0, max(0, height - rows * COARSE)), (0, max(0, width - columns * COARSE))]
    right, down = (np.pad(x, missing, mode="edge")[:height, :width] for x in (right, down))
    y, x = np.indices((height, width), np.float32)
    return np.asarray(cv2.remap(image_HW, x - right, y - down, cv2.INTER_LINEAR), np.uint8)


def _cell_means(field: npt.NDArray[np.float32], rows: int, columns: int) -> npt.NDArray[np.float32]:
    """Means over cells; beyond the edge of the field a cell holds zeros."""
    height, width = field.shape[:2]
    padded = cv2.copyMakeBorder(
        field, 0, rows * COARSE - height, 0, columns * COARSE - width, cv2.BORDER_CONSTANT
    )
    return np.asarray(cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA))


def trajectories(motion_B2hw: Tensor, steps: int) -> Tensor:
    """Displacements along trajectories of 1, 2, … ``steps`` steps that end in each cell.

    Parameters
    ----------
    motion_B2hw : pixels per step on the coarse grid; the same for all steps.

    Returns
    -------
    (L, B, 2, h, w) pixels: a trajectory ending in x started in x minus its displacement.
    """
    displacement = torch.zeros_like(motion_B2hw)
    displacements = []
    for _ in range(steps):
        displacement = one_step_longer(displacement, motion_B2hw)
        displacements.append(displacement)
    if not displacements:
        return motion_B2hw.new_zeros((0, *motion_B2hw.shape))
    return torch.stack(displacements)


def one_step_longer(displacement_B2hw: Tensor, motion_B2hw: Tensor) -> Tensor:
    """The displacements of `trajectories` with one step more; they begin with 0."""
    # midpoint rule, backwards in time: the step's motion is that of its middle
    first = at_points(motion_B2hw, _points(displacement_B2hw / COARSE), border=True)
    middle = displacement_B2hw + 0.5 * first
    return displacement_B2hw + at_points(motion_B2hw, _points(middle / COARSE), border=True)


def transport(field_BCHW: Tensor, known_B1HW: Tensor, points_BHW2: Tensor) -> tuple[Tensor, Tensor]:
    """Move fields along trajectories; differentiable in field and points.

    Parameters
    ----------
    field_BCHW : H and W multiples of `COARSE`.
    known_B1HW : 1 where the field is known, 0 where not; unknown pixels have no influence.
    points_BHW2 : `departure_points` of the trajectories.

    Returns
    -------
    The moved field (B, C, H, W), 0 where not known; and where it is known (B, 1, H, W), bool. A
    pixel is known if known pixels have more than half the weight at the start of its trajectory.
    """
    known, scale = moved_known(known_B1HW.to(field_BCHW.dtype), points_BHW2)
    moved = torch.empty_like(field_BCHW)
    for number in range(field_BCHW.shape[1]):  # one by one, since all at once need much memory
        channel = slice(number, number + 1)
        moved[:, channel] = at_points(field_BCHW[:, channel] * known_B1HW, points_BHW2) * scale
    return moved, known


def moved_known(known_B1HW: Tensor, points_BHW2: Tensor) -> tuple[Tensor, Tensor]:
    """Where a moved field is known, and how it is scaled there; see `transport`.

    Returns
    -------
    (B, 1, H, W) twice: bool; and the factor of a field that was 0 where not known when it moved, 0
    where the moved field is not known.
    """
    share = at_points(known_B1HW, points_BHW2)
    known = share > 0.5
    return known, torch.where(known, 1 / share.clamp(min=0.5), 0.0)


def moved_strips(
    field_BCHW: Tensor, known_B1HW: Tensor, displacement_B2hw: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """`transport`, strip by strip.

    Parameters
    ----------
    field_BCHW : 0 where not known.
    displacement_B2hw : of the trajectories that end at the time, on the coarse grid.

    Yields
    ------
    The rows of a strip, the moved field (B, C, rows, W), and where it is known (B, 1, rows, W).
    """
    height, width = field_BCHW.shape[-2:]
    for rows in strips(height, width, field_BCHW.device, COARSE):
        points = departure_rows(displacement_B2hw, rows)
        is_known, scale = moved_known(known_B1HW, points)
        yield rows, at_points(field_BCHW, points).mul_(scale), is_known


def departure_points(displacement_B2hw: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Where the trajectory that ends in each pixel starts.

    Parameters
    ----------
    displacement_B2hw : pixels, on the coarse grid.
    size : rows and columns of the domain, if the coarse grid reaches over its edge.

    Returns
    -------
    (B, H, W, 2) column and row; -1 and 1 are the outer edges of the domain.
    """
    displacement = upsampled(displacement_B2hw)
    height, width = size or displacement.shape[-2:]
    return _points(displacement[:, :, :height, :width])


def departure_rows(displacement_B2hw: Tensor, rows: slice) -> Tensor:
    """The rows of `departure_points` that belong to a strip, (B, rows, W, 2).

    Parameters
    ----------
    rows : from a multiple of `COARSE` to a multiple of it.
    """
    displacement = interpolated_rows(displacement_B2hw, rows, COARSE)
    return _points(displacement, COARSE * displacement_B2hw.shape[-2], rows.start)


def at_points(field_BCHW: Tensor, points_BHW2: Tensor, *, border: bool = False) -> Tensor:
    """(B, C, H, W): a field at `departure_points`, bilinear.

    Beyond the edge it is the value at the edge if ``border``, else 0.
    """
    return grid_sample(
        field_BCHW,
        points_BHW2.to(field_BCHW.dtype),
        mode="bilinear",
        padding_mode="border" if border else "zeros",
        align_corners=False,
    )


def at_nearest(field_BCHW: Tensor, points_BHW2: Tensor) -> Tensor:
    """(B, C, rows, W): a field at the pixels nearest to `departure_points`, 0 beyond the edge."""
    return grid_sample(field_BCHW, points_BHW2, mode="nearest", align_corners=False)


def from_nearest(fields_BCHW: Tensor, points_BHW2: Tensor) -> Tensor:
    """The fields at the pixel nearest to the start of each trajectory; NaN outside.

    Unlike `transport`, this keeps each value as it is, and so it keeps the smallest scales.

    Parameters
    ----------
    points_BHW2 : `departure_points` of the trajectories, for the size of the fields.

    Returns
    -------
    (B, C, H, W)
    """
    inside = torch.ones_like(fields_BCHW[:, :1])
    values, is_inside = (at_nearest(field, points_BHW2) for field in (fields_BCHW, inside))
    return values.masked_fill_(is_inside <= 0, torch.nan)


def trajectory_starts(displacement_B2HW: Tensor) -> Tensor:
    """(B, 2, H, W): column and row of the start of each trajectory."""
    starts = displacement_B2HW.neg()
    rows, columns = (torch.arange(n, device=starts.device) for n in starts.shape[-2:])
    starts[:, 0].add_(columns.to(starts.dtype))
    starts[:, 1].add_(rows[:, None].to(starts.dtype))
    return starts


def place_in_frame(columns: Tensor, rows: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The number of a pixel in the frame, and whether it is inside."""
    row, column = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    is_inside = (row == rows) & (column == columns)
    return row.long() * width + column.long(), is_inside


def extrapolate(context: Tensor, lead_times: int) -> Tensor:
    """Move the last scan along the motion of the context: optical-flow extrapolation.

    Parameters
    ----------
    context : (B, T, 1, H, W) rain rate, mm/h, NaN = not observed, oldest first.

    Returns
    -------
    (B, L, 1, H, W) rain rate, mm/h; NaN where the trajectory does not start at pixels that the
    last scan observed.
    """
    return torch.stack(list(extrapolated_leads(context, lead_times)), dim=1)


def extrapolated_leads(context: Tensor, lead_times: int) -> Iterator[Tensor]:
    """(B, 1, H, W) of `extrapolate`, one lead time after the other; without gradient."""
    height, width = context.shape[-2:]
    with torch.no_grad():
        displacements = trajectories(coarse_motion(context), lead_times)
        rain, known = (pad_to(x, COARSE) for x in RainScaling().normalise(context[:, -1]))

    @torch.no_grad()
    def moved_along(displacement: Tensor) -> Tensor:
        moved, is_known = transport(rain, known, departure_points(displacement))
        return RainScaling().denormalise(
            moved.masked_fill_(~is_known, -torch.inf)[..., :height, :width]
        )

    return map(moved_along, displacements)


def pad_to(x: Tensor, multiple: int, value: float = 0.0) -> Tensor:
    """Add rows and columns at the end, up to multiples of ``multiple``."""
    height, width = x.shape[-2:]
    return pad(x, (0, -width % multiple, 0, -height % multiple), value=value)


def upsampled(x_BChw: Tensor) -> Tensor:
    """From the coarse grid to pixels, bilinear: (B, C, h * COARSE, w * COARSE)."""
    return interpolate(x_BChw, scale_factor=COARSE, mode="bilinear", align_corners=False)


def _points(displacement_B2HW: Tensor, height: int | None = None, first_row: int = 0) -> Tensor:
    """(B, H, W, 2): each pixel minus its displacement [px], see `departure_points`.

    Parameters
    ----------
    height : rows of the domain, if these are some of them.
    first_row : number of the first one in the domain.
    """
    rows, width = displacement_B2HW.shape[-2:]
    height = height or rows
    points = displacement_B2HW.new_empty(len(displacement_B2HW), rows, width, 2)
    numbers = (torch.arange(count, device=points.device) for count in (rows, width))
    of_rows, of_columns = (
        (2 * (number + first).to(points.dtype) + 1) / side - 1
        for number, first, side in zip(numbers, (first_row, 0), (height, width), strict=True)
    )
    points[..., 0] = torch.add(of_columns, displacement_B2HW[:, 0], alpha=-2 / width)
    points[..., 1] = torch.add(of_rows[:, None], displacement_B2HW[:, 1], alpha=-2 / height)
    return points
