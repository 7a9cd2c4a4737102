"""From archives to batches: the one place where Zarr becomes torch.

Windows travel as one byte a pixel and are decoded on the device.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from datasets.archive import OK, Archive
from datasets.coding import RAIN_CODE
from datasets.errors import DataError
from datasets.repository import Address
from datasets.windows import Crop, RainSampler, SplitConfig, runs, window_starts

TRAIN, VALIDATION = 0, 1


class DataConfig(BaseModel):
    """Windows, crops and splits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archives: tuple[Address, ...] = Field(default=(), description="archives to train on")
    context: int = Field(default=4, gt=0, description="scans that a forecast starts from")
    lead_times: int = Field(default=12, gt=0, description="scans that it is trained to forecast")
    crop: int = Field(default=128, gt=0, description="side of the square training crops [px]")
    batch_size: int = Field(default=4, gt=0)
    samples_per_epoch: int = Field(default=800, gt=0)
    validation_samples: int = Field(default=64, gt=0)
    rain_preference: float = Field(
        default=5.0, ge=0, description="0 draws crops evenly, more prefers rain"
    )
    augment: bool = Field(default=True, description="rotate and flip training crops")
    drop_scan: float = Field(
        default=0.02, ge=0, lt=1, description="chance that a training context lacks an older scan"
    )
    workers: int = Field(default=0, ge=0, description="loader processes besides the main one")
    memory_gib: float = Field(
        default=4.0, ge=0, description="archives up to this size together are held in memory [GiB]"
    )
    split: SplitConfig = SplitConfig()


class RainBatch(NamedTuple):
    """Windows in rain rate, mm/h, NaN = not observed."""

    context: Tensor
    """(B, T, 1, H, W), oldest scan first"""
    target: Tensor
    """(B, L, 1, H, W)"""


