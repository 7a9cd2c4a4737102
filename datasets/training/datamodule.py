"""From archives to batches: the one place where Zarr becomes torch.

Windows travel as one byte a pixel and are turned and decoded on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, NamedTuple

import pytorch_lightning as pl
import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from torch import Tensor

from squall.datasets.addresses import Address
from squall.datasets.archive.records import OK
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError
from squall.datasets.open_archive import open_archive
from squall.datasets.runs import runs
from squall.datasets.training.batch_loader import BatchLoader
from squall.datasets.training.epoch_plan import SPAN
from squall.datasets.training.samples import SampleSource, rain_blocks
from squall.datasets.training.splits import SplitConfig
from squall.datasets.training.window_reader import PADDING, CodeBatch, Places, WindowReader

Factors = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]


class ArchiveShare(BaseModel):
    """An archive to train on, in YAML by its address alone or with more to say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: Address
    weight: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="share of the samples beside the other archives' weights; by the number of "
        "windows where none has a weight",
    )
    snapshot: str | None = Field(default=None, description="the newest where not given")
    speeds: Factors | None = Field(default=None, description="in place of data.speeds")
    coarsen: Factors | None = Field(default=None, description="in place of data.coarsen")


def _share(value: Any) -> Any:
    return value if isinstance(value, (dict, ArchiveShare)) else {"address": value}


