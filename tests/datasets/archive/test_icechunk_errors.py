"""The texts of Icechunk's errors: each is provoked with the installed release."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import icechunk
import numpy as np
import pytest
import zarr

from squall.datasets.archive.icechunk_errors import (
    is_created_meanwhile,
    is_folder_not_empty,
    is_object_missing,
    is_permission_denied,
    is_tag_name_used,
    message_of,
    unwritable,
)
from squall.datasets.archive.repository import BRANCH, storage_of
from tests.s3_server import S3Server, moto_endpoint, s3_server  # noqa: F401 (fixtures)


def error_of(action: Callable[[], object]) -> icechunk.IcechunkError:
    """The error of Icechunk that an action raises."""
    with pytest.raises(icechunk.IcechunkError) as caught:
        action()
    return caught.value


def write_random(repository: icechunk.Repository, mebibytes: int) -> None:
    """Commit an array of random bytes in chunks of 1 MiB."""
    session = repository.writable_session(BRANCH)
    size = mebibytes * 2**20
    array = zarr.create_group(session.store, overwrite=True).create_array(
        "a", shape=(size,), chunks=(2**20,), dtype="uint8"
    )
    array[:] = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    session.commit("random bytes")


def read_all(repository: icechunk.Repository) -> None:
    array = zarr.open_group(repository.readonly_session(BRANCH).store, mode="r")["a"]
    assert isinstance(array, zarr.Array)
    array[:]


def test_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    error = error_of(lambda: icechunk.Repository.create(storage_of(str(tmp_path))))
    assert is_folder_not_empty(error)
    assert not is_created_meanwhile(error)
    assert message_of(error) == "repositories can only be created in clean prefixes"


def test_the_name_of_a_deleted_tag(tmp_path: Path) -> None:
    repository = icechunk.Repository.create(storage_of(str(tmp_path / "a")))
    snapshot = repository.lookup_branch(BRANCH)
    repository.create_tag("run-7", snapshot)
    repository.delete_tag("run-7")
    assert is_tag_name_used(error_of(lambda: repository.create_tag("run-7", snapshot)))


def test_a_configuration_that_another_process_wrote_meanwhile(
    s3_server: S3Server,  # noqa: F811
) -> None:
    address = f"s3://{s3_server.bucket('archives')}/a"
    icechunk.Repository.create(storage_of(address))

    def opened(threshold: int) -> icechunk.Repository:
        config = icechunk.RepositoryConfig(inline_chunk_threshold_bytes=threshold)
        return icechunk.Repository.open(storage_of(address), config=config)

    first, second = opened(7), opened(9)
    first.save_config()
    assert is_created_meanwhile(error_of(second.save_config))


@pytest.mark.parametrize("place", ["disk", "object storage"])
def test_a_chunk_that_is_missing(
    tmp_path: Path,
    s3_server: S3Server,  # noqa: F811
    place: str,
) -> None:
    if place == "disk":
        repository = icechunk.Repository.create(storage_of(str(tmp_path / "a")))
        write_random(repository, 1)
        (chunk,) = (tmp_path / "a" / "chunks").iterdir()
        chunk.unlink()
    else:
        bucket = s3_server.bucket("archives")
        repository = icechunk.Repository.create(storage_of(f"s3://{bucket}/a"))
        write_random(repository, 1)
        chunks = s3_server.client.list_objects_v2(Bucket=bucket, Prefix="a/chunks/")["Contents"]
        s3_server.client.delete_object(Bucket=bucket, Key=chunks[0]["Key"])
    error = error_of(lambda: read_all(repository))
    assert is_object_missing(error)
    assert not is_permission_denied(error)
    assert "context" not in message_of(error)


def test_a_full_disk(tmp_path: Path) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        repository = icechunk.Repository.create(storage_of(str(tmp_path / "a")))
        error = error_of(lambda: write_random(repository, 8))
    assert str(unwritable("a", error)).startswith("a: the disk is full; everything committed")


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "tmpfs"):
        repository = icechunk.Repository.create(storage_of(str(tmp_path / "a")))
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        error = error_of(lambda: write_random(repository, 1))
    assert "a: may not be written (read-only file system); give" in str(unwritable("a", error))


def test_permissions(tmp_path: Path) -> None:
    """As the operating system words it: the tests may run as root, who may do everything."""
    error = icechunk.IcechunkError("Unable to open file: Permission denied (os error 13)")
    assert is_permission_denied(error)
    assert "a: may not be written (permission denied); give" in str(unwritable("a", error))


def test_any_other_error_means_no_answer() -> None:
    error = icechunk.IcechunkError("dispatch failure: connection refused")
    assert not is_object_missing(error)
    assert str(unwritable("s3://b/a", error)).startswith("s3://b/a: cannot be reached (dispatch")


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[None]:
    """Mount something on a folder; skip the test where that is not permitted."""
    done = subprocess.run(["mount", *arguments, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
