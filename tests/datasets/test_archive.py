"""The archive: what commits keep, what readers see, and what a crash leaves behind."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import icechunk
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from datasets.archive import (
    MISSING,
    OK,
    REJECTED,
    Archive,
    EmptyArchiveError,
    Rejection,
    StoredScan,
    storage_of,
)
from datasets.archive_writer import (
    BLOCK,
    TIME_CHUNK,
    ArchiveWriter,
    block_statistics,
    lock_path,
    write_lock,
)
from datasets.coding import RAIN_CODE
from datasets.errors import DataError
from datasets.grid import Grid

ROOT = Path(__file__).parents[2]
STEP = pd.Timedelta("5min")
NOON = pd.Timestamp("2024-06-01T12:00")

Codes = Callable[..., np.ndarray]
Scans = Callable[..., list[StoredScan]]


class Store:
    """An archive in a temporary folder and a short way to commit to it."""

    def __init__(self, path: Path, grid: Grid) -> None:
        self.path, self.grid = path, grid

    def commit(self, scans: list[StoredScan], rejections: list[Rejection] | None = None) -> str:
        writer = ArchiveWriter(self.path, STEP, {"name": "radar", "title": "The radar"})
        return writer.commit(self.grid, scans, rejections or [], "test")

    def open(self, snapshot: str | None = None) -> Archive:
        return Archive.open(self.path, snapshot)


@pytest.fixture
def store(tmp_path: Path, grid: Grid) -> Store:
    return Store(tmp_path / "radar.icechunk", grid)


def assert_holds(archive: Archive, scans: list[StoredScan]) -> None:
    """Exactly these scans, at their times, and nothing else."""
    status, codes, sources = archive.status, archive.codes[:], archive.source_names()
    statistics = {
        name: archive.block_statistics(name)
        for name in ("rain_rate", "wet_share", "observed_share")
    }
    assert (status == OK).sum() == len(scans)
    for scan in scans:
        index = archive.index_of(scan.time)
        assert archive.times[index] == scan.time
        assert status[index] == OK
        np.testing.assert_array_equal(codes[index], scan.codes)
        assert sources[index] == scan.source
        for name, values in block_statistics(scan.codes).items():
            np.testing.assert_array_equal(statistics[name][index], values)
    empty = status != OK
    assert (codes[empty] == RAIN_CODE.NOT_OBSERVED).all()
    assert (sources[empty] == "").all()
    assert not statistics["observed_share"][empty].any()


def assert_regular(archive: Archive) -> None:
    """The stored time axis is what start, step and length say."""
    with xr.open_zarr(archive._session.store, consolidated=False) as data:
        np.testing.assert_array_equal(data["time"].values, archive.times.values)


# --- writing and reading -----------------------------------------------------------------------


def test_a_first_commit_makes_the_archive(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    assert not Archive.exists(store.path)
    scans = scans_of(rain_codes(3), NOON)
    snapshot = store.commit(scans)
    archive = store.open()
    assert archive.snapshot == snapshot
    assert (archive.name, archive.title) == ("radar", "The radar")
    assert (archive.start, archive.step) == (NOON, STEP)
    assert archive.grid.difference(store.grid) is None
    assert archive.codes.shape == (3, 48, 64)
    assert_holds(archive, scans)
    assert_regular(archive)
    assert archive.bytes_on_disk() > 0
    assert archive.sources() == {scan.digest: [i] for i, scan in enumerate(scans)}


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


def test_appending(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = scans_of(rain_codes(60), NOON)
    for low, high in ((0, 5), (5, 6), (6, 50), (50, 60)):  # across chunks of 24
        store.commit(scans[low:high])
    assert_holds(store.open(), scans)
    assert_regular(store.open())


def test_out_of_order_and_gaps(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = scans_of(rain_codes(60), NOON)
    order = [50, 3, 31, 4, 59, 30]
    for index in order:
        store.commit([scans[index]])
    archive = store.open()
    assert archive.times[-1] == scans[59].time
    assert_holds(archive, [scans[i] for i in order])
    assert_regular(archive)
    assert archive.status[archive.index_of(scans[10].time)] == MISSING
    assert np.isnan(archive.read(archive.index_of(scans[10].time), 3)).all()


def test_one_commit_takes_scans_in_any_order(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(30), NOON)
    store.commit(scans[::-1])
    assert_holds(store.open(), scans)


@pytest.mark.parametrize("earlier", [1, 24, 25, 100])
def test_scans_from_before_the_start(
    store: Store, rain_codes: Codes, scans_of: Scans, earlier: int
) -> None:
    later = scans_of(rain_codes(30), NOON)
    before = scans_of(rain_codes(2, seed=1), NOON - earlier * STEP, source="early")
    before = before[: min(2, earlier)]
    rejection = Rejection("bad.nc", "e" * 32, "broken", later[-1].time + STEP)
    store.commit(later, [rejection])
    store.commit(before)
    archive = store.open()
    assert archive.start <= before[0].time
    assert (later[0].time - archive.start) // STEP % TIME_CHUNK == 0
    assert_holds(archive, before + later)
    assert_regular(archive)
    assert archive.status[archive.index_of(later[-1].time + STEP)] == REJECTED
    assert (archive.status == REJECTED).sum() == 1
    # and it goes on at both ends
    more = scans_of(rain_codes(1, seed=2), archive.times[-1] + STEP, source="more")
    store.commit(more)
    assert_holds(store.open(), before + later + more)


def test_a_reissued_scan_replaces(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = scans_of(rain_codes(5), NOON)
    store.commit(scans)
    again = replace(scans[2], codes=rain_codes(1, seed=9)[0], digest="c" * 32)
    store.commit([again])
    archive = store.open()
    assert_holds(archive, [*scans[:2], again, *scans[3:]])
    assert archive.sources()["c" * 32] == [2]
    assert scans[2].digest not in archive.sources()


def test_all_dry_and_all_missing_scans(store: Store) -> None:
    dry = np.zeros((48, 64), dtype=np.uint8)
    missing = np.full((48, 64), RAIN_CODE.NOT_OBSERVED, dtype=np.uint8)
    scans = [StoredScan(NOON, dry, "dry.nc", "1"), StoredScan(NOON + STEP, missing, "no.nc", "2")]
    store.commit(scans)
    archive = store.open()
    assert_holds(archive, scans)
    assert (archive.read(0, 1) == 0).all()
    assert np.isnan(archive.read(1, 1)).all()
    assert (archive.block_statistics("observed_share")[:, 0, 0] == [1, 0]).all()
    assert not archive.block_statistics("rain_rate").any()


# --- rejections --------------------------------------------------------------------------------


def test_a_rejected_slot_and_the_good_scan_that_follows(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(3), NOON)
    broken = Rejection(scans[1].source, "b" * 32, "is cut off", scans[1].time)
    store.commit([scans[0], scans[2]], [broken])
    archive = store.open()
    assert archive.status.tolist() == [OK, REJECTED, OK]
    assert archive.rejections == [broken]
    assert_holds(archive, [scans[0], scans[2]])

    store.commit([scans[1]])
    archive = store.open()
    assert archive.rejections == []
    assert_holds(archive, scans)


def test_a_rejection_does_not_spoil_a_good_scan(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(2), NOON)
    store.commit(scans)
    store.commit([], [Rejection("late.nc", "b" * 32, "is cut off", scans[1].time)])
    archive = store.open()
    assert_holds(archive, scans)
    assert [r.file for r in archive.rejections] == ["late.nc"]


def test_rejections_without_a_time_and_repeated_ones(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    store.commit(scans_of(rain_codes(1), NOON), [Rejection("a.nc", "1", "empty")])
    store.commit([], [Rejection("a.nc", "2", "still empty"), Rejection("b.nc", "3", "no map")])
    archive = store.open()
    assert [(r.file, r.reason, r.time) for r in archive.rejections] == [
        ("a.nc", "still empty", None),
        ("b.nc", "no map", None),
    ]
    assert archive.codes.shape[0] == 1


def test_a_rejection_can_extend_the_axis(store: Store, rain_codes: Codes, scans_of: Scans) -> None:
    scans = scans_of(rain_codes(1), NOON)
    store.commit(scans)
    store.commit([], [Rejection("a.nc", "1", "empty", NOON + 3 * STEP)])
    archive = store.open()
    assert archive.status.tolist() == [OK, MISSING, MISSING, REJECTED]
    assert_regular(archive)


def test_a_first_commit_that_knows_no_time(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    store.commit([], [Rejection("a.nc", "1", "time is 91 s off the step")])
    assert store.open().codes.shape[0] == 0
    scans = scans_of(rain_codes(2), NOON)
    store.commit(scans)
    archive = store.open()
    assert archive.start == NOON
    assert archive.codes.shape[0] == 2
    assert_holds(archive, scans)


# --- snapshots ---------------------------------------------------------------------------------


def test_an_old_snapshot_gives_the_same_bytes_for_ever(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    scans = scans_of(rain_codes(30), NOON)
    snapshot = store.commit(scans)
    held = store.open()
    before = (held.codes[:].tobytes(), held.status.tobytes(), held.start)

    changed = [replace(s, codes=rain_codes(1, seed=5)[0]) for s in scans[:4]]
    store.commit(changed)
    store.commit(scans_of(rain_codes(3, seed=6), NOON - 40 * STEP))
    store.commit(scans_of(rain_codes(3, seed=7), NOON + 40 * STEP))
    for archive in (held, store.open(snapshot)):
        assert (archive.codes[:].tobytes(), archive.status.tobytes(), archive.start) == before
        assert archive.snapshot == snapshot
    assert store.open().snapshot != snapshot
    assert store.open().start < held.start


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
def test_a_snapshot_that_is_not_there(
    store: Store, rain_codes: Codes, scans_of: Scans, snapshot: str
) -> None:
    store.commit(scans_of(rain_codes(1), NOON))
    with pytest.raises(DataError, match=f"no snapshot '{snapshot}'"):
        store.open(snapshot)


# --- what is no archive ------------------------------------------------------------------------


def test_no_archive_at_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("absent", "file", "empty"):
        assert not Archive.exists(tmp_path / name)
        with pytest.raises(DataError, match=r"there is no archive.*squall ingest"):
            Archive.open(tmp_path / name)


def test_a_folder_of_something_else(
    tmp_path: Path, grid: Grid, rain_codes: Codes, scans_of: Scans
) -> None:
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(DataError, match="folder of its own, and this one is not empty"):
        Store(tmp_path, grid).commit(scans_of(rain_codes(1), NOON))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_repository_of_something_else(store: Store) -> None:
    repository = icechunk.Repository.create(storage_of(store.path))
    session = repository.writable_session("main")
    zarr.create_group(session.store, attributes={"of": "sea ice"})
    session.commit("not ours")
    with pytest.raises(DataError, match=r"no Squall archive of format 1 .*ingest it anew"):
        store.open()


def test_a_repository_whose_first_commit_never_came(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    icechunk.Repository.create(storage_of(store.path))
    with pytest.raises(EmptyArchiveError, match="nothing has been ingested yet"):
        store.open()
    assert ArchiveWriter(store.path, STEP, {"name": "radar"}).archive() is None
    scans = scans_of(rain_codes(2), NOON)
    store.commit(scans)
    assert_holds(store.open(), scans)


def test_a_writer_before_and_after_its_first_commit(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    writer = ArchiveWriter(store.path, STEP, {"name": "radar"})
    assert writer.archive() is None
    assert not store.path.exists()
    snapshot = writer.commit(store.grid, scans_of(rain_codes(1), NOON), [], "first")
    archive = writer.archive()
    assert archive is not None
    assert archive.snapshot == snapshot


# --- crashes and locks -------------------------------------------------------------------------

KILLED = """
    import os, signal, sys
    import numpy as np, pandas as pd, icechunk
    from pathlib import Path
    from datasets import archive_writer
    from datasets.archive import Archive, StoredScan

    path, point = Path(sys.argv[1]), sys.argv[2]
    grid = Archive.open(sys.argv[3]).grid

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    class Session:
        def __init__(self, session):
            self.session = session
        def __getattr__(self, name):
            return die if name == "commit" else getattr(self.session, name)

    step = pd.Timedelta("5min")
    start = pd.Timestamp("2024-06-01T09:00")  # before the archive's start, and replacing in it
    scans = [StoredScan(start + i * step, np.full(grid.shape, 7, "uint8"), f"{i}", f"{i}")
             for i in range(60)]
    writer = archive_writer.ArchiveWriter(path, step, {"name": "other"})
    if point == "written":
        repository = writer._repository or archive_writer._create_repository(path)
        class Repository:
            def writable_session(self, branch):
                return Session(repository.writable_session(branch))
        writer._repository = Repository()
    else:
        archive_writer._write_rejections = die
    print("writing", flush=True)
    writer.commit(grid, scans, [], "never")
