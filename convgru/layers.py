"""Convolutions that the network and its heads are made of, and their memory layout."""

import torch
from torch import Tensor, nn


def strided_convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A convolution that lowers the resolution by ``stride``."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=stride + 2, stride=stride, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
    )


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
