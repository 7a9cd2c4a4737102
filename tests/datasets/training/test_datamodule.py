"""From archives to batches: loaders in a trainer, and that a batch is what the archive holds."""

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
import yaml
from pydantic import ValidationError

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.grid import Grid
from squall.datasets.training.batch_loader import BatchLoader
from squall.datasets.training.batches import PADDING, CodeBatch, Places, RainBatch
from squall.datasets.training.config import ArchiveShare, DataConfig
from squall.datasets.training.datamodule import RainDataModule
from squall.datasets.training.epoch_plan import SPAN
from squall.datasets.training.splits import Period, SplitConfig
from squall.datasets.training.window_reader import coarsened

STEP = pd.Timedelta("5min")
T_IN, T_OUT, CROP = 3, 2, 32


def config(*archives: Any, **changes: Any) -> DataConfig:
    settings: dict[str, Any] = {
        "archives": archives,
        "context": T_IN,
        "lead_times": T_OUT,
        "crop": CROP,
        "samples_per_epoch": 20,
        "validation_samples": 7,
        "split": SplitConfig(guard_minutes=0),
    }
    return DataConfig(**settings | changes)


def module(*archives: Any, seed: int = 1, **changes: Any) -> RainDataModule:
    return RainDataModule(config(*archives, **changes), seed=seed)


def check(data: RainDataModule, codes: CodeBatch) -> RainBatch:
    """Decode, and compare with what the archives hold at the places; lost scans are left out."""
    batch = data.on_after_batch_transfer(codes, 0)
    assert batch.context.dtype == batch.target.dtype == torch.float32
    size = codes.codes.shape[0]
    assert batch.context.shape == (size, T_IN, 1, CROP, CROP)
    assert batch.target.shape == (size, T_OUT, 1, CROP, CROP)
    assert torch.equal(batch.keys, batch.places.number)
    rain = torch.cat([batch.context, batch.target], dim=1)[:, :, 0].numpy()
    for sample, turn, gain, (number, which, scan, row, column, speed, coarsen) in zip(
        rain, codes.turns.tolist(), codes.gains.numpy(), batch.places.table().tolist(), strict=True
    ):
        if number == PADDING:
            assert np.isnan(sample).all()
            continue
        if turn >= 4:  # undo the mirror first, and then the quarter turns
            sample = sample[..., ::-1]
        sample = np.rot90(sample, -(turn % 4), (-2, -1))
        scans, side = (T_IN + T_OUT - 1) * speed + 1, CROP * coarsen
        expected = data.archives[which].read(scan, scans).values[::speed]
        expected = expected[:, row : row + side, column : column + side]
        if coarsen > 1:
            expected = RAIN_CODE.decode(coarsened(RAIN_CODE.encode(expected), coarsen))
        lost = np.isnan(sample).all(axis=(1, 2))
        assert not lost[T_IN - 1 :].any()
        np.testing.assert_array_equal(sample[~lost], expected[~lost] * gain)
    return batch


# --- batches are what the archive holds --------------------------------------------------------


def test_decoded_batches_are_the_archive_at_the_places(rain_archive: Path) -> None:
    data = module(rain_archive, augment=False, drop_scan=0.0)
    for loader, samples in ((data.train_dataloader(), 20), (data.val_dataloader(), 7)):
        batches = list(loader)
        assert len(batches) == len(loader)
        decoded = [check(data, batch) for batch in batches]
        numbers = torch.cat([batch.keys for batch in decoded])
        assert sorted(numbers[numbers != PADDING].tolist()) == list(range(samples))
        assert not torch.cat([batch.turns for batch in batches]).any()
        for batch in decoded:
            assert not batch.context[batch.keys != PADDING].isnan().all(dim=(2, 3, 4)).any()


def test_turned_batches_are_the_archive_turned_back(rain_archive: Path) -> None:
    data = module(rain_archive, samples_per_epoch=80)
    batches = list(data.train_dataloader())
    assert set(torch.cat([batch.turns for batch in batches]).tolist()) == set(range(8))
    for batch in batches:
        check(data, batch)


