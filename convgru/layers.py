"""Convolutions that the network and its heads are made of, and their memory layout."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from squall.convgru.strips import strips


def strided_convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A convolution that lowers the resolution by ``stride``."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=stride + 2, stride=stride, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
    )


@torch.no_grad()
def strided_in_strips(block: nn.Sequential, fields: Sequence[Tensor]) -> Tensor:
    """What a `strided_convolution` gives for fields, strip by strip.

    Parameters
    ----------
    fields : (B, C, H, W) each, with the block's inputs as channels in all.

    Returns
    -------
    (B, outputs, H / stride, W / stride)
    """
    convolution = block[0]
    assert isinstance(convolution, nn.Conv2d)
    stride = convolution.stride[0]
    height, width = fields[0].shape[-2:]
    parts = []
    for rows in strips(height, width, fields[0].device, stride):
        above, below = max(0, rows.start - 1), min(height, rows.stop + 1)
        strip = torch.cat([field[..., above:below, :] for field in fields], dim=1)
        missing = (1 - (rows.start - above), 1 - (below - rows.stop))  # at the edges
        strip = pad(strip, (1, 1, *missing))
        parts.append(block[1](conv2d(strip, convolution.weight, convolution.bias, stride)))
    return torch.cat(parts, dim=2)


def sub_pixel_convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A convolution that raises the resolution by ``stride`` (Shi et al. 2016, arXiv:1609.05158).

    A transposed convolution would leave the checkerboard of its overlapping strides.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs * stride**2, kernel_size=3, padding=1),
        nn.PixelShuffle(stride),
        nn.LeakyReLU(0.2, inplace=True),
    )


def noise_convolution(noise_channels: int, hidden_channels: int) -> nn.Conv2d:
    """A 1 × 1 convolution from standard normal noise to states.

    Its initial weights give a standard deviation of 0.1, a tenth of the range of a state.
    """
    convolution = nn.Conv2d(noise_channels, hidden_channels, kernel_size=1, bias=False)
    nn.init.normal_(convolution.weight, std=0.1 / noise_channels**0.5)
    return convolution


def channels_last(x: Tensor) -> Tensor:
    """``x`` in channels-last memory, in which convolutions are fastest; a copy only if needed."""
    return x.contiguous(memory_format=torch.channels_last)
