"""Reading an archive: scans, times, snapshots, and what is not an archive."""

import pickle
from dataclasses import replace
from pathlib import Path

import icechunk
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import MISSING, OK, Rejection, file_mark
from squall.datasets.archive.repository import storage_of
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.measures import codes_checksum
from tests.datasets.archive.archive_store import NOON, STEP, Codes, Scans, Store


@pytest.fixture
def store(tmp_path: Path, grid: Grid) -> Store:
    return Store(tmp_path / "radar.icechunk", grid)


def test_reading_gives_decoded_rain_with_coordinates(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    codes = rain_codes(4)
    store.commit(scans_of(codes, NOON))
    rain = store.open().read(1, 2)
    np.testing.assert_array_equal(rain.values, RAIN_CODE.decode(codes[1:3]))
    assert rain.dims == ("time", "y", "x")
    assert rain.dtype == np.float32
    assert rain.attrs["units"] == "mm h-1"
    np.testing.assert_array_equal(rain.time, [NOON + STEP, NOON + 2 * STEP])
    np.testing.assert_array_equal(rain.y, store.grid.y)
    assert rain.spatial_ref.attrs["grid_mapping_name"] == "polar_stereographic"


def test_reading_outside_the_archive_is_not_observed(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    codes = rain_codes(2)
    store.commit(scans_of(codes, NOON))
    archive = store.open()
    rain = archive.read(-2, 6)
    np.testing.assert_array_equal(rain[2:4], RAIN_CODE.decode(codes))
    assert np.isnan(rain[:2]).all()
    assert np.isnan(rain[4:]).all()
    assert rain.time.values[0] == np.datetime64("2024-06-01T11:50")
    assert np.isnan(archive.read(1000, 2)).all()
    assert archive.read(0, 0).shape == (0, 48, 64)


def test_indices_and_times(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    store.commit(scans_of(rain_codes(2), NOON))
    archive = store.open()
    assert archive.index_of(NOON + STEP) == 1
    assert archive.index_of(NOON - 3 * STEP) == -3
    assert archive.index_of(NOON + pd.Timedelta("1D")) == 288
    with pytest.raises(DataError, match=r"12:02:00 is not on the archive's step"):
        archive.index_of(NOON + pd.Timedelta("2min"))


def test_an_old_snapshot_never_changes(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = scans_of(rain_codes(30), NOON)
    snapshot = store.commit(scans)
    opened = store.open()
    before = (opened.codes[:].tobytes(), opened.status.tobytes(), opened.start)

    changed = [replace(s, codes=rain_codes(1, seed=5)[0]) for s in scans[:4]]
    store.commit(changed)
    store.commit(scans_of(rain_codes(3, seed=6), NOON - 40 * STEP))
    store.commit(scans_of(rain_codes(3, seed=7), NOON + 40 * STEP))
    for archive in (opened, store.open(snapshot)):
        assert (archive.codes[:].tobytes(), archive.status.tobytes(), archive.start) == before
        assert archive.snapshot == snapshot
    assert store.open().snapshot != snapshot
    assert store.open().start < opened.start


def test_pickling_keeps_path_and_snapshot(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    store.commit(scans_of(rain_codes(2), NOON))
    archive = store.open()
    pickled = pickle.dumps(archive)
    assert len(pickled) < 1000
    store.commit(scans_of(rain_codes(2), NOON + 2 * STEP))
    again = pickle.loads(pickled)
    assert again.snapshot == archive.snapshot
    np.testing.assert_array_equal(again.codes[:], archive.codes[:])


@pytest.mark.parametrize("snapshot", ["00000000000000000000", "nonsense"])
def test_a_snapshot_that_does_not_exist(
    store: Store, rain_codes: Codes, scans_of: Scans, snapshot: str
) -> None:
    store.commit(scans_of(rain_codes(1), NOON))
    with pytest.raises(DataError, match=f"no snapshot '{snapshot}'"):
        store.open(snapshot)


def test_no_archive_at_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("absent", "file", "empty"):
        assert not Archive.exists(tmp_path / name)
        with pytest.raises(DataError, match=r"there is no archive.*squall ingest"):
            Archive.open(tmp_path / name)


def test_a_repository_of_something_else(store: Store) -> None:
    repository = icechunk.Repository.create(storage_of(str(store.path)))
    session = repository.writable_session("main")
    zarr.create_group(session.store, attributes={"of": "sea ice"})
    session.commit("not ours")
    with pytest.raises(DataError, match=r"no Squall archive of format 2 .*ingest its files again"):
        store.open()


def test_xarray_opens_the_store(rain_archive: Path) -> None:
    archive = Archive.open(rain_archive)
    with xr.open_zarr(archive._session.store, consolidated=False) as whole:
        data = whole.isel(time=slice(whole.attrs["first_row"], None))
        np.testing.assert_array_equal(data["time"].values, archive.times.values)
        assert data["time"].dtype.kind == "M"
        assert data["rain_rate_code"].dims == ("time", "y", "x")
        assert data["rain_rate_code"].dtype == np.uint8
        np.testing.assert_array_equal(data["rain_rate_code"][:3], archive.codes[:3])
        np.testing.assert_array_equal(data["x"], archive.grid.x)
        assert data["x"].attrs["standard_name"] == "projection_x_coordinate"
        assert data["source"].values[30] == ""
        assert data["source"].values[0] == "file0.nc"
        mapping = data["rain_rate_code"].attrs.get("grid_mapping") or "spatial_ref"
        assert data[mapping].attrs["grid_mapping_name"] == "polar_stereographic"
        assert data["status"].attrs["flag_meanings"] == "missing ok rejected"


def test_marks_from_a_time_on(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = [
        replace(s, file_mark=100 + i)
        for i, s in enumerate(scans_of(rain_codes(30), NOON))
        if i != 20
    ]
    store.commit(scans)
    archive = store.open()
    marks = [100 + i if i != 20 else 0 for i in range(30)]
    assert archive.marks().tolist() == marks
    assert archive.marks(NOON - STEP).tolist() == marks
    assert archive.marks(NOON + 19 * STEP).tolist() == marks[19:]
    assert archive.marks(NOON + 19.5 * STEP).tolist() == marks[19:]
    assert archive.marks(NOON + 300 * STEP).size == 0
    assert archive.marks().dtype == np.uint64


def test_records_of_some_rows(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = scans_of(rain_codes(30), NOON)
    store.commit([s for i, s in enumerate(scans) if i != 7], [])
    archive = store.open()
    records = archive.records(np.array([0, 7, 24, 29]))
    assert records["status"].tolist() == [OK, MISSING, OK, OK]
    assert records["source"].tolist() == ["file0.nc", "", "file24.nc", "file29.nc"]
    digests = [row.tobytes().hex() for row in records["digest"]]
    assert digests == [scans[0].digest, "0" * 32, scans[24].digest, scans[29].digest]
    assert records["checksum"][0] == codes_checksum(scans[0].codes)
    assert records["checksum"][1] == 0


def test_a_mark_stands_for_address_and_version() -> None:
    marks = {file_mark(a, v) for a in ("a", "b", "ab") for v in ("", "1", "b", "2")}
    assert len(marks) == 12
    assert file_mark("a", "1") == file_mark("a", "1")
    assert all(0 < mark < 2**64 for mark in marks)


def test_block_statistics_of_chosen_times(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    store.commit(scans_of(rain_codes(30), NOON))
    archive = store.open()
    where = np.zeros(30, dtype=bool)
    assert archive.block_statistics("wet_share", where).shape == (0, 2, 2)
    where[[0, 5, 6, 7, 29]] = True
    statistics = archive.block_statistics("wet_share", where)
    np.testing.assert_array_equal(statistics, archive.block_statistics("wet_share")[where])


def test_block_statistics_of_scattered_times_are_read_once_for_each_chunk(
    store: Store, rain_codes: Codes, scans_of: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(scans_of(rain_codes(30), NOON))
    archive = store.open()
    where = np.arange(30) % 3 == 0
    expected = archive.block_statistics("rain_rate")[where]
    reads, read = [], zarr.Array.__getitem__

    def counted(array: zarr.Array, selection: object) -> object:
        reads.append(selection)
        return read(array, selection)

    monkeypatch.setattr(zarr.Array, "__getitem__", counted)
    np.testing.assert_array_equal(archive.block_statistics("rain_rate", where), expected)
    assert len(reads) == 1


def test_the_status_of_a_snapshot_cannot_be_changed(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    store.commit(scans_of(rain_codes(1), NOON))
    with pytest.raises(ValueError, match="read-only"):
        store.open().status[0] = MISSING


def test_log_entries_are_read_as_they_were_written(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    entry = Rejection(
        "s3://bucket/größe 1.nc", "f" * 32, "“schief”\nis cut off", NOON + STEP, "off the step",
        file_mark=2**64 - 1,
    )  # fmt: skip
    store.commit(scans_of(rain_codes(1), NOON), [entry])
    assert store.open().rejections == [entry]
