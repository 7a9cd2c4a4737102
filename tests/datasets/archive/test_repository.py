"""Repositories: folders, locks, and what a killed writer leaves behind."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import filelock
import icechunk
import pytest

from squall.datasets.archive.records import EmptyArchiveError
from squall.datasets.archive.repository import lock_path, storage_of, write_lock
from squall.datasets.archive.writer import ArchiveWriter
from squall.datasets.errors import BusyError, DataError
from squall.datasets.grid import Grid
from tests.datasets.archive.archive_store import NOON, STEP, Codes, Scans, Store, assert_holds

ROOT = Path(__file__).parents[3]
KILLED = """
    import os, signal, sys
    import numpy as np, pandas as pd, icechunk
    from pathlib import Path
    from squall.datasets.archive import writer as archive_writer
    from squall.datasets.archive.archive import Archive
    from squall.datasets.archive.layout import manifest_splitting
    from squall.datasets.archive.repository import create_repository
    StoredScan = archive_writer.StoredScan

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
    scans = [StoredScan(start + i * step, np.full(grid.shape, 7, "uint8"), f"{i}", f"{i:032x}")
             for i in range(60)]
    writer = archive_writer.ArchiveWriter(path, step, {"name": "rain"})
    if point == "written":
        repository = writer._repository or create_repository(
            str(path), manifest_splitting(grid, step)
        )
        class Repository:
            def writable_session(self, branch):
                return Session(repository.writable_session(branch))
        writer._repository = Repository()
    else:
        archive_writer.write_log = die
    print("writing", flush=True)
    writer.commit(grid, scans, [], "never")
"""


def kill_a_writer(path: Path, point: str, archive_for_grid: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(path), point, str(archive_for_grid)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert child.stdout == "writing\n"


@pytest.fixture
def store(tmp_path: Path, grid: Grid) -> Store:
    return Store(tmp_path / "radar.icechunk", grid)


def test_a_folder_of_something_else(
    tmp_path: Path, grid: Grid, rain_codes: Codes, scans_of: Scans
) -> None:
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(DataError, match="folder of its own, and this one is not empty"):
        Store(tmp_path, grid).commit(scans_of(rain_codes(1), NOON))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_repository_without_a_first_commit(
    store: Store, rain_codes: Codes, scans_of: Scans
) -> None:
    icechunk.Repository.create(storage_of(str(store.path)))
    with pytest.raises(EmptyArchiveError, match="nothing has been ingested yet"):
        store.open()
    assert ArchiveWriter(store.path, STEP, {"name": "radar"}).archive() is None
    scans = scans_of(rain_codes(2), NOON)
    store.commit(scans)
    assert_holds(store.open(), scans)


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
    # the next ingestion is not disturbed
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


def test_a_lock_held_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "radar.icechunk"
    code = (
        "import sys; from pathlib import Path;"
        "from squall.datasets.archive.repository import write_lock\n"
        f"with write_lock(Path({str(path)!r})): print('held', flush=True); sys.stdin.read()"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
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
            pytest.raises(BusyError, match=r"another process has been writing for 0.1 s") as e,
            write_lock(path, timeout_s=0.1),
        ):
            pytest.fail("acquired a lock that another process holds")
        assert str(lock_path(path)) in str(e.value)
        holder.communicate()
    with write_lock(path, timeout_s=5):  # free again, although the lock file remains
        pass


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc here")
def test_a_lock_that_cannot_be_made_is_no_other_writer() -> None:
    words = r"/proc/a: may not be written: /proc/a.lock: No such file.*write in /proc, or choose"
    with pytest.raises(DataError, match=words) as error, write_lock("/proc/a", timeout_s=60):
        pytest.fail("acquired a lock that cannot exist")
    assert not isinstance(error.value, BusyError)


def test_a_file_in_the_way_of_the_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("mine")
    words = "plain is a file, and a folder is needed; move it away, or choose another place"
    with pytest.raises(DataError, match=words), write_lock(tmp_path / "plain" / "b" / "a"):
        pytest.fail("acquired a lock below a file")


def test_the_lock_is_released_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "new" / "radar.icechunk"
    with pytest.raises(ZeroDivisionError), write_lock(path):
        raise ZeroDivisionError
    with write_lock(path, timeout_s=0):
        assert lock_path(path).parent == path.parent
        with pytest.raises(filelock.Timeout), filelock.FileLock(lock_path(path), timeout=0):
            pass
