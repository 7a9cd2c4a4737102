"""From archives to batches: what a sample depends on, and that it is what the archive holds."""

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
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from datasets.archive import OK, Archive
from datasets.archive_writer import ArchiveWriter, StoredScan
from datasets.coding import RAIN_CODE
from datasets.datamodule import (
    TRAIN,
    VALIDATION,
    DataConfig,
    EpochSampler,
    RainBatch,
    RainDataModule,
    WindowDataset,
    _in_memory,
)
from datasets.errors import DataError
from datasets.grid import Grid
from datasets.windows import Crop, Period, RainSampler, SplitConfig

STEP = pd.Timedelta("5min")


def config(**changes: Any) -> DataConfig:
    settings = {"context": 3, "lead_times": 2, "crop": 32, "augment": False, "drop_scan": 0.0}
    return DataConfig(**{**settings, "samples_per_epoch": 20, "validation_samples": 7, **changes})


def dataset(
    path: Path, split: int = TRAIN, seed: int = 1, archives: int = 1, **changes: Any
) -> WindowDataset:
    opened = [Archive.open(path)] * archives
    values = config(**changes)
    return WindowDataset(opened, values, split, seed, _in_memory(opened, values.memory_gib))


def samples(source: WindowDataset, epoch: int = 0, count: int = 12) -> np.ndarray:
    return np.stack([source[epoch, index].numpy() for index in range(count)])


def times_of(archive: Archive, place: Crop) -> list[int]:
    """Time indices of a window of five scans: a crop counts good scans only."""
    return np.flatnonzero(archive.status == OK)[place.scan : place.scan + 5].tolist()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Crop]:
    """Where the samples come from, in the order that they are taken."""
    places: list[Crop] = []
    draw = RainSampler.draw

    def spy(self: RainSampler, rng: np.random.Generator) -> Crop:
        places.append(draw(self, rng))
        return places[-1]

    monkeypatch.setattr(RainSampler, "draw", spy)
    return places


# --- what a sample depends on ------------------------------------------------------------------


def test_the_same_address_gives_the_same_sample(rain_archive: Path) -> None:
    settings = {"augment": True, "drop_scan": 0.3}
    first = dataset(rain_archive, **settings)
    forward = samples(first)
    backward = [first[0, index].numpy() for index in range(11, -1, -1)][::-1]
    np.testing.assert_array_equal(forward, backward)
    np.testing.assert_array_equal(forward, samples(dataset(rain_archive, **settings)))


@pytest.mark.parametrize("other", [{"seed": 2}, {"epoch": 1}, {"split": VALIDATION}])
def test_seeds_epochs_and_splits_differ(rain_archive: Path, other: dict[str, int]) -> None:
    seed, epoch, split = other.get("seed", 1), other.get("epoch", 0), other.get("split", TRAIN)
    here = samples(dataset(rain_archive))
    there = samples(dataset(rain_archive, split=split, seed=seed), epoch)
    assert sum(not np.array_equal(a, b) for a, b in zip(here, there, strict=True)) >= 11


def test_samples_of_an_epoch_differ(rain_archive: Path) -> None:
    assert len({sample.tobytes() for sample in samples(dataset(rain_archive), count=20)}) >= 18


@given(st.integers(0, 50), st.integers(1, 9))
def test_ranks_partition_the_samples(length: int, world: int) -> None:
    ranks = [
        EpochSampler(length, same_every_epoch=False, rank=rank, world=world)
        for rank in range(world)
    ]
    for sampler in ranks:
        sampler.set_epoch(3)
    shares = [list(sampler) for sampler in ranks]
    assert [len(share) for share in shares] == [len(sampler) for sampler in ranks]
    assert len({len(share) for share in shares}) == 1  # ranks that wait for each other
    together = [address for share in shares for address in share]
    assert sorted(together) == [(3, index) for index in range(length - length % world)]


def test_validation_is_the_same_in_every_epoch() -> None:
    sampler = EpochSampler(3, same_every_epoch=True, rank=0, world=1)
    before = list(sampler)
    sampler.set_epoch(5)
    assert list(sampler) == before == [(0, 0), (0, 1), (0, 2)]