def test_validation_is_neither_turned_nor_thinned(rain_archive: Path) -> None:
    data = module(rain_archive, augment=True, drop_scan=0.9, validation_samples=40)
    for batch in data.val_dataloader():
        decoded = check(data, batch)
        assert not batch.turns.any()
        assert not decoded.context.isnan().all(dim=(2, 3, 4)).any()


def test_older_scans_of_the_context_are_lost(rain_archive: Path) -> None:
    data = module(rain_archive, drop_scan=0.5, samples_per_epoch=400)
    decoded = [check(data, batch) for batch in data.train_dataloader()]
    lost = torch.cat([batch.context.isnan().all(dim=(2, 3, 4)) for batch in decoded])[:400]
    assert lost[:, :2].float().mean() == pytest.approx(0.5, abs=0.1)
    assert not lost[:, 2].any()
    assert not torch.cat([batch.target.isnan().all(dim=(2, 3, 4)) for batch in decoded])[:400].any()


def test_training_varies_speed_grid_spacing_and_intensity(rain_archive: Path) -> None:
    data = module(
        rain_archive,
        samples_per_epoch=400,
        crop=CROP,
        speeds=[1, 2],
        coarsen=[1, 2],
        intensity=1.5,
    )
    batches = list(data.train_dataloader())
    places = [check(data, batch).places for batch in batches]
    speeds, factors = (
        torch.cat([getattr(p, name) for p in places])[:400].tolist()
        for name in ("speed", "coarsen")
    )
    # the grid of 48 × 64 pixels has no room for 64 × 64
    assert set(zip(speeds, factors, strict=True)) == {(1, 1), (2, 1)}
    gains = torch.cat([batch.gains for batch in batches])[:400].log()
    assert gains.abs().max() <= np.log(1.5) + 1e-6
    assert gains.mean().abs() < 0.05
    assert gains.std() == pytest.approx(2 * np.log(1.5) / 12**0.5, abs=0.03)
    assert data.steps_s == [300, 600]
    for batch in data.val_dataloader():
        places = check(data, batch).places
        assert places.speed.unique().tolist() == places.coarsen.unique().tolist() == [1]
        assert (batch.gains == 1).all()


def test_larger_pixels_where_there_is_room(rain_archive: Path, dry_archive: Path) -> None:
    shares = [rain_archive, {"address": dry_archive, "coarsen": [1], "speeds": [1]}]
    settings: dict[str, Any] = {"coarsen": [2], "speeds": [2], "rain_preference": 0}
    data = RainDataModule(config(*shares, crop=16, context=2, **settings), seed=1)
    for sources in (data.training, data.validation):
        assert {tuple(variant) for variant in sources.variants} <= {(0, 2, 2), (1, 1, 1)}
    assert data.steps_s == [300, 600]
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            decoded = data.on_after_batch_transfer(batch, 0)
            assert decoded.context.shape[-2:] == (16, 16)


def test_dry_stays_dry_and_unknown_unknown(rain_archive: Path) -> None:
    data = module(rain_archive)
    codes = torch.tensor([0, 1, 100, 255], dtype=torch.uint8).repeat(2, T_IN + T_OUT, 2, 2)
    batch = CodeBatch(
        codes,
        torch.zeros(2, dtype=torch.int64),
        torch.tensor([1.0, 0.5]),
        Places.from_table(torch.ones((2, 7))),
    )
    plain, half = data.on_after_batch_transfer(batch, 0).target
    torch.testing.assert_close(half, 0.5 * plain, rtol=0, atol=0, equal_nan=True)
    assert (half[..., 0] == 0).all()
    assert half[..., 3].isnan().all()
    assert (half[..., 1:3] > 0).all()


def test_decoding_keeps_every_code(rain_archive: Path) -> None:
    codes = torch.arange(256, dtype=torch.uint8).reshape(1, 4, 8, 8)
    ones, places = torch.ones(1), Places.from_table(torch.zeros((1, 7)))
    batch = CodeBatch(codes, torch.zeros(1, dtype=torch.int64), ones, places)
    decoded = module(rain_archive).on_after_batch_transfer(batch, 0)
    rain = torch.cat([decoded.context, decoded.target], dim=1).flatten().numpy()
    np.testing.assert_array_equal(rain, RAIN_CODE.table)


