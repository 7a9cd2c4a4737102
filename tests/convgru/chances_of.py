"""What a network with an exceedance head says of a context: for a forecast, and for training."""

from __future__ import annotations

import torch

from squall.convgru.heads.cascade import band_processes
from squall.convgru.heads.exceedance import ExceedanceHead, LeadChances
from squall.convgru.heads.interface import Frame
from squall.convgru.heads.moving_frame import paths_of_rain, smoothed_scans, staying_rain
from squall.convgru.network import EncoderForecaster


def frame_of(
    network: EncoderForecaster, rain: torch.Tensor, observed: torch.Tensor, resolution: torch.Tensor
) -> Frame:
    """The context in the moving frame; resolution is (B or 1, 2)."""
    assert isinstance(network.head, ExceedanceHead)
    frame = network.head.frame(rain, observed)
    return frame._replace(resolution_B2=resolution.expand(len(rain), -1))


def chances_of(
    network: EncoderForecaster,
    rain: torch.Tensor,
    observed: torch.Tensor,
    lead_times: int,
    resolution: torch.Tensor,
) -> list[LeadChances]:
    """The chances of a forecast; parameters as `Head.frame`."""
    with torch.no_grad():
        frame = frame_of(network, rain, observed, resolution)
        return list(network.chances(frame, lead_times))


def trained_logits(
    network: EncoderForecaster,
    rain: torch.Tensor,
    observed: torch.Tensor,
    lead_times: int,
    resolution: torch.Tensor,
) -> torch.Tensor:
    """(B, L, K, H, W) with gradient, as in training, of the whole frame."""
    frame = frame_of(network, rain, observed, resolution)
    motion, at_rest = frame.motion_B2hw, frame.at_rest_B3HW
    assert motion is not None
    assert at_rest is not None
    smoothed = torch.stack(list(smoothed_scans(frame, band_processes(frame), lead_times)), dim=1)
    staying = torch.stack(list(staying_rain(at_rest, motion, lead_times)), dim=1)
    paths = paths_of_rain(motion, lead_times)
    frame = frame._replace(paths_BL2hw=paths, corner_B2=paths.new_zeros(len(paths), 2))
    return network.frame_logits(frame, smoothed, staying, list(range(1, lead_times + 1)))
