"""The encoder–forecaster: any domain, any number of lead times, persistence until trained."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from convgru import EncoderForecaster, NetworkConfig

SMALL = NetworkConfig(channels=(4, 6, 8), strides=(2, 2, 2))


def network(config: NetworkConfig = SMALL, *, trained: bool = True) -> EncoderForecaster:
    """A network with weights in its head, as after some training; without, as it begins."""
    torch.manual_seed(11)
    made = EncoderForecaster(config)
    if trained:
        torch.nn.init.normal_(made.head.weight, std=0.3)
        torch.nn.init.normal_(made.head.bias, std=0.3)
    return made


def latest(rain: Tensor, observed: Tensor) -> Tensor:
    """(B, 1, 1, H, W): the last value that each pixel was observed with; 0 where never."""
    last = torch.zeros_like(rain[:, 0])
    for t in range(rain.shape[1]):
        last = torch.where(observed[:, t] > 0, rain[:, t], last)
    return last[:, None]


def fields(height: int = 16, width: int = 16, *, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Rain and mask of four scans; a fifth of the pixels is not observed."""
    torch.manual_seed(12)
    observed = (torch.rand(batch, 4, 1, height, width) > 0.2).float()
    return torch.rand(batch, 4, 1, height, width) * observed, observed


@pytest.mark.parametrize(
    ("height", "width"), [(16, 16), (8, 24), (17, 23), (31, 9), (5, 3), (1, 1), (40, 7)]
)
@pytest.mark.parametrize("strides", [(2, 2, 2), (3, 1, 2), (1, 1, 1)])
def test_domains_of_any_size(height: int, width: int, strides: tuple[int, ...]) -> None:
    config = NetworkConfig(channels=(4, 6, 8), strides=strides)
    forecast = network(config)(*fields(height, width), 3)
    assert forecast.shape == (2, 3, 1, height, width)
    assert forecast.isfinite().all()


def test_more_layers_and_larger_kernels() -> None:
    config = NetworkConfig(channels=(4, 4, 6, 8), strides=(1, 2, 1, 2), kernel_size=5)
    assert config.total_stride == 4
    assert network(config)(*fields(13, 10), 2).shape == (2, 2, 1, 13, 10)


@pytest.mark.parametrize("context", [1, 2, 7])
def test_contexts_of_any_length(context: int) -> None:
    rain, observed = torch.rand(1, context, 1, 8, 8), torch.ones(1, context, 1, 8, 8)
    assert network()(rain, observed, 2).shape == (1, 2, 1, 8, 8)


@pytest.mark.parametrize("count", [1, 5, 24])
def test_the_first_lead_times_are_the_same_however_many_follow(count: int) -> None:
    net = network()
    few, many = net(*fields(), count), net(*fields(), 30)
    assert few.shape[1] == count
    torch.testing.assert_close(few, many[:, :count], atol=1e-5, rtol=1e-5)


def test_lead_times_differ() -> None:
    forecast = network()(*fields(), 4)
    assert ((forecast[:, 1:] - forecast[:, :-1]).abs().amax(dim=(2, 3, 4)) > 1e-4).all()


@pytest.mark.parametrize("size", [16, 13])
def test_untrained_is_persistence(size: int) -> None:
    rain, observed = fields(size, size)
    forecast = network(trained=False)(rain, observed, 5)
    assert torch.equal(forecast, latest(rain, observed).expand(-1, 5, -1, -1, -1))


def test_every_scan_counts() -> None:
    net = network()
    rain, observed = fields()
    before = net(rain, observed, 1)
    for scan in range(rain.shape[1]):
        other = rain.clone()
        other[:, scan] += 0.5
        assert (net(other, observed, 1) - before).abs().max() > 1e-5


def test_the_mask_is_an_input() -> None:
    net = network()
    rain, observed = fields()
    other = observed.clone()
    other[:, 1, :, 4:12, 4:12] = 1 - other[:, 1, :, 4:12, 4:12]
    assert (net(rain, other, 2) - net(rain, observed, 2)).abs().max() > 1e-5


def test_gradients_reach_every_parameter() -> None:
    net = network()
    net(*fields(), 3).square().sum().backward()
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert frozen == {f"forecasters.2.{name}.weight" for name in ("W_xz", "W_xr", "W_xh")}
    for name, parameter in net.named_parameters():
        if name in frozen:
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_an_untrained_network_can_begin_to_learn() -> None:
    net = network(trained=False)
    net(*fields(), 3).sum().backward()
    assert net.head.weight.grad.abs().max() > 0


def test_members_of_a_batch_do_not_see_each_other() -> None:
    net = network()
    rain, observed = fields(13, 11, batch=1)
    alone = net(rain, observed, 3)
    same = net(rain.expand(3, -1, -1, -1, -1), observed.expand(3, -1, -1, -1, -1), 3)
    torch.testing.assert_close(same, alone.expand(3, -1, -1, -1, -1), atol=1e-5, rtol=1e-5)
    others = torch.cat([rain, torch.rand(2, 4, 1, 13, 11)]), torch.ones(3, 4, 1, 13, 11)
    others[1][0] = observed[0]
    torch.testing.assert_close(net(*others, 3)[:1], alone, atol=1e-5, rtol=1e-5)


def test_padding_is_domain_that_is_dry_and_not_observed() -> None:
    net = network()
    rain, observed = fields(13, 11)
    edges = (0, 5, 0, 3)
    padded = (torch.nn.functional.pad(field, edges) for field in (rain, observed))
    torch.testing.assert_close(
        net(rain, observed, 3), net(*padded, 3)[..., :13, :11], atol=1e-5, rtol=1e-5
    )


def test_bfloat16_autocast_trains() -> None:
    net = network()
    exact = net(*fields(), 3)
    with torch.autocast("cpu", torch.bfloat16):
        forecast = net(*fields(), 3)
        forecast.float().square().mean().backward()
    torch.testing.assert_close(forecast.float(), exact, atol=0.1, rtol=0.1)
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


def test_untrained_is_exact_persistence_under_autocast_too() -> None:
    rain, observed = fields()
    with torch.autocast("cpu", torch.bfloat16):
        forecast = network(trained=False)(rain, observed, 2)
    assert torch.equal(forecast.float(), latest(rain, observed).expand(-1, 2, -1, -1, -1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strides": (2, 2)}, r"strides \[2, 2\] and channels \[16, 32, 48\] must have one"),
        ({"channels": (8, 8), "strides": (2, 2)}, "at least 3 items"),
        ({"channels": (8, 0, 8)}, "must be 1 or more"),
        ({"strides": (2, 0, 2)}, "must be 1 or more"),
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ({"kernel_size": 0}, "greater than 0"),
        ({"layers": 3}, "layers"),
    ],
)
def test_configurations_that_cannot_work_are_refused(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        NetworkConfig.model_validate(values)
