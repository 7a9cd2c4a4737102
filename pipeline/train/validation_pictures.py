"""A picture of one forecast in each validation, for the trackers."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from squall.datasets.training.batches import RainBatch
from squall.datasets.training.datamodule import RainDataModule
from squall.pipeline.train.forecast_picture import forecast_picture
from squall.pipeline.train.trackers import log_picture


class ValidationPictures(pl.Callback):
    """Gives the trackers a picture of the first validation sample's forecast in each validation.

    Parameters
    ----------
    data : has the time step of the sample's archive.
    """

    def __init__(self, data: RainDataModule) -> None:
        self._data = data

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: RainBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0:
            observed, forecast, last = (
                rain[0, :, 0].float().cpu().numpy()
                for rain in (batch.target, outputs, batch.context[:, -1:])
            )
            step = self._data.archives[int(batch.places.archive[0])].step
            minutes = int(batch.places.speed[0]) * step.total_seconds() / 60
            picture = forecast_picture(observed, forecast, last, minutes)
            log_picture(trainer.loggers, "forecast", picture, trainer.global_step)
