"""A store appears only when it is complete, on this machine and on object storage."""

import fsspec
import numpy as np
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.mlcast import writer as mlcast_writer
from squall.datasets.mlcast.store import MlcastStore
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.export.run import export


@pytest.fixture(params=["folder", "memory"])
def out(request, tmp_path, monkeypatch):
    """Address of a store to write; fsspec's memory is as remote as an object store."""
    monkeypatch.chdir(tmp_path)
    if request.param == "folder":
        yield str(tmp_path / "stores" / "rain.zarr")
    else:
        yield "memory://stores/rain.zarr"
        fsspec.filesystem("memory").store.clear()


def keys_at(out):
    filesystem, root = fsspec.core.url_to_fs(out)
    return filesystem.find(root)


def test_a_store_is_written_to_its_address_and_nowhere_else(out, rain_archive, tmp_path):
    export(ExportConfig(archive=str(rain_archive), out=out))
    archive, store = Archive.open(rain_archive), MlcastStore.open(out)
    np.testing.assert_array_equal(store.codes[:], archive.codes[:])
    local = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(local) == (0 if "memory" in out else len(keys_at(out)))


def test_a_folder_appears_when_its_store_is_complete(rain_archive, tmp_path, monkeypatch):
    out, seen = tmp_path / "rain.zarr", []
    write_scans = mlcast_writer._write_scans

    def watched(*arguments):
        yield from write_scans(*arguments)
        seen.append(out.exists())

    monkeypatch.setattr(mlcast_writer, "_write_scans", watched)
    export(ExportConfig(archive=str(rain_archive), out=str(out)))
    assert seen == [False]
    assert out.is_dir()


def test_an_interrupted_store_leaves_nothing(out, rain_archive, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mlcast_writer, "_write_scans", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(ExportConfig(archive=str(rain_archive), out=out))
    assert keys_at(out) == []
