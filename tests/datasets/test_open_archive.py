"""Opening by address: which implementation reads what, and what is no archive."""

import shutil
from pathlib import Path

import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK
from squall.datasets.errors import DataError
from squall.datasets.mlcast.store import MlcastStore
from squall.datasets.open_archive import open_archive
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.export.run import export


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rain_archive: Path) -> Path:
    """A home folder with the fixture archive and a plain Zarr store of it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(rain_archive, tmp_path / "rain.icechunk")
    export(ExportConfig(archive=str(rain_archive), out=str(tmp_path / "rain.zarr")))
    return tmp_path


@pytest.mark.parametrize("prefix", ["", "~/", "file://"])
@pytest.mark.parametrize(("name", "kind"), [("rain.icechunk", Archive), ("rain.zarr", MlcastStore)])
def test_the_format_at_the_address_determines_the_class(
    home: Path, prefix: str, name: str, kind: type
) -> None:
    address = f"~/{name}" if prefix == "~/" else f"{prefix}{home / name}"
    archive = open_archive(address)
    assert type(archive) is kind
    assert archive.address == str(home / name)
    assert (archive.status == OK).sum() == 75


def test_a_path_object_and_a_snapshot(home: Path) -> None:
    for name in ("rain.icechunk", "rain.zarr"):
        snapshot = open_archive(home / name).snapshot
        assert open_archive(home / name, snapshot).snapshot == snapshot
        with pytest.raises(DataError, match="has no snapshot 'nonsense'"):
            open_archive(home / name, "nonsense")


def test_no_archive_at_the_address(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("absent", "file", "empty"):
        with pytest.raises(DataError, match=r"there is no archive.*squall ingest"):
            open_archive(tmp_path / name)


@pytest.mark.parametrize("address", [None, 5])
def test_no_address(address: object) -> None:
    with pytest.raises(ValueError, match="expected a folder or s3://"):
        open_archive(address)  # type: ignore[arg-type]
