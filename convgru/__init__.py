"""The model, nothing but PyTorch: cell, encoder–forecaster, loss, Lightning module."""

from convgru.cell import ConvGRUCell
from convgru.loss import LossConfig, balanced_loss
from convgru.module import (
    CheckpointError,
    Nowcaster,
    NowcastModule,
    OptimiserConfig,
    load_nowcaster,
)
from convgru.network import EncoderForecaster, NetworkConfig
from convgru.scaling import RainScaling

__all__ = [
    "CheckpointError",
    "ConvGRUCell",
    "EncoderForecaster",
    "LossConfig",
    "NetworkConfig",
    "NowcastModule",
    "Nowcaster",
    "OptimiserConfig",
    "RainScaling",
    "balanced_loss",
    "load_nowcaster",
]
