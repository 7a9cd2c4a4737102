"""Checking and repairing: any damage on the disk is found, named and repaired from the files."""

import shutil
from dataclasses import replace
from pathlib import Path

import icechunk
import numpy as np
import pandas as pd
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.check import check
from squall.datasets.archive.check_records import problem_of
from squall.datasets.archive.check_report import Damage
from squall.datasets.archive.records import MISSING, OK, EmptyArchiveError, Rejection
from squall.datasets.archive.repair import repair
from squall.datasets.archive.repository import BRANCH, open_repository, storage_of, write_lock
from squall.datasets.archive.writer import ArchiveWriter
from squall.datasets.errors import BusyError, DataError

STEP = pd.Timedelta("5min")
COUNT = 60  # scans; the codes have three chunks along time, 24 scans each
GAP = (30, 31)


@pytest.fixture(scope="module")
def scans(rain_codes, scans_of):
    all_scans = scans_of(rain_codes(COUNT), "2024-06-01")
    return [replace(s, file_mark=i + 1) for i, s in enumerate(all_scans) if i not in GAP]


def new_archive(path, grid, scans):
    """Address of a sound archive of 60 time steps, two of them missing, one of those rejected."""
    broken = Rejection("file30.nc", "f" * 32, "is cut off", scans[0].time + 30 * STEP, file_mark=7)
    ArchiveWriter(path, STEP, {"name": "rain"}).commit(grid, scans, [broken], "fixture")
    return str(path)


@pytest.fixture(scope="module")
def original(tmp_path_factory, grid, scans):
    return new_archive(tmp_path_factory.mktemp("archives") / "a.icechunk", grid, scans)


@pytest.fixture
def archive(tmp_path, original):
    return shutil.copytree(original, str(tmp_path / "a.icechunk"))


@pytest.fixture
def short_archive(tmp_path, grid, scans, monkeypatch):
    """Address of the same archive with little room before the first scan, which is checked fast."""
    monkeypatch.setattr("squall.datasets.archive.layout.ROOM", 24 * STEP)
    return new_archive(tmp_path / "short.icechunk", grid, scans)


def ingest_again(address, grid, scans, files):
    """Store the scans of files whose slots are missing, as an ingestion does."""
    missing = Archive.open(address).status != OK
    start = Archive.open(address).start
    again = [s for s in scans if s.source in files and missing[int((s.time - start) / STEP)]]
    if again:
        ArchiveWriter(address, STEP, {"name": "rain"}).commit(grid, again, [], "again")


def change(address, edit):
    """Commit what ``edit`` does to the group of arrays and its store."""
    session = open_repository(address).writable_session(BRANCH)
    edit(zarr.open_group(session.store, mode="r+"), session.store)
    session.commit("spoilt")


def spoil(address, key):
    """Replace a chunk by bytes that no decoder can read."""

    def edit(group, store):
        assert sync(store.exists(key))
        sync(store.set(key, default_buffer_prototype().buffer.from_bytes(b"garbage")))

    change(address, edit)


def row(address, index):
    """Row of the stored arrays that an index of the time axis has."""
    return Archive.open(address).first_row + index


def code_chunks(address):
    """Files of the chunks of codes: the largest ones that are packed by plain Zstandard."""
    files = sorted(Path(address, "chunks").iterdir(), key=lambda file: -file.stat().st_size)
    return [file for file in files if file.read_bytes().startswith(b"\x28\xb5\x2f\xfd")][:3]


def test_a_sound_archive(archive):
    calls = []
    report = check(archive, progress=lambda done, total: calls.append((done, total)))
    assert report.sound
    assert report.scans == COUNT - len(GAP)
    assert report.chunks > 10
    assert report.files == []
    assert "sound; 58 scans" in str(report)
    assert calls == [(i, calls[-1][1]) for i in range(1, calls[-1][1] + 1)]
    assert repair(archive).snapshot == report.snapshot == Archive.open(archive).snapshot


def test_every_missing_chunk_file_is_noticed(short_archive):
    for file in Path(short_archive, "chunks").iterdir():
        content = file.read_bytes()
        file.unlink()
        assert not check(short_archive).sound
        file.write_bytes(content)
    assert check(short_archive).sound


