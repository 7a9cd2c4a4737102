"""Both heads fulfil the one interface that the encoder–forecaster uses."""

import pytest
import torch

from squall.convgru.heads.advection import AdvectionHead
from squall.convgru.heads.direct import DirectHead
from squall.convgru.heads.interface import Head

FEATURES, STRIDE = 4, 2


@pytest.mark.parametrize(
    "head",
    [DirectHead(FEATURES, STRIDE, multiple=4), AdvectionHead(FEATURES, multiple=4)],
    ids=["direct", "advection"],
)
def test_a_head_gives_each_member_rain_in_the_domain_of_its_frame(head: Head) -> None:
    rain = torch.rand(2, 3, 1, 21, 30)
    frame = head.frame(rain, torch.ones_like(rain))
    height, width = frame.rain_BT1HW.shape[-2:]
    assert height >= 21
    assert width >= 30
    assert height % head.multiple == width % head.multiple == 0
    assert not frame.known_BT1HW[:, -1, :, 21:].any()
    assert not frame.known_BT1HW[:, -1, :, :, 30:].any()
    assert head.encoder_input(frame).shape == (2, 3, 2, height, width)
    lead_times, members = 2, 5
    features = torch.rand(lead_times * 2 * members, FEATURES, height // STRIDE, width // STRIDE)
    forecast = head(features, frame, lead_times, members)
    assert forecast.shape == (lead_times, 2, members, 1, height, width)
    assert forecast.dtype == torch.float32
