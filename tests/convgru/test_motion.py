"""Motion, trajectories and transport of fields that move at a known speed."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch._subclasses import FakeTensorMode

from squall.convgru.motion import (
    COARSE,
    coarse_motion,
    departure_points,
    extrapolate,
    trajectories,
    transport,
    upsampled,
)
from squall.convgru.scaling import RainScaling
from tests.convgru.moving_rain import moving_texture, texture


def motion_field(context: torch.Tensor) -> torch.Tensor:
    """(B, 2, H, W) pixels per step at each pixel of a context in mm/h."""
    height, width = context.shape[-2:]
    return upsampled(coarse_motion(context))[..., :height, :width]


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (3, -2), (-6, 5), (0, 9)])
def test_the_motion_of_a_moving_field(rows, columns):
    motion = motion_field(moving_texture(rows, columns, 4))
    assert motion.shape == (1, 2, 160, 160)
    inner = motion[0, :, 32:-32, 32:-32].mean(dim=(1, 2))
    assert inner.tolist() == pytest.approx([columns, rows], abs=0.35)


def test_the_motion_of_a_sample_does_not_depend_on_its_batch():
    samples = [moving_texture(rows, columns, 3) for rows, columns in ((0, 0), (3, -2), (-6, 5))]
    together = motion_field(torch.cat(samples))
    assert torch.equal(together, torch.cat([motion_field(sample) for sample in samples]))


def test_motion_is_that_at_the_present_place_of_the_rain():
    side, turn = 320, 0.06  # radians per step
    field = texture(side)
    y, x = np.mgrid[:side, :side] - side / 2
    scans = []
    for step in range(4):
        cos, sin = np.cos(turn * step), np.sin(turn * step)
        place = [cos * y - sin * x + side / 2, sin * y + cos * x + side / 2]
        scans.append(scipy.ndimage.map_coordinates(field.numpy(), place, order=1, mode="wrap"))
    inner = (..., slice(100, -100), slice(100, -100))
    context = torch.from_numpy(np.stack(scans))[None, :, None, 80:-80, 80:-80]
    motion = motion_field(context)[0][..., 20:-20, 20:-20].numpy()
    error = motion - turn * np.stack([-y, x])[inner]
    # motion is up to 5 pixels a step; the mean of the flows of all pairs has an error of 0.4
    assert np.sqrt((error**2).sum(axis=0).mean()) < 0.2


def test_extrapolation_moves_rain_to_its_future_place():
    scans = moving_texture(2, -3, 8)
    forecast = extrapolate(scans[:, :4], 4)
    truth = scans[:, 4:]
    persistence = scans[:, 3:4].expand_as(truth)
    inner = (..., slice(40, -40), slice(40, -40))
    error = (forecast - truth)[inner].abs().mean()
    assert error < 0.15 * (persistence - truth)[inner].abs().mean()
    # pixels whose trajectory starts beyond the right edge are not known
    assert torch.isnan(forecast[0, 3, 0, 80, -6:]).all()
    assert not torch.isnan(forecast[0, 3, 0, 80, :-20]).any()


def test_without_rain_or_with_one_scan_nothing_moves():
    assert not motion_field(torch.zeros(2, 4, 1, 40, 48)).any()
    assert not motion_field(torch.full((1, 4, 1, 40, 48), torch.nan)).any()
    scan = moving_texture(2, 2, 1)
    rain = RainScaling()
    last = rain.denormalise(rain.normalise(scan[:, -1])[0])
    clear = (last > 0.11) | (last == 0)
    for lead in extrapolate(scan, 2)[0]:
        assert torch.allclose(lead[clear[0]], last[0][clear[0]], rtol=1e-4, atol=0.11)


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (13, 200), (200, 13), (31, 33)])
def test_domains_of_any_size_have_a_motion(shape):
    rain = torch.rand(1, 3, 1, *shape)
    motion = coarse_motion(rain)
    assert motion.shape == (1, 2, *(-(-side // COARSE) for side in shape))
    assert torch.isfinite(motion).all()


def test_a_gap_moves_with_the_rain_and_has_no_influence_elsewhere():
    scans = moving_texture(0, 4, 4)
    scans[..., 60:90, 60:90] = torch.nan
    forecast = extrapolate(scans, 3)
    without_gap = extrapolate(moving_texture(0, 4, 4), 3)
    is_missing = torch.isnan(forecast[0, 2, 0])
    assert is_missing[70, 86:95].all()  # the gap, 12 pixels further
    assert not is_missing[70, 62:66].any()
    far = ~is_missing & ~torch.isnan(without_gap[0, 2, 0])
    far[20:130, 20:150] = False  # near the gap the motion differs a little
    assert far.sum() > 2000
    assert (forecast[0, 2, 0] - without_gap[0, 2, 0])[far].abs().mean() < 0.05


def test_transport_by_whole_pixels_copies():
    field = torch.rand(1, 2, 32, 32)
    known = torch.ones(1, 1, 32, 32)
    known[..., 10, 10] = 0
    displacement = torch.zeros(1, 2, 4, 4)
    displacement[:, 0], displacement[:, 1] = 3.0, -2.0
    moved, is_known = transport(field, known, departure_points(displacement))
    assert torch.allclose(
        moved[..., :-2, 3:][is_known[..., :-2, 3:].expand_as(moved[..., :-2, 3:])],
        field[..., 2:, :-3][is_known[..., :-2, 3:].expand_as(moved[..., :-2, 3:])],
        atol=1e-5,
    )
    assert not is_known[..., 8, 13].any()
    assert not is_known[..., :3].any()
    assert not is_known[..., -2:, :].any()
    assert is_known[..., :-2, 3:].sum() == 30 * 29 - 1
    assert not moved[~is_known.expand_as(moved)].any()


def test_transport_has_gradients_in_field_and_displacement():
    torch.manual_seed(0)
    field = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    displacement = (0.3 + 0.2 * torch.rand(1, 2, 1, 1, dtype=torch.float64)).requires_grad_()
    known = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda f, d: transport(f, known, departure_points(d))[0], (field, displacement)
    )


def test_trajectories_follow_a_rotation():
    side, turn = 16, 0.05  # cells; radians a step
    axis = (torch.arange(side) - (side - 1) / 2) * COARSE
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    motion = torch.stack([-turn * y, turn * x])[None]
    steps = 8
    path = trajectories(motion, steps)[-1, 0]
    angle = -turn * steps  # backwards
    start_x = x * np.cos(angle) - y * np.sin(angle)
    start_y = x * np.sin(angle) + y * np.cos(angle)
    inner = slice(4, -4)
    assert torch.allclose((x - path[0])[inner, inner], start_x[inner, inner], atol=0.3)
    assert torch.allclose((y - path[1])[inner, inner], start_y[inner, inner], atol=0.3)


def test_rain_above_one_millimetre_everywhere_has_a_motion():
    motion = motion_field(1.5 + moving_texture(0, 6, 4))
    inner = motion[0, :, 32:-32, 32:-32].mean(dim=(1, 2))
    assert inner.tolist() == pytest.approx([6, 0], abs=0.5)


@pytest.mark.parametrize("size", [(32, 48), (33, 50), (7, 5)])
def test_the_shape_of_motion_without_values_is_that_of_motion(size):
    """The memory estimate and the compiler run without values."""
    assert COARSE == 8  # so the sizes are whole cells, cells over the edge, less than a cell
    rain = torch.ones(2, 4, 1, *size)
    motion = coarse_motion(rain)
    with FakeTensorMode() as mode:
        shape_only = coarse_motion(mode.from_tensor(rain))
    assert shape_only.shape == motion.shape
    assert shape_only.dtype == motion.dtype
