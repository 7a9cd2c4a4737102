"""The stacked encoder–forecaster of Shi et al. (2017), from context scans to lead times.

Tensors end in their dims: B batch, T context steps, L lead steps, C channels, H rows, W columns.
Knows nothing of devices, ranks, files, rain rate or Lightning.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from convgru.cell import ConvGRUCell


class NetworkConfig(BaseModel):
    """Size and shape of the encoder–forecaster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[int, ...] = Field(
        default=(16, 32, 48),
        min_length=3,
        description="hidden channels of each ConvGRU layer, finest resolution first",
    )
    strides: tuple[int, ...] = Field(
        default=(2, 2, 2),
        description="by how much the resolution falls before each layer",
    )
    kernel_size: int = Field(default=3, gt=0, description="side of the ConvGRU kernels [px], odd")

    @model_validator(mode="after")
    def _consistent(self) -> "NetworkConfig":
        if len(self.strides) != len(self.channels):
            raise ValueError(
                f"strides {list(self.strides)} and channels {list(self.channels)} "
                "must have one entry for each layer"
            )
        if min(self.channels) < 1 or min(self.strides) < 1:
            raise ValueError("channels and strides must be 1 or more")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")
        return self

    @property
    def total_stride(self) -> int:
        """Pixels of the domain to one pixel of the coarsest layer."""
        total = 1
        for stride in self.strides:
            total *= stride
        return total


class EncoderForecaster(nn.Module):
    """Stacked ConvGRU encoder–forecaster (Shi et al. 2017, arXiv:1706.03458).

    The encoder's layers read the context at falling resolution; the forecaster's layers start
    from their last states and unroll the lead times at rising resolution. The top layer of the
    forecaster has no input. The head is `direct`: for each lead time a gain on the last
    observation of each pixel and a rain field of the network's own, added up; at the start gain 1
    and field 0, so an untrained network is persistence and training departs from there.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        channels, strides = config.channels, config.strides
        inputs = (2, *channels[:-1])  # normalised dB and its validity mask enter the first layer
        self.downs = nn.ModuleList(
            _convolution(a, b, stride)
            for a, b, stride in zip(inputs, channels, strides, strict=True)
        )
        self.encoders = nn.ModuleList(_cell(c, c, config.kernel_size) for c in channels)
        self.forecasters = nn.ModuleList(_cell(c, c, config.kernel_size) for c in channels)
        # The top layer has no input; several GPUs wait for the gradient of every trained weight.
        for name in ("W_xz", "W_xr", "W_xh"):
            self.forecasters[-1].get_submodule(name).weight.requires_grad_(False)
        self.ups = nn.ModuleList(
            _upsampling(coarse, fine, stride)
            for (fine, coarse), stride in zip(pairwise(channels), strides[1:], strict=True)
        )
        fine = max(1, channels[0] // 2)  # at full resolution every channel costs most
        self.head_up = _upsampling(channels[0], fine, strides[0])
        self.head = nn.Conv2d(fine + 2, 2, kernel_size=3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, rain_BT1HW: Tensor, observed_BT1HW: Tensor, lead_times: int) -> Tensor:
        """Forecast normalised dB for ``lead_times`` steps after the context.

        Parameters
        ----------
        rain_BT1HW : normalised dB, 0 where dry or not observed. Any H and W.
        observed_BT1HW : validity mask, 1 = observed.
        lead_times : how many steps to unroll; need not be the number trained with.

        Returns
        -------
        (B, L, 1, H, W) normalised dB; 0 and below mean dry.
        """
        height, width = rain_BT1HW.shape[-2:]
        x_BTCHW = self._pad(torch.cat([rain_BT1HW, observed_BT1HW], dim=2))
        states = self._encode(x_BTCHW)
        features_BLCHW = self._unroll(states, lead_times)
        return self._head(features_BLCHW, _latest(x_BTCHW))[..., :height, :width]

    def _pad(self, x_BTCHW: Tensor) -> Tensor:
        """Extend the domain to whole pixels of the coarsest layer: dry and not observed."""
        stride = self.config.total_stride
        height, width = x_BTCHW.shape[-2:]
        return nn.functional.pad(x_BTCHW, (0, -width % stride, 0, -height % stride))

    def _encode(self, x_BTCHW: Tensor) -> list[Tensor]:
        states = []
        for down, cell in zip(self.downs, self.encoders, strict=True):
            assert isinstance(cell, ConvGRUCell)
            x_BTCHW = _per_scan(down, x_BTCHW)
            projected = _per_scan(cell.project_input, x_BTCHW)
            h = x_BTCHW.new_zeros(x_BTCHW[:, 0].shape)
            outputs = []
            for t in range(x_BTCHW.shape[1]):
                h = cell.step(projected[:, t], h)
                outputs.append(h)
            x_BTCHW = torch.stack(outputs, dim=1)
            states.append(h)
        return states

    def _unroll(self, states: list[Tensor], lead_times: int) -> Tensor:
        x_BLCHW: Tensor | None = None
        for level in reversed(range(len(states))):
            cell, h = self.forecasters[level], states[level]
            assert isinstance(cell, ConvGRUCell)
            if x_BLCHW is None:
                projected = cell.project_no_input(h)[:, None].expand(-1, lead_times, -1, -1, -1)
            else:
                projected = _per_scan(cell.project_input, _per_scan(self.ups[level], x_BLCHW))
            outputs = []
            for step in range(lead_times):
                h = cell.step(projected[:, step], h)
                outputs.append(h)
            x_BLCHW = torch.stack(outputs, dim=1)
        assert x_BLCHW is not None
        return x_BLCHW

    def _head(self, features_BLCHW: Tensor, last_BCHW: Tensor) -> Tensor:
        features = _per_scan(self.head_up, features_BLCHW)
        last_BLCHW = last_BCHW[:, None].expand(-1, features.shape[1], -1, -1, -1)
        gain, field = _per_scan(self.head, torch.cat([features, last_BLCHW], dim=2)).chunk(2, dim=2)
        return last_BLCHW[:, :, :1] * (1 + gain) + field


def _latest(x_BTCHW: Tensor) -> Tensor:
    """(B, 2, H, W): each pixel as last observed, for a scan may lack what earlier ones saw."""
    latest = x_BTCHW[:, 0]
    for t in range(1, x_BTCHW.shape[1]):
        scan = x_BTCHW[:, t]
        latest = torch.where(scan[:, 1:] > 0, scan, latest)
    return latest


def _cell(inputs: int, hidden: int, kernel_size: int) -> ConvGRUCell:
    return ConvGRUCell(inputs, hidden, kernel_size, padding=kernel_size // 2)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=stride + 2, stride=stride, padding=1),
        nn.LeakyReLU(0.2),
    )


def _upsampling(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Sub-pixel convolution (Shi et al. 2016): no checkerboard of overlapping strides."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs * stride**2, kernel_size=3, padding=1),
        nn.PixelShuffle(stride),
        nn.LeakyReLU(0.2),
    )


def _per_scan(function: Callable[[Tensor], Tensor], x_BTCHW: Tensor) -> Tensor:
    """Apply a function of (N, C, H, W) to every scan of (B, T, C, H, W) at once."""
    batch = x_BTCHW.shape[0]
    # channels last is what convolutions are fastest in, on CPU and GPU
    scans = x_BTCHW.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return function(scans).unflatten(0, (batch, -1))
