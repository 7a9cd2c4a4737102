"""The advection head: what it is with zero weights, its bands, ranks and gradients."""

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
    found = forecast(net, context, 5)
    assert torch.equal(torch.isnan(found), torch.isnan(expected))
    apart = (found - expected).nan_to_num().abs()
    assert (apart <= 1e-4 + 1e-4 * expected.nan_to_num()).float().mean() > 0.999  # at 0.1 mm/h
    assert apart.max() < 0.11


def test_untrained_it_smooths_what_does_not_last_and_keeps_the_distribution():
    context = moving_texture(0, 0, 4)
    torch.manual_seed(1)
    spoilt = context * torch.exp(0.8 * torch.randn_like(context))  # noise that no scan repeats
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


def test_a_trained_network_moves_rain_about_and_keeps_how_much_there_is():
    torch.manual_seed(0)
    context = torch.exp(torch.randn(1, 4, 1, 96, 96))
    net = network()
    plain = forecast(net, context, 3)
    with torch.no_grad():
        net.head.maps.weight.normal_(std=0.3)
        net.head.maps.bias.fill_(-0.5)
    found = forecast(net, context, 3)
    assert not torch.allclose(found, plain)
    assert found.nanmean().item() == pytest.approx(plain.nanmean().item(), rel=0.1)
    net.train()
    assert forecast(net, context, 3).nanmean() < 0.7 * plain.nanmean()


def test_the_network_may_change_little_of_what_is_remembered():
    """Of rain that does not change, next to nothing is open; of what is new each time, all."""
    torch.manual_seed(0)
    steady = moving_texture(0, 0, 4)
    restless = torch.exp(torch.randn(1, 4, 1, 160, 160))
    changes = []
    for context in (steady, restless):
        net = network()
        plain = forecast(net, context, 1)
        with torch.no_grad():
            net.head.maps.weight.normal_(std=0.3)
        there = SCALING.normalise(forecast(net, context, 1))[0] - SCALING.normalise(plain)[0]
        changes.append(there[..., 20:-20, 20:-20].abs().mean())
    assert 0 < changes[0] < 0.1 * changes[1]


@pytest.mark.parametrize("scans", [1, 2])
def test_short_contexts_have_a_forecast(scans):
    net = network()
    found = forecast(net, moving_texture(1, 1, scans), 3)
    assert found.shape == (1, 3, 1, 160, 160)
    assert torch.isfinite(found[..., 20:-20, 20:-20]).all()
    with torch.no_grad():
        net.head.maps.weight.normal_(std=0.3)
    assert not torch.equal(forecast(net, moving_texture(1, 1, scans), 3), found)  # it has its say


def test_training_reaches_maps_correction_and_encoder():
    net = network().train()
    context = moving_texture(1, 2, 8)
    rain, observed = SCALING.normalise(context)
    for _ in range(2):  # behind zero weights there is no gradient in the first step
        out = net(rain[:, :4], observed[:, :4], 4)
        reached = ~torch.isneginf(out)
        (out - rain[:, 4:])[reached].abs().mean().backward()
        with torch.no_grad():
            for parameter in net.parameters():
                assert torch.isfinite(parameter.grad).all()
                parameter -= 0.1 * parameter.grad
    for name in ("head.maps.weight", "head.correction.weight", "downs.0.0.weight"):
        assert net.get_parameter(name).grad.abs().sum() > 0, name


def test_an_ensemble_has_members_on_one_motion():
    net = network(noise_channels=2)
    with torch.no_grad():
        net.head.maps.weight.normal_(std=0.1)
    noise = [torch.randn(1, 3, *shape) for shape in net.noise_shapes(60, 44)]
    found = forecast(net, moving_texture(1, 1, 4)[..., :60, :44], 2, noise)
    assert found.shape == (1, 3, 2, 1, 60, 44)
    assert (torch.isnan(found).all(dim=1) == torch.isnan(found).any(dim=1)).float().mean() > 0.95
    assert found.nan_to_num().std(dim=1).max() > 0


def test_what_one_member_cannot_forecast_counts_for_none():
    """Each member has its own correction of the motion, and so its own reach."""
    torch.manual_seed(0)
    members, target = torch.rand(1, 3, 2, 1, 4, 4), torch.rand(1, 2, 1, 4, 4)
    members[:, 1, :, :, :, 0] = -torch.inf
    everywhere = torch.ones_like(target)
    found = loss_sums(members, target, target, everywhere, CrpsConfig())
    within = (x[..., 1:] for x in (members, target, target, everywhere))
    expected = loss_sums(*within, CrpsConfig())
    assert found.divisors.item() == expected.divisors.item() == 2 * 4 * 3
    assert found.totals.item() == pytest.approx(expected.totals.item())


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
        found = rebuilt(batch.context, 5, noise)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
