"""The exceedance head: chances that fall with the threshold, for any step and lead time."""

import pytest
import torch
from torch.nn.functional import softplus

from squall.convgru import EncoderForecaster, NetworkConfig, RainScaling
from squall.convgru.heads.cascade import band_processes
from squall.convgru.heads.exceedance import (
    FIRST_OFFSETS,
    FIRST_SLOPES,
    KNOTS_MIN,
    ExceedanceHead,
)
from squall.convgru.heads.interface import Frame
from squall.convgru.heads.moving_frame import lagrangian_frame, smoothed_scans, staying_rain
from squall.convgru.thresholds import THRESHOLDS_MM_H
from tests.convgru.chances_of import chances_of

from ..moving_rain import moving_texture

LEADS = 3
RESOLUTION = torch.tensor([[10.0, 1.0]])
STAYING = torch.full((1, 3, 96, 96), 0.3)


def network(seed=0, scale=0.0):
    torch.manual_seed(seed)
    network = EncoderForecaster(
        NetworkConfig(channels=(4, 6, 8), strides=(4, 2, 2), head="exceedance")
    )
    with torch.no_grad():
        for weights in network.head.maps.parameters():
            weights.normal_(std=scale) if scale else weights.zero_()
    return network.eval()


def head_of(network):
    assert isinstance(network.head, ExceedanceHead)
    return network.head


def context(side=96):
    return RainScaling().normalise(moving_texture(rows=1, columns=2, scans=4, side=side))


@torch.no_grad()
def chances(network, rain, observed, resolution=RESOLUTION):
    return chances_of(network, rain, observed, LEADS, resolution)


def test_chances_fall_with_the_threshold_whatever_the_weights():
    trained = network(scale=3.0)
    with torch.no_grad():
        head_of(trained).slopes.normal_(std=5)
        head_of(trained).offsets.normal_(std=5)
    for lead in chances(trained, *context()):
        assert lead.logits_BKHW.shape[1] == len(THRESHOLDS_MM_H)
        assert (lead.logits_BKHW.diff(dim=1) <= 0).all()


def test_untrained_chances_follow_from_the_smoothed_scan_alone():
    rain, observed = context()
    untrained = network()
    smoothed = torch.rand(1, 1, 96, 96)
    frame = lagrangian_frame(rain, observed, 16)._replace(resolution_B2=RESOLUTION)
    with torch.no_grad():
        logits = head_of(untrained).logits(
            torch.randn(1, 4, 24, 24), smoothed, STAYING, frame, lead=3
        )
    knot = KNOTS_MIN.index(30.0)  # 3 steps of 10 min
    thresholds, _ = RainScaling().normalise(torch.tensor(THRESHOLDS_MM_H))
    lines = [
        slope * (smoothed - t) for slope, t in zip(FIRST_SLOPES[knot], thresholds, strict=True)
    ]
    expected = lines[0] + FIRST_OFFSETS[knot][0]
    assert torch.allclose(logits[:, :1], expected, atol=1e-4)
    for number in range(1, len(THRESHOLDS_MM_H)):
        expected = expected - softplus(FIRST_OFFSETS[knot][number] - lines[number])
        assert torch.allclose(logits[:, number : number + 1], expected, atol=1e-4)


def test_more_rain_has_higher_chances_without_training():
    rain, observed = context()
    untrained = network()
    frame = lagrangian_frame(rain, observed, 16)._replace(resolution_B2=RESOLUTION)
    features = torch.zeros(1, 4, 24, 24)
    with torch.no_grad():
        for lead in (1, 3, 6):
            dry, light, heavy = (
                head_of(untrained).logits(
                    features, torch.full((1, 1, 96, 96), x), STAYING, frame, lead
                )
                for x in (0.0, 0.4, 0.7)
            )
            assert (light > dry).all()
            assert (heavy > light).all()


def test_lead_times_are_minutes_so_steps_of_5_and_10_minutes_agree():
    rain, observed = context()
    untrained = network()
    smoothed, features = torch.rand(1, 1, 96, 96), torch.zeros(1, 4, 24, 24)
    frame = lagrangian_frame(rain, observed, 16)
    with torch.no_grad():
        ten, five = (
            head_of(untrained).logits(
                features,
                smoothed,
                STAYING,
                frame._replace(resolution_B2=torch.tensor([[step, 1.0]])),
                lead,
            )
            for step, lead in ((10.0, 3), (5.0, 6))
        )
    assert torch.allclose(ten, five, atol=1e-5)


