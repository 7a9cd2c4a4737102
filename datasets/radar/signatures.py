"""What the first bytes of a file say about its format.

Owns the signatures of file formats. Each function takes the first bytes, unpacked; HDF5 files are
opened, because conventions look alike at their start.
"""

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

GZIP, BZIP2, XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"
_OF_KNMI = (b"geographic", b"overview")
HDF5 = b"\x89HDF\r\n\x1a\n"
MAX_LOOKED_AT = 40  # members of an HDF5 file that are looked at for its convention


def is_hdf5(head: bytes) -> bool:
    """Whether a file is HDF5: its signature may follow a user block of 512, 1024 … bytes.

    The first file in a tar file begins at such a place, too.
    """
    return container_kind(head) is None and any(
        head[start:].startswith(HDF5) for start in (0, 512, 1024, 2048)
    )


def is_classic_netcdf(head: bytes) -> bool:
    """Whether a file is netCDF of version 1, 2 or 5."""
    return head[:3] == b"CDF" and head[3:4] in (b"\x01", b"\x02", b"\x05")


def is_grib(head: bytes) -> bool:
    """Whether a file is GRIB."""
    return head.startswith(b"GRIB")


def is_tiff(head: bytes) -> bool:
    """Whether a file is TIFF or BigTIFF, of either byte order."""
    return head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def is_npz(head: bytes) -> bool:
    """Whether a file is an archive of NumPy: a zip file whose first member is an array."""
    length = int.from_bytes(head[26:28], "little")
    return head.startswith(b"PK\x03\x04") and head[30 : 30 + length].endswith(b".npy")


def is_nimrod(head: bytes) -> bool:
    """Whether a file is NIMROD: its header is a Fortran record of 512 bytes."""
    length = (512).to_bytes(4, "big")
    return head[:4] == length and head[516:520] == length


def container_kind(head: bytes) -> str | None:
    """Whether a file is a ``tar`` or ``zip`` container of other files; None if it is neither."""
    if head[257:262] == b"ustar":
        return "tar"
    return "zip" if head.startswith(b"PK\x03\x04") else None


def is_radolan(head: bytes) -> bool:
    """Whether a file is a binary product of DWD: product, time, radar, month, year, length."""
    return re.match(rb"[A-Z%][A-Z0-9]\d{15}BY *\d+[A-Z]{2}", head) is not None


def is_ascii_grid(head: bytes) -> bool:
    """Whether a file is an ESRI ASCII grid."""
    return re.match(rb"\s{0,16}ncols\s{1,32}\d+\s+nrows\s{1,32}\d", head, re.IGNORECASE) is not None


def hdf5_convention(path: str) -> str:
    """Which convention an HDF5 file follows: odim, knmi, cfradial (polar), netcdf or none.

    A file that cannot be opened counts as netCDF, whose reader says what is wrong.
    """
    file = Path(path).stat()
    return _convention(path, file.st_ino, file.st_mtime_ns, file.st_size)


@lru_cache(maxsize=1)  # one format after the other asks for it
def _convention(path: str, inode: int, modified: int, size: int) -> str:
    import h5py  # slow to import, and most files of other formats need it not

    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_file_locking(False, False)  # files may lie on read-only or network disks
    try:
        # takes half of the time of `h5py.File`, and every file pays for it
        file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, fapl=access)
        try:
            links = file.links
            if links.exists(b"what") and (links.exists(b"where") or links.exists(b"dataset1")):
                return "odim"
            if all(_is_group(file, name) for name in _OF_KNMI):
                return "knmi"  # in KNMI's netCDF these are variables
            return _netcdf_kind(h5py.Group(h5py.h5g.open(file, b"/")))
        finally:
            file.close()
    except (OSError, RuntimeError, KeyError):
        pass
    return "netcdf"


def _is_group(file: Any, name: bytes) -> bool:
    import h5py

    if not file.links.exists(name):
        return False
    return bool(h5py.h5o.get_info(file, name).type == h5py.h5o.TYPE_GROUP)


def is_cfradial(conventions: bytes) -> bool:
    """Whether a text names the CfRadial convention, spelled CF/Radial, Cf-Radial and so on."""
    return re.search(rb"(?i)\bcf[/-]?radial", conventions) is not None


def _netcdf_kind(file: Any) -> str:
    """``netcdf`` for an open HDF5 file with marks of netCDF-4, ``cfradial`` for polar data."""
    conventions = _short_text(file, b"Conventions")
    if is_cfradial(conventions):
        return "cfradial"
    if conventions.upper().startswith(b"CF-") or _has(file, b"_NCProperties"):
        return "netcdf"
    # libraries before netCDF 4.4.1 left no mark but dimension scales
    return "netcdf" if _has_scales(file, [MAX_LOOKED_AT]) else "none"


def _has_scales(group: Any, left: list[int]) -> bool:
    """Whether one of the first datasets of a group and its groups belongs to dimension scales."""
    import h5py

    for name in group:
        left[0] -= 1
        if left[0] < 0:
            return False
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        child = group[name]
        if isinstance(child, h5py.Group):
            if _has_scales(child, left):
                return True
        elif _has(child, b"DIMENSION_LIST") or _short_text(child, b"CLASS") == b"DIMENSION_SCALE":
            return True
    return False


def _has(owner: Any, name: bytes) -> bool:
    import h5py

    return bool(h5py.h5a.exists(owner.id, name))


def _short_text(owner: Any, name: bytes) -> bytes:
    """An attribute with a single text; empty if there is none, or it is no text."""
    import h5py
    import numpy as np

    if not _has(owner, name):
        return b""
    attribute = h5py.h5a.open(owner.id, name)
    if attribute.shape not in ((), (1,)) or attribute.dtype.itemsize > 1024:
        return b""
    if attribute.dtype.kind == "S":
        fixed = np.zeros(attribute.shape, attribute.dtype)  # half of the time of `attrs`
        attribute.read(fixed)
        return bytes(fixed.item())
    value = owner.attrs[name.decode()]
    return value.encode() if isinstance(value, str) else b""
