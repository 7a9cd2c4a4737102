"""Training steps and optimiser around the network, and checkpoints that rebuild it.

Owns nothing about files but the checkpoint; plots, scores and forecasts live in `pipeline`.
"""

import math
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from convgru.loss import LossConfig, balanced_loss
from convgru.network import EncoderForecaster, NetworkConfig
from convgru.scaling import RainScaling

CHECKPOINT_KEY = "squall"


class Batch(Protocol):
    """Windows on the device, decoded."""

    @property
    def context(self) -> Tensor:
        """(B, T, 1, H, W) rain rate of the scans known at the reference time, mm/h, NaN = not
        observed."""

    @property
    def target(self) -> Tensor:
        """(B, L, 1, H, W) rain rate at the lead times, mm/h, NaN = not observed."""


class OptimiserConfig(BaseModel):
    """AdamW with linear warm-up and cosine decay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(default=2e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup_fraction: float = Field(
        default=0.05, ge=0, lt=1, description="share of all steps over which the rate rises"
    )


class CheckpointError(ValueError):
    """A file that is no checkpoint of this project, or one that cannot be used."""


class Nowcaster(nn.Module):
    """A network with its scaling: rain rate in mm/h in, rain rate in mm/h out."""

    def __init__(self, network: EncoderForecaster, scaling: RainScaling) -> None:
        super().__init__()
        self.network = network
        self.scaling = scaling

    @torch.no_grad()
    def forward(self, context: Tensor, lead_times: int) -> Tensor:
        """Forecast rain rate.

        Parameters
        ----------
        context : (B, T, 1, H, W) rain rate, mm/h, NaN = not observed, oldest scan first.
        lead_times : how many steps to forecast, at the spacing of the context.

        Returns
        -------
        (B, L, 1, H, W) rain rate, mm/h; NaN where no scan of the context observed the pixel.
        """
        rain, observed = self.scaling.normalise(context)
        rate = self.scaling.denormalise(self.network(rain, observed, lead_times))
        known = observed.any(dim=1, keepdim=True)
        return torch.where(known, rate, torch.full_like(rate, torch.nan))


class NowcastModule(pl.LightningModule):
    """Trains an `EncoderForecaster` on batches of rain rate.

    Parameters
    ----------
    provenance : plain values (strings, numbers, lists, dicts) that go into every checkpoint, for
        a forecast to name where its model came from.
    csi_threshold_mm_h : rain rate of the critical success index logged in validation [mm h-1].
    """

    _csi_counts: Tensor

    def __init__(
        self,
        network: NetworkConfig,
        loss: LossConfig,
        optimiser: OptimiserConfig,
        *,
        provenance: dict[str, Any] | None = None,
        csi_threshold_mm_h: float = 0.5,
    ) -> None:
        super().__init__()
        self.network = EncoderForecaster(network)
        self.scaling = RainScaling()
        self.loss_config = loss
        self.optimiser_config = optimiser
        self.provenance = provenance or {}
        self.csi_threshold_mm_h = csi_threshold_mm_h
        # hits and the pixels that count for CSI (hits, misses, false alarms): model, persistence
        self.register_buffer(
            "_csi_counts", torch.zeros(2, 2, dtype=torch.float64), persistent=False
        )

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Masked balanced loss of one batch."""
        loss, _ = self._loss(batch)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch.context))
        return loss

    def on_validation_epoch_start(self) -> None:
        self._csi_counts.zero_()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Loss, and the counts behind the CSI of the model and of persistence."""
        loss, predicted = self._loss(batch)
        self.log("val_loss", loss, prog_bar=True, sync_dist=True, batch_size=len(batch.context))
        last = batch.context[:, -1:].expand_as(batch.target)
        known = ~(torch.isnan(batch.target) | torch.isnan(last))
        event = (batch.target >= self.csi_threshold_mm_h) & known
        for row, forecast in enumerate((self.scaling.denormalise(predicted), last)):
            warned = (forecast >= self.csi_threshold_mm_h) & known
            self._csi_counts[row, 0] += (warned & event).sum()
            self._csi_counts[row, 1] += (warned | event).sum()

    def on_validation_epoch_end(self) -> None:
        counts = self.trainer.strategy.reduce(self._csi_counts, reduce_op="sum")
        csi = (counts[:, 0] / counts[:, 1].clamp(min=1)).float()
        self.log("val_csi", csi[0], prog_bar=True, rank_zero_only=True)
        self.log("val_csi_persistence", csi[1], rank_zero_only=True)

    def configure_optimizers(self) -> Any:
        """AdamW; warm-up and cosine over the steps that the trainer expects to take."""
        config = self.optimiser_config
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        warmup = max(1, round(config.warmup_fraction * steps))

        def rate(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            done = min(1.0, (step - warmup) / max(1, steps - warmup))
            return 0.5 * (1 + math.cos(math.pi * done))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the network: plain values only, so that weights_only=True loads it."""
        checkpoint[CHECKPOINT_KEY] = {
            "network": self.network.config.model_dump(mode="json"),
            "scaling": {
                "floor_mm_h": self.scaling.floor_mm_h,
                "ceiling_mm_h": self.scaling.ceiling_mm_h,
            },
            "provenance": self.provenance,
        }

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        rain, observed = self.scaling.normalise(batch.context)
        target, counts = self.scaling.normalise(batch.target)
        predicted = self.network(rain, observed, batch.target.shape[1])
        return balanced_loss(predicted, target, batch.target, counts, self.loss_config), predicted


def load_nowcaster(path: Path) -> tuple[Nowcaster, dict[str, Any]]:
    """Rebuild a trained network from its checkpoint alone.

    Returns
    -------
    The nowcaster in evaluation mode on the CPU, and the provenance stored with it.

    Raises
    ------
    CheckpointError
        If the file is missing, unreadable, or no checkpoint of this project.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint; give the best.ckpt or last.ckpt of a `squall train` run"
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint ({type(error).__name__}); "
            "give the best.ckpt or last.ckpt of a `squall train` run"
        ) from error
    if not isinstance(checkpoint, dict) or CHECKPOINT_KEY not in checkpoint:
        raise CheckpointError(
            f"{path}: is not a checkpoint of `squall train` (no '{CHECKPOINT_KEY}' entry)"
        )
    try:
        return _rebuild(checkpoint)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: does not fit this version of Squall ({type(error).__name__}: {error}); "
            "train anew, or forecast with the version that trained it"
        ) from error


def _rebuild(checkpoint: dict[str, Any]) -> tuple[Nowcaster, dict[str, Any]]:
    saved = checkpoint[CHECKPOINT_KEY]
    network = EncoderForecaster(NetworkConfig.model_validate(saved["network"]))
    weights = {
        name.removeprefix("network."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith("network.")
    }
    network.load_state_dict(weights)
    nowcaster = Nowcaster(network, RainScaling(**saved["scaling"]))
    return nowcaster.eval(), saved["provenance"]
