"""The reading interface: `Archive` and `MlcastStore` give the same answers for the same scans."""

import inspect
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import DIGEST_BYTES, MISSING, OK, REJECTED, Rejection
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.archive.writer import ArchiveWriter
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.measures import BLOCK, BLOCK_STATISTICS, codes_checksum, measure
from squall.datasets.mlcast.metadata import global_attributes, store_metadata
from squall.datasets.mlcast.store import MlcastStore
from squall.datasets.mlcast.writer import write_store
from tests.datasets.archive.archive_store import NOON, STEP, Codes, Scans

COUNT = 30
MISSING_INDEX, REJECTED_INDEX = 7, 20


@pytest.fixture(scope="module")
def codes(rain_codes: Codes) -> np.ndarray:
    """(time, y, x) what both stores hold; 255 where a scan is missing or was rejected."""
    codes = rain_codes(COUNT)
    codes[[MISSING_INDEX, REJECTED_INDEX]] = RAIN_CODE.NOT_OBSERVED
    return codes


@pytest.fixture(scope="module")
def archive(
    tmp_path_factory: pytest.TempPathFactory, grid: Grid, codes: np.ndarray, scans_of: Scans
) -> Archive:
    """An Icechunk archive; scan 7 is missing, scan 20 was rejected."""
    path = tmp_path_factory.mktemp("archive") / "rain.icechunk"
    scans = [replace(s, file_mark=100 + i) for i, s in enumerate(scans_of(codes, NOON))]
    broken = Rejection("broken.nc", "f" * 32, "is cut off", NOON + REJECTED_INDEX * STEP)
    stored = [s for i, s in enumerate(scans) if i not in (MISSING_INDEX, REJECTED_INDEX)]
    writer = ArchiveWriter(path, STEP, {"name": "rain", "title": "Rain", "license": "CC0-1.0"})
    writer.commit(grid, stored, [broken], "all")
    return Archive.open(path)


@pytest.fixture(scope="module")
def mlcast_store(tmp_path_factory: pytest.TempPathFactory, archive: Archive) -> MlcastStore:
    """A plain Zarr store of the same scans."""
    out = str(tmp_path_factory.mktemp("mlcast") / "rain.zarr")
    indices = np.flatnonzero(archive.status == OK)
    times, missing = archive.times[indices], archive.times[archive.status != OK]
    attributes = global_attributes(archive, "CC0-1.0", times, missing, {})
    metadata = store_metadata(archive.grid, times, missing, attributes)
    write_store(out, metadata, archive, indices, threads=2)
    return MlcastStore.open(out)


@pytest.fixture(params=["archive", "mlcast_store"])
def store(request: pytest.FixtureRequest) -> ScanStore:
    """Each implementation of the interface."""
    opened = request.getfixturevalue(request.param)
    assert isinstance(opened, (Archive, MlcastStore))
    return opened


def test_every_member_of_the_interface_is_implemented() -> None:
    for implementation in (Archive, MlcastStore):
        assert not inspect.isabstract(implementation)
    public = {name for name in vars(ScanStore) if not name.startswith("_")}
    for implementation in (Archive, MlcastStore):
        own = {name for name in vars(implementation) if not name.startswith("_")}
        assert own - public <= {"open", "exists"}, "a member that the interface does not have"


def test_description(store: ScanStore, grid: Grid) -> None:
    assert (store.name, store.title) == ("rain", "Rain")
    assert store.attributes["license"] == "CC0-1.0"
    assert (store.start, store.step) == (NOON, STEP)
    assert store.grid.difference(grid) is None
    assert store.block_px == BLOCK
    assert Path(store.address).exists()
    assert store.bytes_on_disk() > 1000
    assert len(store.snapshot) > 10


def test_times(store: ScanStore) -> None:
    assert (store.times == pd.date_range(NOON, periods=COUNT, freq=STEP)).all()
    assert store.index_of(NOON + 3 * STEP) == 3
    assert store.index_of(NOON - STEP) == -1
    with pytest.raises(DataError, match="is not on the archive's step"):
        store.index_of(NOON + STEP / 2)


def test_codes(store: ScanStore, codes: np.ndarray) -> None:
    assert (store.codes.shape, store.codes.dtype) == (codes.shape, np.uint8)
    assert store.codes.ndim == 3
    assert len(store.codes.chunks) == 3
    np.testing.assert_array_equal(store.codes[:], codes)
    np.testing.assert_array_equal(store.codes[5:9, 3:20, 10:50], codes[5:9, 3:20, 10:50])
    np.testing.assert_array_equal(store.codes[29], codes[29])


def test_status(store: ScanStore) -> None:
    expected = np.full(COUNT, OK)
    # the convention has no rejected scans: they are missing there
    expected[REJECTED_INDEX] = REJECTED if isinstance(store, Archive) else MISSING
    expected[MISSING_INDEX] = MISSING
    assert store.status.dtype == np.uint8
    np.testing.assert_array_equal(store.status, expected)
    with pytest.raises(ValueError, match="read-only"):
        store.status[0] = MISSING


