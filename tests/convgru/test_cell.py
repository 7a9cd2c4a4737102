"""The ConvGRU cell equals its formula, for any kernel and any state."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d

from squall.convgru import ConvGRUCell

NAMES = ("W_xz", "W_hz", "W_xr", "W_hr", "W_xh", "W_hh")


def reference(weights: dict[str, Tensor], x: Tensor, h: Tensor, padding: int) -> Tensor:
    """One step by six separate convolutions."""

    def convolve(name: str, field: Tensor) -> Tensor:
        return conv2d(field, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    z = torch.sigmoid(convolve("W_xz", x) + convolve("W_hz", h))
    r = torch.sigmoid(convolve("W_xr", x) + convolve("W_hr", h))
    candidate = torch.tanh(convolve("W_xh", x) + convolve("W_hh", r * h))
    return (1 - z) * h + z * candidate


def six_convolutions(inputs: int = 3, hidden: int = 5, kernel_size: int = 3) -> dict[str, Tensor]:
    """Weights with the names of the formula."""
    torch.manual_seed(7)
    weights = {}
    for name in NAMES:
        channels = inputs if name.startswith("W_x") else hidden
        weights[f"{name}.weight"] = torch.randn(hidden, channels, kernel_size, kernel_size) / 6
        weights[f"{name}.bias"] = torch.randn(hidden) / 6
    return weights


def example(
    kernel_size: int = 3, inputs: int = 3, hidden: int = 5, *, height: int = 9, width: int = 11
) -> tuple[ConvGRUCell, Tensor, Tensor]:
    """A cell with the weights of `six_convolutions`, an input and a state."""
    cell = ConvGRUCell(inputs, hidden, kernel_size, padding=kernel_size // 2)
    cell.load_state_dict(six_convolutions(inputs, hidden, kernel_size))
    return cell, torch.randn(2, inputs, height, width), torch.randn(2, hidden, height, width)


@given(
    kernel_size=st.sampled_from([1, 3, 5, 7]),
    inputs=st.integers(1, 9),
    hidden=st.integers(1, 17),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
)
@settings(max_examples=30, deadline=None)
def test_a_step_is_the_formula(
    kernel_size: int, inputs: int, hidden: int, height: int, width: int
) -> None:
    cell, x, h = example(kernel_size, inputs, hidden, height=height, width=width)
    expected = reference(six_convolutions(inputs, hidden, kernel_size), x, h, kernel_size // 2)
    torch.testing.assert_close(cell(x, h), expected, atol=1e-5, rtol=0)


def test_many_steps_are_the_formula() -> None:
    cell, x, h = example()
    expected = h
    for _ in range(20):
        h, expected = cell(x, h), reference(six_convolutions(), x, expected, 1)
    torch.testing.assert_close(h, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_gradients_are_those_of_the_formula(kernel_size: int) -> None:
    cell, x, h = example(kernel_size)
    six = {k: v.requires_grad_() for k, v in six_convolutions(kernel_size=kernel_size).items()}
    direction = torch.randn(2, 5, 9, 11)
    inputs = [x.requires_grad_(), h.requires_grad_()]
    own = dict(cell.named_parameters())
    gradients = torch.autograd.grad((cell(x, h) * direction).sum(), [*inputs, *own.values()])
    formula = (reference(six, x, h, kernel_size // 2) * direction).sum()
    expected = dict(
        zip(["x", "h", *six], torch.autograd.grad(formula, [*inputs, *six.values()]), strict=True)
    )
    joined = {  # the gradients that are joined in each parameter's gradient
        "x": ["x"],
        "h": ["h"],
        "W_x.weight": ["W_xz.weight", "W_xr.weight", "W_xh.weight"],
        "W_h_gates.weight": ["W_hz.weight", "W_hr.weight"],
        "W_h_candidate.weight": ["W_hh.weight"],
        "bias": ["W_hz.bias", "W_hr.bias", "W_hh.bias"],
    }
    assert {"x", "h", *own} == set(joined)
    for name, gradient in zip(["x", "h", *own], gradients, strict=True):
        parts = torch.cat([expected[reference_name] for reference_name in joined[name]])
        assert parts.abs().max() > 0, name
        torch.testing.assert_close(gradient, parts, atol=1e-5, rtol=1e-4)


def test_attributes_and_shape() -> None:
    cell = ConvGRUCell(3, 64)
    assert (cell.input_channels, cell.hidden_channels) == (3, 64)
    assert (cell.kernel_size, cell.padding) == (3, 1)
    assert cell(torch.randn(4, 3, 32, 32), torch.zeros(4, 64, 32, 32)).shape == (4, 64, 32, 32)


def test_its_own_state_dict_loads() -> None:
    cell, x, h = example()
    other = ConvGRUCell(3, 5)
    assert not torch.equal(other(x, h), cell(x, h))
    other.load_state_dict(cell.state_dict())
    assert torch.equal(other(x, h), cell(x, h))
    assert not set(cell.state_dict()) & set(six_convolutions())


def test_the_six_convolutions_load_inside_a_larger_module() -> None:
    cell, x, h = example()
    larger = torch.nn.ModuleDict({"cell": ConvGRUCell(3, 5)})
    keys = larger.load_state_dict({f"cell.{k}": v for k, v in six_convolutions().items()})
    assert not keys.missing_keys
    assert not keys.unexpected_keys
    assert torch.equal(larger["cell"](x, h), cell(x, h))


def test_the_six_convolutions_load_into_a_copy_and_not_into_its_original() -> None:
    cell, x, h = example()
    original = ConvGRUCell(3, 5)
    before = original(x, h)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(original)))
    copied.load_state_dict(six_convolutions())
    assert torch.equal(copied(x, h), cell(x, h))
    assert torch.equal(original(x, h), before)


def test_loading_leaves_the_given_state_dict_as_it_is() -> None:
    given_weights = six_convolutions()
    ConvGRUCell(3, 5).load_state_dict(given_weights)
    assert set(given_weights) == set(six_convolutions())


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("key", ["W_xz.weight", "W_hh.bias"])
def test_incomplete_six_convolutions_are_refused(key: str, strict: bool) -> None:
    weights = six_convolutions()
    del weights[key]
    with pytest.raises(RuntimeError, match=f"{key} is missing; the six convolutions load together"):
        ConvGRUCell(3, 5).load_state_dict(weights, strict=strict)


def test_weights_of_another_shape_are_refused() -> None:
    with pytest.raises(
        RuntimeError, match=r"W_xr.weight has shape \[5, 4, 3, 3\], expected \[5, 3, 3, 3\]"
    ):
        ConvGRUCell(3, 5).load_state_dict(six_convolutions(inputs=4))


def test_unknown_and_missing_names_are_refused() -> None:
    weights = ConvGRUCell(3, 5).state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key.*W_other"):
        ConvGRUCell(3, 5).load_state_dict({**weights, "W_other": torch.zeros(1)})
    del weights["bias"]
    with pytest.raises(RuntimeError, match=r"Missing key.*bias"):
        ConvGRUCell(3, 5).load_state_dict(weights)


@pytest.mark.parametrize(("kernel_size", "padding"), [(3, 0), (3, 2), (5, 1), (4, 2), (2, 1)])
def test_padding_that_resizes_the_state_is_refused(kernel_size: int, padding: int) -> None:
    with pytest.raises(ValueError, match=f"padding {padding} with kernel_size {kernel_size}"):
        ConvGRUCell(3, 4, kernel_size, padding)


def test_without_input_a_step_equals_that_with_zeros() -> None:
    cell, x, h = example()
    torch.testing.assert_close(
        cell.step(cell.project_no_input(h), h), cell(torch.zeros_like(x), h), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("inputs", [0, 3])
def test_a_cell_without_input_equals_a_cell_with_zeros_as_input(inputs: int) -> None:
    cell, x, h = example()
    top = ConvGRUCell(0, 5)
    top.load_state_dict(six_convolutions(inputs))
    if inputs == 0:  # then the state's weights are other random numbers
        cell.load_state_dict({**six_convolutions(), **_state_weights(six_convolutions(0))})
    state = top.step(top.project_no_input(h), h)
    torch.testing.assert_close(state, cell(torch.zeros_like(x), h), atol=1e-6, rtol=0)
    state.sum().backward()
    assert set(dict(top.named_parameters())) == {"W_h_gates.weight", "W_h_candidate.weight", "bias"}
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in top.parameters())


def _state_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in weights.items() if k.startswith("W_h") or k.endswith("bias")}


def test_all_inputs_can_be_projected_at_once() -> None:
    cell, x, h = example()
    projected = cell.project_input(x)
    assert projected.shape == (2, 15, 9, 11)
    for i in range(2):
        alone = cell(x[i : i + 1], h[i : i + 1])
        torch.testing.assert_close(cell.step(projected[i : i + 1], h[i : i + 1]), alone)


def test_closed_gates_keep_the_state_and_open_ones_replace_it() -> None:
    cell, x, h = example()
    with torch.no_grad():
        cell.bias[:5] = -1e4  # of the update gate
        assert torch.equal(cell(x, h), h)
        cell.bias[:5] = 1e4
        assert cell(x, h).abs().max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_state_keeps_its_type_under_autocast(dtype: torch.dtype) -> None:
    cell, x, h = example()
    exact = cell(x, h)
    with torch.autocast("cpu", torch.bfloat16):
        state = cell(x, h.to(dtype))
    assert state.dtype == dtype
    torch.testing.assert_close(state.float(), exact, atol=0.03, rtol=0.03)
