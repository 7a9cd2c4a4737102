"""The estimated memory of a training step against that of real steps."""

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from squall.convgru import (
    BalancedLossConfig,
    CrpsConfig,
    EncoderForecaster,
    LossConfig,
    NetworkConfig,
    RainScaling,
    loss_sums,
)
from squall.pipeline.train.memory_estimate import MemoryEstimate, training_memory

SIZES: dict[str, Any] = {"batch_size": 2, "context": 3, "lead_times": 4, "crop": 32}
SMALL = {"channels": (8, 16, 16), "strides": (2, 2, 2)}


def loss_of(network: nn.Module, context: Tensor, target: Tensor) -> Tensor:
    """The loss of a training step, of an ensemble where the network has noise."""
    assert isinstance(network, EncoderForecaster)
    scaling = RainScaling()
    rain, observed = scaling.normalise(context)
    wanted, counts = scaling.normalise(target)
    config: LossConfig = BalancedLossConfig()
    noise = None
    if network.config.noise_channels:
        config = CrpsConfig()
        shapes = network.noise_shapes(*context.shape[-2:])
        noise = [torch.randn(len(context), config.members, *shape) for shape in shapes]
    predicted = network(rain, observed, target.shape[1], noise)
    return loss_sums(predicted, wanted, target, counts, config).value()


def estimate(config: dict[str, Any], *, bf16: bool = False, **sizes: int) -> MemoryEstimate:
    network = EncoderForecaster(NetworkConfig(**SMALL | config))
    return training_memory(network, loss_of, **SIZES | sizes, bf16=bf16, averaged=True)


def kept_by_a_real_pass(network: nn.Module, bf16: bool) -> int:
    """Bytes that autograd keeps on the CPU, without weights and batch."""
    b, t, leads, crop = SIZES.values()
    batch = torch.rand(b, t, 1, crop, crop), torch.rand(b, leads, 1, crop, crop)
    kept: dict[int, Tensor] = {}

    def keep(saved: Tensor) -> Tensor:
        kept[saved.untyped_storage().data_ptr()] = saved
        return saved

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        loss = loss_of(network, *batch)
    for tensor in (*network.parameters(), *batch):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    assert loss.requires_grad
    return sum(saved.untyped_storage().nbytes() for saved in kept.values())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"checkpoint_activations": True},
        {"cell": "trajgru"},
        {"noise_channels": 2},
    ],
)
def test_activations_are_those_of_a_real_pass(config: dict[str, Any], bf16: bool) -> None:
    network = EncoderForecaster(NetworkConfig(**SMALL | config))
    memory = training_memory(network, loss_of, **SIZES, bf16=bf16, averaged=False)
    assert memory.activations == kept_by_a_real_pass(network, bf16)


def test_weights_gradients_moments_average_and_batch() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3))
    network[0].bias.requires_grad_(False)

    def loss(copy: nn.Module, context: Tensor, target: Tensor) -> Tensor:
        return copy(context[:, 0]).sum() + target.sum()

    memory = training_memory(network, loss, **SIZES, bf16=False, averaged=True)
    # 27 + 3 of the convolution, 3 + 3 of the normalisation; its 2 * 3 floats and 1 int64 beside
    assert memory.weights == memory.average == 4 * (30 + 6 + 6) + 8
    assert memory.gradients == 4 * (27 + 6)
    assert memory.optimiser == 2 * memory.gradients
    assert memory.batch == 2 * (3 + 4) * 32 * 32 * 5
    parts = (memory.weights, memory.gradients, memory.optimiser, memory.average, memory.batch)
    assert memory.total == sum(parts) + memory.activations
    without = training_memory(network, loss, **SIZES, bf16=False, averaged=False)
    assert without.average == 0


def test_activations_grow_linearly_with_the_batch_and_the_domain() -> None:
    size_1, size_2, size_3 = (estimate({}, batch_size=n).activations for n in (1, 2, 3))
    assert size_3 - size_2 == size_2 - size_1 > 0.4 * size_2
    four_times = estimate({}, crop=64).activations
    assert four_times == pytest.approx(4 * size_2, rel=0.1)


def test_checkpointing_and_mixed_precision_lower_them() -> None:
    plain = estimate({}).activations
    assert estimate({"checkpoint_activations": True}).activations < 0.6 * plain
    assert 0.4 * plain < estimate({}, bf16=True).activations < 0.8 * plain


def test_a_large_model_is_estimated_without_its_memory() -> None:
    """Of 256 × 1024 × 1024 pixels a real pass would need hundreds of gigabytes."""
    memory = estimate({}, batch_size=256, crop=1024)
    assert memory.activations > 100e9


def test_the_network_is_as_it_was() -> None:
    network = EncoderForecaster(NetworkConfig(**SMALL)).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training_memory(network, loss_of, **SIZES, bf16=True, averaged=True)
    gc.collect()
    assert not network.training
    for name, value in network.state_dict().items():
        assert type(value) is Tensor
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in network.parameters())
