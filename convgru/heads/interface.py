"""What the encoder–forecaster asks of a head.

Dims: B batch, M members, T context steps, L lead steps, C channels, H rows, W columns, h and w of
the motion's coarse grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Frame(NamedTuple):
    """A context as the encoder reads it: in a head's frame of reference, filled up to its size."""

    rain_BT1HW: Tensor
    """normalised dB, 0 where not known"""
    known_BT1HW: Tensor
    """1 where the rain is known, 0 where not"""
    motion_B2hw: Tensor | None
    """pixels per step on the grid of `squall.convgru.motion`; None in a frame at rest"""
    resolution_B2: Tensor | None = None
    """time step [min] and grid spacing [km], for a head that asks for them"""
    at_rest_B3HW: Tensor | None = None
    """the scans where they were observed (`squall.convgru.heads.moving_frame.scans_at_rest`), for a
    head that asks for them"""
    paths_BL2hw: Tensor | None = None
    """pixels, from the place at the last scan's time to the place at each lead time, on the grid of
    `squall.convgru.motion` over the whole grid of pixels; for a head with a map of the place"""
    corner_B2: Tensor | None = None
    """(column, row) of the context's upper left pixel on that grid of pixels"""


class Head(nn.Module, ABC):
    """From the forecaster's features to a forecast.

    Attributes
    ----------
    multiple : rows and columns of a frame are multiples of this: of the network's total stride at
        least.
    input_channels : of what the encoder reads of each scan.
    """

    multiple: int
    input_channels: int = 2

    @abstractmethod
    def frame(self, rain_BT1HW: Tensor, observed_BT1HW: Tensor) -> Frame:
        """The context in the frame of reference that this head works in.

        Parameters
        ----------
        rain_BT1HW, observed_BT1HW : normalised dB and validity mask. Any H and W; the last scan is
            not known in rows and columns that are added at the end.
        """

    def encoder_inputs(self, frame: Frame) -> Iterator[Tensor]:
        """(B, 2, H, W) for each scan: what the encoder reads of it, rain and where it is known."""
        for rain, known in zip(
            frame.rain_BT1HW.unbind(1), frame.known_BT1HW.unbind(1), strict=True
        ):
            yield torch.cat([rain, known], dim=1)


class RainHead(Head):
    """A head whose forecast is one field of rain for each lead time and member."""

    @abstractmethod
    def forward(self, features: Tensor, frame: Frame, lead_times: int, members: int) -> Tensor:
        """Rain at its place in the frame's domain.

        Parameters
        ----------
        features : (L*B*M, C, rows, columns) of the forecaster's finest layer.
        frame : of the context, from `frame`.

        Returns
        -------
        (L, B, M, 1, H, W) normalised dB, float32; -inf where no forecast is possible.
        """
