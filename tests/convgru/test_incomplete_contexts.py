"""Contexts that tell little: missing scans, dry scans before the rain, edges of coverage."""

from itertools import combinations

import pytest
import torch

from squall.convgru import EncoderForecaster, NetworkConfig, Nowcaster, RainScaling, load_nowcaster
from squall.convgru.motion import extrapolate
from squall.convgru.pretrained import find_model
from tests.convgru.moving_rain import moving_texture
from tests.convgru.rain_of import rain_of

SUBSETS = [older for count in range(4) for older in combinations((1, 2, 3), count)]
SQUALL_BASE, _ = load_nowcaster(find_model("squall-base"))


def csi(forecast: torch.Tensor, observed: torch.Tensor, threshold: float = 2.0) -> float:
    """Over the pixels that have a forecast."""
    valid = ~torch.isnan(forecast)
    event, hit = (observed >= threshold) & valid, (forecast >= threshold) & valid
    return ((event & hit).sum() / (event | hit).sum()).item()


@pytest.mark.parametrize("older", SUBSETS, ids=str)
def test_a_forecast_from_fewer_scans_is_as_good_where_they_tell_the_motion(
    older: tuple[int, ...],
) -> None:
    scans = moving_texture(2, -3, 7)[..., 16:-16, 16:-16]
    context = scans[:, :4].clone()
    for age in {1, 2, 3} - set(older):
        context[:, -1 - age] = torch.nan
    forecast, from_all_scans = (
        rain_of(SQUALL_BASE, context, 3),
        rain_of(SQUALL_BASE, scans[:, :4], 3),
    )
    for lead in (0, 2):
        observed = scans[:, 4 + lead]
        score = csi(forecast[:, lead], observed)
        assert score > csi(scans[:, 3], observed) - 0.01
        if older:  # pairs of scans at any distance tell the motion
            assert score > csi(from_all_scans[:, lead], observed) - 0.02


def test_a_shower_after_dry_scans_stays_as_it_is() -> None:
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    shower = 20 * torch.exp(-((rows - 40) ** 2 + (columns - 50) ** 2) / 200.0)
    context = torch.zeros(1, 4, 1, 96, 96)
    context[:, -1] = shower
    forecast = rain_of(SQUALL_BASE, context, 6)
    for lead in (0, 5):
        assert csi(forecast[:, lead, 0], shower, 0.5) > 0.97


def test_speckle_before_the_rain_does_not_spoil_it() -> None:
    rain = moving_texture(0, 0, 1)
    context = torch.zeros(1, 4, 1, 160, 160)
    context[:, :3, :, ::40, ::40] = 0.3
    context[:, -1:] = rain
    assert csi(rain_of(SQUALL_BASE, context, 1)[:, 0], rain[:, 0]) > 0.9


def test_light_rain_that_is_the_same_nearly_everywhere_keeps_its_order() -> None:
    torch.manual_seed(0)
    context = 1 + 0.01 * torch.rand(1, 4, 1, 96, 96)
    forecast = rain_of(SQUALL_BASE, context, 3)[:, :, :, 8:-8, 8:-8]
    assert forecast.min() > 0.98
    assert forecast.max() < 1.03


def test_no_rim_of_rain_at_the_edge_of_coverage() -> None:
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    distance = torch.hypot(rows - 128.0, columns - 128.0)
    places = torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) * 160 + 48
    scans = []
    for time in range(4):
        rain = torch.zeros(256, 256)
        for row, column in places[10 * time : 10 * time + 20]:  # half are new in each scan
            shower = 3 * torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 12)
            rain = rain.maximum(shower)
        rain = torch.where((rain > 0.1) & (distance < 95), rain, 0.0)
        scans.append(torch.where(distance < 115, rain, torch.nan))
    forecast = rain_of(SQUALL_BASE, torch.stack(scans)[None, :, None], 12)[0, -1, 0]
    rim = (distance > 110) & (distance < 115) & ~torch.isnan(forecast)
    assert rim.sum() > 2000
    assert (forecast[rim] >= 0.1).float().mean() < 0.02


def test_rain_is_forecast_where_it_is_moved_onto_pixels_that_were_never_observed() -> None:
    context = moving_texture(0, 4, 4)
    context[..., 40:120, 60:80] = torch.nan
    forecast, expected = rain_of(SQUALL_BASE, context, 6), extrapolate(context, 6)
    gap = forecast[0, -1, 0, 44:116, 62:78], expected[0, -1, 0, 44:116, 62:78]
    known_in_both = (~torch.isnan(gap[0]) & ~torch.isnan(gap[1])).sum()
    assert (~torch.isnan(gap[1])).float().mean() > 0.9
    assert known_in_both > 0.95 * (~torch.isnan(gap[1])).sum()


def test_the_direct_head_has_no_forecast_where_nothing_was_observed() -> None:
    torch.manual_seed(0)
    config = NetworkConfig(channels=(4, 6, 8), head="direct")
    context = torch.rand(1, 4, 1, 16, 16)
    context[..., :5] = torch.nan
    context[:, 1, :, :3, :3] = 1.0
    forecast = Nowcaster(EncoderForecaster(config), RainScaling()).eval()(context, 3)
    never_observed = torch.isnan(context).all(dim=1, keepdim=True).expand_as(forecast)
    assert torch.equal(torch.isnan(forecast), never_observed)


def test_the_moving_frame_is_computed_in_float32_under_autocast() -> None:
    """Half precision has too few digits for places."""
    head = SQUALL_BASE.network.head
    rain = SQUALL_BASE.scaling.normalise(moving_texture(1, 2, 4))
    frame = head.frame(*rain)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head.frame(*rain).rain_BT1HW, frame.rain_BT1HW)