def test_a_missing_chunk_of_codes_names_its_scans_and_is_ingested_again(archive, grid, scans):
    whole = Archive.open(archive).codes[:]
    code_chunks(archive)[0].unlink()
    report = check(archive)
    (damage,) = report.damage
    assert damage.array == "rain_rate_code"
    assert "not found" in damage.problem
    slab = damage.chunk[0] - Archive.open(archive).first_row // 24
    times = pd.date_range("2024-06-01", periods=COUNT, freq=STEP)[slab * 24 : slab * 24 + 24]
    assert (damage.first, damage.last) == (times[0], times[-1])
    assert report.files == sorted(s.source for s in scans if s.time in times)
    assert f"squall archive check {archive} --repair" in str(report)
    assert f"then ingest again ({len(report.files)} of the files):\n  {report.files[0]}" in str(
        report
    )
    assert report.as_dict()["damage"][0]["first"] == f"{times[0]:%Y-%m-%dT%H:%M:%SZ}"

    with pytest.raises(icechunk.IcechunkError):  # without a repair, no ingestion can write it
        change(
            archive,
            lambda group, _: group["rain_rate_code"].__setitem__(row(archive, slab * 24), 0),
        )
    repaired = repair(archive)
    assert repaired.given_up == len(report.files)
    assert "scans given up; run `squall ingest` to bring them back" in str(repaired)
    assert check(archive).sound
    ingest_again(archive, grid, scans, report.files)
    assert check(archive).sound
    np.testing.assert_array_equal(Archive.open(archive).codes[:], whole)


def test_flipped_bytes_are_never_read_as_rain(short_archive):
    whole = Archive.open(short_archive).codes[:]
    file = code_chunks(short_archive)[0]
    content = file.read_bytes()
    positions = np.random.default_rng(0).integers(0, len(content), 20)
    detected = 0
    for position in positions.tolist():
        file.write_bytes(
            content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :]
        )
        report = check(short_archive)
        if report.sound:
            np.testing.assert_array_equal(Archive.open(short_archive).codes[:], whole)
        else:
            detected += 1
            assert {damage.array for damage in report.damage} == {"rain_rate_code"}
            assert report.files
    assert detected > 15


def test_changed_pixels_are_found_by_their_checksum(archive, grid, scans):
    def edit(group, store):
        group["rain_rate_code"][row(archive, 40), 3, 3] = 77

    change(archive, edit)
    report = check(archive)
    (damage,) = report.damage
    assert damage.first == damage.last == pd.Timestamp("2024-06-01 03:20")
    assert "checksum" in damage.problem
    assert report.files == ["file40.nc"]
    assert repair(archive).given_up == 1
    assert Archive.open(archive).status[40] == MISSING
    assert (Archive.open(archive).codes[40] == 255).all()
    ingest_again(archive, grid, scans, report.files)
    assert check(archive).sound


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("status", 0),
        ("source", 58),
        ("digest", 58),
        ("checksum", 0),
        ("seen", 0),
        ("time", 0),
        ("block_rain_rate", 0),
        ("set_aside/reason", 0),
    ],
)
def test_damaged_records_are_found_and_restored(archive, grid, scans, name, lost):
    before = Archive.open(archive)
    statistics, checksums = before.block_statistics("rain_rate"), before.checksums
    array = before._group[name]
    first = 0 if "/" in name else before.first_row // array.chunks[0]
    spoil(archive, f"{name}/{array.metadata.encode_chunk_key((first, *[0] * (array.ndim - 1)))}")
    report = check(archive)
    assert [damage.array for damage in report.damage] == [name]
    assert repair(archive).given_up == lost
    assert check(archive).sound
    ingest_again(archive, grid, scans, {scan.source for scan in scans})
    assert check(archive).sound
    after = Archive.open(archive)
    np.testing.assert_array_equal(after.codes[:], before.codes[:])
    np.testing.assert_array_equal(after.status == OK, before.status == OK)
    np.testing.assert_array_equal(after.block_statistics("rain_rate"), statistics)
    np.testing.assert_array_equal(after.checksums, checksums)