class WindowDataset(Dataset[Tensor]):
    """Crops of windows of all archives of one split, one byte a pixel.

    ``codes`` are the archives' good scans where those are held in memory. Inside, a scan goes by
    its number among the good ones: an archive of a few events has gaps of years.

    An item is addressed by (epoch, index) and depends on nothing else but the seed: not on the
    worker, the rank, the clock, nor on what was drawn before.

    Raises
    ------
    DataError
        If no archive has a window for the split.
    """

    def __init__(
        self,
        archives: Sequence[Archive],
        config: DataConfig,
        split: int,
        seed: int,
        codes: Sequence[npt.NDArray[np.uint8]] | None = None,
    ) -> None:
        self._config, self._split, self._seed = config, split, seed
        self._archives = list(archives)
        length = config.context + config.lead_times
        self._samplers: list[RainSampler | None] = []
        self.counts: list[int] = []
        self._times: list[npt.NDArray[np.int64]] = []
        for archive in archives:
            ok = archive.status == OK
            region = config.split.regions(archive.times, ok)[split]
            self._times.append(np.flatnonzero(ok))
            starts = np.searchsorted(self._times[-1], window_starts(region & ok, length))
            self.counts.append(starts.size)
            self._samplers.append(
                RainSampler(
                    starts,
                    length,
                    archive.block_statistics("rain_rate", ok),
                    archive.block_statistics("observed_share", ok),
                    shape=archive.grid.shape,
                    block=archive.block_px,
                    crop=config.crop,
                    strength=config.rain_preference,
                )
                if starts.size
                else None
            )
        if not any(self.counts):
            names = ", ".join(archive.address for archive in archives)
            raise DataError(
                f"no {('training', 'validation')[split]} window: one takes {length} consecutive "
                f"scans (context {config.context} + lead_times {config.lead_times}), and that part "
                f"of {names} has nowhere so many; ingest more scans, or change data.split, "
                "data.context or data.lead_times"
            )
        self._codes = codes

    def __len__(self) -> int:
        if self._split == VALIDATION:
            return self._config.validation_samples
        return self._config.samples_per_epoch

    def __getitem__(self, address: tuple[int, int]) -> Tensor:
        """(T + L, crop, crop) uint8 codes of sample ``index`` of ``epoch``."""
        epoch, index = address
        rng = np.random.default_rng((self._seed, self._split, epoch, index))
        shares = np.array(self.counts, dtype=np.float64)
        which = int(rng.choice(shares.size, p=shares / shares.sum()))
        sampler = self._samplers[which]
        assert sampler is not None
        codes = self._cut(which, sampler.draw(rng))
        if self._split == TRAIN:
            codes = self._augmented(codes, rng)
        return torch.from_numpy(np.ascontiguousarray(codes))

    def _cut(self, which: int, crop: Crop) -> npt.NDArray[np.uint8]:
        source: Any = self._archives[which].codes if self._codes is None else self._codes[which]
        first = int(self._times[which][crop.scan]) if self._codes is None else crop.scan
        side = self._config.crop
        length = self._config.context + self._config.lead_times
        window = np.asarray(
            source[
                first : first + length,
                crop.row : crop.row + side,
                crop.column : crop.column + side,
            ]
        )
        short = [(0, 0), (0, side - window.shape[1]), (0, side - window.shape[2])]
        return np.pad(window, short, constant_values=RAIN_CODE.NOT_OBSERVED)

    def _augmented(
        self, codes: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        older = self._config.context - 1
        lost = rng.random(older) < self._config.drop_scan
        if lost.any():
            codes = codes.copy()
            codes[:older][lost] = RAIN_CODE.NOT_OBSERVED
        if not self._config.augment:
            return codes
        codes = np.rot90(codes, k=int(rng.integers(4)), axes=(1, 2))
        return codes[:, :, ::-1] if rng.random() < 0.5 else codes


class EpochSampler(Sampler[tuple[int, int]]):
    """Addresses (epoch, index) of this rank; Lightning calls ``set_epoch`` before each epoch.

    Every rank gets equally many, for ranks that wait for each other hang otherwise: what is left
    over of ``length`` is not used.
    """

    def __init__(self, length: int, *, same_every_epoch: bool, rank: int, world: int) -> None:
        self._length, self._same, self._rank, self._world = length, same_every_epoch, rank, world
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose which samples come next."""
        self._epoch = 0 if self._same else epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self._epoch, index) for index in self._indices())

    def __len__(self) -> int:
        return len(self._indices())

    def _indices(self) -> range:
        whole = self._length - self._length % self._world
        return range(self._rank, whole, self._world)


class RainDataModule(pl.LightningDataModule):
    """Loaders of training and validation batches over one or several archives."""

    def __init__(self, config: DataConfig, *, seed: int) -> None:
        super().__init__()
        self.config = config
        archives = [Archive.open(path) for path in config.archives]
        self.archives = archives
        codes = _in_memory(archives, config.memory_gib)
        self.training = WindowDataset(archives, config, TRAIN, seed, codes)
        self.validation = WindowDataset(archives, config, VALIDATION, seed, codes)
        self._table = torch.from_numpy(RAIN_CODE.table)

    def periods(self, archive: Archive, split: int) -> list[tuple[str, str]]:
        """Valid times that a split may use, as [start, end) in ISO format, UTC."""
        times = archive.times
        region = self.config.split.regions(times, archive.status == OK)[split]
        return [
            (times[a].isoformat(), (times[b - 1] + archive.step).isoformat())
            for a, b in runs(region)
        ]

    def train_dataloader(self) -> DataLoader[Tensor]:
        return self._loader(self.training, same_every_epoch=False)

    def val_dataloader(self) -> DataLoader[Tensor]:
        return self._loader(self.validation, same_every_epoch=True)

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> RainBatch:
        """Decode on the device: (B, T + L, H, W) uint8 to rain rate."""
        self._table = self._table.to(batch.device)
        rate = self._table[batch.int()].unsqueeze(2)
        return RainBatch(rate[:, : self.config.context], rate[:, self.config.context :])

    def _loader(self, dataset: WindowDataset, *, same_every_epoch: bool) -> DataLoader[Tensor]:
        trainer = self.trainer
        return DataLoader(
            dataset,
            batch_size=self.config.batch_size,
            sampler=EpochSampler(
                len(dataset),
                same_every_epoch=same_every_epoch,
                rank=trainer.global_rank if trainer else 0,
                world=trainer.world_size if trainer else 1,
            ),
            num_workers=self.config.workers,
            # Zarr's event loop and fork do not mix
            multiprocessing_context="spawn" if self.config.workers else None,
            persistent_workers=self.config.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


def _in_memory(archives: Sequence[Archive], most_gib: float) -> list[npt.NDArray[np.uint8]] | None:
    """The archives' good scans, where they are together small enough to hold."""
    good = [archive.status == OK for archive in archives]
    pairs = list(zip(archives, good, strict=True))
    size = sum(int(ok.sum() * np.prod(archive.grid.shape)) for archive, ok in pairs)
    if size > most_gib * 2**30:
        return None
    return [archive.codes_where(ok) for archive, ok in pairs]
