"""What one training step needs of a device's memory, found without doing the step.

Public: `MemoryEstimate`, `training_memory`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn

from squall.pipeline.train.internals import tensors_without_data

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one device; what their names do not say stands at `training_memory`."""

    weights: int
    gradients: int
    optimiser: int
    average: int
    batch: int
    activations: int

    @property
    def total(self) -> int:
        return sum(astuple(self))


def training_memory(
    network: nn.Module,
    loss: Loss,
    *,
    batch_size: int,
    context: int,
    lead_times: int,
    crop: int,
    bf16: bool,
    averaged: bool,
) -> MemoryEstimate:
    """Add up what a training step with AdamW keeps at once.

    The forward pass runs on tensors that have a shape and no data, and what autograd keeps for
    the backward pass is counted, each storage once: exactly that of the same pass on the CPU,
    with activation checkpointing and mixed precision as they are. A GPU's mixed precision differs
    in a few operations. Not in it: the gradients of activations during the backward pass (one or
    two layers' at a time), what checkpointing computes again (one step's), cuDNN's workspaces,
    memory lost to fragmentation, and the CUDA context (some 0.5 GB).

    Parameters
    ----------
    network : is not changed; on any device.
    loss : from a copy of the network, the context (B, T, 1, H, W) and the target (B, L, 1, H, W),
        both rain rate in mm/h, the loss whose gradient is taken. It must not look at values.
    batch_size : samples on the device, B.
    context, lead_times : scans, T and L.
    crop : H and W [px].
    bf16 : whether the forward pass is in mixed precision.
    averaged : whether a moving average of the weights is kept.
    """
    weights = _bytes([*network.parameters(), *network.buffers()])
    trained = _bytes(p for p in network.parameters() if p.requires_grad)
    pixels = batch_size * (context + lead_times) * crop**2
    kept: dict[torch.UntypedStorage, Tensor] = {}

    def keep(saved: Tensor) -> Tensor:
        kept[saved.untyped_storage()] = saved
        return saved

    with tensors_without_data():
        tensors = [*network.parameters(), *network.buffers()]
        like = copy.deepcopy(network, {id(tensor): _without_data(tensor) for tensor in tensors})
        rain = [torch.empty(batch_size, n, 1, crop, crop) for n in (context, lead_times)]
        with (
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved),
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        ):
            result = loss(like, *rain)
        for counted_already in (*like.parameters(), *like.buffers(), *rain):
            kept.pop(counted_already.untyped_storage(), None)
        activations = sum(saved.untyped_storage().nbytes() for saved in kept.values())
        del result  # it holds what was counted until here, so that no storage took another's place
    return MemoryEstimate(
        weights=weights,
        gradients=trained,
        optimiser=2 * trained,
        average=weights if averaged else 0,
        batch=pixels * (1 + rain[0].element_size()),  # codes of 1 byte, and rain rate
        activations=activations,
    )


def _without_data(tensor: Tensor) -> Tensor:
    """A tensor alike on the CPU, inside `tensors_without_data`."""
    like = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    return nn.Parameter(like, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else like


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
