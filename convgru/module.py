"""The Lightning module: training and validation steps, and the optimiser.

Owns what is summed over ranks. Plots, files and forecasts belong to `squall.pipeline`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from squall.convgru.checkpoint import CHECKPOINT_KEY, description, draw_noise
from squall.convgru.loss import CrpsConfig, LossConfig, LossSums, loss_sums
from squall.convgru.network import EncoderForecaster, NetworkConfig
from squall.convgru.scaling import RainScaling

STATE_KEY = "training_state"  # of the module, in a checkpoint
MAP_OF_PLACE = "head.place.values"  # it learns faster, without decay: each cell sees little rain
MAP_RATE = 3.0  # factor of its learning rate
NOISE_SEEDS = 2**40  # seeds for each epoch: more than its samples, so epochs share no seed


class Batch(Protocol):
    """Windows on the device, decoded."""

    @property
    def context(self) -> Tensor:
        """(B, T, 1, H, W) rain rate of the scans up to the reference time, mm/h, NaN = not
        observed."""

    @property
    def target(self) -> Tensor:
        """(B, L, 1, H, W) rain rate at the lead times, mm/h, NaN = not observed."""

    @property
    def keys(self) -> Tensor:
        """(B,) int64 on the host: the samples' numbers in their epoch."""


class OptimiserConfig(BaseModel):
    """AdamW with linear warm-up and cosine decay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(default=2e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=1e-2, ge=0, description="of AdamW")
    warmup_fraction: float = Field(
        default=0.05, ge=0, lt=1, description="share of all steps over which the rate rises"
    )


def forecast_loss(
    network: EncoderForecaster,
    scaling: RainScaling,
    config: LossConfig,
    context: Tensor,
    target: Tensor,
    noise: Sequence[Tensor] | None,
) -> tuple[LossSums, Tensor]:
    """The loss of a network's forecast, and the forecast.

    Parameters
    ----------
    context, target : (B, T, 1, H, W) and (B, L, 1, H, W) rain rate, mm/h, NaN = not observed.
    noise : for an ensemble network, see `draw_noise`.

    Returns
    -------
    The sums, and normalised dB as `EncoderForecaster.forward` gives them.
    """
    rain, observed = scaling.normalise(context)
    normalised_target, target_observed = scaling.normalise(target)
    predicted = network(rain, observed, target.shape[1], noise)
    sums = loss_sums(predicted, normalised_target, target, target_observed, config)
    return sums, predicted


class NowcastModule(pl.LightningModule):
    """Trains an `EncoderForecaster` on batches of rain rate.

    A step's loss is the mean over the observed pixels of all ranks together, so several ranks
    take the same step as one rank with all their samples.

    Parameters
    ----------
    provenance : plain values (strings, numbers, lists, dicts) that are stored in every
        checkpoint, so that a forecast can name the origin of its model.
    seed : of the ensemble's noise, which depends only on seed, epoch and sample.
    csi_threshold_mm_h : threshold of the critical success index in validation [mm h-1].

    Attributes
    ----------
    interrupted : flag of this rank, which the next step shares with all ranks.
    time_share : share of the run's time limit that this rank has used; shared by the next step.
    step_sums : (3,) of the last training step: the loss, the share of ranks that are interrupted,
        the mean of the ranks' ``time_share``.
    schedule_time_share : share of the time limit that the learning rate follows. The same on all
        ranks.
    """

    step_sums: Tensor

    def __init__(
        self,
        network: NetworkConfig,
        loss: LossConfig,
        optimiser: OptimiserConfig,
        *,
        provenance: dict[str, Any] | None = None,
        seed: int = 0,
        csi_threshold_mm_h: float = 0.5,
    ) -> None:
        super().__init__()
        self.network = EncoderForecaster(network)
        self.scaling = RainScaling()
        self.loss_config = loss
        self.optimiser_config = optimiser
        self.provenance = provenance or {}
        self.csi_threshold_mm_h = csi_threshold_mm_h
        self.interrupted = False
        self.time_share = self.schedule_time_share = 0.0
        self._seed = seed
        self._epoch_sums: Tensor | None = None
        self._state: dict[str, Any] = {}

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """A scalar whose gradient is this rank's share of the gradient of all ranks' loss.

        With the sums s_r of rank r and their mean m over R ranks, the loss is f(m). Its gradient
        is the mean over ranks of f'(m) ds_r, so each rank returns f'(m) s_r.
        """
        sums, _ = self._loss(batch, self.trainer.current_epoch + 1, batch_index)
        flags = torch.tensor([float(self.interrupted), self.time_share])
        flags = flags.to(self.device, non_blocking=True)
        rank_sums = torch.cat(sums).float()
        means_and_flags = torch.cat([rank_sums.detach(), flags])
        if self.trainer.world_size > 1:  # the strategy's own reduction waits at a barrier first
            torch.distributed.all_reduce(means_and_flags)
            means_and_flags /= self.trainer.world_size
        means = means_and_flags[: rank_sums.numel()].requires_grad_()
        with torch.enable_grad():
            loss = LossSums(*means.chunk(2)).value()
            (slope,) = torch.autograd.grad(loss, means)
        self.step_sums = torch.cat([loss.detach()[None], means_and_flags[rank_sums.numel() :]])
        self._add_to_epoch(means.detach().double() * self.trainer.world_size)
        size = len(batch.context)
        self.log("train_loss_step", loss.detach(), prog_bar=True, batch_size=size)
        return (slope * rank_sums).sum()

    def _add_to_epoch(self, sums: Tensor) -> None:
        self._epoch_sums = added(self._epoch_sums, sums)

    def train_loss(self) -> Tensor:
        """Mean training loss of the epoch so far, over all observed pixels of all ranks.

        It is that of the weights at each step, also for the steps before the run was resumed.
        """
        if self._epoch_sums is None:
            return torch.tensor(math.nan)
        return LossSums(*self._epoch_sums.chunk(2)).value().float()

    def on_train_epoch_start(self) -> None:
        # Lightning does not call this if a run is resumed within an epoch
        self._epoch_sums = None

    def on_train_epoch_end(self) -> None:
        self.log("train_loss", self.train_loss())

    def on_validation_epoch_start(self) -> None:
        self._loss_sums: Tensor | None = None
        self._csi_counts: Tensor | None = None

    def validation_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Add up the sums of the loss and the counts of the CSI.

        Returns
        -------
        The forecast, of an ensemble its mean, (B, L, 1, H, W) mm/h; NaN = no forecast.
        """
        sums, predicted = self._loss(batch, 0, batch_index)
        self._loss_sums = added(self._loss_sums, torch.cat(sums).double())
        forecast, has_forecast = self.scaling.denormalise(predicted), ~torch.isneginf(predicted)
        if forecast.dim() > batch.target.dim():
            forecast, has_forecast = forecast.mean(dim=1), has_forecast.all(dim=1)
        persistence = batch.context[:, -1:].expand_as(batch.target)
        valid = ~torch.isnan(batch.target + persistence) & has_forecast
        event = (batch.target >= self.csi_threshold_mm_h) & valid
        counts = []
        for method in (forecast, persistence):
            forecast_event = (method >= self.csi_threshold_mm_h) & valid
            hits_and_either = torch.stack([forecast_event & event, forecast_event | event])
            counts.append(hits_and_either.sum(dim=(1, 3, 4, 5)))
        self._csi_counts = added(self._csi_counts, torch.stack(counts).double())
        return forecast

    def on_validation_epoch_end(self) -> None:
        """Log loss and CSI of all ranks and batches together."""
        # counts are (method, hits or either event, lead time); methods: model, persistence
        assert self._loss_sums is not None
        assert self._csi_counts is not None
        sums = self.trainer.strategy.reduce(self._loss_sums, reduce_op="sum")
        counts = self.trainer.strategy.reduce(self._csi_counts, reduce_op="sum")
        overall = _csi(counts.sum(dim=2))
        scores = {
            "val_loss": LossSums(*sums.chunk(2)).value(),
            "val_csi": overall[0],
            "val_csi_persistence": overall[1],
        }
        for lead, csi in enumerate(_csi(counts)[0], start=1):
            scores[f"val_csi_lead/{lead:02d}"] = csi
        self.log_dict({name: value.float() for name, value in scores.items()}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW; warm-up and cosine decay over the run.

        The run's share that is over is the larger one of two: the share of the trainer's estimated
        number of steps, and the share of the time limit (`schedule_time_share`).
        """
        config = self.optimiser_config
        optimiser = torch.optim.AdamW(self._weight_groups(), lr=config.learning_rate)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        warmup = max(1, round(config.warmup_fraction * steps))
        moved = self._moved_steps()

        def rate(step: int) -> float:
            place = max(step + moved, min(1.0, self.schedule_time_share) * steps)
            if place < warmup:
                return min(1.0, (place + 1) / warmup)
            progress = min(1.0, (place - warmup) / max(1, steps - warmup))
            return 0.5 * (1 + math.cos(math.pi * progress))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _weight_groups(self) -> list[dict[str, Any]]:
        """The weights that are trained, with peak learning rate and decay."""
        config = self.optimiser_config
        maps: list[Tensor] = []
        others: list[Tensor] = []
        for name, weight in self.network.named_parameters():
            if weight.requires_grad:
                (maps if name == MAP_OF_PLACE else others).append(weight)
        rate, decay = config.learning_rate, config.weight_decay
        groups = [
            {"params": others, "lr": rate, "weight_decay": decay},
            {"params": maps, "lr": MAP_RATE * rate, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def _moved_steps(self) -> float:
        """Difference between the place in the schedule and the number of steps.

        It is 0 unless a run was resumed with another number of steps in an epoch. The place is
        then that of the epochs that are over.
        """
        if not self._state:
            return 0.0
        done, moved, earlier = (self._state[key] for key in ("step", "moved", "steps_per_epoch"))
        now = self._steps_per_epoch()
        if not earlier or not now or earlier == now:
            return float(moved)
        return float((done + moved) * now / earlier - done)

    def _steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch; 0 if the loader does not know its length."""
        batches = self.trainer.num_training_batches
        return -(-int(batches) // self.trainer.accumulate_grad_batches) if batches < math.inf else 0

    def on_train_start(self) -> None:
        """Let the configured optimiser take effect: a checkpoint has restored the earlier one."""
        wanted = self._weight_groups()
        for optimiser, scheduler in zip(
            self.trainer.optimizers, self.trainer.lr_scheduler_configs, strict=True
        ):
            schedule: Any = scheduler.scheduler
            schedule.base_lrs = [group["lr"] for group in wanted]
            rate = schedule.lr_lambdas[0]  # the same for all groups
            for group, new in zip(optimiser.param_groups, wanted, strict=True):
                group["lr"] = new["lr"] * rate(schedule.last_epoch)
                group["initial_lr"] = new["lr"]
                group["weight_decay"] = new["weight_decay"]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._state = dict(checkpoint.get(STATE_KEY, {}))
        self._epoch_sums = self._state.pop("epoch_sums", None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description that rebuilds the network.

        Raises
        ------
        FloatingPointError
            If a weight is not finite, so that it does not overwrite a good checkpoint.
        """
        largest = torch.stack([p.detach().abs().amax() for p in self.parameters()])
        if not torch.isfinite(largest).all():
            raise FloatingPointError("the weights are not finite; no checkpoint is written")
        checkpoint[CHECKPOINT_KEY] = description(self.network, self.scaling, self.provenance)
        sums = self._epoch_sums
        checkpoint[STATE_KEY] = {
            "step": self.trainer.global_step,
            "moved": self._moved_steps(),
            "steps_per_epoch": self._steps_per_epoch(),
            "epoch_sums": None if sums is None else sums.cpu(),
        }

    def _loss(self, batch: Batch, epoch: int, batch_index: int) -> tuple[LossSums, Tensor]:
        noise = None
        if isinstance(self.loss_config, CrpsConfig):
            first = (self._seed * 2**10 + epoch) * NOISE_SEEDS
            seeds = [(first + key) % 2**63 for key in batch.keys.tolist()]
            height, width = batch.context.shape[-2:]
            members = self.loss_config.members
            noise = draw_noise(self.network, seeds, members, (height, width), self.device)
        return forecast_loss(
            self.network, self.scaling, self.loss_config, batch.context, batch.target, noise
        )


def added(earlier: Tensor | None, sums: Tensor) -> Tensor:
    return sums if earlier is None else earlier.to(sums.device) + sums


def _csi(counts: Tensor) -> Tensor:
    """Critical success index from (method, hits or either event, …)."""
    return counts[:, 0] / counts[:, 1].clamp(min=1)