"""


def kill_a_writer(path: Path, point: str, archive_for_grid: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(path), point, str(archive_for_grid)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert child.stdout == "writing\n"


@pytest.mark.parametrize("point", ["midway", "written"])
def test_a_writer_killed_before_its_commit_leaves_the_archive_as_it_was(
    store: Store, rain_codes: Codes, scans_of: Scans, point: str
) -> None:
    scans = scans_of(rain_codes(30), NOON)
    snapshot = store.commit(scans)
    before = store.open().codes[:].tobytes()
    kill_a_writer(store.path, point, store.path)
    archive = store.open()
    assert archive.snapshot == snapshot
    assert archive.codes[:].tobytes() == before
    assert_holds(archive, scans)
    # and the next ingestion goes on as if nothing had been
    more = scans_of(rain_codes(3, seed=3), NOON - 10 * STEP, source="more")
    store.commit(more)
    assert_holds(store.open(), more + scans)


def test_a_writer_killed_in_its_first_commit(
    store: Store, rain_archive: Path, rain_codes: Codes, scans_of: Scans
) -> None:
    kill_a_writer(store.path, "written", rain_archive)
    with pytest.raises(DataError, match="nothing has been ingested yet"):
        store.open()
    scans = scans_of(rain_codes(3), NOON)
    store.commit(scans)
    assert_holds(store.open(), scans)


def test_a_lock_that_another_process_holds(tmp_path: Path) -> None:
    path = tmp_path / "radar.icechunk"
    code = (
        "import sys; from pathlib import Path; from datasets.archive_writer import write_lock\n"
        f"with write_lock(Path({str(path)!r})): print('held', flush=True); sys.stdin.read()"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(DataError, match=r"another ingestion has been writing for 0.1 s") as e,
            write_lock(path, timeout_s=0.1),
        ):
            pytest.fail("took a lock that another process holds")
        assert str(lock_path(path)) in str(e.value)
        holder.communicate()
    with write_lock(path, timeout_s=5):  # free again, whatever the holder left
        pass


def test_the_lock_is_freed_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "new" / "radar.icechunk"
    with pytest.raises(ZeroDivisionError), write_lock(path):
        raise ZeroDivisionError
    with write_lock(path, timeout_s=0):
        assert lock_path(path).parent == path.parent
        with pytest.raises(filelock.Timeout), filelock.FileLock(lock_path(path), timeout=0):
            pass


# --- other readers -----------------------------------------------------------------------------


def test_xarray_opens_the_store(rain_archive: Path) -> None:
    archive = Archive.open(rain_archive)
    with xr.open_zarr(archive._session.store, consolidated=False) as data:
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


# --- block statistics --------------------------------------------------------------------------


def plain_statistics(codes: np.ndarray) -> dict[str, np.ndarray]:
    """Block by block, pixel by pixel."""
    height, width = codes.shape
    found: dict[str, Any] = {"rain_rate": [], "wet_share": [], "observed_share": []}
    for top in range(0, height, BLOCK):
        row: dict[str, list[float]] = {name: [] for name in found}
        for left in range(0, width, BLOCK):
            rates = [
                float(RAIN_CODE.table[code])
                for code in codes[top : top + BLOCK, left : left + BLOCK].ravel()
            ]
            seen = [rate for rate in rates if rate == rate]
            wet = [rate for rate in seen if rate > 0]
            row["rain_rate"].append(sum(seen) / len(seen) if seen else 0.0)
            row["wet_share"].append(len(wet) / len(seen) if seen else 0.0)
            row["observed_share"].append(len(seen) / len(rates))
        for name, values in row.items():
            found[name].append(values)
    return {name: np.array(values) for name, values in found.items()}


@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 70), st.integers(1, 70)),
        elements=st.sampled_from([0, 0, 1, 100, 254, 255]),
        fill=st.sampled_from([0, 255]),
    )
)
@settings(max_examples=30, deadline=None)
def test_block_statistics_against_a_plain_loop(codes: np.ndarray) -> None:
    found = block_statistics(codes)
    for name, values in plain_statistics(codes).items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)


def test_block_statistics_by_hand() -> None:
    # 40 x 32: a whole block above an 8 x 32 rest
    codes = np.zeros((40, 32), dtype=np.uint8)
    codes[:16] = RAIN_CODE.NOT_OBSERVED  # half of the upper block
    codes[16:24] = RAIN_CODE.WETTEST  # half of what is seen of it: 205 mm/h
    found = block_statistics(codes)
    np.testing.assert_allclose(found["observed_share"], [[0.5], [1.0]])
    np.testing.assert_allclose(found["wet_share"], [[0.5], [0.0]])
    np.testing.assert_allclose(found["rain_rate"], [[102.5], [0.0]], rtol=1e-6)


def test_a_scan_from_long_before_takes_no_memory_for_the_gap(
    tmp_path: Path, grid: Grid, scans_of: Callable[..., list[StoredScan]], rain_codes: Any
) -> None:
    """A year of 5-minute scans on this grid would be 323 MB."""
    path = tmp_path / "a.icechunk"
    writer = ArchiveWriter(path, STEP, {"name": "rain"})
    codes = rain_codes(2)
    writer.commit(grid, scans_of(codes[:1], "2024-06-01"), [], "late")
    tracemalloc.start()
    writer.commit(grid, scans_of(codes[1:], "2023-06-01"), [], "early")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6
    archive = Archive.open(path)
    for index, time in enumerate(("2024-06-01", "2023-06-01")):
        row = archive.index_of(pd.Timestamp(time))
        assert np.array_equal(archive.codes[row], codes[index])
    assert (archive.status == OK).sum() == 2


def test_another_grid_is_refused(
    tmp_path: Path, grid: Grid, scans_of: Callable[..., list[StoredScan]], rain_codes: Any
) -> None:
    writer = ArchiveWriter(tmp_path / "a.icechunk", STEP, {"name": "rain"})
    writer.commit(grid, scans_of(rain_codes(1), "2024-06-01"), [], "first")
    shifted = Grid(x=grid.x + 500, y=grid.y, crs_wkt=grid.crs_wkt)
    with pytest.raises(DataError, match="is on another grid: x coordinates differ"):
        writer.commit(shifted, scans_of(rain_codes(1), "2024-06-02"), [], "second")