def test_the_lengths_are_configured(rain_archive: Path) -> None:
    assert len(dataset(rain_archive)) == 20
    assert len(dataset(rain_archive, split=VALIDATION)) == 7


# --- samples are what the archive holds --------------------------------------------------------


@pytest.mark.parametrize("split", [TRAIN, VALIDATION])
@pytest.mark.parametrize("memory_gib", [0, 4])
def test_a_decoded_batch_is_the_archive_at_the_crop(
    rain_archive: Path, drawn: list[Crop], split: int, memory_gib: float
) -> None:
    settings = config(archives=(rain_archive,), memory_gib=memory_gib, batch_size=4)
    module = RainDataModule(settings, seed=5)
    loader = module.train_dataloader() if split == TRAIN else module.val_dataloader()
    archive = Archive.open(rain_archive)
    taken = 0
    for codes in loader:
        assert codes.dtype == torch.uint8
        batch = module.on_after_batch_transfer(codes, 0)
        assert isinstance(batch, RainBatch)
        assert batch.context.shape[1:] == (3, 1, 32, 32)
        assert batch.target.shape[1:] == (2, 1, 32, 32)
        rain = torch.cat([batch.context, batch.target], dim=1)[:, :, 0].numpy()
        for sample in rain:
            place = drawn[taken]
            rows = slice(place.row, place.row + 32)
            columns = slice(place.column, place.column + 32)
            expected = archive.read(times_of(archive, place)[0], 5)[:, rows, columns]
            np.testing.assert_array_equal(sample, expected)
            taken += 1
    assert taken == (20 if split == TRAIN else 7)


def test_decoding_keeps_every_code(rain_archive: Path) -> None:
    module = RainDataModule(config(archives=(rain_archive,)), seed=1)
    codes = torch.arange(256, dtype=torch.uint8).reshape(1, 256, 1, 1)
    batch = module.on_after_batch_transfer(codes, 0)
    rain = torch.cat([batch.context, batch.target], dim=1).flatten().numpy()
    np.testing.assert_array_equal(rain, RAIN_CODE.table)
    assert batch.context.dtype == torch.float32


def test_no_window_reaches_across_a_gap(rain_archive: Path, drawn: list[Crop]) -> None:
    archive = Archive.open(rain_archive)
    for split in (TRAIN, VALIDATION):
        samples(dataset(rain_archive, split), count=200)
    assert len(drawn) == 400
    for place in drawn:
        assert (np.diff(times_of(archive, place)) == 1).all()
    assert len({place.scan for place in drawn}) > 40


def test_training_and_validation_share_no_scan(rain_archive: Path, drawn: list[Crop]) -> None:
    scans: dict[int, set[int]] = {}
    for split in (TRAIN, VALIDATION):
        drawn.clear()
        samples(dataset(rain_archive, split), count=200)
        archive = Archive.open(rain_archive)
        scans[split] = {time for place in drawn for time in times_of(archive, place)}
    assert not scans[TRAIN] & scans[VALIDATION]
    # 75 good scans, the last fifth validates: 15 of them from index 65 on
    assert max(scans[TRAIN]) <= 64
    assert min(scans[VALIDATION]) >= 65


def test_counts_are_the_windows_of_each_archive(rain_archive: Path) -> None:
    # training has the good scans 0 to 29, 34 to 49 and 51 to 64
    assert dataset(rain_archive, archives=2).counts == [26 + 12 + 10] * 2
    assert dataset(rain_archive, VALIDATION).counts == [11]


def test_both_splits_share_what_is_in_memory(rain_archive: Path) -> None:
    module = RainDataModule(config(archives=(rain_archive,)), seed=1)
    assert module.training._codes is not None
    assert module.training._codes is module.validation._codes


def test_archives_in_memory_and_on_disk_give_the_same(rain_archive: Path) -> None:
    held = dataset(rain_archive, memory_gib=4)
    lazy = dataset(rain_archive, memory_gib=0)
    assert held._codes is not None
    assert lazy._codes is None
    np.testing.assert_array_equal(samples(held), samples(lazy))


