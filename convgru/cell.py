"""The recurrent cells' common interface and the convolutional gated recurrent unit.

Owns what one layer does in one time step. `squall.convgru.network` stacks the layers.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

# The convolutions of the formula, in the order of their channels in the joined convolutions.
_INPUT_CONVOLUTIONS = ("W_xz", "W_xr", "W_xh")
_STATE_CONVOLUTIONS = ("W_hz", "W_hr", "W_hh")


class RecurrentCell(nn.Module, ABC):
    """What the encoder–forecaster asks of a recurrent layer.

    The part of a step that needs no state is a method of its own, so that it can be computed for
    all time steps at once. A cell with ``input_channels=0`` depends on its state alone: it has no
    weights for an input, and ``project_no_input`` replaces ``project_input``.
    """

    input_channels: int
    hidden_channels: int

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Advance the state by one step.

        Parameters
        ----------
        x : (B, input_channels, H, W).
        h : (B, hidden_channels, H, W), the state before the step.

        Returns
        -------
        (B, hidden_channels, H, W), the state after the step; it has the type of h, under autocast
        too.
        """
        return self.step(self.project_input(x), h)

    @abstractmethod
    def project_input(self, x: Tensor) -> Tensor:
        """The part of a step that depends on its input alone, for any number of scans at once.

        Parameters
        ----------
        x : (N, input_channels, H, W).

        Returns
        -------
        (N, P, H, W) for ``step``; P depends on the cell.
        """

    @abstractmethod
    def project_no_input(self, h: Tensor) -> Tensor:
        """What ``project_input`` gives for x = 0, without computing it: the biases.

        Parameters
        ----------
        h : any state; the result has its type.

        Returns
        -------
        (1, P, 1, 1), broadcast over batch and domain by ``step``.
        """

    @abstractmethod
    def step(self, projected_input: Tensor, h: Tensor) -> Tensor:
        """Advance the state by one step.

        Parameters
        ----------
        projected_input : (B, P, H, W) from ``project_input``, or from ``project_no_input``.
        h : (B, hidden_channels, H, W), the state before the step.

        Returns
        -------
        (B, hidden_channels, H, W), the state after the step, of the type of h.
        """