class DataConfig(BaseModel):
    """Windows, crops and splits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archives: tuple[Annotated[ArchiveShare, BeforeValidator(_share)], ...] = Field(
        default=(), description="archives to train on"
    )
    context: int = Field(default=4, gt=0, description="scans that a forecast starts from")
    lead_times: int = Field(default=12, gt=0, description="scans that it is trained to forecast")
    crop: int = Field(default=128, gt=0, description="side of the square training crops [px]")
    batch_size: int = Field(default=4, gt=0, description="samples of a step on each device")
    samples_per_epoch: int = Field(default=800, gt=0, description="on all devices together")
    validation_samples: int = Field(default=64, gt=0)
    rain_preference: float = Field(
        default=5.0,
        ge=0,
        allow_inf_nan=False,
        description="0 draws crops evenly, more prefers rain",
    )
    crops_per_read: int = Field(
        default=8, gt=0, description="training crops cut from the chunks that are read for one"
    )
    augment: bool = Field(default=True, description="rotate and flip training crops")
    speeds: Factors = Field(
        default=(1,),
        description="training windows take every so many scans: 1 is the archive's own step, 2 "
        "twice as long; drawn for each read, a number that is named twice twice as often, one for "
        "which an archive is too short never. The first one is validated on",
    )
    coarsen: Factors = Field(
        default=(1,),
        description="training crops are means over squares of so many pixels' side, drawn as "
        "speeds are",
    )
    intensity: float = Field(
        default=1.0,
        ge=1,
        allow_inf_nan=False,
        description="the rain rates of a training sample are multiplied by one factor between 1 / "
        "intensity and intensity",
    )
    drop_scan: float = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="chance of each older scan of a training context to be lost",
    )
    workers: int = Field(
        default=0, ge=0, description="loader processes of each device, besides the main one"
    )
    split: SplitConfig = SplitConfig()

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if self.workers and SPAN % self.workers:
            raise ValueError(
                f"workers {self.workers}: give a divisor of {SPAN} (1, 2, 3, 4, 6, 12), so "
                "that crops of one read stay with one worker"
            )
        weighted = [share.address for share in self.archives if share.weight is not None]
        if weighted and len(weighted) < len(self.archives):
            without = [share.address for share in self.archives if share.weight is None]
            raise ValueError(
                f"archives: {', '.join(weighted)} has a weight and {', '.join(without)} has none; "
                "give all of them one or none"
            )
        return self


class RainBatch(NamedTuple):
    """Windows in rain rate, mm/h, NaN = not observed."""

    context: Tensor
    """(B, T, 1, H, W), oldest scan first"""
    target: Tensor
    """(B, L, 1, H, W)"""
    places: Places
    """on the host"""

    @property
    def keys(self) -> Tensor:
        """(B,) a number for each sample of the epoch, the same on any rank."""
        return self.places.number


class RainDataModule(pl.LightningDataModule):
    """Loaders of training and validation batches over one or several archives.

    Raises
    ------
    ConfigError
        If no archive is configured.
    DataError
        If an archive is missing, or has no window as `SampleSource` says.
    """

    def __init__(self, config: DataConfig, *, seed: int) -> None:
        super().__init__()
        if not config.archives:
            raise ConfigError("no archive to train on; give --archive or data.archives")
        self.config, self._seed = config, seed
        self._loaders: list[BatchLoader] = []
        self._open([share.snapshot for share in config.archives])
        self._table = torch.from_numpy(RAIN_CODE.table)

    def _open(self, snapshots: Sequence[str | None]) -> None:
        config = self.config
        self.archives = [
            open_archive(share.address, snapshot)
            for share, snapshot in zip(config.archives, snapshots, strict=True)
        ]
        blocks = [rain_blocks(archive) for archive in self.archives]
        self.regions = [config.split.regions(a.times, a.status == OK) for a in self.archives]
        weights = [share.weight for share in config.archives if share.weight is not None]
        length = config.context + config.lead_times
        common: dict[str, Any] = {
            "seed": self._seed,
            "length": length,
            "crop": config.crop,
            "rain_preference": config.rain_preference,
            "weights": weights or None,
        }
        speeds = [share.speeds or config.speeds for share in config.archives]
        coarsen = [share.coarsen or config.coarsen for share in config.archives]
        self.training = SampleSource(
            self.archives,
            blocks,
            [region.training for region in self.regions],
            split="training",
            samples=config.samples_per_epoch,
            per_read=config.crops_per_read,
            seen_as=[list(product(*both)) for both in zip(speeds, coarsen, strict=True)],
            augment=config.augment,
            intensity=config.intensity,
            older=config.context - 1,
            drop_scan=config.drop_scan,
            **common,
        )
        self.validation = SampleSource(
            self.archives,
            blocks,
            [region.validation for region in self.regions],
            split="validation",
            samples=config.validation_samples if config.split.validates else 0,
            per_read=1,  # few samples ought to be of many places
            seen_as=[[(s[0], c[0])] for s, c in zip(speeds, coarsen, strict=True)],
            **common,
        )

    def setup(self, stage: str) -> None:
        """All ranks read the snapshots that rank 0 found, whatever is committed meanwhile."""
        assert self.trainer is not None
        mine = [archive.snapshot for archive in self.archives]
        theirs = self.trainer.strategy.broadcast(mine)
        if theirs != mine:
            self._open(theirs)

    def close(self) -> None:
        """End all loaders' worker processes."""
        for loader in self._loaders:
            loader.close()

    @property
    def steps_s(self) -> list[int]:
        """Steps of the windows that are trained on, seconds."""
        own = [int(archive.step.total_seconds()) for archive in self.archives]
        return sorted({own[v.archive] * v.speed for v in self.training.variants})

    @property
    def spacings_m(self) -> list[float]:
        """Grid spacings that are trained on, metres."""
        own = [round(archive.grid.pixel_size_m) for archive in self.archives]
        return sorted({float(own[v.archive] * v.coarsen) for v in self.training.variants})

    def periods(self, split: str) -> list[list[tuple[str, str]]]:
        """Valid times of each archive that a split may use, as [start, end) in ISO format, UTC."""
        found = []
        for archive, regions in zip(self.archives, self.regions, strict=True):
            times = archive.times
            found.append(
                [
                    (times[a].isoformat(), (times[b - 1] + archive.step).isoformat())
                    for a, b in runs(getattr(regions, split))
                ]
            )
        return found

    def describe(self, places: Places) -> list[str]:
        """Describe the windows of a batch in words; padding is left out."""
        words = []
        for number, index, scan, row, column, speed, coarsen in places.table().tolist():
            if number != PADDING:
                archive, side = self.archives[index], self.config.crop * coarsen
                thinned = f", 1 of {speed} scans" if speed > 1 else ""
                coarser = f", means of {coarsen} × {coarsen} pixels" if coarsen > 1 else ""
                words.append(
                    f"{archive.name} {archive.times[scan]:%Y-%m-%dT%H:%M} rows {row} to "
                    f"{row + side - 1} columns {column} to {column + side - 1}{thinned}{coarser}"
                )
        return words

    def train_dataloader(self) -> BatchLoader:
        return self._loader(self.training, same_every_epoch=False)

    def val_dataloader(self) -> BatchLoader:
        """Of no batch where the split is not to validate: a trainer needs limit_val_batches=0."""
        return self._loader(self.validation, same_every_epoch=True)

    def transfer_batch_to_device(
        self, batch: CodeBatch, device: torch.device, dataloader_idx: int
    ) -> CodeBatch:
        """Move the codes alone: what the host asks of a sample must not wait for the device."""
        return batch._replace(codes=batch.codes.to(device, non_blocking=True))

    def on_after_batch_transfer(self, batch: CodeBatch, dataloader_idx: int) -> RainBatch:
        """Turn, decode and intensify on the device: (B, T + L, H, W) uint8 to rain rate."""
        codes = torch.stack(
            [
                _turned(sample, turn)
                for sample, turn in zip(batch.codes, batch.turns.tolist(), strict=True)
            ]
        )
        self._table = self._table.to(codes.device)
        # several times faster than indexing the table
        rate = self._table.index_select(0, codes.flatten().int()).view(codes.shape).unsqueeze(2)
        if (batch.gains != 1).any():
            rate *= batch.gains.to(rate.device, non_blocking=True)[:, None, None, None, None]
        context = self.config.context
        return RainBatch(rate[:, :context], rate[:, context:], batch.places)

    def _loader(self, source: SampleSource, *, same_every_epoch: bool) -> BatchLoader:
        config = self.config
        reader = WindowReader(
            self.archives,
            config.context + config.lead_times,
            config.crop,
            batch_size=config.batch_size,
            workers=config.workers,
        )
        loader = BatchLoader(
            source,
            reader,
            self.trainer,
            batch_size=config.batch_size,
            workers=config.workers,
            same_every_epoch=same_every_epoch,
        )
        self._loaders.append(loader)
        return loader


def _turned(codes: Tensor, turn: int) -> Tensor:
    turned = torch.rot90(codes, turn % 4, (-2, -1))
    return turned.flip(-1) if turn >= 4 else turned