@pytest.mark.parametrize("memory_gib", [0, 4])
def test_a_dataset_travels_to_worker_processes(rain_archive: Path, memory_gib: float) -> None:
    here = dataset(rain_archive, memory_gib=memory_gib)
    there = pickle.loads(pickle.dumps(here))
    np.testing.assert_array_equal(samples(here), samples(there))


def test_a_domain_smaller_than_the_crop_is_padded_as_not_observed(rain_archive: Path) -> None:
    source = dataset(rain_archive, crop=96)
    sample = source[0, 0].numpy()
    assert sample.shape == (5, 96, 96)
    assert (sample[:, 48:] == RAIN_CODE.NOT_OBSERVED).all()
    assert (sample[:, :, 64:] == RAIN_CODE.NOT_OBSERVED).all()
    assert (sample[:, 6:48, 6:64] != RAIN_CODE.NOT_OBSERVED).all()


def test_archives_of_other_sizes_mix(
    tmp_path: Path, rain_archive: Path, scans_of: Callable[..., list[StoredScan]]
) -> None:
    crs = Archive.open(rain_archive).grid.crs_wkt
    small = Grid(x=np.arange(40) * 500.0, y=-np.arange(33) * 500.0, crs_wkt=crs)
    dry = np.zeros((10, 33, 40), dtype=np.uint8)
    writer = ArchiveWriter(tmp_path / "dry", STEP, {"name": "dry"})
    writer.commit(small, scans_of(dry, "2024-06-01"), [], "dry")
    archives = [Archive.open(rain_archive), Archive.open(tmp_path / "dry")]
    mixed = WindowDataset(archives, config(), TRAIN, 1)
    assert mixed.counts == [48, 4]
    dry_share = np.mean([(mixed[0, index] == 0).all() for index in range(100)])
    assert 0.01 < dry_share < 0.5


# --- augmentation ------------------------------------------------------------------------------


def test_augmentation_turns_and_flips_whole_windows(rain_archive: Path) -> None:
    plain = samples(dataset(rain_archive), count=30)
    turned = samples(dataset(rain_archive, augment=True), count=30)
    seen = set()
    for before, after in zip(plain, turned, strict=True):
        ways = {
            (turns, flip): np.rot90(before, turns, axes=(1, 2))[:, :, :: -1 if flip else 1]
            for turns in range(4)
            for flip in (False, True)
        }
        matches = [way for way, values in ways.items() if np.array_equal(values, after)]
        assert matches
        seen.update(matches[:1])
    assert len(seen) > 4


def test_dropped_scans_are_older_context_only(rain_archive: Path) -> None:
    plain = samples(dataset(rain_archive), count=60)
    dropped = samples(dataset(rain_archive, drop_scan=0.5), count=60)
    lost = (dropped == RAIN_CODE.NOT_OBSERVED).all(axis=(2, 3))
    assert 0.35 < lost[:, :2].mean() < 0.65
    assert not lost[:, 2:].any()
    np.testing.assert_array_equal(dropped[~lost], plain[~lost])
    # and nothing that was held in memory was changed
    np.testing.assert_array_equal(samples(dataset(rain_archive), count=60), plain)


def test_validation_is_never_augmented(rain_archive: Path, drawn: list[Crop]) -> None:
    archive = Archive.open(rain_archive)
    found = samples(dataset(rain_archive, VALIDATION, augment=True, drop_scan=0.9))
    for sample, place in zip(found, drawn, strict=True):
        rows, columns = slice(place.row, place.row + 32), slice(place.column, place.column + 32)
        first, *_, last = times_of(archive, place)
        expected = archive.codes[first : last + 1, rows, columns]
        np.testing.assert_array_equal(sample, expected)


