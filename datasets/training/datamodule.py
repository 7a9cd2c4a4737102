"""From archives to batches of rain rate; the only place where Zarr becomes torch.

Windows travel as one byte a pixel. They are turned and decoded on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytorch_lightning as pl
import torch
from torch import Tensor

from squall.datasets.archive.records import OK
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError
from squall.datasets.open_archive import open_archive
from squall.datasets.runs import runs
from squall.datasets.training.batch_loader import BatchLoader
from squall.datasets.training.batches import (
    PADDING,
    CodeBatch,
    MovingBatch,
    Places,
    RainBatch,
)
from squall.datasets.training.config import DataConfig
from squall.datasets.training.kept_windows import KeptWindowReader, KeptWindows, MovingFrame
from squall.datasets.training.samples import CACHE_BYTES, SampleSource, rain_blocks
from squall.datasets.training.sampling import Sampling, Variant
from squall.datasets.training.window_reader import WindowReader


class RainDataModule(pl.LightningDataModule):
    """Loaders of training and validation batches over one or several archives.

    Parameters
    ----------
    moving_frame : how windows in the frame that moves with the rain are computed and kept. The
        batches are then `MovingBatch`, else `RainBatch`.

    Raises
    ------
    ConfigError
        If no archive is configured.
    DataError
        If an archive is missing, or as `SampleSource` says.
    """

    def __init__(
        self, config: DataConfig, *, seed: int, moving_frame: MovingFrame | None = None
    ) -> None:
        super().__init__()
        if not config.archives:
            raise ConfigError("no archive to train on; give --archive or data.archives")
        self.config, self._seed, self._moving_frame = config, seed, moving_frame
        self._loaders: list[BatchLoader] = []
        self._open([share.snapshot for share in config.archives])
        self._table = torch.from_numpy(RAIN_CODE.table)

    def setup(self, stage: str) -> None:
        """Open rank 0's snapshots on all ranks: a commit may have come between two ranks."""
        assert self.trainer is not None
        own_snapshots = [archive.snapshot for archive in self.archives]
        snapshots = self.trainer.strategy.broadcast(own_snapshots)
        if snapshots != own_snapshots:
            self._open(snapshots)

    def close(self) -> None:
        """End the worker processes of all loaders."""
        for loader in self._loaders:
            loader.close()

    @property
    def steps_s(self) -> list[int]:
        """Time steps of the training windows, seconds."""
        steps = [int(archive.step.total_seconds()) for archive in self.archives]
        return sorted({steps[v.archive] * v.speed for v in self.training.variants})

    @property
    def spacings_m(self) -> list[float]:
        """Grid spacings of the training windows, metres."""
        spacings = [round(archive.grid.pixel_size_m) for archive in self.archives]
        return sorted({float(spacings[v.archive] * v.coarsen) for v in self.training.variants})

    def periods(self, split: str) -> list[list[tuple[str, str]]]:
        """Return for each archive the valid times of a split: [start, end), ISO format, UTC."""
        periods = []
        for archive, regions in zip(self.archives, self.regions, strict=True):
            times = archive.times
            periods.append(
                [
                    (times[a].isoformat(), (times[b - 1] + archive.step).isoformat())
                    for a, b in runs(getattr(regions, split))
                ]
            )
        return periods

    def describe(self, places: Places) -> list[str]:
        """Describe the windows of a batch in words, without the padding."""
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
        """Return a loader, without any batch if the split has no validation.

        A trainer then needs ``limit_val_batches=0``.
        """
        return self._loader(self.validation, same_every_epoch=True)

    def transfer_batch_to_device(
        self, batch: CodeBatch, device: torch.device, dataloader_idx: int
    ) -> CodeBatch:
        """Move codes and paths: the host reads the others and must not wait for the device."""
        codes, paths = (x.to(device, non_blocking=True) for x in (batch.codes, batch.paths))
        return batch._replace(codes=codes, paths=paths)

    def on_after_batch_transfer(
        self, batch: CodeBatch, dataloader_idx: int
    ) -> RainBatch | MovingBatch:
        """Turn, decode and multiply on the device: (B, scans, H, W) uint8 to rain rate."""
        codes = torch.stack(
            [
                _turned(sample, turn)
                for sample, turn in zip(batch.codes, batch.turns.tolist(), strict=True)
            ]
        )
        self._table = self._table.to(codes.device)
        # several times faster than self._table[codes]
        rate = self._table.index_select(0, codes.flatten().int()).view(codes.shape).unsqueeze(2)
        if (batch.gains != 1).any():
            rate *= batch.gains.to(rate.device, non_blocking=True)[:, None, None, None, None]
        context = self.config.context
        if self._moving_frame is None:
            return RainBatch(rate[:, :context], rate[:, context:], batch.places)
        leads = self.config.lead_times
        smoothed, staying, target = rate[:, context:].split([leads, 3 * leads, leads], dim=1)
        staying = staying[:, :, 0].unflatten(1, (leads, 3))
        places = batch.places
        resolution = self._resolution(places).to(rate.device, non_blocking=True)
        corner = torch.stack([places.column, places.row], dim=1) // places.coarsen[:, None]
        corner = corner.float().to(rate.device, non_blocking=True)
        past = rate[:, :context], smoothed, staying
        return MovingBatch(*past, target, resolution, places, batch.paths.float(), corner)

    def kept_windows(self) -> list[KeptWindows]:
        """The stores of training and validation windows; none without a moving frame."""
        return [*self._kept(self.training).values(), *self._kept(self.validation).values()]

    def _kept(self, source: SampleSource) -> dict[Variant, KeptWindows]:
        if self._moving_frame is None or not source.samples:
            return {}
        frame, config = self._moving_frame, self.config
        return {
            variant: KeptWindows(
                frame.folder,
                self.archives[variant.archive],
                variant,
                starts,
                length=config.length,
                channels=config.moving_channels,
                lead_times=config.lead_times,
                version=frame.version,
                cell_px=frame.cell_px,
            )
            for variant, starts in zip(source.variants, source.starts, strict=True)
        }

    def _resolution(self, places: Places) -> Tensor:
        """(B, 2) time step [min] and grid spacing [km] of windows; usual ones for the padding."""
        rows = []
        for number, index, *_, speed, coarsen in places.table().tolist():
            archive = self.archives[index if number != PADDING else 0]
            minutes = archive.step.total_seconds() / 60
            rows.append((minutes * speed, archive.grid.pixel_size_m / 1000 * coarsen))
        return torch.tensor(rows, dtype=torch.float32)

    def _open(self, snapshots: Sequence[str | None]) -> None:
        """Open the archives at snapshots, and find the windows of both splits."""
        shares, split = self.config.archives, self.config.split
        self.archives = [
            open_archive(share.address, snapshot)
            for share, snapshot in zip(shares, snapshots, strict=True)
        ]
        self.regions = [split.regions(a.times, a.status == OK) for a in self.archives]
        cache_bytes = CACHE_BYTES // len(self.archives)
        blocks = [rain_blocks(archive, cache_bytes) for archive in self.archives]
        most = None if self._moving_frame is None else self.config.kept_windows
        training_regions = [regions.training for regions in self.regions]
        validation_regions = [regions.validation for regions in self.regions]
        self.training = SampleSource(
            self.archives,
            blocks,
            training_regions,
            _training_sampling(self.config, self._seed, most),
        )
        self.validation = SampleSource(
            self.archives,
            blocks,
            validation_regions,
            _validation_sampling(self.config, self._seed, most),
        )

    def _loader(self, source: SampleSource, *, same_every_epoch: bool) -> BatchLoader:
        config = self.config
        memory = {"batch_size": config.batch_size, "workers": config.workers}
        reader: WindowReader
        if self._moving_frame is None:
            reader = WindowReader(self.archives, config.length, config.crop, **memory)
        else:
            reader = KeptWindowReader(
                self._kept(source),
                config.moving_channels,
                config.crop,
                gives_paths=self._moving_frame.gives_paths,
                **memory,
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


def _training_sampling(config: DataConfig, seed: int, most_windows: int | None) -> Sampling:
    return Sampling(
        split="training",
        seed=seed,
        length=config.length,
        crop=config.crop,
        samples=config.samples_per_epoch,
        per_read=config.crops_per_read,
        rain_preference=config.rain_preference,
        weights=_weights(config),
        variants=tuple(
            tuple(product(share.speeds or config.speeds, share.coarsen or config.coarsen))
            for share in config.archives
        ),
        augment=config.augment,
        intensity=config.intensity,
        droppable_scans=config.context - 1,
        drop_scan=config.drop_scan,
        most_windows=most_windows,
    )


def _validation_sampling(config: DataConfig, seed: int, most_windows: int | None) -> Sampling:
    return Sampling(
        split="validation",
        seed=seed,
        length=config.length,
        crop=config.crop,
        samples=config.validation_samples if config.split.validates else 0,
        per_read=1,  # there are few validation samples: take them from many places
        rain_preference=config.rain_preference,
        weights=_weights(config),
        variants=tuple(
            (((share.speeds or config.speeds)[0], (share.coarsen or config.coarsen)[0]),)
            for share in config.archives
        ),
        most_windows=None if most_windows is None else min(most_windows, config.validation_samples),
    )


def _weights(config: DataConfig) -> tuple[float, ...] | None:
    """Return the archives' weights; the configuration has all of them or none."""
    weights = tuple(share.weight for share in config.archives if share.weight is not None)
    return weights or None


def _turned(codes: Tensor, turn: int) -> Tensor:
    turned = torch.rot90(codes, turn % 4, (-2, -1))
    return turned.flip(-1) if turn >= 4 else turned
