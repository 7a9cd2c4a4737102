"""The encoder–forecaster: any domain, any number of lead times, untrained it is persistence."""

from collections import Counter

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.overrides import TorchFunctionMode

from squall.convgru import EncoderForecaster, NetworkConfig, TrajGRUCell
from tests.convgru.small_networks import (
    ENSEMBLE,
    SMALL,
    TRAJECTORIES,
    fields,
    latest,
    network,
    noise_for,
)


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
def test_the_number_of_lead_times_does_not_change_the_first_ones(count: int) -> None:
    net = network()
    few, many = net(*fields(), count), net(*fields(), 30)
    assert few.shape[1] == count
    torch.testing.assert_close(few, many[:, :count], atol=1e-5, rtol=1e-5)


def test_without_gradients_the_forecast_is_the_same() -> None:
    net = network()
    with torch.no_grad():
        without_gradients = net(*fields(13, 9), 4)
    torch.testing.assert_close(without_gradients, net(*fields(13, 9), 4), atol=1e-5, rtol=1e-5)


def test_lead_times_differ() -> None:
    forecast = network()(*fields(), 4)
    assert ((forecast[:, 1:] - forecast[:, :-1]).abs().amax(dim=(2, 3, 4)) > 1e-4).all()


@pytest.mark.parametrize("size", [16, 13])
def test_untrained_is_persistence(size: int) -> None:
    rain, observed = fields(size, size)
    forecast = network(trained=False)(rain, observed, 5)
    assert torch.equal(forecast, latest(rain, observed).expand(-1, 5, -1, -1, -1))


def test_each_scan_changes_the_forecast() -> None:
    net = network()
    rain, observed = fields()
    before = net(rain, observed, 1)
    for scan in range(rain.shape[1]):
        other = rain.clone()
        other[:, scan] += 0.5
        assert (net(other, observed, 1) - before).abs().max() > 1e-5


def test_the_mask_changes_the_forecast() -> None:
    net = network()
    rain, observed = fields()
    other = observed.clone()
    other[:, 1, :, 4:12, 4:12] = 1 - other[:, 1, :, 4:12, 4:12]
    assert (net(rain, other, 2) - net(rain, observed, 2)).abs().max() > 1e-5


@pytest.mark.parametrize("config", [SMALL, ENSEMBLE, TRAJECTORIES])
def test_gradients_reach_every_parameter(config: NetworkConfig) -> None:
    net = network(config)
    rain, observed = fields()
    noise = noise_for(net, rain, 2) if config.noise_channels else None
    net(rain, observed, 3, noise).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.requires_grad, name
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_an_untrained_network_has_gradients() -> None:
    net = network(trained=False)
    net(*fields(), 3).sum().backward()
    assert net.head.out.weight.grad.abs().max() > 0


def test_samples_of_a_batch_do_not_change_each_other() -> None:
    net = network()
    rain, observed = fields(13, 11, batch=1)
    alone = net(rain, observed, 3)
    same = net(rain.expand(3, -1, -1, -1, -1), observed.expand(3, -1, -1, -1, -1), 3)
    torch.testing.assert_close(same, alone.expand(3, -1, -1, -1, -1), atol=1e-5, rtol=1e-5)
    others = torch.cat([rain, torch.rand(2, 4, 1, 13, 11)]), torch.ones(3, 4, 1, 13, 11)
    others[1][0] = observed[0]
    torch.testing.assert_close(net(*others, 3)[:1], alone, atol=1e-5, rtol=1e-5)


def test_padding_equals_dry_pixels_that_were_not_observed() -> None:
    net = network()
    rain, observed = fields(13, 11)
    edges = (0, 5, 0, 3)
    padded = (torch.nn.functional.pad(field, edges) for field in (rain, observed))
    torch.testing.assert_close(
        net(rain, observed, 3), net(*padded, 3)[..., :13, :11], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("config", [SMALL, TRAJECTORIES])
def test_bfloat16_autocast_trains(config: NetworkConfig) -> None:
    net = network(config)
    exact = net(*fields(), 3)
    with torch.autocast("cpu", torch.bfloat16):
        forecast = net(*fields(), 3)
        forecast.float().square().mean().backward()
    torch.testing.assert_close(forecast.float(), exact, atol=0.1, rtol=0.1)
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_untrained_is_exact_persistence_under_autocast_too() -> None:
    rain, observed = fields()
    with torch.autocast("cpu", torch.bfloat16):
        forecast = network(trained=False)(rain, observed, 2)
    assert torch.equal(forecast.float(), latest(rain, observed).expand(-1, 2, -1, -1, -1))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (13, 9)])
def test_trajectory_cells_forecast_domains_of_any_size(height: int, width: int) -> None:
    net = network(TRAJECTORIES)
    assert isinstance(net.encoders[0], TrajGRUCell)
    rain, observed = fields(height, width)
    forecast = net(rain, observed, 3)
    assert forecast.shape == (2, 3, 1, height, width)
    assert ((forecast[:, 1:] - forecast[:, :-1]).abs().amax(dim=(2, 3, 4)) > 1e-4).all()
    untrained = network(TRAJECTORIES, trained=False)(rain, observed, 3)
    assert torch.equal(untrained, latest(rain, observed).expand(-1, 3, -1, -1, -1))