# --- borders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "changes", "named"),
    [
        (TRAIN, {"context": 30, "lead_times": 10}, "no training window"),
        (VALIDATION, {"context": 8, "lead_times": 8}, "no validation window"),
        (
            TRAIN,
            {"split": SplitConfig(test=(Period(start="2024-06-01", end="2024-06-02"),))},
            "no training window",
        ),
    ],
)
def test_no_window_is_an_error_that_says_what_to_do(
    rain_archive: Path, which: int, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(DataError, match=named) as caught:
        WindowDataset([Archive.open(rain_archive)], config(**changes), which, seed=1)
    message = str(caught.value)
    assert str(rain_archive) in message
    assert "consecutive scans" in message
    assert "ingest more scans, or change data.split" in message


@pytest.mark.parametrize(
    "changes",
    [
        {"context": 0},
        {"lead_times": 0},
        {"crop": -1},
        {"batch_size": 0},
        {"drop_scan": 1.0},
        {"rain_preference": -1},
        {"workers": -1},
        {"cropp": 64},
    ],
)
def test_what_cannot_be_configured(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        config(**changes)


def test_no_archive_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no archive"):
        RainDataModule(config(archives=(tmp_path / "absent",)), seed=1)


# --- the Lightning module around it ------------------------------------------------------------


def test_loaders_take_their_rank_from_the_trainer(rain_archive: Path) -> None:
    addresses = []
    for rank in range(3):
        module = RainDataModule(config(archives=(rain_archive,)), seed=1)
        module.trainer = SimpleNamespace(global_rank=rank, world_size=3)
        addresses += list(module.train_dataloader().sampler)
    assert sorted(addresses) == [(0, index) for index in range(18)]  # 20, equally for three


def test_training_periods_are_what_training_may_use(rain_archive: Path) -> None:
    test = Period(start="2024-06-01T01:00", end="2024-06-01T02:00")
    split = SplitConfig(test=(test,), validation_fraction=0.25)
    module = RainDataModule(config(archives=(rain_archive,), split=split), seed=1)
    # 80 steps; test has 12 to 23; of the other 63 good scans the last 15 validate, from 65 on
    assert module.periods(module.archives[0], TRAIN) == [
        ("2024-06-01T00:00:00", "2024-06-01T01:00:00"),
        ("2024-06-01T02:00:00", "2024-06-01T05:25:00"),
    ]


class Listener(pl.LightningModule):
    """Keeps what Lightning hands to the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[RainBatch]] = {"train": [], "validate": []}

    def training_step(self, batch: RainBatch, index: int) -> torch.Tensor:
        self.seen["train"].append(batch)
        return self.weight * 0

    def validation_step(self, batch: RainBatch, index: int) -> None:
        self.seen["validate"].append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
@pytest.mark.filterwarnings("ignore:.*num_workers.*")
def test_lightning_gives_new_samples_each_epoch_and_the_same_to_validate(
    rain_archive: Path, tmp_path: Path
) -> None:
    settings = config(
        archives=(rain_archive,), samples_per_epoch=4, validation_samples=2, batch_size=2
    )
    listener = Listener()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(listener, datamodule=RainDataModule(settings, seed=1))
    train, validate = listener.seen["train"], listener.seen["validate"]
    assert (len(train), len(validate)) == (4, 2)
    assert all(isinstance(batch, RainBatch) for batch in train + validate)
    assert not torch.equal(train[0].target, train[2].target)
    torch.testing.assert_close(validate[0], validate[1], equal_nan=True)


def test_years_between_two_events_cost_no_memory(
    tmp_path: Path, grid: Grid, scans_of: Any, rain_codes: Any
) -> None:
    """A dense array of the two years would be 646 MB, and is not held."""
    path = tmp_path / "events.icechunk"
    writer = ArchiveWriter(path, pd.Timedelta("5min"), {"name": "events"})
    for year in ("2022", "2024"):
        writer.commit(grid, scans_of(rain_codes(20), f"{year}-06-01", year), [], year)
    module = RainDataModule(config(archives=(path,), memory_gib=0.1), seed=1)
    assert module.training._codes is not None
    assert [codes.shape for codes in module.training._codes] == [(40, *grid.shape)]
    # windows of five: 16 in the first event, 8 in 12 scans of the second; its last 8 validate
    assert (module.training.counts, module.validation.counts) == ([24], [4])