@pytest.mark.parametrize(
    ("name", "value", "problem", "lost"),
    [
        ("source", "", "without a name and digest of their file", 1),
        ("digest", np.zeros(16, np.uint8), "without a name and digest of their file", 1),
        ("status", np.uint8(MISSING), "files named without a scan", 0),
        ("status", np.uint8(9), "other than missing, ok and rejected", 0),
        ("time", np.int64(5), "time axis is not regular", 0),
    ],
)
def test_records_that_contradict_each_other(archive, grid, scans, name, value, problem, lost):
    change(archive, lambda group, _: group[name].__setitem__(row(archive, 12), value))
    report = check(archive)
    assert len(report.damage) == 1
    assert problem in report.damage[0].problem
    assert report.damage[0].first == pd.Timestamp("2024-06-01 01:00")
    assert repair(archive).given_up == lost
    assert check(archive).sound
    ingest_again(archive, grid, scans, {scan.source for scan in scans})
    assert check(archive).sound
    assert (Archive.open(archive).status == OK).sum() == len(scans)


def test_a_damaged_manifest_cannot_be_repaired(archive):
    for file in Path(archive, "manifests").iterdir():
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cannot be opened .*from a copy") as raised:
        check(archive)
    assert "context" not in str(raised.value)


def test_a_damaged_snapshot_is_not_an_empty_archive(archive, tmp_path):
    newest = Path(archive, "snapshots", Archive.open(archive).snapshot)
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.raises(DataError, match=f"snapshot {newest.name} cannot be read") as raised:
        check(archive)
    assert not isinstance(raised.value, EmptyArchiveError)
    icechunk.Repository.create(storage_of(str(tmp_path / "empty.icechunk")))
    with pytest.raises(EmptyArchiveError, match="nothing has been ingested yet"):
        check(tmp_path / "empty.icechunk")


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("s3://radar/knmi", "dispatch failure: connection refused"),
        ("s3://radar/knmi", "object store error: 503 Slow Down"),
        ("archives/knmi", "Unable to open file: Permission denied (os error 13)"),
    ],
)
def test_a_store_that_does_not_answer_is_not_damage(address, text):
    with pytest.raises(DataError, match=r"cannot be reached|may not be read"):
        problem_of(icechunk.IcechunkError(text), address)
    gone = "  x object store error: Object at location chunks/A not found\n  | context: 0"
    assert "not found" in problem_of(icechunk.IcechunkError(gone), address)
    assert "context" not in problem_of(icechunk.IcechunkError(gone), address)
    assert problem_of(RuntimeError("error during blosc decompression: -1"), address)


@pytest.mark.parametrize(
    ("first", "last", "period"),
    [
        (None, None, ""),
        ("2024-06-01T10:00", "2024-06-01T10:00", " (2024-06-01 10:00 UTC)"),
        ("2024-06-01T10:00", "2024-06-02T00:05", " (2024-06-01 10:00 to 2024-06-02 00:05 UTC)"),
    ],
)
def test_damage_names_its_chunk_and_its_period(first, last, period):
    first, last = (time and pd.Timestamp(time) for time in (first, last))
    damage = Damage("codes", (3, 0), "missing", first, last)
    assert str(damage) == f"codes chunk 3/0{period}: missing"


def test_a_long_list_is_shortened_in_text_but_not_in_json(archive):
    def edit(group, store):
        for index in range(0, 58, 2):
            group["rain_rate_code"][row(archive, index), 0, 0] = 9

    change(archive, edit)
    report = check(archive)
    assert len(report.damage) == len(report.as_dict()["damage"]) == 28  # row 30 is missing
    assert "… and 8 more (--json lists all)" in str(report)


def test_repair_waits_for_a_writer_only_for_a_while(archive):
    change(archive, lambda group, _: group["time"].__setitem__(row(archive, 12), 0))
    with write_lock(archive), pytest.raises(BusyError):
        repair(archive, lock_timeout_s=0.05)
    assert not check(archive).sound
