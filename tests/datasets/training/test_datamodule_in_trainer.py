"""Ranks, snapshots and epochs: what a trainer gets from the data module."""

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.grid import Grid
from squall.datasets.training.batch_loader import BatchLoader
from squall.datasets.training.batches import RainBatch
from squall.datasets.training.datamodule import RainDataModule
from squall.datasets.training.splits import SplitConfig
from tests.datasets.training.data_modules import module

STEP = pd.Timedelta("5min")


# --- ranks and snapshots -----------------------------------------------------------------------


def as_rank(data: RainDataModule, rank: int, world: int, snapshots: Any = None) -> RainDataModule:
    """Attach a trainer with this rank."""
    strategy = SimpleNamespace(broadcast=lambda own_snapshots: snapshots or own_snapshots)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world, strategy=strategy)  # type: ignore[assignment]
    return data


def test_loaders_take_their_rank_from_the_trainer(rain_archive: Path) -> None:
    alone = list(as_rank(module(rain_archive, batch_size=6), 0, 1).val_dataloader())
    ranks = [as_rank(module(rain_archive, batch_size=2), rank, 3) for rank in range(3)]
    loaders = [data.val_dataloader() for data in ranks]
    assert [len(loader) for loader in loaders] == [2, 2, 2]
    for whole, *rank_batches in zip(alone, *loaders, strict=True):
        for name in ("codes", "turns", "gains"):
            together = torch.cat([getattr(rank_batch, name) for rank_batch in rank_batches])
            assert torch.equal(together, getattr(whole, name))
        together = torch.cat([rank_batch.places.table() for rank_batch in rank_batches])
        assert torch.equal(together, whole.places.table())


def test_ranks_read_what_rank_0_found(
    tmp_path: Path, grid: Grid, scans_of: Callable[..., list[StoredScan]], rain_codes: Any
) -> None:
    path = tmp_path / "grows.icechunk"
    scans = scans_of(rain_codes(60), "2024-06-01")
    writer = ArchiveWriter(path, STEP, {"name": "grows"})
    writer.commit(grid, scans[:40], [], "first")
    first = module(path)
    writer.commit(grid, scans[40:], [], "second")
    later = module(path)
    assert later.training.counts != first.training.counts
    snapshots = [archive.snapshot for archive in first.archives]
    as_rank(later, 1, 2, snapshots).setup("fit")
    assert [archive.snapshot for archive in later.archives] == snapshots
    assert later.training.counts == first.training.counts == [28]
    assert later.periods("training") == first.periods("training")
    as_rank(first, 1, 2)
    for first_batch, later_batch in zip(
        first.val_dataloader(), later.val_dataloader(), strict=True
    ):
        torch.testing.assert_close(first_batch, later_batch, rtol=0, atol=0)
    # a snapshot that the configuration names is read at once
    named = module({"address": path, "snapshot": snapshots[0]})
    assert named.training.counts == first.training.counts


def test_a_reader_of_the_loader_travels_with_its_archives(rain_archive: Path) -> None:
    loader = module(rain_archive).train_dataloader()
    assert isinstance(loader, BatchLoader)
    reader = pickle.loads(pickle.dumps(loader._loader.dataset))
    assert reader._archives[0].snapshot == Archive.open(rain_archive).snapshot


# --- in a trainer ------------------------------------------------------------------------------


class Listener(pl.LightningModule):
    """Keeps the batches that Lightning gives to the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.train_seen: list[RainBatch] = []
        self.val_seen: list[RainBatch] = []

    def training_step(self, batch: RainBatch, index: int) -> torch.Tensor:
        self.train_seen.append(batch)
        return self.weight * 0

    def validation_step(self, batch: RainBatch, index: int) -> None:
        self.val_seen.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    data: RainDataModule, folder: Path, ckpt_path: Path | None = None, **changes: Any
) -> Listener:
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing="callbacks" in changes,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        **{"max_epochs": 2, "num_sanity_val_steps": 0, **changes},
    )
    listener = Listener()
    trainer.fit(listener, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return listener


def assert_same(some: list[RainBatch], others: list[RainBatch]) -> None:
    assert len(some) == len(others)
    for batch, other_batch in zip(some, others, strict=True):
        torch.testing.assert_close(batch, other_batch, rtol=0, atol=0, equal_nan=True)


def test_lightning_gives_new_samples_each_epoch_and_the_same_to_validate(
    rain_archive: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"samples_per_epoch": 10, "validation_samples": 6, "batch_size": 2}
    # validation within and before the epochs does not change the training samples
    plain = fit(module(rain_archive, **settings), tmp_path)
    often = fit(
        module(rain_archive, **settings), tmp_path, val_check_interval=2, num_sanity_val_steps=-1
    )
    assert (len(plain.train_seen), len(plain.val_seen)) == (10, 6)
    assert all(isinstance(batch, RainBatch) for batch in plain.train_seen + plain.val_seen)
    first, second = plain.train_seen[:5], plain.train_seen[5:]
    for epoch in (first, second):
        assert sorted(torch.cat([batch.keys for batch in epoch]).tolist()) == list(range(10))
    places = [
        {tuple(p) for b in epoch for p in b.places.table().tolist()} for epoch in (first, second)
    ]
    assert not places[0] & places[1]
    assert_same(plain.val_seen[:3], plain.val_seen[3:])
    assert_same(often.train_seen, plain.train_seen)
    assert len(often.val_seen) == 15
    for start in range(0, 15, 3):
        assert_same(often.val_seen[start : start + 3], plain.val_seen[:3])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty")
@pytest.mark.parametrize("steps", [1, 3, 5, 7])
def test_a_trainer_resumes_within_the_epoch(rain_archive: Path, tmp_path: Path, steps: int) -> None:
    settings: dict[str, Any] = {"samples_per_epoch": 100, "batch_size": 20}
    keep = pl.callbacks.ModelCheckpoint(
        dirpath=tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1
    )
    whole = fit(module(rain_archive, **settings), tmp_path, callbacks=[keep])
    assert len(whole.train_seen) == 10
    kept = tmp_path / f"step={steps}.ckpt"
    resumed = fit(module(rain_archive, **settings), tmp_path, kept, callbacks=[keep])
    assert_same(resumed.train_seen, whole.train_seen[steps:])


@pytest.mark.parametrize("days", [None, {"validation": 0, "test": 0}])
def test_training_without_validation(rain_archive: Path, tmp_path: Path, days: Any) -> None:
    split = SplitConfig(days=days, validation_fraction=0, guard_minutes=0)
    data = module(rain_archive, split=split, samples_per_epoch=10)
    assert data.validation.counts == [0]
    assert data.periods("validation") == [[]]
    assert data.training.counts == [26 + 12 + 25]
    assert len(data.val_dataloader()) == 0
    assert not list(data.val_dataloader())
    listener = fit(data, tmp_path, limit_val_batches=0)
    assert (len(listener.train_seen), len(listener.val_seen)) == (6, 0)


@pytest.mark.slow
def test_worker_processes_change_nothing(rain_archive: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "samples_per_epoch": 60,
        "validation_samples": 6,
        "speeds": [1, 2],
        "intensity": 1.5,
    }
    alone = fit(module(rain_archive, **settings), tmp_path, val_check_interval=7)
    helped = fit(module(rain_archive, workers=2, **settings), tmp_path, val_check_interval=7)
    assert_same(helped.train_seen, alone.train_seen)
    assert_same(helped.val_seen, alone.val_seen)
    assert len(alone.train_seen) == 30
