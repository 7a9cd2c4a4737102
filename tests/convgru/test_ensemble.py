"""Networks with noise channels: members, their noise, and the context encoded once."""

import pytest
import torch

from squall.convgru import NetworkConfig
from tests.convgru.small_networks import ENSEMBLE, SMALL, fields, latest, network, noise_for


def test_members_depend_on_their_own_noise() -> None:
    net = network(ENSEMBLE)
    rain, observed = fields(13, 11)
    noise = noise_for(net, rain, 4)
    forecast = net(rain, observed, 3, noise)
    assert forecast.shape == (2, 4, 3, 1, 13, 11)
    first = forecast[:, :1]
    assert ((forecast[:, 1:] - first).abs().amax(dim=(2, 3, 4, 5)) > 1e-4).all()
    alone = net(rain[1:], observed[1:], 3, [layer[1:, 2:3] for layer in noise])
    torch.testing.assert_close(alone[0, 0], forecast[1, 2], atol=1e-5, rtol=1e-5)


def test_noise_of_each_layer_changes_the_forecast() -> None:
    net = network(ENSEMBLE)
    rain, observed = fields()
    noise = noise_for(net, rain, 1)
    before = net(rain, observed, 3, noise)
    for level in range(3):
        other = [2 * layer if i == level else layer for i, layer in enumerate(noise)]
        assert (net(rain, observed, 3, other) - before).abs().max() > 1e-4, level


def test_with_noise_0_each_member_is_the_forecast_without_an_ensemble() -> None:
    net, single = network(ENSEMBLE), network(SMALL)
    weights = net.state_dict()
    single.load_state_dict({k: v for k, v in weights.items() if not k.startswith("noise_maps")})
    rain, observed = fields(13, 11)
    zero_noise = [torch.zeros_like(layer) for layer in noise_for(net, rain, 2)]
    expected = single(rain, observed, 3)[:, None].expand(-1, 2, -1, -1, -1, -1)
    torch.testing.assert_close(net(rain, observed, 3, zero_noise), expected, atol=1e-5, rtol=1e-5)


def test_the_context_is_encoded_once_for_all_members() -> None:
    net = network(ENSEMBLE)
    batch_sizes = []
    net.downs[0].register_forward_hook(
        lambda module, inputs, output: batch_sizes.append(len(output))
    )
    rain, observed = fields()
    net(rain, observed, 2, noise_for(net, rain, 5))
    assert batch_sizes == [2 * 4]  # two samples of four scans


def test_untrained_members_are_persistence() -> None:
    net = network(ENSEMBLE, trained=False)
    rain, observed = fields(13, 16)
    forecast = net(rain, observed, 5, noise_for(net, rain, 3))
    expected = latest(rain, observed)[:, None].expand(-1, 3, 5, -1, -1, -1)
    assert torch.equal(forecast, expected)


def test_noise_has_the_shapes_of_the_padded_layers() -> None:
    config = NetworkConfig(channels=(4, 6, 8), strides=(2, 3, 1), noise_channels=2)
    assert network(config).noise_shapes(13, 11) == [(2, 9, 6), (2, 3, 2), (2, 3, 2)]


def test_noise_that_does_not_fit_is_refused() -> None:
    rain, observed = fields()
    net = network(ENSEMBLE)
    noise = noise_for(net, rain, 2)
    with pytest.raises(ValueError, match=r"noise_channels 3 and needs noise.*\(3, 8, 8\)"):
        net(rain, observed, 2)
    with pytest.raises(ValueError, match=r"noise has the shapes .*, expected \[\(2, 2, 3, 8, 8\)"):
        net(rain, observed, 2, noise[:-1])
    with pytest.raises(ValueError, match="noise has the shapes"):
        net(rain, observed, 2, [noise[0], noise[1][:, :1], noise[2]])
    with pytest.raises(ValueError, match="noise has the shapes"):
        net(rain, observed, 2, [])
    with pytest.raises(ValueError, match="without noise_channels"):
        network()(rain, observed, 2, noise)
