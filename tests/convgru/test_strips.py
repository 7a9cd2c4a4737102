"""Strips of large fields give what whole fields give."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from squall.convgru import strips as strips_module
from squall.convgru.checkpoint import load_nowcaster
from squall.convgru.pretrained import find_model
from squall.convgru.products import exceedance, product_rain
from squall.convgru.strips import in_strips, interpolated_at, interpolated_rows, strips
from tests.convgru.moving_rain import moving_texture

CPU = torch.device("cpu")


@pytest.mark.parametrize("multiple", [1, 8])
def test_strips_cover_each_row_once(monkeypatch, multiple):
    monkeypatch.setattr(strips_module, "STRIP_PX", 500)
    rows = list(strips(96, 70, CPU, multiple))
    assert np.concatenate([np.arange(96)[part] for part in rows]).tolist() == list(range(96))
    assert len(rows) > 4
    assert all(part.start % multiple == 0 for part in rows)
    assert list(strips(96, 70, torch.device("meta"))) == [slice(0, 96)]


def test_a_function_of_pixels_gives_the_same_in_strips(monkeypatch):
    monkeypatch.setattr(strips_module, "STRIP_PX", 300)
    a, b = torch.rand(2, 3, 50, 40), torch.rand(2, 1, 50, 40)

    def function(a, b):
        return (a * b).sum(dim=1, keepdim=True)

    assert torch.equal(in_strips(function, a, b), function(a, b))


@pytest.mark.parametrize("few_rows", [1, 64])
@pytest.mark.parametrize("factor", [1, 4, 8, 64])
def test_interpolated_rows_are_those_of_the_whole_field(factor, few_rows, monkeypatch):
    monkeypatch.setattr(strips_module, "FEW_ROWS", few_rows)
    field = torch.rand(2, 3, 5, 7)
    whole = interpolate(field, scale_factor=float(factor), mode="bilinear", align_corners=False)
    width = whole.shape[-1] - 1
    height = whole.shape[-2]
    for rows in (slice(0, 3), slice(2, 5), slice(height - 2, height), slice(0, height)):
        strip = interpolated_rows(field, rows, factor, width)
        assert torch.allclose(strip, whole[..., rows, :width], atol=1e-6)


@pytest.mark.parametrize("factor", [1, 4, 8])
@pytest.mark.parametrize(
    "pixels", [(slice(None), slice(None)), (slice(1, None, 2), slice(0, None, 3))]
)
def test_some_pixels_are_those_of_the_whole_field_with_the_same_gradient(factor, pixels):
    torch.manual_seed(1)
    field = torch.rand(2, 3, 5, 7, requires_grad=True)
    expected = interpolate(field, scale_factor=float(factor), mode="bilinear")[..., *pixels]
    some = interpolated_at(field, factor, pixels)
    assert torch.allclose(some, expected, atol=1e-6)
    weights = torch.rand_like(some)
    gradients = [torch.autograd.grad((x * weights).sum(), field)[0] for x in (some, expected)]
    assert torch.allclose(*gradients, atol=1e-5)


@pytest.fixture(scope="module")
def base():
    return load_nowcaster(find_model("squall-base"))[0]


@torch.inference_mode()
def forecast(model, context, lead_times=2):
    leads = model.chances(context, lead_times, step_min=10, spacing_km=1)
    height, width = context.shape[-2:]
    fields = []
    for lead in leads:
        chances = [of_strip for _, of_strip in exceedance(lead, None, range(6))]
        fields.append(torch.cat([product_rain(lead, "order", None), torch.cat(chances, 2)], dim=1))
    return torch.stack(fields)[..., :height, :width]


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 90), (7, 3), (16, 17), (65, 64), (130, 41), (300, 300)]
)
def test_a_forecast_in_strips_is_that_of_the_whole_grid(base, monkeypatch, shape):
    torch.manual_seed(sum(shape))
    side = max(64, *shape)
    context = moving_texture(rows=1, columns=2, scans=4, side=side)[..., : shape[0], : shape[1]]
    context = torch.where(torch.rand(1, 1, 1, *shape) > 0.95, torch.nan, context)
    whole = forecast(base, context)
    monkeypatch.setattr(strips_module, "STRIP_PX", 200)
    in_parts = forecast(base, context)
    assert torch.equal(in_parts.isnan(), whole.isnan())
    difference = (in_parts - whole).abs().nan_to_num(0)
    assert difference[:, :, 1:].max() <= 1e-5
    assert (difference[:, :, 0] > 1e-4).float().mean() < 1e-3  # pixels of equal rank swap places
