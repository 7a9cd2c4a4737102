"""Safe reading of HDF5 files from elsewhere: links, attributes and images for ODIM and KNMI.

An HDF5 file may point to other files, claim any size, and name filters that are loaded as code.
Radar composites need none of this, so it is rejected before a link is followed, memory allocated or
a chunk decompressed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5d, h5g, h5l, h5o, h5z

from squall.datasets.errors import DataError, first_line
from squall.datasets.radar.product import check_scan_shape

MAX_MEMBERS = 10_000  # of a group; a day of one-minute scans has 1440
MAX_DEPTH = 32  # of groups inside each other
MAX_ATTRIBUTE_BYTES = 2**16
MAX_TEXT = 2**13  # of an attribute; some libraries need much time for a long text
_OTHER_FORMAT = (
    "if it has another format that is read, set 'format' in the network configuration, for example "
    "'format: netcdf' or 'format: grib'"
)
# each may occur once, so that a small file cannot unpack to a huge one
FILTERS = {
    h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32, h5z.FILTER_SZIP, h5z.FILTER_LZF,
}  # fmt: skip


@contextmanager
def open_hdf5(path: str, format: str = "HDF5") -> Iterator[h5py.File]:
    """Open a file for reading, without a lock: files may lie on read-only or network disks."""
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        is_hdf5 = h5py.is_hdf5(path)
        advice = "it is damaged: fetch it again" if is_hdf5 else _OTHER_FORMAT
        raise DataError(f"cannot be read as {format}: {first_line(error)}; {advice}") from error
    with file:
        yield file


def check_self_contained(file: h5py.File) -> None:
    """Reject a file that the netCDF library would leave for other files, or not come back from.

    It follows links to any file of this machine, whose content could so become part of an archive,
    and ends the process if groups contain themselves.

    Raises
    ------
    DataError
        If the file has a soft or external link, a group of two names or in too many groups, or
        data that lie in other files or are packed twice with the same filter.
    """
    # h5py's objects of a higher level take longer, and every file pays for it
    open_groups, addresses = [(h5g.open(file.id, b"/"), "/", 0)], set[int]()
    while open_groups:
        group, place, depth = open_groups.pop()
        address = h5o.get_info(group).addr
        if address in addresses:
            raise DataError(f"group {place} has two names, which netCDF files have not")
        addresses.add(address)
        if len(group) > MAX_MEMBERS or depth > MAX_DEPTH:
            raise DataError(
                f"{place} has {len(group)} members and lies in {depth} groups, at most "
                f"{MAX_MEMBERS} and {MAX_DEPTH} are read"
            )
        for name in group:
            inner = f"{place.rstrip('/')}/{name.decode(errors='replace')}"
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                raise DataError(f"{inner} is a link to elsewhere, which is not followed")
            child = h5o.open(group, name)
            if isinstance(child, h5g.GroupID):
                open_groups.append((child, inner, depth + 1))
            elif isinstance(child, h5d.DatasetID):
                _check_storage(child, f"variable {inner}")


def _check_storage(dataset: h5d.DatasetID, title: str) -> list[int]:
    """The filters of a dataset that lies in its own file and has each filter once."""
    properties = dataset.get_create_plist()
    if properties.get_layout() == h5d.VIRTUAL or properties.get_external_count() > 0:
        raise DataError(f"{title} lies in other files, which are not followed")
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if len(set(filters)) < len(filters):
        raise DataError(
            f"{title} is packed twice with the same filter, of the HDF5 filters {filters}"
        )
    return filters


def member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """Return the member of a group by its name; None if there is none.

    Raises
    ------
    DataError
        If the name is a soft or an external link: a soft link may lead through an external one,
        and radar files need neither.
    """
    links, key = group.id.links, name.encode()
    if not links.exists(key):
        return None
    if links.get_info(key).type != h5l.TYPE_HARD:
        raise DataError(f"{_place(group, name)} is a link to elsewhere, which is not followed")
    return group[name]


def subgroup(group: h5py.Group, name: str) -> h5py.Group | None:
    """Return the subgroup of a group by its name; None if there is none."""
    child = member(group, name)
    return child if isinstance(child, h5py.Group) else None


def numbered_groups(group: h5py.Group, stem: str) -> dict[str, h5py.Group]:
    """Return the groups ``stem1``, ``stem2`` … in the order of their numbers."""
    if len(group) > MAX_MEMBERS:
        raise DataError(f"{group.name} has {len(group)} members, at most {MAX_MEMBERS} are read")
    names = [name for name in group if re.fullmatch(rf"{stem}\d{{1,6}}", name, re.ASCII)]
    members = {
        name: subgroup(group, name) for name in sorted(names, key=lambda n: int(n[len(stem) :]))
    }
    return {name: child for name, child in members.items() if child is not None}


def image(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return a dataset of two dimensions that is safe to read, without reading it.

    Raises
    ------
    DataError
        If there is none, it does not hold numbers, is absurdly large, or lies in other files.
    """
    dataset, place = member(group, name), _place(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"has no image {place}")
    if dataset.shape is None or len(dataset.shape) != 2:
        raise DataError(f"image {place} has shape {dataset.shape}, expected rows and columns")
    check_scan_shape(*dataset.shape)
    if dataset.dtype.kind not in "iuf" or dataset.dtype.itemsize > 8:
        raise DataError(f"image {place} holds {dataset.dtype}, expected numbers")
    if dataset.chunks is not None:
        check_scan_shape(*dataset.chunks)
    filters = _check_storage(dataset.id, f"image {place}")
    if not set(filters) <= FILTERS:
        raise DataError(
            f"image {place} is packed with HDF5 filters {filters}, expected "
            "deflate, shuffle, fletcher32, szip and lzf; repack the file, for example with h5repack"
        )
    _check_lzf(dataset, f"image {place}")
    return dataset


def _check_lzf(dataset: h5py.Dataset, title: str) -> None:
    """Refuse lzf whose buffer is not the size of a chunk: the filter allocates what a file says."""
    properties = dataset.id.get_create_plist()
    for code, _, values, _ in map(properties.get_filter, range(properties.get_nfilters())):
        chunk_bytes = prod(dataset.chunks) * dataset.dtype.itemsize
        if code == h5z.FILTER_LZF and values[2:3] != (chunk_bytes,):
            raise DataError(
                f"{title} says that its lzf chunks have {values[2:3]} bytes, expected {chunk_bytes}"
            )


def text(owner: h5py.Group, name: str) -> str | None:
    """Read an attribute as text, stored as bytes or as a string; None if it is missing."""
    value = _single(owner, name)
    if isinstance(value, bytes):
        value = value.split(b"\0")[0].decode("utf-8", "replace").strip()
    if value is None or isinstance(value, str):
        if value is not None and len(value) > MAX_TEXT:
            raise DataError(
                f"attribute {_place(owner, name)} has {len(value):,} characters, at most "
                f"{MAX_TEXT:,} are read; no radar file needs so many"
            )
        return value
    raise DataError(f"attribute {_place(owner, name)} is {value!r}, expected text")


def number(owner: h5py.Group, name: str) -> float | None:
    """Read an attribute as a number, which may be NaN or infinite; None if it is missing."""
    value = _single(owner, name)
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(
            f"attribute {_place(owner, name)} is {value!r}, expected a number"
        ) from None


def finite(owner: h5py.Group, name: str) -> float | None:
    """Read an attribute as a finite number; None if it is missing."""
    value = number(owner, name)
    if value is not None and not np.isfinite(value):
        raise DataError(f"attribute {_place(owner, name)} is {value}, expected a finite number")
    return value


def required(owner: h5py.Group, name: str) -> float:
    """Read a required attribute as a finite number."""
    value = finite(owner, name)
    if value is None:
        raise DataError(f"attribute {_place(owner, name)} is missing")
    return value


def numbers(owner: h5py.Group, name: str) -> npt.NDArray[np.float64] | None:
    """Read an attribute as a flat array of numbers; None if it is missing."""
    value = _attribute(owner, name)
    if value is None:
        return None
    try:
        return np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        raise DataError(f"attribute {_place(owner, name)} is {value!r}, expected numbers") from None


def _single(owner: h5py.Group, name: str) -> Any:
    """The value of an attribute with a single value, as a Python object; None if missing."""
    value = _attribute(owner, name)
    if isinstance(value, np.ndarray):
        if value.size != 1:
            place = _place(owner, name)
            raise DataError(f"attribute {place} has {value.size} values, expected one")
        value = value.ravel()[0]
    return value.item() if isinstance(value, np.generic) else value


def _attribute(owner: h5py.Group, name: str) -> Any:
    if name not in owner.attrs:
        return None
    described = owner.attrs.get_id(name)
    count, dtype = described.get_space().get_simple_extent_npoints(), described.dtype
    if count * dtype.itemsize > MAX_ATTRIBUTE_BYTES:
        raise DataError(f"attribute {_place(owner, name)} says that it has {count} values")
    if dtype.kind not in "biufSU" and h5py.check_string_dtype(dtype) is None:
        raise DataError(f"attribute {_place(owner, name)} holds {dtype}, expected text or numbers")
    value = owner.attrs[name]
    return None if isinstance(value, h5py.Empty) else value


def _place(group: h5py.Group, name: str) -> str:
    return f"{str(group.name).rstrip('/')}/{name}"
