"""The model, nothing but PyTorch: cells, encoder–forecaster, losses, Lightning module."""

from convgru.cell import ConvGRUCell, RecurrentCell
from convgru.checkpoint import (
    CHECKPOINT_KEY,
    CheckpointError,
    Nowcaster,
    draw_noise,
    load_nowcaster,
    read_checkpoint,
)
from convgru.compiling import compile_network
from convgru.loss import (
    BalancedLossConfig,
    CrpsConfig,
    LossConfig,
    LossSums,
    MaskedL1Config,
    loss_sums,
)
from convgru.module import NowcastModule, OptimiserConfig, forecast_loss
from convgru.motion import extrapolate, motion_field
from convgru.network import EncoderForecaster, NetworkConfig
from convgru.scaling import RainScaling
from convgru.trajgru import TrajGRUCell

__all__ = [
    "CHECKPOINT_KEY",
    "BalancedLossConfig",
    "CheckpointError",
    "ConvGRUCell",
    "CrpsConfig",
    "EncoderForecaster",
    "LossConfig",
    "LossSums",
    "MaskedL1Config",
    "NetworkConfig",
    "NowcastModule",
    "Nowcaster",
    "OptimiserConfig",
    "RainScaling",
    "RecurrentCell",
    "TrajGRUCell",
    "compile_network",
    "draw_noise",
    "extrapolate",
    "forecast_loss",
    "load_nowcaster",
    "loss_sums",
    "motion_field",
    "read_checkpoint",
]
