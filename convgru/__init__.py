"""The model, nothing but PyTorch: cells, encoder–forecaster, losses, Lightning module."""

from squall.convgru.cell import ConvGRUCell, RecurrentCell
from squall.convgru.checkpoint import (
    CHECKPOINT_KEY,
    CheckpointError,
    Nowcaster,
    draw_noise,
    load_nowcaster,
    read_checkpoint,
)
from squall.convgru.compiling import compile_network
from squall.convgru.loss import (
    BalancedLossConfig,
    CrpsConfig,
    LossConfig,
    LossSums,
    MaskedL1Config,
    loss_sums,
)
from squall.convgru.module import NowcastModule, OptimiserConfig, forecast_loss
from squall.convgru.motion import extrapolate, motion_field
from squall.convgru.network import EncoderForecaster, NetworkConfig
from squall.convgru.scaling import RainScaling
from squall.convgru.trajgru import TrajGRUCell

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