def test_between_knots_the_tables_are_interpolated_and_beyond_them_constant():
    rain, observed = context()
    head = head_of(network())
    smoothed, features = torch.full((1, 1, 96, 96), 0.5), torch.zeros(1, 4, 24, 24)
    frame = lagrangian_frame(rain, observed, 16)

    def first(minutes):
        resolution = torch.tensor([[minutes, 1.0]])
        with torch.no_grad():
            logits = head.logits(
                features, smoothed, STAYING, frame._replace(resolution_B2=resolution), 1
            )
        return float(logits[0, 0, 0, 0])

    assert first(30) < first(25) < first(20)
    assert first(120) == pytest.approx(first(300))
    assert first(5) == pytest.approx(first(2))


def test_a_batch_of_different_resolutions_gives_each_sample_its_own_chances():
    rain, observed = context()
    trained = network(scale=1.0)
    resolutions = torch.tensor([[5.0, 0.5], [10.0, 1.0]])
    together = chances(
        trained, rain.expand(2, -1, -1, -1, -1), observed.expand(2, -1, -1, -1, -1), resolutions
    )
    for number, resolution in enumerate(resolutions):
        alone = chances(trained, rain, observed, resolution[None])
        for lead, lead_alone in zip(together, alone, strict=True):
            assert torch.allclose(lead.logits_BKHW[number], lead_alone.logits_BKHW[0], atol=1e-4)
    assert not torch.allclose(together[0].logits_BKHW[0], together[0].logits_BKHW[1], atol=0.1)


def test_windows_of_the_moving_frame_give_the_chances_of_a_forecast():
    """Training and forecast compute the same logits from the same context."""
    trained = network(scale=1.0)
    rain, observed = context()
    expected = chances(trained, rain, observed)
    whole = head_of(trained).frame(rain, observed)
    frame = Frame(whole.rain_BT1HW, whole.known_BT1HW, None, RESOLUTION)
    staying = list(staying_rain(whole.at_rest_B3HW, whole.motion_B2hw, LEADS))
    smoothed = torch.stack(list(smoothed_scans(frame, band_processes(frame), LEADS)), dim=1)
    with torch.no_grad():
        asked = smoothed[:, [0, 2]], torch.stack([staying[0], staying[2]], dim=1), [1, 3]
        logits = trained.frame_logits(frame, *asked)
        some = slice(1, None, 2), slice(0, None, 2)
        logits_of_some_pixels = trained.frame_logits(frame, *asked, some)
    assert torch.allclose(logits[:, 0], expected[0].logits_BKHW, atol=1e-4)
    assert torch.allclose(logits[:, 1], expected[2].logits_BKHW, atol=1e-4)
    assert torch.equal(logits_of_some_pixels, logits[..., *some])


def test_rain_that_stays_can_be_learnt():
    """With weight 1 of the last scan at rest, the chances follow that scan."""
    rain, observed = context()
    network_ = network()
    head = head_of(network_)
    with torch.no_grad():
        head.maps.bias[4] = 1.0
    frame = lagrangian_frame(rain, observed, 16)._replace(resolution_B2=RESOLUTION)
    staying = torch.rand(1, 3, 96, 96)
    features, smoothed = torch.zeros(1, 4, 24, 24), torch.rand(1, 1, 96, 96)
    with torch.no_grad():
        logits = head.logits(features, smoothed, staying, frame, 2)
        head.maps.bias.zero_()
        expected = head.logits(features, staying[:, :1], staying, frame, 2)
    assert torch.allclose(logits, expected, atol=1e-4)


def test_with_missing_scans_the_network_counts_less():
    """With the last scan alone the chances are those of an untrained head."""
    trained, untrained = network(scale=0.3), network()
    changes = []
    for missing in (0, 1, 3):
        rain = moving_texture(rows=1, columns=2, scans=4, side=96)
        rain[:, :missing] = torch.nan
        scans = RainScaling().normalise(rain)
        pairs = zip(chances(trained, *scans), chances(untrained, *scans), strict=True)
        changes.append(max(float((a.logits_BKHW - b.logits_BKHW).abs().max()) for a, b in pairs))
    assert changes[0] > 0.1
    assert 0 < changes[1] < changes[0]
    assert changes[2] == 0
