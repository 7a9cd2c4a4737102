"""The stacked encoder–forecaster of Shi et al. (2017), from context scans to lead times.

Tensors end in their dims: B batch, T context steps, L lead steps, M members, C channels, H rows,
W columns. Inside, steps lead and are folded into the batch, (T*B, C, H, W) in channels-last
memory: convolutions take all steps at once, and one step is a slice that needs no copy.
Knows nothing of devices, ranks, files, rain rate or Lightning.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from math import lcm
from operator import mul
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.utils.checkpoint import checkpoint

from squall.convgru.advection import AdvectionHead, lagrangian
from squall.convgru.cell import ConvGRUCell, RecurrentCell
from squall.convgru.motion import COARSE, pad_to
from squall.convgru.trajgru import TrajGRUCell


class NetworkConfig(BaseModel):
    """Size and shape of the encoder–forecaster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[int, ...] = Field(
        default=(16, 32, 48),
        min_length=3,
        description="hidden channels of each recurrent layer, finest resolution first",
    )
    strides: tuple[int, ...] = Field(
        default=(2, 2, 2),
        description="by how much the resolution falls before each layer",
    )
    head: Literal["direct", "advection"] = Field(
        default="direct",
        description="direct: rain from the features; advection: changes of the last scan in the "
        "frame that moves with the rain, then transported",
    )
    cell: Literal["convgru", "trajgru"] = Field(
        default="convgru", description="the recurrent cell of every layer"
    )
    kernel_size: int = Field(
        default=3,
        gt=0,
        description="side of the cells' kernels [px], odd; of trajgru the input's only",
    )
    links: int = Field(
        default=13, gt=0, description="trajgru: places that each pixel's state is gathered from"
    )
    noise_channels: int = Field(
        default=0, ge=0, description="noise for an ensemble, channels at each layer; 0 = none"
    )
    checkpoint_activations: bool = Field(
        default=False,
        description="compute time steps again in the backward pass: less memory, a quarter slower",
    )

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
        return self.layer_strides[-1]

    @property
    def layer_strides(self) -> tuple[int, ...]:
        """Pixels of the domain to one pixel of each layer."""
        return tuple(accumulate(self.strides, mul))


