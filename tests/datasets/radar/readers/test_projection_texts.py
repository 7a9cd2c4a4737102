"""Attributes with a map projection, in netCDF and HDF5 files."""

from collections.abc import Callable
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pyproj
import pytest

from squall.datasets.radar.readers.projection_texts import MOST_TEXTS, projections_in
from squall.datasets.radar.readers.radolan import SPHERE

PROJ = "+proj=geos +h=35785863 +lon_0=0"
WKT = pyproj.CRS("EPSG:4326").to_wkt(pretty=True)


@pytest.mark.parametrize("format", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_attributes_of_a_netcdf_file_and_its_variables(
    tmp_path: Path, write_radar: Callable[..., str], format: str
) -> None:
    path = write_radar(tmp_path / "a.nc", np.ones((8, 8), np.float32), format=format)
    with netCDF4.Dataset(path, "a") as file:
        file.gdal_projection = PROJ
        file.history = "gdalwarp -t_srs +proj=geos"
        file.number = 4326
        file.cgms_projection = "+proj=geos +coff=1101 +cfac=13642337 +h=42164 +r_eq=6378.1"
        file.broken = "+proj=nowhere"
        file["rain"].esri_pe_string = WKT
    assert projections_in(path, "netcdf") == {
        PROJ: "attribute 'gdal_projection' of the file",
        " ".join(WKT.split()): "attribute 'esri_pe_string' of variable 'rain'",
    }
    assert projections_in(path, "odim") == {}


def test_attributes_of_an_hdf5_file_its_groups_and_datasets(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as root:
        root.create_group("where").attrs["proj4"] = np.bytes_(PROJ)
        root["where/rain"] = np.ones((8, 8))
        root["where/rain"].attrs["srs"] = "EPSG:3035"
        root["where/rain"].attrs["sizes"] = np.arange(4)
        root["elsewhere"] = h5py.ExternalLink("b.h5", "/where")
    assert projections_in(str(tmp_path / "a.h5"), "hdf5") == {
        PROJ: "attribute 'proj4' of /where",
        "EPSG:3035": "attribute 'srs' of /where/rain",
    }


def test_a_file_with_many_or_long_texts_gives_a_few(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as root:
        root.attrs["long"] = "+proj=" + 9000 * "x"
        for number in range(2 * MOST_TEXTS):
            root.attrs[f"p{number}"] = f"+proj=stere +lon_0={number}"
    texts = projections_in(str(tmp_path / "a.h5"), "hdf5")
    assert len(texts) == MOST_TEXTS
    assert all(len(text) < 100 for text in texts)


def ascii_grid(path: Path, corner: tuple[int, int]) -> str:
    head = f"ncols 900\nnrows 900\nxllcorner {corner[0]}\nyllcorner {corner[1]}\ncellsize 1000\n"
    path.write_text(head + 810_000 * "0 ")
    return str(path)


def test_an_ascii_grid_with_the_corner_of_dwd(tmp_path: Path) -> None:
    path = ascii_grid(tmp_path / "a.asc", (-523462, -4658645))
    assert projections_in(path, "ascii_grid") == {
        SPHERE: "the size and the corner of the grid, as in DWD's composites"
    }
    assert projections_in(ascii_grid(tmp_path / "b.asc", (0, 0)), "ascii_grid") == {}
