"""The advection head: extrapolation with zero weights, smoothing, growth and decay, training."""

import pytest
import torch

from squall.convgru import (
    CrpsConfig,
    EncoderForecaster,
    NetworkConfig,
    Nowcaster,
    NowcastModule,
    OptimiserConfig,
    RainScaling,
    draw_noise,
    extrapolate,
    load_nowcaster,
    loss_sums,
)
from squall.convgru.checkpoint import write_weights
from squall.convgru.skill_loss import SkillLossConfig
from tests.convgru.moving_rain import moving_texture
from tests.convgru.training_runs import RainBatch, fit, trainer

SMALL = {"channels": (4, 6, 8), "strides": (4, 2, 2), "head": "advection"}
SCALING = RainScaling()


def network(**changes) -> EncoderForecaster:
    torch.manual_seed(0)
    return EncoderForecaster(NetworkConfig(**SMALL | changes)).eval()


def forecast(net: EncoderForecaster, context: torch.Tensor, leads: int, noise=None) -> torch.Tensor:
    rain, observed = SCALING.normalise(context)
    with torch.no_grad():
        return SCALING.denormalise(net(rain, observed, leads, noise))


@pytest.mark.parametrize("side", [160, 100])
def test_zero_weights_are_exactly_the_extrapolation(side):
    context = moving_texture(2, -3, 4)[..., :side, : side - 7]
    context[..., 20:40, 50:60] = torch.nan
    net = network()
    net.load_state_dict({name: torch.zeros_like(value) for name, value in net.state_dict().items()})
    expected = extrapolate(context, 5)
    rate = forecast(net, context, 5)
    assert torch.equal(torch.isnan(rate), torch.isnan(expected))
    difference = (rate - expected).nan_to_num().abs()
    close = difference <= 1e-4 + 1e-4 * expected.nan_to_num()
    assert close.float().mean() > 0.999  # the others are at 0.1 mm/h, between dry and wet
    assert difference.max() < 0.11


def test_the_correction_of_motion_is_4_pixels_for_an_output_of_1():
    """Weights that were trained with another unit would move rain to the wrong place."""
    context = moving_texture(0, 0, 4)
    net = network()
    net.load_state_dict({name: torch.zeros_like(value) for name, value in net.state_dict().items()})
    uncorrected = forecast(net, context, 2)
    torch.nn.init.constant_(net.head.correction.bias, 0.5)  # 2 pixels down and to the right
    corrected = forecast(net, context, 2)  # the same at both lead times
    inner = (..., slice(20, -20), slice(20, -20))
    expected = uncorrected.roll((2, 2), (-2, -1))[inner]
    assert torch.allclose(corrected[inner], expected, atol=0.02)
    assert not torch.allclose(corrected[inner], uncorrected[inner], atol=0.2)


def test_an_untrained_head_smooths_short_lived_rain_and_keeps_the_distribution():
    context = moving_texture(0, 0, 4)
    torch.manual_seed(1)
    spoilt = context * torch.exp(0.8 * torch.randn_like(context))  # noise that is new in each scan
    untrained = forecast(network(), spoilt, 3)[0, -1, 0]
    inner = (slice(16, -16), slice(16, -16))

    def error(field):
        return (
            (SCALING.normalise(field)[0] - SCALING.normalise(context[0, -1, 0])[0])[inner]
            .abs()
            .mean()
        )

    assert error(untrained) < 0.6 * error(extrapolate(spoilt, 3)[0, -1, 0])
    assert untrained.mean() == pytest.approx(spoilt[0, -1, 0].mean().item(), rel=0.1)


def test_a_trained_network_redistributes_rain_and_keeps_its_amount():
    torch.manual_seed(0)
    context = torch.exp(torch.randn(1, 4, 1, 96, 96))
    net = network()
    untrained = forecast(net, context, 3)
    with torch.no_grad():
        net.head.maps.weight.normal_(std=0.3)
        net.head.maps.bias.fill_(-0.5)
    trained = forecast(net, context, 3)
    assert not torch.allclose(trained, untrained)
    assert trained.nanmean().item() == pytest.approx(untrained.nanmean().item(), rel=0.1)
    net.train()
    assert forecast(net, context, 3).nanmean() < 0.7 * untrained.nanmean()


def test_the_network_changes_long_lived_rain_little():
    """The forgotten share is nearly 0 for steady rain and 1 for rain that is new in each scan."""
    torch.manual_seed(0)
    steady = moving_texture(0, 0, 4)
    restless = torch.exp(torch.randn(1, 4, 1, 160, 160))
    changes = []
    for context in (steady, restless):
        net = network()
        untrained = forecast(net, context, 1)
        with torch.no_grad():
            net.head.maps.weight.normal_(std=0.3)
        trained = forecast(net, context, 1)
        change = SCALING.normalise(trained)[0] - SCALING.normalise(untrained)[0]
        changes.append(change[..., 20:-20, 20:-20].abs().mean())
    assert 0 < changes[0] < 0.1 * changes[1]


