"""Windows have the codes of the archive, however they were read."""

import itertools
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.coding import RAIN_CODE
from squall.datasets.mlcast.store import MlcastStore
from squall.datasets.open_archive import open_archive
from squall.datasets.training.batch_loader import BatchLoader
from squall.datasets.training.batches import PADDING, CodeBatch, Places, Sample
from squall.datasets.training.epoch_plan import SPAN
from squall.datasets.training.samples import SampleSource, rain_blocks
from squall.datasets.training.sampling import Sampling
from squall.datasets.training.window_reader import WindowReader, coarsened
from squall.datasets.training.windows import Crop
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.export.run import export

LENGTH, CROP = 5, 24


@pytest.fixture(scope="module")
def exported(rain_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture archive as a plain Zarr store of the MLCast convention."""
    out = tmp_path_factory.mktemp("exported") / "rain.zarr"
    export(ExportConfig(archive=str(rain_archive), out=str(out)))
    return out


@pytest.fixture(params=["icechunk", "mlcast"])
def archive(request: pytest.FixtureRequest, rain_archive: Path) -> ScanStore:
    if request.param == "icechunk":
        return Archive.open(rain_archive)
    store = open_archive(str(request.getfixturevalue("exported")))
    assert isinstance(store, MlcastStore)
    return store


def source(*archives: ScanStore, **changes: Any) -> SampleSource:
    settings: dict[str, Any] = {"samples": 120, "per_read": 4, "augment": True}
    settings |= {"droppable_scans": 2}
    return SampleSource(
        archives,
        [rain_blocks(archive) for archive in archives],
        [np.ones(archive.times.size, dtype=bool) for archive in archives],
        Sampling(
            split="training",
            seed=3,
            length=LENGTH,
            crop=CROP,
            rain_preference=3.0,
            **settings | changes,
        ),
    )


def expected(archives: tuple[ScanStore, ...], sample: Sample) -> np.ndarray:
    (scan, row, column), side = sample.crop, CROP * sample.coarsen
    scans = [scan + step * sample.speed for step in range(LENGTH)]
    whole = archives[sample.archive].codes[scan : scans[-1] + 1]
    codes = whole[:: sample.speed, row : row + side, column : column + side].copy()
    assert len(codes) == LENGTH
    if sample.coarsen > 1:
        squares = [
            RAIN_CODE.decode(codes[:, i :: sample.coarsen, j :: sample.coarsen])
            for i, j in itertools.product(range(sample.coarsen), repeat=2)
        ]
        rate = np.where(np.isnan(squares).mean(axis=0) > 0.5, np.nan, np.nan_to_num(squares).sum(0))
        codes = RAIN_CODE.encode(rate / np.maximum(np.isfinite(squares).sum(axis=0), 1))
    codes[list(sample.dropped)] = RAIN_CODE.NOT_OBSERVED
    return codes


def cut(reader: WindowReader, *samples: Sample) -> CodeBatch:
    """One batch, in the main process."""
    return reader.receive(reader.__getitems__(samples))


def check(batch: CodeBatch, samples: list[Sample], *archives: ScanStore) -> None:
    assert batch.codes.shape == (len(samples), LENGTH, CROP, CROP)
    assert batch.codes.dtype == torch.uint8
    for codes, turn, place, sample in zip(
        batch.codes.numpy(),
        batch.turns.tolist(),
        batch.places.table().tolist(),
        samples,
        strict=True,
    ):
        np.testing.assert_array_equal(codes, expected(archives, sample))
        assert turn == sample.turn
        crop = sample.crop
        how = [sample.speed, sample.coarsen]
        assert place == [sample.number, sample.archive, crop.scan, crop.row, crop.column, *how]
    assert batch.gains.tolist() == pytest.approx([sample.gain for sample in samples])


class CountingCodes:
    """Codes of an archive that tell how often and how much of them is read."""

    def __init__(self, codes: Any) -> None:
        self.codes, self.reads, self.pixels = codes, 0, 0

    def __getitem__(self, key: Any) -> Any:
        codes = self.codes[key]
        self.reads += 1
        self.pixels += codes.size
        return codes


@pytest.fixture
def counted(rain_archive: Path) -> Archive:
    archive = Archive.open(rain_archive)
    archive.__dict__["codes"] = CountingCodes(archive.codes)  # in place of the cached property
    return archive


# --- what is cut -------------------------------------------------------------------------------


def test_an_epoch_has_the_codes_of_the_archive(archive: ScanStore) -> None:
    reader = WindowReader([archive], LENGTH, CROP)
    for epoch in range(2):
        for samples in source(archive, drop_scan=0.3).batches(epoch, 6):
            check(cut(reader, *samples), samples, archive)
        assert not reader._windows_ahead


def test_any_order_gives_the_same_windows(archive: ScanStore) -> None:
    reader = WindowReader([archive], LENGTH, CROP)
    samples = list(itertools.chain(*source(archive).batches(0, 6)))
    np.random.default_rng(0).shuffle(samples)  # type: ignore[arg-type]
    for sample in samples:
        check(cut(reader, sample), [sample], archive)
    for sample in samples[:5]:  # again, when none of them is read ahead
        check(cut(reader, sample), [sample], archive)


def test_both_kinds_of_archives_give_the_same_codes(rain_archive: Path, exported: Path) -> None:
    """Chunks and cells differ; samples at the same place have the same codes."""
    archive, store = Archive.open(rain_archive), open_archive(str(exported))
    assert archive.codes.chunks != store.codes.chunks
    archive_reader, store_reader = (WindowReader([a], LENGTH, CROP) for a in (archive, store))
    for samples in source(archive).batches(0, 8):
        assert torch.equal(
            archive_reader.__getitems__(samples).codes, store_reader.__getitems__(samples).codes
        )


def test_archives_of_other_grids_in_one_batch(rain_archive: Path, dry_archive: Path) -> None:
    archives = Archive.open(rain_archive), Archive.open(dry_archive)
    reader = WindowReader(archives, LENGTH, CROP)
    corners = [
        Sample(0, 0, archive=0, crop=Crop(75, 48 - CROP, 64 - CROP)),
        Sample(0, 1, archive=1, crop=Crop(5, 33 - CROP, 40 - CROP)),
        Sample(0, 2, archive=0, crop=Crop(0, 0, 0)),
    ]
    batch = cut(reader, *corners)
    check(batch, corners, *archives)
    assert not batch.codes[1].any()
    assert batch.codes[0].any()


def test_padding_is_not_observed(rain_archive: Path) -> None:
    archive = Archive.open(rain_archive)
    sample = Sample(0, 4, crop=Crop(10, 8, 8), turn=5)
    batch = cut(WindowReader([archive], LENGTH, CROP), sample, Sample(0, PADDING))
    first = Places.from_table(batch.places.table()[:1])
    check(CodeBatch(*(field[:1] for field in batch[:3]), first), [sample], archive)
    assert (batch.codes[1] == RAIN_CODE.NOT_OBSERVED).all()
    assert batch.places.number[1] == PADDING
    assert batch.turns.tolist() == [5, 0]


# --- reading ahead -----------------------------------------------------------------------------


def test_crops_ahead_are_read_at_once_and_given_once(counted: Archive) -> None:
    codes: Any = counted.codes
    crops = [Crop(3, 2, 9), Crop(0, 0, 0), Crop(7, 20, 30), Crop(3, 2, 9)]
    samples = [
        Sample(0, 8 + i, crop=crop, ahead=tuple(crops[i + 1 :])) for i, crop in enumerate(crops)
    ]
    reader = WindowReader([counted], LENGTH, CROP)
    batches = [cut(reader, sample) for sample in samples]
    assert (codes.reads, codes.pixels) == (1, 12 * 44 * 54)  # the box around all four
    assert not reader._windows_ahead
    for sample, batch in zip(samples, batches, strict=True):
        check(batch, [sample], counted)


def test_a_scan_lost_to_one_sample_is_not_lost_to_the_next(rain_archive: Path) -> None:
    archive = Archive.open(rain_archive)
    crop = Crop(10, 8, 8)
    samples = [
        Sample(0, 0, crop=crop, dropped=(0, 1), ahead=(crop, crop)),
        Sample(0, 1, crop=crop, dropped=(1,), ahead=(crop,)),
        Sample(0, 2, crop=crop),
    ]
    reader = WindowReader([archive], LENGTH, CROP)
    check(cut(reader, *samples), samples, archive)


def test_a_long_epoch_reads_each_group_about_once(rain_archive: Path, counted: Archive) -> None:
    codes: Any = counted.codes
    drawn = source(Archive.open(rain_archive), samples=1600)
    reader = WindowReader([counted], LENGTH, CROP)
    most = 0
    for samples in drawn.batches(0, 2):
        cut(reader, *samples)
        most = max(most, len(reader._windows_ahead))
    assert codes.reads < 1.2 * 1600 / 4
    assert most <= SPAN * 2 * 3  # a span of groups at most
    assert not reader._windows_ahead


def test_windows_read_ahead_in_an_earlier_epoch_are_not_used(rain_archive: Path) -> None:
    archive = Archive.open(rain_archive)
    reader = WindowReader([archive], LENGTH, CROP)
    cut(reader, Sample(0, 0, crop=Crop(0, 0, 0), ahead=(Crop(1, 1, 1), Crop(2, 2, 2))))
    assert len(reader._windows_ahead) == 2
    other = Sample(1, 1, crop=Crop(60, 20, 30))  # the same number in another epoch
    check(cut(reader, other), [other], archive)
    assert not reader._windows_ahead


def test_epochs_do_not_grow_the_reader(rain_archive: Path) -> None:
    archive = Archive.open(rain_archive)
    drawn, reader = source(archive, samples=240), WindowReader([archive], LENGTH, CROP)
    peaks = []
    for epoch in range(4):
        bytes_ahead = []
        for samples in drawn.batches(epoch, 4):
            cut(reader, *samples)
            bytes_ahead.append(sum(cut.nbytes for cut in reader._windows_ahead.values()))
            assert all(
                cut.base is None for cut in reader._windows_ahead.values()
            )  # not a view of a box
        peaks.append(max(bytes_ahead))
    assert peaks == [peaks[0]] * 4


# --- speed and grid spacing --------------------------------------------------------------------


def test_windows_with_longer_steps_and_larger_pixels(rain_archive: Path) -> None:
    archive = Archive.open(rain_archive)
    drawn = source(archive, variants=[[(1, 1), (3, 1), (2, 2), (1, 2)]], intensity=2.0)
    reader = WindowReader([archive], LENGTH, CROP)
    seen = set()
    for samples in drawn.batches(0, 6):
        check(cut(reader, *samples), samples, archive)
        seen |= {(sample.speed, sample.coarsen) for sample in samples}
    assert seen == {(1, 1), (3, 1), (2, 2), (1, 2)}
    assert not reader._windows_ahead


def test_means_by_hand() -> None:
    nan = np.nan
    rate = [
        [[2.0, 4.0, 0.0, 0.0, 3.0, nan], [6.0, 8.0, 0.0, 0.2, nan, 9.0]],
        [[nan, nan, nan, nan, 0.0, nan], [nan, 5.0, nan, nan, 0.0, 0.0]],
    ]
    # a quarter of 0.2 is less than the lowest rate that has a code, and so dry
    means = np.array([[[5.0, 0.0, 6.0]], [[nan, nan, 0.0]]])
    rates = RAIN_CODE.decode(coarsened(RAIN_CODE.encode(np.array(rate)), 2))
    np.testing.assert_allclose(rates, means, rtol=0.032)


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_means_of_even_rain_are_that_rain(seed: int, factor: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 256, (2, 3, 4)).astype(np.uint8)
    np.testing.assert_array_equal(
        coarsened(codes.repeat(factor, axis=1).repeat(factor, axis=2), factor), codes
    )


# --- in worker processes -----------------------------------------------------------------------


def test_a_reader_travels_to_worker_processes(archive: ScanStore) -> None:
    reader = pickle.loads(pickle.dumps(WindowReader([archive], LENGTH, CROP)))
    samples = next(source(archive).batches(0, 6))
    check(cut(reader, *samples), samples, archive)


@pytest.mark.slow
def test_worker_processes_give_the_same(archive: ScanStore) -> None:
    """Also if the main process receives batches slowly and keeps them all."""
    size = 6
    changes: dict[str, Any] = {"variants": [[(1, 1), (2, 2)]], "intensity": 3.0}
    drawn = source(archive, drop_scan=0.2, **changes)
    batches = list(drawn.batches(0, size))
    reader = WindowReader([archive], LENGTH, CROP, batch_size=size, workers=2)
    loader = BatchLoader(drawn, reader, None, batch_size=size, workers=2, same_every_epoch=False)
    loader._batches.samples = iter(batches)
    received_batches = []
    for batch in loader._loader:
        time.sleep(0.05)  # meanwhile the workers have prefetched as many batches as they may
        received_batches.append(reader.receive(batch))
    loader.close()
    assert len(received_batches) == 20
    for received, samples in zip(received_batches, batches, strict=True):
        check(received, samples, archive)
