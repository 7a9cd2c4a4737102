"""Estimates the device memory of a training step without executing the step.

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
    """Bytes on one device, see `training_memory`."""

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
    """Add up the memory that a training step with AdamW uses at the same time.

    The forward pass runs on tensors without data. The activations are the storages that autograd
    keeps for the backward pass, each counted once. They are exactly those of the same pass on the
    CPU, with activation checkpointing and mixed precision. A GPU's mixed precision differs in a
    few operations.

    Not included: the gradients of activations in the backward pass (one or two layers at a time),
    activations that checkpointing recomputes (one step), cuDNN's workspaces, fragmentation, and
    the CUDA context (about 0.5 GB).

    Parameters
    ----------
    network : on any device. It is not changed.
    loss : function of a copy of the network, the context (B, T, 1, H, W) and the target
        (B, L, 1, H, W), both rain rate in mm/h. It must not read values of tensors.
    batch_size : samples on the device, B.
    context, lead_times : scans, T and L.
    crop : H and W [px].
    bf16 : whether the forward pass uses mixed precision.
    averaged : whether the run has a moving average of the weights.
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
        network_without_data = copy.deepcopy(
            network, {id(tensor): _without_data(tensor) for tensor in tensors}
        )
        rain = [torch.empty(batch_size, n, 1, crop, crop) for n in (context, lead_times)]
        with (
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved),
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        ):
            result = loss(network_without_data, *rain)
        for counted_already in (
            *network_without_data.parameters(),
            *network_without_data.buffers(),
            *rain,
        ):
            kept.pop(counted_already.untyped_storage(), None)
        activations = sum(saved.untyped_storage().nbytes() for saved in kept.values())
        del result  # until here it keeps the storages alive, so that none is reused
    return MemoryEstimate(
        weights=weights,
        gradients=trained,
        optimiser=2 * trained,
        average=weights if averaged else 0,
        batch=pixels * (1 + rain[0].element_size()),  # codes of 1 byte, and rain rate
        activations=activations,
    )


def _without_data(tensor: Tensor) -> Tensor:
    """Return a tensor of the same shape and type on the CPU, inside `tensors_without_data`."""
    copy_of_shape = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    return (
        nn.Parameter(copy_of_shape, tensor.requires_grad)
        if isinstance(tensor, nn.Parameter)
        else copy_of_shape
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
