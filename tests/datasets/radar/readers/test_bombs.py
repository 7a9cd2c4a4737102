"""Small files that claim or unpack to very much: refused in little time and memory."""

import resource
import time
import zlib
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest

from squall.datasets.radar.radar_file import read_file
from squall.datasets.radar.readers.chunks import read_scan
from tests.datasets.radar.radar_files import RATE, Write, config

STORAGE = list(
    product([(1, 11, 7), (1, 4, 3), (2, 11, 7), (3, 5, 7)], [False, True], [False, True])
)
LONG = 1_000_000
TEXTS = {
    "a word": "a" * LONG, "digits": "seconds since " + "1" * LONG,
    "spaces": "seconds since 2000-01-01" + " " * LONG + "x", "lines": "-" * LONG,
    "a formula": "GEO=" + "1" * LONG, "brackets": "[" * LONG, "slashes": "mm" + " /" * (LONG // 2),
}  # fmt: skip


@pytest.mark.parametrize(("chunks", "shuffle", "fletcher32"), STORAGE)
@pytest.mark.parametrize("dtype", ["u1", "u2", ">f4", "f8"])
def test_scans_in_any_chunks(
    tmp_path: Path, chunks: Any, shuffle: bool, fletcher32: bool, dtype: str
) -> None:
    scans = np.arange(3 * 11 * 7).reshape(3, 11, 7).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset(
            "a", data=scans, chunks=chunks, compression="gzip", shuffle=shuffle,
            fletcher32=fletcher32,
        )  # fmt: skip
        for index in range(3):
            scan = read_scan(dataset, (index,))
            assert scan.dtype == scans.dtype
            np.testing.assert_array_equal(scan, scans[index])


def bomb(path: Path, megabytes: int) -> None:
    """Replace the first chunk of a file by one that inflates to far more than a chunk."""
    with h5py.File(path, "a") as file:
        packed = zlib.compress(bytes(megabytes * 2**20), 9)
        for name in ("dataset1/data1/data", "image1/image_data", "rain"):
            if name in file:
                dataset = file[name]
                dataset.id.write_direct_chunk((0,) * dataset.ndim, packed)


def test_a_chunk_that_inflates_to_a_gigabyte(write_odim, configured, tmp_path) -> None:
    """The HDF5 library inflates all of it before it looks at the size."""
    numbers = np.ones((12, 16), np.uint16)
    pack = {"compression": "gzip", "chunks": (4, 16)}
    path = write_odim(tmp_path / "a.h5", numbers, pack=pack)
    bomb(Path(path), 1024)
    assert Path(path).stat().st_size < 2**21
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (rejected,) = read_file(path, configured("odim")).rejected
    assert "its data are damaged: 129 bytes or more instead of 128" in rejected.reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize("shape", [(2**17 + 1, 1), (2**14, 2**14)])
def test_a_file_that_declares_a_huge_scan(write_odim, write_knmi, configured, tmp_path, shape):
    for name, write in (("odim", write_odim), ("knmi", write_knmi)):
        path = write(tmp_path / f"{name}.h5", np.ones((12, 16), np.uint16))
        place = {"odim": "dataset1/data1/data", "knmi": "image1/image_data"}[name]
        with h5py.File(path, "a") as file:
            del file[place]
            file.create_dataset(place, shape, "u2", chunks=(1, 1), compression="gzip")
        (rejected,) = read_file(path, configured(name)).rejected
        assert "more than any radar composite" in rejected.reason


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize(
    ("variable", "attribute"),
    [("rain", "units"), ("rain", "missing_value"), ("rain", "long_name"), ("time", "units"),
     ("y", "units"), ("x", "standard_name"), ("proj", "crs_wkt"), ("proj", "grid_mapping_name")],
)  # fmt: skip
def test_a_hostile_attribute_of_netcdf(
    tmp_path: Path, write_radar: Write, variable: str, attribute: str, text: str
) -> None:
    """Units of a million characters on a coordinate took two minutes."""
    path = write_radar(tmp_path / "a.nc", RATE)
    with netCDF4.Dataset(path, "a") as file:
        file[variable].setncattr(attribute, text)
    read_file(write_radar(tmp_path / "b.nc", RATE), config())  # imports what reading needs
    began = time.process_time()
    (rejected,) = read_file(path, config()).rejected
    assert f"has an attribute '{attribute}' of" in rejected.reason
    assert "at most 65,536 are read" in rejected.reason
    assert time.process_time() - began < 10  # 0.1 s; it took minutes


@pytest.mark.parametrize("length", [8000, 60_000, LONG])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_hostile_attribute_of_hdf5(
    write_odim, write_knmi, configured, tmp_path, text: str, length: int
) -> None:
    numbers = np.ones((12, 16), np.uint16)
    places = {
        "odim": [("what", "date"), ("where", "projdef"), ("dataset1/data1/what", "quantity")],
        "knmi": [
            ("image1", "image_geo_parameter"), ("overview", "product_datetime_end"),
            ("image1/calibration", "calibration_formulas"),
            ("geographic/map_projection", "projection_proj4_params"),
        ],
    }  # fmt: skip
    for name, write in (("odim", write_odim), ("knmi", write_knmi)):
        for group, attribute in places[name]:
            path = write(tmp_path / f"{name}.h5", numbers)
            with h5py.File(path, "a", track_order=True, libver="latest") as file:
                file[group].attrs.create(attribute, text[:length], dtype=h5py.string_dtype())
            began = time.process_time()
            (rejected,) = read_file(path, configured(name)).rejected
            assert len(rejected.reason) < 20_000
            assert time.process_time() - began < 10  # 0.1 s; it took minutes


def test_a_text_that_is_too_long_is_named(write_odim, configured, tmp_path) -> None:
    path = write_odim(tmp_path / "a.h5", np.ones((12, 16), np.uint16))
    with h5py.File(path, "a") as file:
        file["what"].attrs.create("date", "1" * 10_000, dtype=h5py.string_dtype())
    (rejected,) = read_file(path, configured("odim")).rejected
    assert "/what/date has 10,000 characters, at most 8,192" in rejected.reason