def test_checksums(store: ScanStore, codes: np.ndarray) -> None:
    good = store.status == OK
    checksums = store.checksums
    assert checksums.dtype == np.uint64
    expected = [codes_checksum(scan) if ok else 0 for scan, ok in zip(codes, good, strict=True)]
    assert checksums.tolist() == expected


def test_records_of_some_rows(store: ScanStore, codes: np.ndarray) -> None:
    rows = np.array([0, MISSING_INDEX, 24, 29])
    records = store.records(rows)
    assert set(records) == {"status", "source", "digest", "checksum"}
    assert records["status"].tolist() == [OK, MISSING, OK, OK]
    assert [bool(source) for source in records["source"]] == [True, False, True, True]
    assert records["digest"].shape == (4, DIGEST_BYTES)
    assert records["digest"].dtype == np.uint8
    assert records["digest"].any() == isinstance(store, Archive)
    assert records["checksum"].tolist() == store.checksums[rows].tolist()
    assert store.records(rows[:0])["status"].size == 0


def test_marks(store: ScanStore) -> None:
    marks = store.marks()
    assert marks.dtype == np.uint64
    if isinstance(store, Archive):
        absent = (MISSING_INDEX, REJECTED_INDEX)
        assert marks.tolist() == [0 if i in absent else 100 + i for i in range(COUNT)]
        assert store.marks(NOON + 25 * STEP).tolist() == marks[25:].tolist()
    else:
        assert marks.size == store.marks(NOON).size == 0


def test_rejections(store: ScanStore) -> None:
    files = [rejection.file for rejection in store.rejections]
    assert files == (["broken.nc"] if isinstance(store, Archive) else [])


@pytest.mark.parametrize("name", BLOCK_STATISTICS)
def test_block_statistics(store: ScanStore, codes: np.ndarray, name: str) -> None:
    expected = np.stack([measure(scan).blocks[BLOCK_STATISTICS.index(name)] for scan in codes])
    statistics = store.block_statistics(name)
    assert statistics.dtype == np.float32
    np.testing.assert_array_equal(statistics, expected)
    where = np.zeros(COUNT, dtype=bool)
    assert store.block_statistics(name, where).shape == (0, *expected.shape[1:])
    where[[0, 5, MISSING_INDEX, 8, 29]] = True
    np.testing.assert_array_equal(store.block_statistics(name, where), expected[where])


@pytest.mark.parametrize("name", BLOCK_STATISTICS)
def test_block_statistics_of_some_rows(store: ScanStore, name: str) -> None:
    statistics = store.block_statistics(name)
    assert store.block_chunk > 0
    for first, end in ((0, COUNT), (3, 4), (MISSING_INDEX, COUNT), (5, 5), (7, COUNT + 9)):
        np.testing.assert_array_equal(store.block_rows(name, first, end), statistics[first:end])


@pytest.mark.parametrize("chunk", [4, 256])
def test_mean_rain_is_that_of_all_blocks(
    store: ScanStore, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the same to the bit, however many time steps are read together."""
    monkeypatch.setattr(type(store), "block_chunk", chunk)
    expected = np.nan_to_num(store.block_statistics("rain_rate")).mean(axis=(1, 2))
    where = np.arange(expected.size) % 3 > 0
    mean = store.mean_rain(where)
    assert mean.dtype == expected.dtype
    np.testing.assert_array_equal(mean, np.where(where, expected, 0))
    assert expected[where].any()


def test_the_size_of_very_many_files_is_not_added(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sum(path.is_file() for path in Path(archive.address).rglob("*"))
    monkeypatch.setattr("squall.datasets.archive.archive.MOST_COUNTED", files)
    assert archive.bytes_on_disk() is not None
    monkeypatch.setattr("squall.datasets.archive.archive.MOST_COUNTED", files - 1)
    assert archive.bytes_on_disk() is None


def test_reading_beyond_both_ends_gives_missing_scans(store: ScanStore, codes: np.ndarray) -> None:
    rain = store.read(-2, COUNT + 5)
    assert (rain.dims, rain.dtype) == (("time", "y", "x"), np.float32)
    assert rain.attrs["units"] == "mm h-1"
    np.testing.assert_array_equal(rain[2 : COUNT + 2], RAIN_CODE.decode(codes))
    assert np.isnan(rain[:2]).all()
    assert np.isnan(rain[-3:]).all()
    assert rain.time.values[0] == (NOON - 2 * STEP).to_datetime64()
    assert np.isnan(store.read(COUNT + 1000, 2)).all()
    assert store.read(0, 0).shape == (0, *codes.shape[1:])


def test_pickling(store: ScanStore) -> None:
    pickled = pickle.dumps(store)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert type(again) is type(store)
    assert (again.address, again.snapshot) == (store.address, store.snapshot)
    np.testing.assert_array_equal(again.codes[3], store.codes[3])
