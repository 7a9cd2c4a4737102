"""Both heads fulfil the one interface that the encoder–forecaster uses."""

import pytest
import torch

from squall.convgru.heads.direct import DirectHead
from squall.convgru.heads.exceedance import ExceedanceHead
from squall.convgru.heads.interface import Head

FEATURES, STRIDE = 4, 2
DIRECT = DirectHead(FEATURES, STRIDE, multiple=4)


@pytest.mark.parametrize(
    "head", [DIRECT, ExceedanceHead(FEATURES, STRIDE, multiple=4)], ids=["direct", "exceedance"]
)
def test_a_frame_is_filled_up_to_the_multiple_of_its_head(head: Head) -> None:
    rain = torch.rand(2, 3, 1, 21, 30)
    frame = head.frame(rain, torch.ones_like(rain))
    height, width = frame.rain_BT1HW.shape[-2:]
    assert height >= 21
    assert width >= 30
    assert height % head.multiple == width % head.multiple == 0
    assert not frame.known_BT1HW[:, -1, :, 21:].any()
    assert not frame.known_BT1HW[:, -1, :, :, 30:].any()
    told = frame._replace(resolution_B2=torch.tensor([[10.0, 1.0]] * 2))
    inputs = [scan.shape for scan in head.encoder_inputs(told)]
    assert inputs == [(2, head.input_channels, height, width)] * 3


def test_the_direct_head_gives_each_member_rain_in_the_domain_of_its_frame() -> None:
    rain = torch.rand(2, 3, 1, 21, 30)
    frame = DIRECT.frame(rain, torch.ones_like(rain))
    height, width = frame.rain_BT1HW.shape[-2:]
    lead_times, members = 2, 5
    features = torch.rand(lead_times * 2 * members, FEATURES, height // STRIDE, width // STRIDE)
    forecast = DIRECT(features, frame, lead_times, members)
    assert forecast.shape == (lead_times, 2, members, 1, height, width)
    assert forecast.dtype == torch.float32