class ConvGRUCell(RecurrentCell):
    """One convolutional gated recurrent unit (Ballas et al. 2016, arXiv:1511.06432).

    ::

        z = sigmoid(W_xz x + W_hz h)            update gate
        r = sigmoid(W_xr x + W_hr h)            reset gate
        h~ = tanh(W_xh x + W_hh (r * h))        candidate state
        h_new = (1 - z) * h + z * h~

    where each W is a convolution with bias. The six are joined to three: ``W_x`` (all convolutions
    of the input), ``W_h_gates`` and ``W_h_candidate``. There is one bias for each gate, since only
    the sum of its two biases has an effect. A state dictionary with the six names of the formula
    loads as well.

    Parameters
    ----------
    input_channels, hidden_channels : channels of x and of h; 0 input channels for a cell without
        input.
    kernel_size : side of every convolution's kernel, in pixels.
    padding : zero padding; ``kernel_size // 2`` keeps the domain's size, which the state needs.

    Raises
    ------
    ValueError
        If the padding would make the new state smaller or larger than the old one.
    """

    def __init__(
        self, input_channels: int, hidden_channels: int, kernel_size: int = 3, padding: int = 1
    ) -> None:
        super().__init__()
        if 2 * padding != kernel_size - 1:
            raise ValueError(
                f"padding {padding} with kernel_size {kernel_size} changes the size of the state; "
                f"use an odd kernel_size and padding = kernel_size // 2"
            )
        self.input_channels = input_channels
        self.hidden_channels = hidden_channels
        self.kernel_size = kernel_size
        self.padding = padding

        def convolution(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, kernel_size, padding=padding, bias=False)

        if input_channels:
            self.W_x = convolution(input_channels, 3 * hidden_channels)
        self.W_h_gates = convolution(hidden_channels, 2 * hidden_channels)
        self.W_h_candidate = convolution(hidden_channels, hidden_channels)
        # the default range of torch for the bias of a convolution of the state
        bound = (hidden_channels * kernel_size**2) ** -0.5
        self.bias = nn.Parameter(torch.empty(3 * hidden_channels).uniform_(-bound, bound))
        self.register_load_state_dict_pre_hook(_join_six_convolutions)

    def project_input(self, x: Tensor) -> Tensor:
        """(N, 3 * hidden_channels, H, W): the input's part of update gate, reset gate, candidate,
        for x of (N, input_channels, H, W)."""
        return nn.functional.conv2d(x, self.W_x.weight, self.bias, padding=self.padding)

    def project_no_input(self, h: Tensor) -> Tensor:
        """(1, 3 * hidden_channels, 1, 1): the biases, of the type of h."""
        return self.bias.to(h.dtype)[None, :, None, None]

    def step(self, projected_input: Tensor, h: Tensor) -> Tensor:
        """The state (B, hidden_channels, H, W) after one step; ``projected_input`` is
        (B, 3 * hidden_channels, H, W) from ``project_input``."""
        x_gates, x_candidate = projected_input.split(
            [2 * self.hidden_channels, self.hidden_channels], dim=1
        )
        # In place where the gradient does not need the overwritten values: beside its
        # convolutions, memory traffic is the cost of a step.
        z, r = self.W_h_gates(h).add_(x_gates).sigmoid_().chunk(2, dim=1)
        candidate = self.W_h_candidate(r * h).add_(x_candidate).tanh_()
        return torch.lerp(h, candidate.to(h.dtype), z.to(h.dtype))

    def _shape_errors(self, six: dict[str, Tensor | None]) -> list[str]:
        """One message for each weight of the six convolutions that is missing or does not fit."""
        errors = []
        for name, value in six.items():
            inputs = self.input_channels if name.startswith("W_x") else self.hidden_channels
            expected = [self.hidden_channels]
            if name.endswith("weight"):
                expected += [inputs, self.kernel_size, self.kernel_size]
                if not inputs:  # earlier versions had weights for an input that was never used
                    continue
            if value is None:
                errors.append(f"{name} is missing; the six convolutions load together")
            elif list(value.shape) != expected:
                errors.append(f"{name} has shape {list(value.shape)}, expected {expected}")
        return errors

    def _joined(self, six: dict[str, Tensor]) -> dict[str, Tensor]:
        """This cell's own state dictionary from that of the six convolutions."""

        def join(names: tuple[str, ...], kind: str) -> Tensor:
            return torch.cat([six[f"{name}.{kind}"] for name in names])

        joined = {
            "W_h_gates.weight": join(_STATE_CONVOLUTIONS[:2], "weight"),
            "W_h_candidate.weight": six["W_hh.weight"],
            "bias": join(_INPUT_CONVOLUTIONS, "bias") + join(_STATE_CONVOLUTIONS, "bias"),
        }
        if self.input_channels:
            joined["W_x.weight"] = join(_INPUT_CONVOLUTIONS, "weight")
        return joined


def _join_six_convolutions(
    cell: ConvGRUCell,
    state_dict: dict[str, Any],
    prefix: str,
    local_metadata: dict[str, Any],
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    """Replace the six convolutions of the formula by the cell's own weights before they load."""
    six = {
        f"{name}.{kind}": state_dict.pop(f"{prefix}{name}.{kind}", None)
        for name in _INPUT_CONVOLUTIONS + _STATE_CONVOLUTIONS
        for kind in ("weight", "bias")
    }
    if all(value is None for value in six.values()):
        return
    errors = cell._shape_errors(six)
    # After an error the cell keeps its weights; torch raises once all modules are read.
    error_msgs.extend(f"{prefix}{error}" for error in errors)
    weights = cell.state_dict() if errors else cell._joined(six)
    state_dict.update({f"{prefix}{name}": value for name, value in weights.items()})
