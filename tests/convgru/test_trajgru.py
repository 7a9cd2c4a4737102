"""The trajectory GRU equals its formula, and without flow a GRU with 1 × 1 convolutions."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, leaky_relu, pad

from squall.convgru import TrajGRUCell
from squall.convgru.trajgru import gather

LINKS, INPUTS, HIDDEN = 3, 4, 5


def example(
    inputs: int = INPUTS, *, height: int = 6, width: int = 8
) -> tuple[TrajGRUCell, Tensor, Tensor]:
    torch.manual_seed(5)
    cell = TrajGRUCell(inputs, HIDDEN, links=LINKS)
    torch.nn.init.normal_(cell.W_uv.weight, std=0.2)  # flows of several pixels
    x, h = torch.randn(2, INPUTS, height, width), torch.randn(2, HIDDEN, height, width).tanh()
    return cell, x, h


def warped(h: Tensor, flow: Tensor) -> Tensor:
    """M(c, i, j) = sum over m, n of I(c, m, n) max(0, 1 - |i + V - m|) max(0, 1 - |j + U - n|),
    as in the paper, for h (B, C, H, W) and flow (B, 2, H, W) = U, V."""
    height, width = h.shape[-2:]
    rows, columns = torch.arange(height), torch.arange(width)
    y, x = flow[:, 1] + rows[:, None], flow[:, 0] + columns  # (B, i, j)
    row_weight = (1 - (y[..., None] - rows).abs()).clamp(min=0)  # (B, i, j, m)
    column_weight = (1 - (x[..., None] - columns).abs()).clamp(min=0)  # (B, i, j, n)
    return torch.einsum("bcmn,bijm,bijn->bcij", h, row_weight, column_weight)


def reference(weights: dict[str, Tensor], x: Tensor, h: Tensor) -> Tensor:
    """One step, link by link."""
    x_flow, h_flow = (
        conv2d(x, weights["W_xf.weight"], padding=2),
        conv2d(h, weights["W_hf.weight"], weights["W_hf.bias"], padding=2),
    )
    flows = conv2d(
        leaky_relu(x_flow + h_flow, 0.2), weights["W_uv.weight"], weights["W_uv.bias"], padding=2
    )
    state = torch.zeros(())
    for link in range(LINKS):
        moved = warped(h, flows[:, 2 * link : 2 * link + 2])
        state = state + conv2d(moved, weights["W_links.weight"][:, link::LINKS])
    s_z, s_r, s_h = state.chunk(3, dim=1)
    x_z, x_r, x_h = conv2d(x, weights["W_x.weight"], weights["W_x.bias"], padding=1).chunk(3, dim=1)
    z, r = torch.sigmoid(x_z + s_z), torch.sigmoid(x_r + s_r)
    return (1 - z) * h + z * torch.tanh(x_h + r * s_h)


@pytest.mark.parametrize(("height", "width"), [(6, 8), (1, 7), (9, 2)])
def test_a_step_is_the_formula(height: int, width: int) -> None:
    cell, x, h = example(height=height, width=width)
    torch.testing.assert_close(cell(x, h), reference(cell.state_dict(), x, h), atol=1e-5, rtol=0)


def test_gradients_are_those_of_the_formula() -> None:
    cell, x, h = example()
    direction = torch.randn_like(h)
    weights = dict(cell.named_parameters())
    inputs = [x.requires_grad_(), h.requires_grad_(), *weights.values()]
    gradients = torch.autograd.grad((cell(x, h) * direction).sum(), inputs)
    expected = torch.autograd.grad((reference(weights, x, h) * direction).sum(), inputs)
    for name, a, b in zip(["x", "h", *weights], gradients, expected, strict=True):
        assert b.abs().max() > 0, name
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_without_flow_it_is_a_gru_with_1x1_convolutions_of_its_state() -> None:
    cell, x, h = example()
    with torch.no_grad():
        cell.W_uv.weight.zero_()
        cell.W_uv.bias.zero_()
    # without flow all links gather the same state
    weight = cell.W_links.weight.unflatten(1, (HIDDEN, LINKS)).sum(dim=2)
    s_z, s_r, s_h = conv2d(h, weight).chunk(3, dim=1)
    x_z, x_r, x_h = cell.W_x(x).chunk(3, dim=1)
    z, r = torch.sigmoid(x_z + s_z), torch.sigmoid(x_r + s_r)
    expected = (1 - z) * h + z * torch.tanh(x_h + r * s_h)
    torch.testing.assert_close(cell(x, h), expected, atol=1e-5, rtol=0)


def test_whole_pixels_of_flow_shift_the_field() -> None:
    h = torch.rand(1, 2, 5, 7)
    flows = torch.zeros(1, 2, 2, 5, 7)
    # the second link gathers from 2 pixels to the right and 1 above
    flows[:, 1, 0], flows[:, 1, 1] = 2, -1
    gathered = gather(h, flows)
    torch.testing.assert_close(gathered[:, :, 0], h)
    torch.testing.assert_close(gathered[:, :, 1], pad(h, (0, 2, 1, 0))[:, :, :5, 2:])


def test_bfloat16_flows_are_exact_in_a_wide_domain() -> None:
    h = torch.arange(1000.0).expand(1, 1, 2, -1)
    flows = torch.zeros(1, 1, 2, 2, 1000, dtype=torch.bfloat16)
    flows[:, :, 0] = 0.5
    with torch.autocast("cpu", torch.bfloat16):
        gathered = gather(h, flows)
    torch.testing.assert_close(gathered[0, 0, 0, :, :-1], h[0, 0, :, :-1] + 0.5, atol=0.01, rtol=0)


def test_a_cell_without_input_equals_a_cell_with_zeros_as_input() -> None:
    cell, x, h = example()
    top = TrajGRUCell(0, HIDDEN, links=LINKS)
    weights = cell.state_dict()
    weights["bias"] = weights["W_x.bias"]
    top.load_state_dict({k: v for k, v in weights.items() if not k.startswith("W_x")})
    state = top.step(top.project_no_input(h), h)
    torch.testing.assert_close(state, cell(torch.zeros_like(x), h), atol=1e-6, rtol=0)
    state.sum().backward()
    for name, parameter in top.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_all_inputs_can_be_projected_at_once() -> None:
    cell, x, h = example()
    projected = cell.project_input(x)
    for i in range(2):
        alone = cell(x[i : i + 1], h[i : i + 1])
        torch.testing.assert_close(
            cell.step(projected[i : i + 1], h[i : i + 1]), alone, atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_state_keeps_its_type_under_autocast(dtype: torch.dtype) -> None:
    cell, x, h = example()
    exact = cell(x, h)
    with torch.autocast("cpu", torch.bfloat16):
        state = cell(x, h.to(dtype))
        state.float().square().sum().backward()
    assert state.dtype == dtype
    torch.testing.assert_close(state.float(), exact, atol=0.1, rtol=0.1)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in cell.parameters())


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd, got 4"):
        TrajGRUCell(3, 4, 4)
