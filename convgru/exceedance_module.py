"""Trains a network with the exceedance head, on windows in the moving frame.

Dims: B batch, T context steps, L lead steps, K thresholds, H rows, W columns.
"""

from __future__ import annotations

import random
from typing import Protocol, cast

import torch
from torch import Tensor

from squall.convgru.calibration import count_logits, skill_of_cuts
from squall.convgru.exceedance_loss import ExceedanceLossConfig
from squall.convgru.heads.exceedance import ALL_PIXELS
from squall.convgru.heads.interface import Frame
from squall.convgru.loss import LossSums, loss_sums
from squall.convgru.module import Batch, NowcastModule, added
from squall.convgru.network import EncoderForecaster
from squall.convgru.products import expected_rain
from squall.convgru.scaling import RainScaling
from squall.convgru.thresholds import THRESHOLDS_MM_H

SCORED_MM_H = (0.5, 2.0, 5.0, 10.0)  # thresholds of the validation's score


class MovingBatch(Batch, Protocol):
    """Windows in the frame that moves with the rain (see `moving_window`), on the device."""

    @property
    def smoothed(self) -> Tensor:
        """(B, L, 1, H, W) the smoothed last scan at the lead times, mm/h, NaN = not known."""

    @property
    def staying(self) -> Tensor:
        """(B, L, 3, H, W) the scans at rest where the rain is at the lead times, mm/h; NaN = not
        known."""

    @property
    def resolution(self) -> Tensor:
        """(B, 2) time step [min] and grid spacing [km]."""

    @property
    def paths(self) -> Tensor:
        """(B, L, 2, h, w) pixels: the paths of the rain over the whole grid (`paths_of_rain`);
        empty for a network without a map of the place."""

    @property
    def corner(self) -> Tensor:
        """(B, 2) column and row of the windows on the grid."""


def chances_loss(
    network: EncoderForecaster,
    scaling: RainScaling,
    config: ExceedanceLossConfig,
    batch: MovingBatch,
    leads: list[int],
    pixels: tuple[slice, slice] = ALL_PIXELS,
) -> tuple[LossSums, Tensor]:
    """The loss of the chances at some lead times and pixels, and their logits.

    Parameters
    ----------
    leads : numbers of the lead times, from 1 on, rising.
    pixels : rows and columns that count.

    Returns
    -------
    The sums, and (B, leads, K, H, W) logits in the moving frame, with the rows and columns of
    ``pixels``; -inf where the last scan is not known.
    """
    places = [lead - 1 for lead in leads]
    rain, known = scaling.normalise(batch.context)
    smoothed, _ = scaling.normalise(batch.smoothed[:, places])
    staying, is_known = scaling.normalise(batch.staying[:, places])
    staying = torch.where(is_known > 0, staying, torch.nan)
    frame = Frame(
        *(rain, known, None),
        resolution_B2=batch.resolution,
        paths_BL2hw=batch.paths,
        corner_B2=batch.corner,
    )
    logits = network.frame_logits(frame, smoothed, staying, leads, pixels)
    logits = torch.where(known[:, -1:, ..., *pixels] > 0, logits, -torch.inf)
    target = batch.target[:, places][..., *pixels]
    normalised, observed = scaling.normalise(target)
    return loss_sums(logits, normalised, target, observed, config), logits


class ExceedanceModule(NowcastModule):
    """A `NowcastModule` for the exceedance head.

    A training step computes a few lead times at one pixel of each small square, drawn anew for each
    batch: the same on all ranks, and the same if the run is resumed. A validation computes all of
    them. Its score ``val_csi`` is the mean over lead times and thresholds of the CSI with the best
    cuts.
    """

    loss_config: ExceedanceLossConfig

    def on_validation_epoch_start(self) -> None:
        self._loss_sums: Tensor | None = None
        self._logit_counts: Tensor | None = None

    def validation_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Add up the sums of the loss and the counts of the logits.

        Returns
        -------
        The mean of the distribution, (B, L, 1, H, W) mm/h, in the moving frame; NaN = not known.
        """
        sums, logits = self._loss(batch, 0, batch_index)
        self._loss_sums = added(self._loss_sums, torch.cat(sums).double())
        counts = []
        for lead in range(batch.target.shape[1]):
            target = batch.target[:, lead]
            valid = ~torch.isnan(target) & ~torch.isneginf(logits[:, lead, :1])
            counts.append(count_logits(logits[:, lead], target, valid))
        self._logit_counts = added(self._logit_counts, torch.stack(counts).double())
        rain = expected_rain(logits.flatten(0, 1)).unflatten(0, logits.shape[:2])
        return torch.where(torch.isneginf(logits[:, :, :1]), torch.nan, rain)

    def on_validation_epoch_end(self) -> None:
        """Log loss and CSI of all ranks and batches together."""
        assert self._loss_sums is not None
        assert self._logit_counts is not None
        sums = self.trainer.strategy.reduce(self._loss_sums, reduce_op="sum")
        counts = self.trainer.strategy.reduce(self._logit_counts, reduce_op="sum")
        csi = skill_of_cuts(counts.cpu().numpy()).csi.max(axis=-1)
        scores = {"val_loss": float(LossSums(*sums.chunk(2)).value())}
        scored = [THRESHOLDS_MM_H.index(threshold) for threshold in SCORED_MM_H]
        scores["val_csi"] = float(csi[:, scored].mean())
        for lead, value in enumerate(csi[:, scored].mean(axis=1).tolist(), start=1):
            scores[f"val_csi_lead/{lead:02d}"] = value
        for threshold, number in zip(SCORED_MM_H, scored, strict=True):
            scores[f"val_csi_mm_h/{threshold:g}"] = float(csi[:, number].mean())
        self.log_dict(scores, sync_dist=True)

    def _loss(self, batch: Batch, epoch: int, batch_index: int) -> tuple[LossSums, Tensor]:
        moving, config = cast(MovingBatch, batch), self.loss_config
        leads, pixels = list(range(1, batch.target.shape[1] + 1)), ALL_PIXELS
        if epoch:
            draw = random.Random(f"{self._seed} {epoch} {batch_index}")
            leads = sorted(draw.sample(leads, min(config.lead_times_per_step, len(leads))))
            every = config.pixel_spacing
            pixels = (
                slice(draw.randrange(every), None, every),
                slice(draw.randrange(every), None, every),
            )
        return chances_loss(self.network, self.scaling, config, moving, leads, pixels)
