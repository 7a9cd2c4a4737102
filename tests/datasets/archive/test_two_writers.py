"""Two writers on object storage, where no lock keeps them apart: no scan is lost."""

from collections.abc import Callable
from dataclasses import replace

import icechunk
import pytest

from squall.datasets.archive import repair as repair_module
from squall.datasets.archive import writer as writer_module
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.check import check
from squall.datasets.archive.records import CODES
from squall.datasets.archive.repair import repair
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.errors import BusyError
from squall.datasets.grid import Grid
from tests.datasets.archive.archive_store import NOON, STEP, Codes, Scans, assert_holds
from tests.datasets.archive.test_check import change
from tests.datasets.archive.test_writer import elsewhere, without_codes
from tests.s3_server import S3Server, moto_endpoint, s3_server  # noqa: F401 (fixtures)


@pytest.fixture
def address(s3_server: S3Server) -> str:  # noqa: F811
    return f"s3://{s3_server.bucket('archives')}/radar"


def writer_of(address: str) -> ArchiveWriter:
    return ArchiveWriter(address, STEP, {"name": "radar", "title": "The radar"})


def after_commit_of_axis(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something once, right after the commit of a time axis and before that of the scans."""
    commit = ArchiveWriter._commit
    done = []

    def overtaken(self: ArchiveWriter, session: icechunk.Session, message: str) -> str:
        snapshot = commit(self, session, message)
        if message.startswith("time axis") and not done:
            done.append(True)
            action()
        return snapshot

    monkeypatch.setattr(ArchiveWriter, "_commit", overtaken)


@pytest.mark.parametrize("stored_before", [False, True])
def test_a_scan_that_another_ingestion_stores_after_the_time_axis_is_kept(
    address: str,
    grid: Grid,
    rain_codes: Codes,
    scans_of: Scans,
    monkeypatch: pytest.MonkeyPatch,
    stored_before: bool,
) -> None:
    later = scans_of(rain_codes(2, seed=5), NOON + 100 * STEP)
    before = later if stored_before else []
    if before:
        writer_of(address).commit(grid, before, [], "before")
    mine = scans_of(rain_codes(4), NOON - 400_000 * STEP)  # rows move, or there are none yet
    reissued = [
        replace(mine[1], codes=rain_codes(1, seed=9)[0], source="newer.nc", digest="d" * 32)
    ]
    after_commit_of_axis(
        monkeypatch, lambda: writer_of(address).commit(grid, reissued, [], "the other")
    )
    writer = writer_of(address)
    writer.archive()
    with pytest.raises(BusyError, match="another ingestion committed at the same moment"):
        writer.commit(grid, without_codes(mine), [], "mine", write_elsewhere=elsewhere(mine))
    assert_holds(Archive.open(address), before + reissued)


def test_an_archive_that_another_ingestion_fills_as_soon_as_it_exists(
    address: str, grid: Grid, rain_codes: Codes, scans_of: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = writer_module.create_repository
    mine = scans_of(rain_codes(3), NOON)
    reissued = [
        replace(mine[1], codes=rain_codes(1, seed=9)[0], source="newer.nc", digest="d" * 32)
    ]

    def overtaken(*arguments: object) -> icechunk.Repository:
        repository = create(*arguments)  # type: ignore[arg-type]
        writer_of(address).commit(grid, reissued, [], "the other")
        return repository

    writer = writer_of(address)
    assert writer.archive() is None
    monkeypatch.setattr(writer_module, "create_repository", overtaken)
    with pytest.raises(BusyError, match="another ingestion committed at the same moment"):
        writer.commit(grid, mine, [], "mine")
    assert_holds(Archive.open(address), reissued)


@pytest.mark.parametrize("moment", ["after the check", "before the commit"])
def test_a_repair_gives_up_no_scan_that_it_did_not_check(
    address: str,
    grid: Grid,
    rain_codes: Codes,
    scans_of: Scans,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    scans = scans_of(rain_codes(3), NOON)
    writer_of(address).commit(grid, scans, [], "three")
    change(address, lambda group, _: group[CODES].__setitem__((-2, 0, 0), 77))
    again: StoredScan = scans[1]

    def ingest(*_: object) -> None:
        writer_of(address).commit(grid, [again], [], "read again")

    if moment == "after the check":
        monkeypatch.setattr(repair_module, "check", lambda *a, **k: (check(*a, **k), ingest())[0])
    else:
        run = repair_module._Repair.run
        monkeypatch.setattr(repair_module._Repair, "run", lambda self: (run(self), ingest())[0])
    with pytest.raises(BusyError, match="an ingestion committed during the check"):
        repair(address)
    assert_holds(Archive.open(address), scans)