def test_the_forecaster_starts_from_the_states_of_the_context() -> None:
    """The network equals its parts, computed scan by scan in a domain without padding."""
    net = network()
    rain, observed = fields()
    states = []
    scans = torch.cat([rain, observed], dim=2).unbind(1)
    for down, cell in zip(net.downs, net.encoders, strict=True):
        scans = [down(scan) for scan in scans]
        h = torch.zeros_like(scans[0])
        outputs = []
        for scan in scans:
            h = cell(scan, h)
            outputs.append(h)
        scans = outputs
        states.append(h)
    last = torch.cat([latest(rain, observed)[:, 0], observed.amax(dim=1)], dim=1)
    expected = []
    for _ in range(3):
        top = net.forecasters[2]
        states[2] = x = top.step(top.project_no_input(states[2]), states[2])
        for level in (1, 0):
            states[level] = x = net.forecasters[level](net.ups[level](x), states[level])
        gain, field = net.head.out(torch.cat([net.head.up(x), last], dim=1)).chunk(2, dim=1)
        expected.append(last[:, :1] * (1 + gain) + field)
    torch.testing.assert_close(
        net(rain, observed, 3), torch.stack(expected, dim=1), atol=1e-5, rtol=1e-5
    )


def test_a_state_dict_of_six_convolutions_for_each_cell_loads() -> None:
    net = network()
    weights = net.state_dict()
    separate = {k: v for k, v in weights.items() if not k.startswith(("encoders", "forecasters"))}
    for layers in ("encoders", "forecasters"):
        for level, c in enumerate(SMALL.channels):
            prefix = f"{layers}.{level}."
            gates = dict(
                zip(("W_hz", "W_hr"), weights[f"{prefix}W_h_gates.weight"].chunk(2), strict=True)
            )
            gates["W_hh"] = weights[f"{prefix}W_h_candidate.weight"]
            biases = weights[f"{prefix}bias"].chunk(3)
            # earlier versions had weights for an input that the top layer never got
            inputs = weights.get(f"{prefix}W_x.weight", torch.ones(3 * c, c, 3, 3)).chunk(3)
            for i, gate in enumerate("zrh"):
                separate[f"{prefix}W_x{gate}.weight"] = inputs[i]
                separate[f"{prefix}W_h{gate}.weight"] = gates[f"W_h{gate}"]
                separate[f"{prefix}W_x{gate}.bias"] = biases[i] - 1
                separate[f"{prefix}W_h{gate}.bias"] = torch.ones(c)
    other = EncoderForecaster(SMALL)
    other.load_state_dict(separate)
    torch.testing.assert_close(other(*fields(), 3), net(*fields(), 3), atol=1e-5, rtol=1e-5)


class ConvolutionLayouts(TorchFunctionMode):
    """Checks the memory layout of all convolutions; counts them by the shape of their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[tuple[int, ...]] = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if func is torch.conv2d:
            for x in (*args[:2], result):
                shape = tuple(x.shape)
                assert x.is_contiguous(memory_format=torch.channels_last), (shape, x.stride())
            self.counts[tuple(args[1].shape)] += 1
        return result


@pytest.mark.parametrize("config", [SMALL, ENSEMBLE])
def test_convolutions_see_channels_last_only(config: NetworkConfig) -> None:
    """Features, states and weights: otherwise each convolution would reorder them."""
    net = network(config)
    rain, observed = fields(32, 16)
    noise = noise_for(net, rain, 2) if config.noise_channels else None
    with ConvolutionLayouts() as layouts:
        net(rain, observed, 3, noise)
    assert layouts.counts[12, 4, 3, 3] == 2  # inputs of the finest layers: once for all steps
    # their gates: once for each step; head.up has this shape too
    assert layouts.counts[8, 4, 3, 3] == 4 + 3 + 1
    # input of the encoder's top layer (the forecaster's has none), and ups[1]
    assert layouts.counts[24, 8, 3, 3] == 1 + 1


@pytest.mark.parametrize("config", [SMALL, ENSEMBLE, TRAJECTORIES])
def test_checkpointed_activations_give_the_same_forecast_and_gradients(
    config: NetworkConfig,
) -> None:
    rain, observed = fields(13, 16)
    results = []
    for recompute in (False, True):
        net = network(config.model_copy(update={"checkpoint_activations": recompute}))
        noise = noise_for(net, rain, 2) if config.noise_channels else None
        forecast = net(rain, observed, 3, noise)
        forecast.square().sum().backward()
        results.append([forecast, *(p.grad for p in net.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(recomputed, plain, atol=1e-5, rtol=1e-4)


def test_checkpointed_activations_take_less_memory() -> None:
    def kept_bytes(recompute: bool) -> int:
        """Bytes that are kept for the backward pass, each storage counted once."""
        storages = {}

        def keep(x: Tensor) -> Tensor:
            storages[x.untyped_storage().data_ptr()] = x
            return x

        net = network(
            NetworkConfig(
                channels=(16, 16, 16), strides=(2, 1, 2), checkpoint_activations=recompute
            )
        )
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            forecast = net(*fields(32, 32), 12)
        assert forecast.requires_grad
        parameters = {p.untyped_storage().data_ptr() for p in net.parameters()}
        return sum(x.untyped_storage().nbytes() for k, x in storages.items() if k not in parameters)

    assert kept_bytes(True) < 0.5 * kept_bytes(False)


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
        ({"cell": "lstm"}, "'convgru' or 'trajgru'"),
        ({"links": 0}, "greater than 0"),
        ({"noise_channels": -1}, "greater than or equal to 0"),
    ],
)
def test_configurations_that_cannot_work_are_refused(
    values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        NetworkConfig.model_validate(values)
