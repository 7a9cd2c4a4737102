"""Radar files that no reader reads, told by their content: what they are, and what to do.

Owns the sentences for files of single radars, whose polar coordinates need to be put on a map, for
containers of files, and for other formats that a user may expect to be read.
"""

import re
from pathlib import Path

from squall.datasets.radar.signatures import container_kind, hdf5_convention, is_cfradial, is_hdf5

_ON_A_MAP = (
    "which has polar coordinates; put the scans of all radars on one map first, for example with "
    "{tool}, and write CF netCDF"
)
# first bytes -> what the file is, and the library that reads it
_POLAR = {
    rb"(?:\x01\r\r\n[\d ]+\r\r\n)?(?:SDUS|NXUS|NOUS)\d\d \w{4} \d{6}": (
        "is a product of a single radar (NEXRAD level 3)",
        "MetPy (metpy.io.Level3File)",
    ),
    rb"AR2V00|ARCHIVE2\.": ("is a volume of a single radar (NEXRAD level 2)", "Py-ART"),
    rb"[\x17\x1b]\x00[\x01-\x0f]\x00": (
        "is a volume or product of a single radar (Sigmet IRIS)",
        "wradlib or xradar",
    ),
    rb"(?:<\?xml[^>]*>\s*)?<(?:volume|product) version=": (
        "is a volume of a single radar (Rainbow 5)",
        "wradlib or xradar",
    ),
    rb"(?:.{4})?UF.{2}": ("is a volume of a single radar (Universal Format)", "Py-ART"),
}
_BUFR = (
    "is BUFR, which is not read; fetch the producer's ODIM HDF5 instead, or convert it, for "
    "example with wradlib or ecCodes"
)
# first bytes of pictures -> their format
_PICTURES = {b"GIF8": "GIF", b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"P5": "PGM", b"P6": "PPM"}
_PICTURE = (
    "is a picture ({kind}), which says neither where its pixels lie nor what their numbers mean; "
    "fetch the product with values, or name the importer of pysteps that knows such pictures, with "
    "'format: pysteps' and for example 'importer: mch_gif' or 'importer: fmi_pgm'"
)


def refusal(head: bytes, path: str) -> str | None:
    """What a file is that no reader can read, and what to do with it; None for other files.

    Parameters
    ----------
    head : the file's first bytes.
    path : a local file, unpacked, of no format that is read.
    """
    if is_cfradial(head) or (is_hdf5(head) and hdf5_convention(path) == "cfradial"):
        return f"is a volume of a single radar (CfRadial), {_ON_A_MAP.format(tool='wradlib')}"
    container = container_kind(head)
    if container is not None:
        return (
            f"is a {container} file, which holds other files: name these in 'source' of the "
            f"network configuration or with --files, like '{container}://**::{Path(path).name}'"
        )
    if head.startswith(b"BUFR"):
        return _BUFR
    for start, kind in _PICTURES.items():
        if head.startswith(start):
            return _PICTURE.format(kind=kind)
    for pattern, (kind, tool) in _POLAR.items():
        if re.match(pattern, head, re.DOTALL):
            return f"{kind}, {_ON_A_MAP.format(tool=tool)}"
    return None
