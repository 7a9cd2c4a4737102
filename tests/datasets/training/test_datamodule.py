"""A decoded batch is what the archive holds; windows and periods in words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from squall.datasets.coding import RAIN_CODE
from squall.datasets.training.batches import PADDING, CodeBatch, Places, RainBatch
from squall.datasets.training.datamodule import RainDataModule
from squall.datasets.training.splits import Period, SplitConfig
from squall.datasets.training.window_reader import coarsened
from tests.datasets.training.data_modules import CROP, T_IN, T_OUT, config, module


def check(data: RainDataModule, codes: CodeBatch) -> RainBatch:
    """Decode a batch and compare it with the archives, except the dropped scans."""
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


def test_dry_and_missing_pixels_are_not_changed(rain_archive: Path) -> None:
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


def test_validation_within_an_epoch_does_not_change_the_training_batches(
    rain_archive: Path,
) -> None:
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


def test_only_the_codes_of_a_batch_move_to_the_device(rain_archive: Path) -> None:
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