@pytest.mark.parametrize("scans", [1, 2])
def test_short_contexts_have_a_forecast(scans):
    net = network()
    untrained = forecast(net, moving_texture(1, 1, scans), 3)
    assert untrained.shape == (1, 3, 1, 160, 160)
    assert torch.isfinite(untrained[..., 20:-20, 20:-20]).all()
    with torch.no_grad():
        net.head.maps.weight.normal_(std=0.3)
    assert not torch.equal(forecast(net, moving_texture(1, 1, scans), 3), untrained)


def test_training_reaches_maps_correction_and_encoder():
    net = network().train()
    context = moving_texture(1, 2, 8)
    rain, observed = SCALING.normalise(context)
    for _ in range(2):  # zero weights stop the gradient of the encoder in the first step
        out = net(rain[:, :4], observed[:, :4], 4)
        reached = ~torch.isneginf(out)
        (out - rain[:, 4:])[reached].abs().mean().backward()
        with torch.no_grad():
            for parameter in net.parameters():
                assert torch.isfinite(parameter.grad).all()
                parameter -= 0.1 * parameter.grad
    for name in ("head.maps.weight", "head.correction.weight", "downs.0.0.weight"):
        assert net.get_parameter(name).grad.abs().sum() > 0, name


def test_members_differ_and_end_nearly_at_the_same_edge():
    net = network(noise_channels=2)
    with torch.no_grad():
        net.head.maps.weight.normal_(std=0.1)
    noise = [torch.randn(1, 3, *shape) for shape in net.noise_shapes(60, 44)]
    members = forecast(net, moving_texture(1, 1, 4)[..., :60, :44], 2, noise)
    assert members.shape == (1, 3, 2, 1, 60, 44)
    is_missing = torch.isnan(members)
    assert (is_missing.all(dim=1) == is_missing.any(dim=1)).float().mean() > 0.95
    assert members.nan_to_num().std(dim=1).max() > 0


def test_a_pixel_that_one_member_cannot_forecast_is_left_out_for_all_members():
    """Each member has its own correction of the motion, and so its own edge."""
    torch.manual_seed(0)
    members, target = torch.rand(1, 3, 2, 1, 4, 4), torch.rand(1, 2, 1, 4, 4)
    members[:, 1, :, :, :, 0] = -torch.inf
    everywhere = torch.ones_like(target)
    sums = loss_sums(members, target, target, everywhere, CrpsConfig())
    within = (x[..., 1:] for x in (members, target, target, everywhere))
    expected = loss_sums(*within, CrpsConfig())
    assert sums.divisors.item() == expected.divisors.item() == 2 * 4 * 3
    assert sums.totals.item() == pytest.approx(expected.totals.item())


@pytest.mark.parametrize(
    ("changes", "loss"),
    [({}, SkillLossConfig()), ({"noise_channels": 2}, CrpsConfig(members=2))],
    ids=["skill", "ensemble"],
)
def test_it_trains_and_is_rebuilt_from_checkpoint_and_weights(tmp_path, changes, loss):
    scans = moving_texture(1, 2, 7)[..., :60, :44].clone()
    scans[..., 20:30, 10:20] = torch.nan
    batch = RainBatch(scans[:, :4], scans[:, 4:])
    torch.manual_seed(0)
    module = NowcastModule(NetworkConfig(**SMALL | changes), loss, OptimiserConfig())
    fitted = fit(module, trainer(tmp_path, max_steps=3), [batch] * 3)
    assert torch.isfinite(module.step_sums).all()
    assert module.network.head.maps.weight.abs().max() > 1e-4
    assert module.network.head.correction.weight.abs().max() > 1e-4
    assert 0 < fitted.callback_metrics["val_csi"] <= 1

    trained = Nowcaster(module.network, module.scaling).eval()
    noise = draw_noise(module.network, [5], 3, (60, 44), torch.device("cpu"))
    expected = trained(batch.context, 5, noise)
    fitted.save_checkpoint(tmp_path / "model.ckpt")
    write_weights(tmp_path / "model.safetensors", trained, {}, torch.float32)
    for name in ("model.ckpt", "model.safetensors"):
        rebuilt, _ = load_nowcaster(tmp_path / name)
        assert rebuilt.network.config.head == "advection"
        again = rebuilt(batch.context, 5, noise)
        torch.testing.assert_close(again, expected, rtol=0, atol=0, equal_nan=True)
