"""The ConvGRU cell: equal to its formula written out plainly, for any kernel and any state."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from convgru import ConvGRUCell

NAMES = ("W_xz", "W_hz", "W_xr", "W_hr", "W_xh", "W_hh")


def reference(weights: dict[str, Tensor], x: Tensor, h: Tensor, padding: int) -> Tensor:
    """One step by six separate convolutions."""

    def convolve(name: str, field: Tensor) -> Tensor:
        return conv2d(field, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    z = torch.sigmoid(convolve("W_xz", x) + convolve("W_hz", h))
    r = torch.sigmoid(convolve("W_xr", x) + convolve("W_hr", h))
    candidate = torch.tanh(convolve("W_xh", x) + convolve("W_hh", r * h))
    return (1 - z) * h + z * candidate


def example(
    kernel_size: int = 3, inputs: int = 3, hidden: int = 5
) -> tuple[ConvGRUCell, Tensor, Tensor]:
    torch.manual_seed(7)
    cell = ConvGRUCell(inputs, hidden, kernel_size, padding=kernel_size // 2)
    return cell, torch.randn(2, inputs, 9, 11), torch.randn(2, hidden, 9, 11)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
def test_a_step_is_the_formula(kernel_size: int) -> None:
    cell, x, h = example(kernel_size)
    expected = reference(cell.state_dict(), x, h, kernel_size // 2)
    torch.testing.assert_close(cell(x, h), expected, atol=1e-5, rtol=0)


def test_many_steps_are_the_formula() -> None:
    cell, x, h = example()
    expected = h
    for _ in range(20):
        h, expected = cell(x, h), reference(cell.state_dict(), x, expected, 1)
    torch.testing.assert_close(h, expected, atol=1e-5, rtol=0)


def test_gradients_are_those_of_the_formula() -> None:
    cell, x, h = example()
    direction = torch.randn(2, 5, 9, 11)
    inputs = [x.requires_grad_(), h.requires_grad_()]
    weights = dict(cell.named_parameters())
    wanted = [*inputs, *weights.values()]
    found = torch.autograd.grad((cell(x, h) * direction).sum(), wanted)
    expected = torch.autograd.grad((reference(weights, x, h, 1) * direction).sum(), wanted)
    for name, a, b in zip(["x", "h", *weights], found, expected, strict=True):
        assert b.abs().max() > 0, name
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_attributes_and_shape() -> None:
    cell = ConvGRUCell(3, 64)
    assert (cell.input_channels, cell.hidden_channels) == (3, 64)
    assert (cell.kernel_size, cell.padding) == (3, 1)
    assert cell(torch.randn(4, 3, 32, 32), torch.zeros(4, 64, 32, 32)).shape == (4, 64, 32, 32)


def test_the_state_dict_has_the_six_convolutions_and_loads() -> None:
    cell, x, h = example()
    saved = cell.state_dict()
    assert set(saved) == {f"{name}.{part}" for name in NAMES for part in ("weight", "bias")}
    torch.manual_seed(8)
    other = ConvGRUCell(3, 5)
    assert not torch.equal(other(x, h), cell(x, h))
    other.load_state_dict(saved)
    assert torch.equal(other(x, h), cell(x, h))


@pytest.mark.parametrize(("kernel_size", "padding"), [(3, 0), (3, 2), (5, 1), (4, 2), (2, 1)])
def test_padding_that_resizes_the_state_is_refused(kernel_size: int, padding: int) -> None:
    with pytest.raises(ValueError, match=f"padding {padding} with kernel_size {kernel_size}"):
        ConvGRUCell(3, 4, kernel_size, padding)


def test_no_input_is_an_input_of_zeros() -> None:
    cell, x, h = example()
    torch.testing.assert_close(
        cell.step(cell.project_no_input(h), h), cell(torch.zeros_like(x), h), atol=1e-6, rtol=0
    )


def test_inputs_may_be_projected_at_once() -> None:
    cell, x, h = example()
    projected = cell.project_input(x)
    assert projected.shape == (2, 15, 9, 11)
    for i in range(2):
        alone = cell(x[i : i + 1], h[i : i + 1])
        torch.testing.assert_close(cell.step(projected[i : i + 1], h[i : i + 1]), alone)


def test_closed_gates_keep_the_state_and_open_ones_replace_it() -> None:
    cell, x, h = example()
    with torch.no_grad():
        cell.W_xz.bias.fill_(-1e4)
        assert torch.equal(cell(x, h), h)
        cell.W_xz.bias.fill_(1e4)
        assert cell(x, h).abs().max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_state_keeps_its_type_under_autocast(dtype: torch.dtype) -> None:
    cell, x, h = example()
    exact = cell(x, h)
    with torch.autocast("cpu", torch.bfloat16):
        found = cell(x, h.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), exact, atol=0.03, rtol=0.03)