def test_validation_in_the_middle_of_an_epoch_changes_nothing(rain_archive: Path) -> None:
    data = module(rain_archive, samples_per_epoch=400, batch_size=2)
    validation = [batch.codes for batch in data.val_dataloader()]
    undisturbed = [batch.codes for batch in data.train_dataloader()]
    mixed = []
    for number, batch in enumerate(data.train_dataloader()):
        mixed.append(batch.codes)
        if number in (1, 60):
            for again, before in zip(data.val_dataloader(), validation, strict=True):
                assert torch.equal(again.codes, before)
    assert all(torch.equal(a, b) for a, b in zip(mixed, undisturbed, strict=True))


def test_archives_mix_by_their_weights(rain_archive: Path, dry_archive: Path) -> None:
    shares = [{"address": rain_archive, "weight": 1}, {"address": dry_archive, "weight": 1}]
    data = module(*shares, rain_preference=0, samples_per_epoch=400)
    archives = torch.cat([check(data, batch).places.archive for batch in data.train_dataloader()])
    assert archives.float().mean() == pytest.approx(0.5, abs=0.15)
    # ten dry scans, two of which validate: no window of five there
    assert data.training.counts == [26 + 12 + 10, 4]
    assert data.validation.counts == [11, 0]


def test_what_the_host_asks_of_a_batch_stays_there(rain_archive: Path) -> None:
    data = module(rain_archive)
    batch = next(iter(data.train_dataloader()))
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert moved.codes.is_meta
    assert moved.turns is batch.turns
    assert moved.places is batch.places


# --- words and periods -------------------------------------------------------------------------


def test_windows_in_words(rain_archive: Path) -> None:
    data = module(rain_archive)
    places = torch.tensor(
        [[7, 0, 51, 3, 20, 1, 1], [PADDING, 0, 0, 0, 0, 1, 1], [8, 0, 0, 16, 0, 3, 2]]
    )
    assert data.describe(Places.from_table(places)) == [
        "rain 2024-06-01T04:15 rows 3 to 34 columns 20 to 51",
        "rain 2024-06-01T00:00 rows 16 to 79 columns 0 to 63, 1 of 3 scans, means of 2 × 2 pixels",
    ]


def test_periods_are_what_a_split_may_use(rain_archive: Path) -> None:
    test = Period(start="2024-06-01T01:00", end="2024-06-01T02:00")
    split = SplitConfig(test=(test,), validation_fraction=0.25, guard_minutes=10)
    data = module(rain_archive, split=split)
    # 80 steps; test has 12 to 23; of the other 63 good scans the last 15 validate, from 65 on
    assert data.periods("test") == [[("2024-06-01T01:00:00", "2024-06-01T02:00:00")]]
    assert data.periods("validation") == [[("2024-06-01T05:25:00", "2024-06-01T06:40:00")]]
    assert data.periods("training") == [
        [
            ("2024-06-01T00:00:00", "2024-06-01T00:50:00"),
            ("2024-06-01T02:10:00", "2024-06-01T05:15:00"),
        ]
    ]


# --- configuration -----------------------------------------------------------------------------


def test_an_archive_is_an_address_or_says_more() -> None:
    text = "[a, s3://bucket/b, {address: c, snapshot: ABC}]"
    shares = DataConfig(archives=yaml.safe_load(text)).archives
    assert shares == (
        ArchiveShare(address="a"),
        ArchiveShare(address="s3://bucket/b"),
        ArchiveShare(address="c", snapshot="ABC"),
    )
    weighted = DataConfig(archives=({"address": Path("a"), "weight": 2},))
    assert weighted.archives == (ArchiveShare(address="a", weight=2.0),)
    assert DataConfig(**weighted.model_dump(mode="json")) == weighted


