"""Files of single radars and of formats that are not read: each is refused by its name."""

import bz2
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from squall.datasets.radar.formats import recognised_format
from tests.datasets.radar.radar_files import config, rejection_of

SHARED = Path(__file__).parents[4].parent / "shared" / "formats"
HEADS = {
    "NEXRAD level 3": b"SDUS83 KLOT 281214\r\r\nDAALOT\r\r\n" + bytes(200),
    "NEXRAD level 2": b"AR2V0006.001" + bytes(200),
    "Sigmet IRIS": b"\x1b\x00\x08\x00\xd8\x17\x00\x00" + bytes(200),
    "Rainbow 5": b'<volume version="5.22.3" type="vol">' + bytes(200),
    "Universal Format": b"\x00\x00\x10\x00UF\x08\x00" + bytes(200),
    "BUFR": b"BUFR\x00\x01\x00\x04" + bytes(200),
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("format", [None, "netcdf"])
def test_the_kind_and_what_to_do_are_named(tmp_path: Path, kind: str, format: str | None) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(HEADS[kind])
    reason = rejection_of(str(path), config(format=format))
    assert kind in reason
    assert ("polar coordinates" in reason) == (kind != "BUFR")
    assert "for example with" in reason


def test_a_packed_file_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "a.bz2"
    path.write_bytes(bz2.compress(HEADS["NEXRAD level 2"]))
    assert "NEXRAD level 2" in rejection_of(str(path))


@pytest.mark.parametrize("format", ["NETCDF4", "NETCDF3_CLASSIC"])
@pytest.mark.parametrize("convention", ["CF/Radial instrument_parameters", "Cf-Radial-1.4"])
def test_cfradial(tmp_path: Path, format: str, convention: str) -> None:
    path = tmp_path / "a.nc"
    volume = xr.Dataset({"DBZ": (("time", "range"), [[1.0, 2.0]])})
    volume.attrs["Conventions"] = convention
    volume.to_netcdf(path, format=format)
    assert recognised_format(str(path)) is None
    for settings in (config(), config(format="netcdf")):
        reason = rejection_of(str(path), settings)
        assert "CfRadial" in reason
        assert "wradlib" in reason


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("format", [None, "odim"])
def test_a_tar_file_is_not_read_as_one_of_its_files(
    tmp_path: Path, write_odim: Any, pixels: np.ndarray, format: str | None, tar_format: int
) -> None:
    """The HDF5 library looks for the start of a file at 512, 1024 … bytes, too."""
    path = write_odim(tmp_path / "a.h5", pixels)
    with tarfile.open(tmp_path / "a.tar", "w", format=tar_format) as tar:
        tar.add(path, "a.h5")
        tar.add(path, "b.h5")
    reason = rejection_of(str(tmp_path / "a.tar"), config(format=format, variable="RATE"))
    assert "is a tar file, which holds other files" in reason


def test_an_odim_volume(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("what").attrs["object"] = "PVOL"
        file.create_group("dataset1")
    reason = rejection_of(str(tmp_path / "a.h5"))
    assert "ODIM object 'PVOL'" in reason
    assert "wradlib" in reason


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real files at {SHARED}")
@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nexrad/LOT_DAA*", "NEXRAD level 3"),
        ("nexrad/LOT_N1P*", "NEXRAD level 3"),
        ("knmi/knmi_polar_volume.h5", "ODIM object 'PVOL'"),
    ],
)
def test_real_files(pattern: str, message: str) -> None:
    (path,) = SHARED.glob(pattern)
    assert message in rejection_of(str(path))
