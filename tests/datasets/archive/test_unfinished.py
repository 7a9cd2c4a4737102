"""What a killed creation of an archive leaves is removed, and nothing that is not provably ours."""

from pathlib import Path

import icechunk
import pytest

from squall.datasets.archive.layout import manifest_splitting
from squall.datasets.archive.repository import (
    INITIAL_SNAPSHOT,
    crash_mark,
    create_repository,
    lock_path,
    repository_exists,
    storage_of,
    write_lock,
)
from squall.datasets.errors import BusyError, DataError
from squall.datasets.grid import Grid
from tests.datasets.archive.archive_store import STEP
from tests.s3_server import S3Server, moto_endpoint, s3_server  # noqa: F401 (fixtures)

SNAPSHOT = f"snapshots/{INITIAL_SNAPSHOT}"
OTHERS = b"inline_chunk_threshold_bytes: 512\nmanifest: null\n"  # a configuration of Icechunk


@pytest.fixture
def own(tmp_path: Path, grid: Grid) -> dict[str, bytes]:
    """Name and content of the files that make up an unfinished archive."""
    path = tmp_path / "new.icechunk"
    create_repository(str(path), manifest_splitting(grid, STEP))
    return {name: (path / name).read_bytes() for name in ("config.yaml", SNAPSHOT)}


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:  # noqa: F811
    """A bucket in which every object is old enough to be removed."""
    monkeypatch.setattr("squall.datasets.archive.repository.UNFINISHED_S", -60)
    return s3_server.bucket("archives")


def objects_of(server: S3Server, bucket: str) -> dict[str, bytes]:
    listed = server.client.list_objects_v2(Bucket=bucket).get("Contents", ())
    keys = [item["Key"] for item in listed]
    return {key: server.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def foreign(own: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Places that look like an unfinished archive, and are none."""
    return {
        "a configuration of another program": {"config.yaml": b"threads: 4\n"},
        "an empty file": {"config.yaml": b""},
        "configurations at any depth": {"deploy/config.yaml": b"a: 1", "x/y/config.yaml": b"b: 2"},
        "another repository of Icechunk": {"config.yaml": OTHERS, SNAPSHOT: own[SNAPSHOT]},
        "an archive's file in a folder": {"sub/config.yaml": own["config.yaml"]},
        "ours beside another file": {**own, "thesis.txt": b"five years of work"},
        "ours beside another configuration": {**own, "sub/config.yaml": b"threads: 4\n"},
        "a snapshot's name": {SNAPSHOT: b"holiday pictures"},
        "ours with another snapshot": {**own, SNAPSHOT: b"holiday pictures"},
        "a snapshot alone": {SNAPSHOT: own[SNAPSHOT]},
        "a snapshot elsewhere": {**own, f"sub/{INITIAL_SNAPSHOT}": own[SNAPSHOT]},
        "a longer name": {f"snapshots/{INITIAL_SNAPSHOT}-copy": own[SNAPSHOT]},
    }


KINDS = list(foreign({"config.yaml": b"", SNAPSHOT: b""}))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_others_is_removed_from_object_storage(
    kind: str,
    bucket: str,
    s3_server: S3Server,  # noqa: F811
    own: dict[str, bytes],
    grid: Grid,
) -> None:
    placed = {f"radar/{name}": content for name, content in foreign(own)[kind].items()}
    placed["radar2/config.yaml"] = own["config.yaml"]  # beside the prefix, not below it
    for key, content in placed.items():
        s3_server.put(bucket, key, content)
    with pytest.raises(DataError, match="needs a folder of its own, and this one is not empty"):
        create_repository(f"s3://{bucket}/radar", manifest_splitting(grid, STEP))
    assert objects_of(s3_server, bucket) == placed


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_others_is_removed_from_a_folder(
    kind: str, tmp_path: Path, own: dict[str, bytes], grid: Grid
) -> None:
    folder = tmp_path / "radar"
    placed = foreign(own)[kind]
    for name, content in placed.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match="needs a folder of its own, and this one is not empty"):
        create_repository(str(folder), manifest_splitting(grid, STEP))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in files} == placed


def test_a_link_is_not_ours(tmp_path: Path, own: dict[str, bytes], grid: Grid) -> None:
    (tmp_path / "elsewhere.yaml").write_bytes(own["config.yaml"])
    (tmp_path / "radar").mkdir()
    link = tmp_path / "radar" / "config.yaml"
    link.symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(DataError, match="needs a folder of its own"):
        create_repository(str(tmp_path / "radar"), manifest_splitting(grid, STEP))
    assert link.is_symlink()


@pytest.mark.parametrize("names", [("config.yaml",), ("config.yaml", SNAPSHOT)])
def test_an_unfinished_archive_is_removed(
    names: tuple[str, ...],
    bucket: str,
    s3_server: S3Server,  # noqa: F811
    tmp_path: Path,
    own: dict[str, bytes],
    grid: Grid,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in names:
        s3_server.put(bucket, f"radar/{name}", own[name])
        (tmp_path / "radar" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "radar" / name).write_bytes(own[name])
    (tmp_path / "radar" / "config.yaml#1").write_bytes(own["config.yaml"])
    monkeypatch.setattr("squall.datasets.archive.repository.UNFINISHED_S", 600)
    with pytest.raises(BusyError, match="what it left is removed after 10 minutes"):
        create_repository(f"s3://{bucket}/radar", manifest_splitting(grid, STEP))
    monkeypatch.setattr("squall.datasets.archive.repository.UNFINISHED_S", -60)
    for address in (f"s3://{bucket}/radar", str(tmp_path / "radar")):
        create_repository(address, manifest_splitting(grid, STEP))
        assert repository_exists(address)


def test_another_repository_of_icechunk_is_no_archive_to_be_made_again(
    tmp_path: Path, grid: Grid
) -> None:
    icechunk.Repository.create(storage_of(str(tmp_path / "a")))
    with pytest.raises(BusyError):
        create_repository(str(tmp_path / "a"), manifest_splitting(grid, STEP))


def test_a_file_that_is_called_like_the_lock_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "radar.icechunk"
    lock_path(path).write_text("combination of the safe")
    with (
        pytest.raises(DataError, match="is no lock of Squall, because it is not empty"),
        write_lock(path),
    ):
        pytest.fail("locked a file of somebody else")
    assert lock_path(path).read_text() == "combination of the safe"


def test_a_file_that_is_called_like_the_mark_of_a_crash_keeps_its_content(tmp_path: Path) -> None:
    mark = tmp_path / "radar.icechunk.reading"
    mark.write_text("chapter 7")
    with crash_mark(str(tmp_path / "radar.icechunk")) as crashed:
        assert not crashed
    assert mark.read_text() == "chapter 7"
    mark.unlink()
    mark.touch()
    with crash_mark(str(tmp_path / "radar.icechunk")) as crashed:
        assert crashed
    assert not mark.exists()