@pytest.mark.parametrize(
    "changes",
    [
        {"context": 0},
        {"lead_times": 0},
        {"crop": -1},
        {"batch_size": 0},
        {"samples_per_epoch": 0},
        {"crops_per_read": 0},
        {"drop_scan": 1.0},
        {"speeds": []},
        {"speeds": [1, 0]},
        {"coarsen": [-1]},
        {"intensity": 0.9},
        {"rain_preference": -1},
        {"rain_preference": float("inf")},
        {"workers": -1},
        {"cropp": 64},
        {"archives": [{"address": "a", "weight": 0}]},
        {"archives": [{"weight": 1}]},
    ],
)
def test_what_cannot_be_configured(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        DataConfig(**changes)


@pytest.mark.parametrize("workers", [5, 7, 9, 48])
def test_workers_share_the_batches_evenly(workers: int) -> None:
    with pytest.raises(ValidationError, match=f"workers {workers}: give a divisor of {SPAN}"):
        config(workers=workers)


def test_weights_are_for_all_archives_or_for_none() -> None:
    with pytest.raises(
        ValidationError, match="b has a weight and a, c has none; give all of them a weight or none"
    ):
        config("a", {"address": "b", "weight": 1}, "c")


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no archive to train on"):
        module()
    with pytest.raises(DataError, match="absent: there is no archive"):
        module(tmp_path / "absent")


def test_an_unknown_snapshot(rain_archive: Path) -> None:
    with pytest.raises(DataError, match="has no snapshot 'NOWHERE'"):
        module({"address": rain_archive, "snapshot": "NOWHERE"})


def test_a_weight_of_an_archive_without_a_window(rain_archive: Path, dry_archive: Path) -> None:
    shares = [{"address": rain_archive, "weight": 1}, {"address": dry_archive, "weight": 3}]
    with pytest.raises(DataError, match=f"no training window in {dry_archive}"):
        module(*shares, context=7)


# --- ranks and snapshots -----------------------------------------------------------------------


def as_rank(data: RainDataModule, rank: int, world: int, snapshots: Any = None) -> RainDataModule:
    """Attach what is asked of a trainer."""
    strategy = SimpleNamespace(broadcast=lambda mine: snapshots or mine)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world, strategy=strategy)  # type: ignore[assignment]
    return data


def test_loaders_take_their_rank_from_the_trainer(rain_archive: Path) -> None:
    alone = list(as_rank(module(rain_archive, batch_size=6), 0, 1).val_dataloader())
    ranks = [as_rank(module(rain_archive, batch_size=2), rank, 3) for rank in range(3)]
    loaders = [data.val_dataloader() for data in ranks]
    assert [len(loader) for loader in loaders] == [2, 2, 2]
    for whole, *parts in zip(alone, *loaders, strict=True):
        for name in ("codes", "turns", "gains"):
            together = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(together, getattr(whole, name))
        together = torch.cat([part.places.table() for part in parts])
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
    for here, there in zip(first.val_dataloader(), later.val_dataloader(), strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=0)
    # a snapshot of the configuration is read in the first place
    named = module({"address": path, "snapshot": snapshots[0]})
    assert named.training.counts == first.training.counts


def test_a_reader_of_the_loader_travels_with_its_archives(rain_archive: Path) -> None:
    loader = module(rain_archive).train_dataloader()
    assert isinstance(loader, BatchLoader)
    reader = pickle.loads(pickle.dumps(loader._loader.dataset))
    assert reader._archives[0].snapshot == Archive.open(rain_archive).snapshot


# --- in a trainer ------------------------------------------------------------------------------


class Listener(pl.LightningModule):
    """Keeps what Lightning hands to the steps."""

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
    for here, there in zip(some, others, strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=0, equal_nan=True)


def test_lightning_gives_new_samples_each_epoch_and_the_same_to_validate(
    rain_archive: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"samples_per_epoch": 10, "validation_samples": 6, "batch_size": 2}
    # what is validated on in between, and before everything, is nothing that training sees
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
def test_a_trainer_goes_on_within_the_epoch(rain_archive: Path, tmp_path: Path, steps: int) -> None:
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
