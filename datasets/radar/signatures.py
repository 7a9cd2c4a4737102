"""What the first bytes of a file say about its format.

Owns the signatures of file formats. Each function takes the first bytes, unpacked.
"""

import os

GZIP, BZIP2, XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"
HDF5 = b"\x89HDF\r\n\x1a\n"


def is_hdf5(head: bytes) -> bool:
    """Whether a file is HDF5: its signature may follow a user block of 512, 1024 … bytes."""
    return any(head[start:].startswith(HDF5) for start in (0, 512, 1024, 2048))


def is_classic_netcdf(head: bytes) -> bool:
    """Whether a file is netCDF of version 1, 2 or 5."""
    return head[:3] == b"CDF" and head[3:4] in (b"\x01", b"\x02", b"\x05")


def is_grib(head: bytes) -> bool:
    """Whether a file is GRIB."""
    return head.startswith(b"GRIB")


def is_tiff(head: bytes) -> bool:
    """Whether a file is TIFF or BigTIFF, of either byte order."""
    return head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def hdf5_convention(path: str) -> str:
    """Which convention an HDF5 file follows: ``odim``, ``knmi`` or ``netcdf``.

    A file that cannot be opened, and one without the groups of the first two, counts as netCDF.
    """
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
            if links.exists(b"geographic") and links.exists(b"overview"):
                return "knmi"
        finally:
            file.close()
    except (OSError, RuntimeError, KeyError):
        pass  # the reader says what is wrong
    return "netcdf"
