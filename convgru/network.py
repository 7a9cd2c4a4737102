"""The stacked encoder–forecaster of Shi et al. (2017), from context scans to lead times.

Owns how cells, resampling convolutions and a head are joined. It knows nothing of devices, ranks,
files, rain rate or Lightning.

Dims: B batch, T context steps, L lead steps, M members, C channels, H rows, W columns. Inside the
network, steps are joined with the batch, (T*B, C, H, W) in channels-last memory: a convolution
takes all steps at once, and one step is a slice without a copy.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from operator import mul
from typing import Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from squall.convgru.cell import ConvGRUCell, RecurrentCell
from squall.convgru.heads.direct import DirectHead
from squall.convgru.heads.exceedance import ALL_PIXELS, ExceedanceHead, LeadChances
from squall.convgru.heads.interface import Frame, Head, RainHead
from squall.convgru.heads.place import MapGrid
from squall.convgru.layers import (
    channels_last,
    noise_convolution,
    strided_convolution,
    strided_in_strips,
    sub_pixel_convolution,
)
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
        description="factor by which the resolution falls before each layer",
    )
    head: Literal["direct", "exceedance"] = Field(
        default="direct",
        description="direct: regresses rain; exceedance: chances of exceeding rain rates in the "
        "frame that moves with the rain",
    )
    cell: Literal["convgru", "trajgru"] = Field(
        default="convgru", description="the recurrent cell of every layer"
    )
    kernel_size: int = Field(
        default=3,
        gt=0,
        description="side of the cells' kernels [px], odd; for trajgru of the input's only",
    )
    links: int = Field(
        default=13, gt=0, description="trajgru: places from which each pixel gathers its state"
    )
    noise_channels: int = Field(
        default=0, ge=0, description="channels of noise at each layer; 0 = no ensemble"
    )
    place_channels: int = Field(
        default=0,
        ge=0,
        description="exceedance, trained on one archive: channels of a learnt map of the place; 0 "
        "= none. It forecasts only on the radar network of this archive",
    )
    place_grid: MapGrid | None = Field(
        default=None, description="cells of the map of the place; training finds them itself"
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
        if self.head == "exceedance" and self.noise_channels:
            raise ValueError("head exceedance has no members; set noise_channels to 0")
        if self.place_channels and self.head != "exceedance":
            raise ValueError(
                f"head {self.head} has no map of the place; set place_channels to 0, or head to "
                "exceedance"
            )
        if self.place_grid is not None and not self.place_channels:
            raise ValueError("place_grid without place_channels; leave it out")
        return self

    @property
    def total_stride(self) -> int:
        """Pixels of the domain for one pixel of the coarsest layer."""
        return self.layer_strides[-1]

    @property
    def layer_strides(self) -> tuple[int, ...]:
        """Pixels of the domain for one pixel of each layer."""
        return tuple(accumulate(self.strides, mul))


class EncoderForecaster(nn.Module):
    """Stacked recurrent encoder–forecaster (Shi et al. 2017, arXiv:1706.03458).

    The encoder's layers read the context at falling resolution. The forecaster's layers start
    from the encoder's last states and unroll the lead times at rising resolution; its top layer
    has no input. The head turns the features of each lead time into rain, and it decides in which
    frame of reference the network sees the context (see `squall.convgru.heads`).

    With ``noise_channels`` the network forecasts an ensemble: at each layer a convolution maps
    noise, which is added to the forecaster's initial state. The context is encoded once for all
    members.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        channels, strides = config.channels, config.strides
        head = _head(config)
        inputs = (head.input_channels, *channels[:-1])
        self.downs = nn.ModuleList(
            strided_convolution(a, b, stride)
            for a, b, stride in zip(inputs, channels, strides, strict=True)
        )
        self.encoders = nn.ModuleList(_cell(config, c, c) for c in channels)
        self.forecasters = nn.ModuleList(
            [*(_cell(config, c, c) for c in channels[:-1]), _cell(config, 0, channels[-1])]
        )
        self.ups = nn.ModuleList(
            sub_pixel_convolution(coarse, fine, stride)
            for (fine, coarse), stride in zip(pairwise(channels), strides[1:], strict=True)
        )
        self.head = head
        if config.noise_channels:
            self.noise_maps = nn.ModuleList(
                noise_convolution(config.noise_channels, c) for c in channels
            )
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
        lead_times : how many steps to unroll; may differ from the number in training.
        noise : with ``noise_channels``, standard normal numbers for M members: (B, M, *shape) for
            each shape of ``noise_shapes(H, W)``. Else None.

        Returns
        -------
        (B, L, 1, H, W) normalised dB, with ``noise_channels`` (B, M, L, 1, H, W). 0 and below
        mean dry. -inf means that no forecast is possible: no scan observed the pixel.

        Raises
        ------
        ValueError
            If noise has other shapes, or the network has no ``noise_channels``.
        """
        assert isinstance(self.head, RainHead)
        batch, _, _, height, width = rain_BT1HW.shape
        members = self._members(noise, batch, height, width)
        frame = self.head.frame(rain_BT1HW, observed_BT1HW)
        states = self._encode(frame)
        if noise is not None:
            states = self._perturb(states, noise)
        features = self._unroll(states, lead_times)
        forecast_LBMCHW = self.head(features, frame, lead_times, members)
        forecast_BMLCHW = forecast_LBMCHW.permute(1, 2, 0, 3, 4, 5)[..., :height, :width]
        if noise is None:
            return forecast_BMLCHW[:, 0].contiguous()
        return forecast_BMLCHW.contiguous()

    def chances(self, frame: Frame, lead_times: int) -> Iterator[LeadChances]:
        """Forecast chances of exceeding rain rates with an exceedance head, lead by lead.

        Parameters
        ----------
        frame : of the context, from `ExceedanceHead.frame`, with ``resolution_B2``.

        Returns
        -------
        The chances in the moving frame, which is larger than the context (see `Head.multiple`).
        """
        assert isinstance(self.head, ExceedanceHead)
        features = self._lead_by_lead(self._encode(frame), lead_times)
        return self.head.chances(features, frame, lead_times)

    def frame_logits(
        self,
        frame: Frame,
        smoothed_BL1HW: Tensor,
        staying_BL3HW: Tensor,
        leads: Sequence[int],
        pixels: tuple[slice, slice] = ALL_PIXELS,
    ) -> Tensor:
        """Logits of the chances in the moving frame, for training on windows of that frame.

        Parameters
        ----------
        frame : the context in the moving frame; H and W multiples of the total stride.
        smoothed_BL1HW : the smoothed last scan at the lead times, normalised dB.
        staying_BL3HW : the scans at rest where the rain is at the lead times (`staying_rain`).
        leads : numbers of these L lead times, from 1 on, rising.
        pixels : rows and columns that are asked for.

        Returns
        -------
        (B, L, K, H, W) with the rows and columns of ``pixels``
        """
        assert isinstance(self.head, ExceedanceHead)
        features = self._unroll(self._encode(frame), leads[-1]).chunk(leads[-1])
        return torch.stack(
            [
                self.head.logits(
                    features[lead - 1],
                    smoothed_BL1HW[:, place],
                    staying_BL3HW[:, place],
                    frame,
                    lead,
                    pixels,
                )
                for place, lead in enumerate(leads)
            ],
            dim=1,
        )

    def noise_shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """(channels, rows, columns) of the noise at each layer, for a domain of any size."""
        multiple = self.head.multiple
        rows, columns = (-(-side // multiple) * multiple for side in (height, width))
        return [
            (self.config.noise_channels, rows // stride, columns // stride)
            for stride in self.config.layer_strides
        ]

    def _members(self, noise: Sequence[Tensor] | None, batch: int, height: int, width: int) -> int:
        """The number of members that the noise is for; 1 without noise."""
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
        noise_shapes = [tuple(layer.shape) for layer in noise]
        members = noise_shapes[0][1] if noise_shapes and len(noise_shapes[0]) == 5 else 1
        expected = [(batch, members, *shape) for shape in shapes]
        if noise_shapes != expected:
            raise ValueError(f"noise has the shapes {noise_shapes}, expected {expected}")
        return members

    def _encode(self, frame: Frame) -> list[Tensor]:
        """The last state (B, C, H, W) of each layer, finest first."""
        batch, steps = frame.rain_BT1HW.shape[:2]
        inputs = self.head.encoder_inputs(frame)
        if not torch.is_grad_enabled():  # scan by scan: all at once need much memory
            first = cast(nn.Sequential, self.downs[0])
            x = torch.cat([channels_last(strided_in_strips(first, [scan])) for scan in inputs])
        else:
            x = self.downs[0](channels_last(torch.cat(list(inputs))))
        states = []
        for level, (down, cell) in enumerate(zip(self.downs, self.encoders, strict=True)):
            x = down(x) if level else x
            h = torch.zeros_like(x[:batch])
            outputs = self._run(cell, x, h, steps)
            states.append(outputs[-1])
            x = torch.cat(outputs)
        return states

    def _perturb(self, states: list[Tensor], noise: Sequence[Tensor]) -> list[Tensor]:
        """States (B*M, C, H, W) of the members: those of the context plus mapped noise."""
        perturbed = []
        for state, layer, noise_map in zip(states, noise, self.noise_maps, strict=True):
            mapped = noise_map(channels_last(layer.flatten(0, 1).to(state.dtype)))
            repeated = state.repeat_interleave(layer.shape[1], dim=0)
            perturbed.append(channels_last(repeated + mapped.to(state.dtype)))
        return perturbed

    def _unroll(self, states: list[Tensor], lead_times: int) -> Tensor:
        """Features (L*B, C, H, W) at the finest layer's resolution from the layers' states."""
        x = None
        for level in reversed(range(len(states))):
            if x is not None:
                x = channels_last(self.ups[level](x))
            x = torch.cat(self._run(self.forecasters[level], x, states[level], lead_times))
        assert x is not None
        return x

    def _lead_by_lead(self, states: list[Tensor], lead_times: int) -> Iterator[Tensor]:
        """The features (B, C, H, W) of `_unroll` for each lead time, with the memory of one."""
        states = list(states)
        for _ in range(lead_times):
            self._advance(states)
            yield states[0]

    @torch.no_grad()
    def _advance(self, states: list[Tensor]) -> None:
        """Put the states one lead time later into their list."""
        x = None
        for level in reversed(range(len(states))):
            if x is not None:
                x = channels_last(self.ups[level](x))
            (x,) = self._run(self.forecasters[level], x, states[level], 1)
            states[level] = x

    def _run(self, cell: nn.Module, x: Tensor | None, h: Tensor, steps: int) -> list[Tensor]:
        """The states after each step, with inputs x (steps*B, C, H, W) or without."""
        assert isinstance(cell, RecurrentCell)
        recompute = self.config.checkpoint_activations and torch.is_grad_enabled()
        step: Callable[[Tensor, Tensor], Tensor]
        if x is None:
            inputs, step = [cell.project_no_input(h)] * steps, cell.step
        elif recompute:  # the input's projection is large, so it is computed again too
            inputs, step = list(x.chunk(steps)), cell.forward
        else:
            inputs, step = list(cell.project_input(x).chunk(steps)), cell.step
        outputs = []
        for step_input in inputs:
            if recompute:
                h = checkpoint(step, step_input, h, use_reentrant=False)
            else:
                h = step(step_input, h)
            outputs.append(h)
        return outputs


def _cell(config: NetworkConfig, inputs: int, hidden: int) -> RecurrentCell:
    """The kind of cell that the configuration names; a new cell gets a case here."""
    if config.cell == "trajgru":
        return TrajGRUCell(inputs, hidden, config.kernel_size, links=config.links)
    return ConvGRUCell(inputs, hidden, config.kernel_size, padding=config.kernel_size // 2)


def _head(config: NetworkConfig) -> Head:
    """The head that the configuration names; a new head gets a case here."""
    features, multiple = config.channels[0], config.total_stride
    if config.head == "exceedance":
        return ExceedanceHead(
            features,
            config.strides[0],
            multiple=multiple,
            place_channels=config.place_channels,
            place_grid=config.place_grid,
        )
    return DirectHead(
        features,
        config.strides[0],
        multiple=multiple,
        checkpoint_activations=config.checkpoint_activations,
    )
