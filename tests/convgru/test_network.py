"""The encoder–forecaster: any domain, any number of lead times, persistence until trained."""

from collections import Counter

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.overrides import TorchFunctionMode

from squall.convgru import EncoderForecaster, NetworkConfig, TrajGRUCell

SMALL = NetworkConfig(channels=(4, 6, 8), strides=(2, 2, 2))
ENSEMBLE = SMALL.model_copy(update={"noise_channels": 3})
TRAJECTORIES = SMALL.model_copy(update={"cell": "trajgru", "links": 3})


def network(config: NetworkConfig = SMALL, *, trained: bool = True) -> EncoderForecaster:
    """A network with weights in its head, as after some training; without, as it begins."""
    torch.manual_seed(11)
    made = EncoderForecaster(config)
    if trained:
        torch.nn.init.normal_(made.head.out.weight, std=0.3)
        torch.nn.init.normal_(made.head.out.bias, std=0.3)
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


def noise_for(net: EncoderForecaster, rain: Tensor, members: int) -> list[Tensor]:
    """The same noise whatever the network's weights."""
    generator = torch.Generator().manual_seed(13)
    return [
        torch.randn(len(rain), members, *shape, generator=generator)
        for shape in net.noise_shapes(*rain.shape[-2:])
    ]


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


def test_without_gradients_the_forecast_is_the_same() -> None:
    net = network()
    with torch.no_grad():
        found = net(*fields(13, 9), 4)
    torch.testing.assert_close(found, net(*fields(13, 9), 4), atol=1e-5, rtol=1e-5)


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


def test_an_untrained_network_can_begin_to_learn() -> None:
    net = network(trained=False)
    net(*fields(), 3).sum().backward()
    assert net.head.out.weight.grad.abs().max() > 0


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
    """The network against its parts, scan by scan, in a domain that needs no padding."""
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
    for part in ("encoders", "forecasters"):
        for level, c in enumerate(SMALL.channels):
            prefix = f"{part}.{level}."
            gates = dict(
                zip(("W_hz", "W_hr"), weights[f"{prefix}W_h_gates.weight"].chunk(2), strict=True)
            )
            gates["W_hh"] = weights[f"{prefix}W_h_candidate.weight"]
            biases = weights[f"{prefix}bias"].chunk(3)
            # the top of the forecaster had weights for an input that it never got
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
    """Looks at the inputs, weights and outputs of all convolutions."""

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
    """Features, states and weights; else each convolution would reorder them anew."""
    net = network(config)
    rain, observed = fields(32, 16)
    noise = noise_for(net, rain, 2) if config.noise_channels else None
    with ConvolutionLayouts() as layouts:
        net(rain, observed, 3, noise)
    assert layouts.counts[12, 4, 3, 3] == 2  # the finest layers' inputs: once for all steps
    assert layouts.counts[8, 4, 3, 3] == 4 + 3 + 1  # their gates: each step; head.up is alike
    assert layouts.counts[24, 8, 3, 3] == 1 + 1  # the encoder's top alone has an input; ups[1]


@pytest.mark.parametrize("config", [SMALL, ENSEMBLE, TRAJECTORIES])
def test_checkpointed_activations_change_nothing(config: NetworkConfig) -> None:
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
    def kept(recompute: bool) -> int:
        """Bytes that the backward pass waits for, each storage once."""
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
        own = {p.untyped_storage().data_ptr() for p in net.parameters()}
        return sum(x.untyped_storage().nbytes() for k, x in storages.items() if k not in own)

    assert kept(True) < 0.5 * kept(False)


def test_members_follow_their_noise() -> None:
    net = network(ENSEMBLE)
    rain, observed = fields(13, 11)
    noise = noise_for(net, rain, 4)
    forecast = net(rain, observed, 3, noise)
    assert forecast.shape == (2, 4, 3, 1, 13, 11)
    first = forecast[:, :1]
    assert ((forecast[:, 1:] - first).abs().amax(dim=(2, 3, 4, 5)) > 1e-4).all()
    alone = net(rain[1:], observed[1:], 3, [layer[1:, 2:3] for layer in noise])
    torch.testing.assert_close(alone[0, 0], forecast[1, 2], atol=1e-5, rtol=1e-5)


def test_noise_of_each_layer_counts() -> None:
    net = network(ENSEMBLE)
    rain, observed = fields()
    noise = noise_for(net, rain, 1)
    before = net(rain, observed, 3, noise)
    for level in range(3):
        other = [2 * layer if i == level else layer for i, layer in enumerate(noise)]
        assert (net(rain, observed, 3, other) - before).abs().max() > 1e-4, level


def test_without_noise_members_are_the_forecast_of_one() -> None:
    net, single = network(ENSEMBLE), network(SMALL)
    weights = net.state_dict()
    single.load_state_dict({k: v for k, v in weights.items() if not k.startswith("noise_maps")})
    rain, observed = fields(13, 11)
    silent = [torch.zeros_like(layer) for layer in noise_for(net, rain, 2)]
    expected = single(rain, observed, 3)[:, None].expand(-1, 2, -1, -1, -1, -1)
    torch.testing.assert_close(net(rain, observed, 3, silent), expected, atol=1e-5, rtol=1e-5)


def test_the_context_is_encoded_once_for_all_members() -> None:
    net = network(ENSEMBLE)
    batches = []
    net.downs[0].register_forward_hook(lambda module, inputs, output: batches.append(len(output)))
    rain, observed = fields()
    net(rain, observed, 2, noise_for(net, rain, 5))
    assert batches == [2 * 4]  # two samples of four scans


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
