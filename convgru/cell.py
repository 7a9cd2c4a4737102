"""The convolutional gated recurrent unit, the core of the network."""

import torch
from torch import Tensor, nn


class ConvGRUCell(nn.Module):
    """One convolutional gated recurrent unit (Ballas et al. 2016, arXiv:1511.06432).

    ::

        z = sigmoid(W_xz x + W_hz h)            update gate
        r = sigmoid(W_xr x + W_hr h)            reset gate
        h~ = tanh(W_xh x + W_hh (r * h))        candidate state
        h_new = (1 - z) * h + z * h~

    where each W is a convolution with bias.

    Parameters
    ----------
    input_channels, hidden_channels : channels of x and of h.
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

        def convolution(channels: int) -> nn.Conv2d:
            return nn.Conv2d(channels, hidden_channels, kernel_size, padding=padding)

        self.W_xz = convolution(input_channels)
        self.W_hz = convolution(hidden_channels)
        self.W_xr = convolution(input_channels)
        self.W_hr = convolution(hidden_channels)
        self.W_xh = convolution(input_channels)
        self.W_hh = convolution(hidden_channels)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Advance the state by one step.

        Parameters
        ----------
        x : (B, input_channels, H, W).
        h : (B, hidden_channels, H, W), the state before.

        Returns
        -------
        (B, hidden_channels, H, W), the state after.
        """
        return self.step(self.project_input(x), h)

    def project_input(self, x: Tensor) -> Tensor:
        """The three input convolutions as one, for any number of scans at a time.

        Parameters
        ----------
        x : (N, input_channels, H, W).

        Returns
        -------
        (N, 3 * hidden_channels, H, W): the input's part of update gate, reset gate, candidate.
        """
        weight = torch.cat([self.W_xz.weight, self.W_xr.weight, self.W_xh.weight])
        return nn.functional.conv2d(x, weight, self._input_bias(), padding=self.padding)

    def project_no_input(self, h: Tensor) -> Tensor:
        """What ``project_input`` would give for x = 0, without computing it: the biases alone.

        Parameters
        ----------
        h : any state, for the device and type of the result.

        Returns
        -------
        (1, 3 * hidden_channels, 1, 1), broadcast over batch and domain by ``step``.
        """
        return self._input_bias().to(h.dtype)[None, :, None, None]

    def step(self, projected_input: Tensor, h: Tensor) -> Tensor:
        """Advance the state by one step, given the input's part of the gates.

        Parameters
        ----------
        projected_input : (B, 3 * hidden_channels, H, W) from ``project_input``.
        h : (B, hidden_channels, H, W).

        Returns
        -------
        (B, hidden_channels, H, W), of the type of h, under autocast too.
        """
        x_gates, x_candidate = projected_input.split(
            [2 * self.hidden_channels, self.hidden_channels], dim=1
        )
        weight = torch.cat([self.W_hz.weight, self.W_hr.weight])
        bias = torch.cat([_bias(self.W_hz), _bias(self.W_hr)])
        h_gates = nn.functional.conv2d(h, weight, bias, padding=self.padding)
        z, r = torch.sigmoid(x_gates + h_gates).chunk(2, dim=1)
        candidate = torch.tanh(x_candidate + self.W_hh(r * h))
        return torch.lerp(h, candidate.to(h.dtype), z.to(h.dtype))

    def _input_bias(self) -> Tensor:
        return torch.cat([_bias(self.W_xz), _bias(self.W_xr), _bias(self.W_xh)])


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias
