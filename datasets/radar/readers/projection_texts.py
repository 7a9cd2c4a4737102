"""Map projections in places where readers look for none: attributes, and the corners of grids.

Many producers write a PROJ string or WKT into an attribute of their own, like ``gdal_projection``
or ``proj4``. ESRI ASCII grids of DWD have the corner of DWD's composites. No reader trusts such
hints; `squall init` offers them as a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import netCDF4
import pyproj

from squall.datasets.errors import DataError
from squall.datasets.radar.readers.ascii_grid import LONGEST_HEADER, ascii_header
from squall.datasets.radar.readers.cf_limits import checked_file
from squall.datasets.radar.readers.hdf5 import MAX_TEXT, member, open_hdf5, text
from squall.datasets.radar.readers.radolan import (
    PIXEL_M,
    REFERENCE,
    REFERENCE_PIXELS,
    SPHERE,
    WGS84,
)

MOST_TEXTS = 3
_NEAR_M = 20.0
_MOST_OWNERS, _MOST_ATTRIBUTES = 300, 300
_PROJECTION = re.compile(
    r"\+?(proj|init)=|epsg:\d|urn:ogc:def:crs:|[a-z]{4,12}(cs|crs|_cs)\s*[\[(]", re.IGNORECASE
)
_KEYS = {
    "proj", "init", "lat_0", "lat_1", "lat_2", "lat_ts", "lon_0", "lon_1", "lon_2", "lonc",
    "alpha", "gamma", "k", "k_0", "x_0", "y_0", "h", "sweep", "zone", "south", "o_proj",
    "o_lat_p", "o_lon_p", "o_alpha", "a", "b", "rf", "f", "es", "R", "ellps", "datum",
    "towgs84", "nadgrids", "pm", "units", "to_meter", "axis", "no_defs", "type", "wktext",
    "over",
}  # fmt: skip


def projections_in(path: str, format: str) -> dict[str, str]:
    """Texts of attributes that are a PROJ string, WKT or an EPSG code, with their places.

    PROJ takes keys that it does not know in silence, like those of other libraries; a text with
    such keys is left out.

    Parameters
    ----------
    format : name of the file's format; others than netcdf, hdf5 and ascii_grid give no texts.

    Raises
    ------
    DataError
        If the file is broken, or leads to other files.
    """
    texts: dict[str, str] = {}
    if format == "netcdf":
        with checked_file(path), netCDF4.Dataset(path) as file:
            _collect(texts, _netcdf_texts(file))
    elif format == "hdf5":
        with open_hdf5(path) as root:
            _collect(texts, _hdf5_texts(root))
    elif format == "ascii_grid":
        return _of_dwd(path)
    return texts


def _of_dwd(path: str) -> dict[str, str]:
    """The projection of an ESRI ASCII grid whose size and corner are those of a DWD composite."""
    with Path(path).open("rb") as stream:
        header = ascii_header(stream.read(LONGEST_HEADER), Path(path).stat().st_size)
    if header.shape not in REFERENCE_PIXELS or header.pixel != PIXEL_M:
        return {}
    west, south = REFERENCE_PIXELS[header.shape]
    for projection in (SPHERE, WGS84):
        x, y = pyproj.Proj(projection)(*REFERENCE)
        corner = x - west * PIXEL_M, y - south * PIXEL_M
        if max(abs(a - b) for a, b in zip(corner, header.lower_left, strict=True)) < _NEAR_M:
            return {projection: "the size and the corner of the grid, as in DWD's composites"}
    return {}


def _collect(texts: dict[str, str], attributes: Iterator[tuple[str, str, str]]) -> None:
    for owner, name, value in attributes:
        if len(texts) == MOST_TEXTS:
            return
        written = " ".join(value[: MAX_TEXT + 1].split())
        if len(value) <= MAX_TEXT and _PROJECTION.match(written) and _is_known(written):
            texts.setdefault(written, f"attribute '{name}' of {owner}")


def _is_known(written: str) -> bool:
    """Whether PROJ knows a projection and all of its keys."""
    keys = {key.lstrip("+").partition("=")[0] for key in written.split()}
    is_proj_string = re.match(r"\+?(proj|init)=", written, re.IGNORECASE) is not None
    if is_proj_string and not keys <= _KEYS:
        return False
    try:
        pyproj.CRS.from_user_input(written)
    except pyproj.exceptions.CRSError:
        return False
    return True


def _netcdf_texts(file: netCDF4.Dataset) -> Iterator[tuple[str, str, str]]:
    variables = list(file.variables.values())[:_MOST_OWNERS]
    owners: list[netCDF4.Dataset | netCDF4.Variable] = [file, *variables]
    for owner in owners:
        title = f"variable '{owner.name}'" if isinstance(owner, netCDF4.Variable) else "the file"
        for name in owner.ncattrs()[:_MOST_ATTRIBUTES]:
            value = owner.getncattr(name)
            if isinstance(value, str):
                yield title, name, value


def _hdf5_texts(root: h5py.File) -> Iterator[tuple[str, str, str]]:
    owners: list[h5py.Group | h5py.Dataset] = [root]
    for seen in range(_MOST_OWNERS):
        if seen == len(owners):
            return
        owner = owners[seen]
        title = "the file" if owner is root else str(owner.name)
        for name in list(owner.attrs)[:_MOST_ATTRIBUTES]:
            try:
                value = text(owner, name)
            except DataError:  # no text
                continue
            if value is not None:
                yield title, name, value
        if isinstance(owner, h5py.Group):
            owners += _members(owner)


def _members(group: h5py.Group) -> Iterator[h5py.Group | h5py.Dataset]:
    """Groups and datasets in a group; links are not followed."""
    for name in list(group)[:_MOST_OWNERS]:
        try:
            child = member(group, name)
        except DataError:
            continue
        if child is not None:
            yield child