class EncoderForecaster(nn.Module):
    """Stacked recurrent encoder–forecaster (Shi et al. 2017, arXiv:1706.03458).

    The encoder's layers read the context at falling resolution; the forecaster's layers start
    from their last states and unroll the lead times at rising resolution. The top layer of the
    forecaster has no input. The head is `direct`: for each lead time a gain on the last
    observation of each pixel and a rain field of the network's own, added up; at the start gain 1
    and field 0, so an untrained network is persistence and training departs from there.

    With ``noise_channels`` it forecasts an ensemble: noise, mapped by a convolution of its own at
    each layer, is added to the states that the forecaster starts from. The context is encoded
    once for all members.
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
        self.encoders = nn.ModuleList(_cell(config, c, c) for c in channels)
        self.forecasters = nn.ModuleList(
            [*(_cell(config, c, c) for c in channels[:-1]), _cell(config, 0, channels[-1])]
        )
        self.ups = nn.ModuleList(
            _upsampling(coarse, fine, stride)
            for (fine, coarse), stride in zip(pairwise(channels), strides[1:], strict=True)
        )
        if config.head == "advection":
            self.head: nn.Module = AdvectionHead(channels[0])
        else:
            self.head = DirectHead(channels[0], strides[0], config)
        if config.noise_channels:
            self.noise_maps = nn.ModuleList(_noise_map(config.noise_channels, c) for c in channels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self,
        rain_BT1HW: Tensor,
        observed_BT1HW: Tensor,
        lead_times: int,
        noise: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Forecast normalised dB for ``lead_times`` steps after the context.

        Parameters
        ----------
        rain_BT1HW : normalised dB, 0 where dry or not observed. Any H and W.
        observed_BT1HW : validity mask, 1 = observed.
        lead_times : how many steps to unroll; need not be the number trained with.
        noise : with ``noise_channels``, standard normal numbers for M members: (B, M, *shape) for
            each shape of ``noise_shapes(H, W)``. Without, None.

        Returns
        -------
        (B, L, 1, H, W) normalised dB, with ``noise_channels`` (B, M, L, 1, H, W); 0 and below
        mean dry, -inf that no forecast can be: the advection head's trajectory comes from where
        the last scan observed nothing.

        Raises
        ------
        ValueError
            If noise is not of those shapes, or given to a network that has no use for it.
        """
        batch, _, _, height, width = rain_BT1HW.shape
        members = self._members(noise, batch, height, width)
        # whole pixels of the coarsest layer; what is added is not observed
        context = None
        if self.config.head == "advection":
            context = lagrangian(rain_BT1HW, observed_BT1HW, self._multiple)
            rain, observed = context.rain_BT1HW, context.known_BT1HW
        else:
            rain, observed = (pad_to(x, self._multiple) for x in (rain_BT1HW, observed_BT1HW))
        x_TBCHW = torch.cat([rain, observed], dim=2).transpose(0, 1)
        states = self._encode(x_TBCHW)
        if noise is not None:
            states = self._perturb(states, noise)
        features = self._unroll(states, lead_times)
        if context is not None:
            forecast_LBMCHW = self.head(features, context, lead_times, members)
        else:
            forecast_LBMCHW = self.head(features, _latest(x_TBCHW), lead_times, members)
        forecast_BMLCHW = forecast_LBMCHW.permute(1, 2, 0, 3, 4, 5)[..., :height, :width]
        if noise is None:
            return forecast_BMLCHW[:, 0].contiguous()
        return forecast_BMLCHW.contiguous()

    def noise_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """(channels, rows, columns) of the noise at each layer for a domain of any size."""
        rows, columns = (-(-side // self._multiple) * self._multiple for side in (height, width))
        return [
            (self.config.noise_channels, rows // stride, columns // stride)
            for stride in self.config.layer_strides
        ]

    @property
    def _multiple(self) -> int:
        """Rows and columns are padded to a multiple of this."""
        stride = self.config.total_stride
        return lcm(stride, COARSE) if self.config.head == "advection" else stride

    def _members(self, noise: Sequence[Tensor] | None, batch: int, height: int, width: int) -> int:
        """How many members the noise is for; 1 without noise."""
        if not self.config.noise_channels:
            if noise is not None:
                raise ValueError(
                    "noise was given to a network without noise_channels; leave it out, or set "
                    "network.noise_channels and train an ensemble"
                )
            return 1
        shapes = self.noise_shapes(height, width)
        if noise is None:
            raise ValueError(
                f"this network has noise_channels {self.config.noise_channels} and needs noise: "
                f"standard normal numbers (batch, members, *shape) for each shape of {shapes}"
            )
        found = [tuple(layer.shape) for layer in noise]
        members = found[0][1] if found and len(found[0]) == 5 else 1
        expected = [(batch, members, *shape) for shape in shapes]
        if found != expected:
            raise ValueError(f"noise has the shapes {found}, expected {expected}")
        return members

    def _encode(self, x_TBCHW: Tensor) -> list[Tensor]:
        """The last state (B, C, H, W) of each layer, finest first."""
        steps, batch = x_TBCHW.shape[:2]
        x = _channels_last(x_TBCHW.flatten(0, 1))
        states = []
        for down, cell in zip(self.downs, self.encoders, strict=True):
            x = down(x)
            h = torch.zeros_like(x[:batch])
            outputs = self._run(cell, x, h, steps)
            states.append(outputs[-1])
            x = torch.cat(outputs)
        return states

    def _perturb(self, states: list[Tensor], noise: Sequence[Tensor]) -> list[Tensor]:
        """States (B*M, C, H, W) of the members from those of the context and noise."""
        perturbed = []
        for state, layer, noise_map in zip(states, noise, self.noise_maps, strict=True):
            mapped = noise_map(_channels_last(layer.flatten(0, 1).to(state.dtype)))
            repeated = state.repeat_interleave(layer.shape[1], dim=0)
            perturbed.append(_channels_last(repeated + mapped.to(state.dtype)))
        return perturbed

    def _unroll(self, states: list[Tensor], lead_times: int) -> Tensor:
        """Features (L*B, C, H, W) at the finest layer's resolution from the layers' states."""
        x = None
        for level in reversed(range(len(states))):
            if x is not None:
                x = _channels_last(self.ups[level](x))
            x = torch.cat(self._run(self.forecasters[level], x, states[level], lead_times))
        assert x is not None
        return x

    def _run(self, cell: nn.Module, x: Tensor | None, h: Tensor, steps: int) -> list[Tensor]:
        """The states after each step: of inputs (steps*B, C, H, W), or of none."""
        assert isinstance(cell, RecurrentCell)
        recompute = self.config.checkpoint_activations and torch.is_grad_enabled()
        step: Callable[[Tensor, Tensor], Tensor]
        if x is None:
            inputs, step = [cell.project_no_input(h)] * steps, cell.step
        elif recompute:  # the input's projection is large, and so part of what is not kept
            inputs, step = list(x.chunk(steps)), cell.forward
        else:
            inputs, step = list(cell.project_input(x).chunk(steps)), cell.step
        outputs = []
        for each in inputs:
            h = checkpoint(step, each, h, use_reentrant=False) if recompute else step(each, h)
            outputs.append(h)
        return outputs


class DirectHead(nn.Module):
    """Rain from the features: a gain on the last observation of each pixel and a field, added up.

    At the start gain 1 and field 0, so an untrained network is persistence.
    """

    def __init__(self, features: int, stride: int, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        fine = max(1, features // 2)  # at full resolution every channel costs most
        self.up = _upsampling(features, fine, stride)
        self.out = nn.Conv2d(fine + 2, 2, kernel_size=3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, last_BCHW: Tensor, steps: int, members: int) -> Tensor:
        """(L, B, M, 1, H, W) from the forecaster's features and the last observation."""
        # Of what the convolution sees, the last observation is the same for every lead.
        known = last_BCHW.shape[1]
        weights = self.out.weight.split([self.out.in_channels - known, known], dim=1)
        of_features, of_last = map(_channels_last, weights)
        shared_BCHW = conv2d(_channels_last(last_BCHW), of_last, self.out.bias, padding=1)

        def decode(features: Tensor) -> Tensor:
            return conv2d(_channels_last(self.up(features)), of_features, padding=1)

        if not torch.is_grad_enabled():  # full resolution for one lead at a time: it stays in cache
            decoded = torch.cat([decode(part) for part in features.chunk(steps)])
        elif self.config.checkpoint_activations:
            parts = features.chunk(steps)
            decoded = torch.cat([checkpoint(decode, part, use_reentrant=False) for part in parts])
        else:
            decoded = decode(features)
        decoded_LBMCHW = decoded.unflatten(0, (steps, -1, members))
        # 1 + gain in half precision would be known to 1 % only
        gain, field = (decoded_LBMCHW + shared_BCHW[:, None]).float().chunk(2, dim=3)
        return last_BCHW[:, None, :1] * (1 + gain) + field


def _latest(x_TBCHW: Tensor) -> Tensor:
    """(B, 2, H, W): each pixel as last observed, for a scan may lack what earlier ones saw."""
    latest = x_TBCHW[0]
    for scan in x_TBCHW[1:]:
        latest = torch.where(scan[:, 1:] > 0, scan, latest)
    return latest


def _cell(config: NetworkConfig, inputs: int, hidden: int) -> RecurrentCell:
    if config.cell == "trajgru":
        return TrajGRUCell(inputs, hidden, config.kernel_size, links=config.links)
    return ConvGRUCell(inputs, hidden, config.kernel_size, padding=config.kernel_size // 2)


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=stride + 2, stride=stride, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
    )


def _upsampling(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Sub-pixel convolution (Shi et al. 2016): no checkerboard of overlapping strides."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs * stride**2, kernel_size=3, padding=1),
        nn.PixelShuffle(stride),
        nn.LeakyReLU(0.2, inplace=True),
    )


def _noise_map(noise_channels: int, hidden_channels: int) -> nn.Conv2d:
    """Maps standard normal noise to a tenth of the range of a state, to begin with."""
    convolution = nn.Conv2d(noise_channels, hidden_channels, kernel_size=1, bias=False)
    nn.init.normal_(convolution.weight, std=0.1 / noise_channels**0.5)
    return convolution


def _channels_last(x: Tensor) -> Tensor:
    """What convolutions are fastest in, on CPU and GPU; no copy where x is so already."""
    return x.contiguous(memory_format=torch.channels_last)
