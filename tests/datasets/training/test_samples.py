"""An epoch has each sample once, and the same samples for any number of ranks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.errors import DataError
from squall.datasets.runs import runs
from squall.datasets.training.batches import PADDING, Sample
from squall.datasets.training.samples import TURNS, SampleSource, rain_blocks
from squall.datasets.training.sampling import Sampling
from squall.datasets.training.windows import window_starts

STEP = pd.Timedelta("5min")
LENGTH = 5


@pytest.fixture(scope="module")
def archive(rain_archive: Path) -> Archive:
    return Archive.open(rain_archive)


@pytest.fixture(scope="module")
def dry(dry_archive: Path) -> Archive:
    return Archive.open(dry_archive)


def source(*archives: Archive, **changes: Any) -> SampleSource:
    settings: dict[str, Any] = {
        "split": "training",
        "seed": 1,
        "length": LENGTH,
        "crop": 32,
        "samples": 40,
        "per_read": 4,
        "rain_preference": 5.0,
    }
    regions = changes.pop("regions", [np.ones(a.times.size, dtype=bool) for a in archives])
    blocks = [rain_blocks(archive) for archive in archives]
    return SampleSource(archives, blocks, regions, Sampling(**settings | changes))


def epoch(samples: SampleSource, number: int = 0, size: int = 4, **where: int) -> list[Sample]:
    return [sample for batch in samples.batches(number, size, **where) for sample in batch]


def bare(samples: list[Sample]) -> list[Sample]:
    """Without the crops that are only read ahead."""
    return [sample._replace(ahead=()) for sample in samples]


def by_number(samples: list[Sample]) -> dict[int, Sample]:
    numbered = {sample.number: sample for sample in bare(samples) if sample.number != PADDING}
    assert len(numbered) == sum(sample.number != PADDING for sample in samples)
    return numbered


# --- every sample once -------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 90), st.integers(1, 5), st.data())
def test_any_number_of_ranks_shares_the_samples(
    archive: Archive, size: int, world: int, samples: int, per_read: int, data: st.DataObject
) -> None:
    drawn = source(archive, samples=samples, per_read=per_read, augment=True)
    ranks = [list(drawn.batches(3, size, rank=rank, world=world)) for rank in range(world)]
    count = drawn.count_batches(size, world)
    assert [len(batches) for batches in ranks] == [count] * world  # ranks wait for each other
    assert all(len(batch) == size for batches in ranks for batch in batches)
    together = [sample for batches in ranks for batch in batches for sample in batch]
    samples_by_number = by_number(together)
    assert sorted(samples_by_number) == list(range(samples))
    assert samples_by_number == by_number(epoch(drawn, 3, 1))
    # padding comes last: no rank's batch but the last one has any
    assert all(s.number != PADDING for batches in ranks for b in batches[:-1] for s in b)
    assert len(together) - samples < size * world
    assert all(sample.epoch == 3 for sample in together)
    # a rank that resumes within an epoch gets the same batches
    rank, start = data.draw(st.integers(0, world - 1)), data.draw(st.integers(0, count))
    again = drawn.batches(3, size, rank=rank, world=world, start=start)
    assert [bare(batch) for batch in again] == [bare(batch) for batch in ranks[rank][start:]]


@pytest.mark.parametrize("samples", [803, 40, 16])
def test_a_global_batch_is_the_same_on_one_rank_or_on_several(
    archive: Archive, samples: int
) -> None:
    drawn = source(archive, samples=samples)
    alone = [bare(batch) for batch in drawn.batches(2, 8)]
    for world in (2, 4, 8):
        ranks = [drawn.batches(2, 8 // world, rank=rank, world=world) for rank in range(world)]
        together = [
            bare([sample for rank_batch in rank_batches for sample in rank_batch])
            for rank_batches in zip(*ranks, strict=True)
        ]
        assert together == alone


def test_crops_ahead_are_those_of_the_next_numbers(archive: Archive) -> None:
    drawn = source(archive, samples=800)
    samples = epoch(drawn)
    samples_by_number = by_number(samples)
    assert any(sample.ahead for sample in samples)
    for sample in samples:
        for later, crop in enumerate(sample.ahead, start=sample.number + 1):
            assert samples_by_number[later].crop == crop
            assert samples_by_number[later].archive == sample.archive
            assert later // 4 == sample.number // 4


def test_without_groups_nothing_is_ahead(archive: Archive) -> None:
    assert not any(sample.ahead for sample in epoch(source(archive, per_read=1)))


# --- what a sample depends on ------------------------------------------------------------------


def test_a_sample_depends_only_on_seed_split_epoch_and_number(archive: Archive) -> None:
    settings = {"augment": True, "droppable_scans": 3, "drop_scan": 0.3, "samples": 100}
    samples = by_number(epoch(source(archive, **settings), 7))
    assert samples == by_number(epoch(source(archive, **settings), 7))
    # the length of the epoch and the batch size do not change it
    longer = by_number(epoch(source(archive, **settings | {"samples": 333}), 7, 5))
    assert samples == {number: longer[number] for number in range(100)}
    # augmentation and dropped scans do not change the crops
    plain = by_number(epoch(source(archive, samples=100), 7))
    assert [s.crop for s in plain.values()] == [samples[number].crop for number in plain]


@pytest.mark.parametrize("other", [{"seed": 2}, {"split": "validation"}, {"number": 1}])
def test_seeds_epochs_and_splits_differ(archive: Archive, other: dict[str, Any]) -> None:
    number = other.pop("number", 0)
    samples = by_number(epoch(source(archive, per_read=1, augment=True)))
    other_samples = by_number(epoch(source(archive, per_read=1, augment=True, **other), number))
    same = [
        samples[key]._replace(epoch=0) == other_samples[key]._replace(epoch=0) for key in samples
    ]
    assert sum(same) <= 2


def test_samples_of_an_epoch_differ(archive: Archive) -> None:
    crops = {sample.crop for sample in epoch(source(archive, samples=400, crop=20))}
    assert len(crops) > 350


def test_turns_are_even_and_only_drawn_where_asked(archive: Archive) -> None:
    turned = [sample.turn for sample in epoch(source(archive, samples=2000, augment=True))]
    counts = np.bincount(turned, minlength=TURNS)
    assert counts.size == TURNS
    assert (abs(counts - 250) < 75).all()  # five standard deviations
    assert {sample.turn for sample in epoch(source(archive))} == {0}


def test_older_scans_are_lost_with_the_chance(archive: Archive) -> None:
    samples = epoch(source(archive, samples=2000, droppable_scans=3, drop_scan=0.3))
    lost = np.array([[step in sample.dropped for step in range(LENGTH)] for sample in samples])
    np.testing.assert_allclose(lost.mean(axis=0)[:3], 0.3, atol=0.05)
    assert not lost[:, 3:].any()
    assert not any(sample.dropped for sample in epoch(source(archive, droppable_scans=3)))


# --- where samples lie -------------------------------------------------------------------------


def test_windows_lie_in_the_region_and_reach_across_no_gap(archive: Archive) -> None:
    region = np.arange(80) >= 27
    drawn = source(archive, samples=1000, regions=[region], crop=20)
    # of the times 27 to 79, 30 to 33 are missing and 50 was rejected
    expected = window_starts(region & (archive.status == OK), LENGTH).tolist()
    assert expected == [*range(34, 46), *range(51, 76)]
    assert drawn.counts == [len(expected)]
    samples = epoch(drawn)
    assert {sample.crop.scan for sample in samples} == set(expected)
    for sample in samples:
        assert 0 <= sample.crop.row <= 48 - 20
        assert 0 <= sample.crop.column <= 64 - 20


def test_archives_share_the_samples_by_their_windows(archive: Archive, dry: Archive) -> None:
    drawn = source(archive, dry, rain_preference=0, samples=6000)
    assert drawn.counts == [26 + 12 + 25, 6]
    of_second = np.mean([sample.archive for sample in epoch(drawn)])
    assert of_second == pytest.approx(6 / 69, abs=0.03)


def test_archives_share_the_samples_by_their_weights(archive: Archive, dry: Archive) -> None:
    drawn = source(archive, dry, rain_preference=0, samples=6000, weights=[1, 3])
    samples = epoch(drawn)
    assert np.mean([sample.archive for sample in samples]) == pytest.approx(0.75, abs=0.05)
    for sample in samples:
        height, width = (archive, dry)[sample.archive].grid.shape
        assert sample.crop.row <= height - 32
        assert sample.crop.column <= width - 32


@pytest.mark.parametrize("weights", [None, [9.0, 1.0]])
def test_an_archive_without_a_validation_window_is_left_out(
    archive: Archive, dry: Archive, weights: list[float] | None
) -> None:
    regions = [np.zeros(80, dtype=bool), np.ones(10, dtype=bool)]
    drawn = source(archive, dry, regions=regions, weights=weights, split="validation")
    assert drawn.counts == [0, 6]
    assert {sample.archive for sample in epoch(drawn)} == {1}


# --- speed, grid spacing and intensity ---------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=4),
    st.integers(0, 40),
    st.integers(41, 80),
    st.integers(0, 1000),
)
def test_windows_that_skip_scans_stay_in_their_region(
    archive: Archive, variants: list[tuple[int, int]], first: int, end: int, seed: int
) -> None:
    region = (np.arange(80) >= first) & (np.arange(80) < end)
    allowed = region & (archive.status == OK)
    longest = max((b - a for a, b in runs(allowed)), default=0)
    settings: dict[str, Any] = {"regions": [region], "variants": [variants], "crop": 12}
    settings |= {"rain_preference": 0, "seed": seed}
    if longest < 4 * min(speed for speed, _ in variants) + 1:
        with pytest.raises(DataError, match="no training window"):
            source(archive, **settings)
        return
    for sample in epoch(source(archive, **settings)):
        assert (sample.speed, sample.coarsen) in variants
        assert allowed[sample.crop.scan : sample.crop.scan + 4 * sample.speed + 1].all()
        side = 12 * sample.coarsen
        assert 0 <= sample.crop.row <= 48 - side
        assert 0 <= sample.crop.column <= 64 - side


def test_speeds_have_equal_chances_or_those_given(archive: Archive, dry: Archive) -> None:
    variants = [[(1, 1), (2, 1), (2, 1), (4, 1)], [(1, 1), (5, 1), (1, 2)]]
    settings: dict[str, Any] = {"rain_preference": 0, "weights": [3, 1], "crop": 20}
    drawn = source(archive, dry, variants=variants, samples=8000, **settings)
    # ten scans are too few for five that are five apart, 33 pixels for 40
    assert drawn.variants == [(0, 1, 1), (0, 2, 1), (0, 4, 1), (1, 1, 1)]
    assert drawn.counts == [26 + 12 + 25, 6]
    drawn_variants = [(s.archive, s.speed, s.coarsen) for s in epoch(drawn)]
    for variant, share in zip(drawn.variants, (3 / 16, 6 / 16, 3 / 16, 4 / 16), strict=True):
        assert np.mean([tuple(variant) == of for of in drawn_variants]) == pytest.approx(
            share, abs=0.04
        )


def test_crops_of_one_read_have_the_same_variant(archive: Archive) -> None:
    variants = [[(1, 1), (2, 1), (1, 2)]]
    samples = epoch(source(archive, variants=variants, crop=16, samples=800))
    samples_by_number = by_number(samples)
    for sample in samples:
        for later in range(1, len(sample.ahead) + 1):
            after = samples_by_number[sample.number + later]
            assert (after.speed, after.coarsen) == (sample.speed, sample.coarsen)


def test_gains_are_log_uniform_and_change_nothing_else(archive: Archive) -> None:
    settings: dict[str, Any] = {
        "augment": True,
        "droppable_scans": 3,
        "drop_scan": 0.3,
        "samples": 2000,
    }
    plain = epoch(source(archive, **settings))
    varied = epoch(source(archive, intensity=2.0, **settings))
    assert {sample.gain for sample in plain} == {1.0}
    assert [sample._replace(gain=1.0) for sample in varied] == plain
    share = np.histogram([np.log2(s.gain) for s in varied], bins=4, range=(-1, 1))[0] / 2000
    np.testing.assert_allclose(share, 0.25, atol=0.05)


def test_no_sample_is_drawn_from_an_empty_source(archive: Archive) -> None:
    nothing = source(archive, samples=0, regions=[np.zeros(80, dtype=bool)], split="validation")
    assert (nothing.counts, epoch(nothing), nothing.count_batches(4, 2)) == ([0], [], 0)


# --- borders -----------------------------------------------------------------------------------


def test_a_crop_larger_than_the_grid(archive: Archive, dry: Archive) -> None:
    with pytest.raises(DataError, match=r"33 × 40 pixels, too few for data.crop 34") as caught:
        source(archive, dry, crop=34)
    assert str(caught.value).startswith(dry.address)
    assert "set data.crop to 33 or less, or leave the archive out" in str(caught.value)
    assert len(epoch(source(archive, crop=48))) == 40  # as large as the grid is well
    with pytest.raises(
        DataError, match=r"too few for data.crop 25 at data.coarsen 2; set data.crop to 24 or less"
    ):
        source(archive, crop=25, variants=[[(1, 2), (1, 3)]])


@pytest.mark.parametrize("split", ["training", "validation"])
def test_too_few_scans(archive: Archive, split: str) -> None:
    with pytest.raises(DataError, match=f"no {split} window in ") as caught:
        source(archive, length=31, split=split)
    message = str(caught.value)
    assert archive.address in message
    assert "a window takes 31 consecutive scans (data.context + data.lead_times" in message
    assert "ingest more scans, or change data.split" in message


def test_a_weight_of_an_archive_without_a_training_window(archive: Archive, dry: Archive) -> None:
    settings: dict[str, Any] = {"length": 11, "rain_preference": 0}
    assert source(archive, dry, **settings).counts[1] == 0  # so its share is 0
    with pytest.raises(DataError, match="no training window in ") as caught:
        source(archive, dry, weights=[1, 1], **settings)
    assert dry.address in str(caught.value)
    assert archive.address not in str(caught.value)


def test_no_rainy_window_to_prefer(archive: Archive, dry: Archive) -> None:
    with pytest.raises(DataError, match="no training window with rain in ") as caught:
        source(archive, dry)
    assert dry.address in str(caught.value)
    assert archive.address not in str(caught.value)
    assert "data.rain_preference=0" in str(caught.value)
    # without a preference for rain, or in validation, a dry archive is no error
    assert {s.archive for s in epoch(source(dry, rain_preference=0))} == {0}
    assert len(epoch(source(dry, split="validation"))) == 40


def test_rain_outside_of_the_windows_does_not_count(
    tmp_path: Path,
    archive: Archive,
    scans_of: Callable[..., list[StoredScan]],
) -> None:
    codes = np.zeros((20, *archive.grid.shape), dtype=np.uint8)
    codes[12] = 200
    path = tmp_path / "once"
    ArchiveWriter(path, STEP, {"name": "once"}).commit(
        archive.grid, scans_of(codes, "2024-06-01"), [], "once"
    )
    once = Archive.open(path)
    with pytest.raises(DataError, match="no training window with rain"):
        source(once, regions=[np.arange(20) < 12])
    assert source(once, regions=[np.arange(20) < 13]).counts == [9]
