import dask.array
import h5py
import netCDF4
import numpy as np
import pytest

from squall.pipeline.forecast import netcdf_chunks
from squall.pipeline.forecast.netcdf_chunks import create_gridded, write_gridded


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(netcdf_chunks, "CHUNK_SIDE", 8)


def fields(dtype, shape=(3, 2, 21, 17)):
    numbers = np.random.default_rng(1).gamma(1, 40, shape)
    return numbers.astype(dtype)


def create(path, values, *, shuffle, fill_value):
    with netCDF4.Dataset(path, "w") as file:
        dims = dict(zip(("threshold", "lead_time", "y", "x"), values.shape, strict=True))
        attributes = {"units": "mm h-1", "_FillValue": fill_value}
        create_gridded(file, "rate", dims, values.dtype, attributes, shuffle=shuffle)


def read(path):
    """As the netCDF library reads it, with its own zlib."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        return file["rate"][...]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    ("dtype", "fill_value"), [("u1", 255), ("i4", -1), ("f4", np.float32(np.nan))]
)
def test_the_netcdf_library_reads_what_was_written(tmp_path, dtype, fill_value, shuffle):
    values = fields(dtype)
    create(tmp_path / "a.nc", values, shuffle=shuffle, fill_value=fill_value)
    with h5py.File(tmp_path / "a.nc", "r+") as file:
        write_gridded(file["rate"], values)
    assert np.array_equal(read(tmp_path / "a.nc"), values)
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert file["rate"].chunking() == [1, 1, 8, 8]
        assert file["rate"].filters()["zlib"]
        assert file["rate"].filters()["shuffle"] == shuffle


@pytest.mark.parametrize("chunks", [(3, 1, 21, 17), (1, 2, 5, 4)])
def test_blocks_of_a_dask_array_come_to_their_place(tmp_path, chunks):
    values = fields("f4")
    create(tmp_path / "a.nc", values, shuffle=False, fill_value=np.nan)
    with h5py.File(tmp_path / "a.nc", "r+") as file:
        write_gridded(file["rate"], dask.array.from_array(values, chunks))
    assert np.array_equal(read(tmp_path / "a.nc"), values)


def test_a_part_is_written_at_its_place_and_the_rest_has_the_fill_value(tmp_path):
    values = fields("f4")
    create(tmp_path / "a.nc", values, shuffle=True, fill_value=np.nan)
    with h5py.File(tmp_path / "a.nc", "r+") as file:
        write_gridded(file["rate"], values[:, :1], (0, 1, 0, 0))
    stored = read(tmp_path / "a.nc")
    assert np.array_equal(stored[:, 1], values[:, 0])
    assert np.isnan(stored[:, 0]).all()


def test_numbers_are_stored_as_the_type_of_the_variable(tmp_path):
    values = fields("f4")
    create(tmp_path / "a.nc", values, shuffle=False, fill_value=np.nan)
    with h5py.File(tmp_path / "a.nc", "r+") as file:
        write_gridded(file["rate"], values.astype("f8"))
    assert np.array_equal(read(tmp_path / "a.nc"), values)
