"""Zarr stores as sources: the scans of a variable, as if each row of chunks were a file.

Owns how the scans of a store are listed and copied. `find_scans` lists one `SourceFile` for the
scans that lie in the same chunks. Its version holds the versions of these chunks, the times of the
scans and the metadata, so that appended, corrected and re-described scans are found. `copy_scans`
writes it as a netCDF-4 file with the stored numbers, which is then read as any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import fsspec
import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall.datasets.addresses import canonical_address, is_remote
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.sources.access import (
    Options,
    SourceFile,
    ZarrScans,
    filesystem,
    unavailable,
)
from squall.datasets.sources.patterns import expand_times, has_glob, has_time
from squall.datasets.sources.zarr_variable import ZarrVariable, arrays_of
from squall.datasets.unpacking import UnpacksTooMuch

Shape = tuple[int, ...]
_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable.{:10d}"  # netCDF-4's own words


@dataclass(frozen=True)
class ZarrKeys:
    """What a listing must know of the network: the variable, and values with a known meaning.

    ``listed_values`` are unpacked values that the configuration declares as missing or dry.
    """

    variable: str
    listed_values: tuple[float, ...] = ()


def is_zarr(pattern: str) -> bool:
    """Whether an address or pattern names Zarr stores: it ends in ``.zarr``."""
    return re.search(r"\.zarr/?$", pattern) is not None


def check_no_archive(pattern: str) -> None:
    """Refuse an Icechunk repository: its chunks have no versions by which changes are found.

    Raises
    ------
    ConfigError
        If the pattern names one.
    """
    if re.search(r"\.icechunk/?$", pattern):
        raise ConfigError(
            f"{pattern}: an Icechunk repository is no source; write it as a Zarr store and give "
            "that: 'squall export ARCHIVE.icechunk OUT.zarr' for an archive of Squall, xarray's "
            "to_zarr for another one"
        )


def find_stores(
    pattern: str, options: Options, since: pd.Timestamp | None, until: pd.Timestamp | None
) -> list[str]:
    """Addresses of the stores that match a pattern with globs and ``{time:…}`` parts.

    Raises
    ------
    DataError
        If a pattern without glob and time part matches no store.
    SourceUnavailable
        If the storage does not answer.
    """
    pattern = pattern.rstrip("/")
    remote = filesystem(pattern, options)
    found = []
    try:
        for address in expand_times(pattern, since, until):
            paths = [address]
            if has_glob(address, None):
                paths = [str(path) for path in remote.glob(address)]
                if is_remote(pattern):
                    paths = [str(remote.unstrip_protocol(path)) for path in paths]
            found += [path for path in paths if _is_store(remote, path)]
    except (DataError, ConfigError):
        raise
    except Exception as error:  # each file system raises its own
        raise unavailable(pattern, error, options) from error
    if not found and not (has_glob(pattern, None) or has_time(pattern)):
        raise DataError(f"{pattern}: there is no Zarr store; check the address")
    return found


def _is_store(remote: fsspec.AbstractFileSystem, address: str) -> bool:
    return any(remote.exists(f"{address}/{name}") for name in ("zarr.json", ".zgroup"))


def list_arrays(address: str, options: Options) -> dict[str, tuple[dict[str, Any], Shape]]:
    """Attributes and shape of each array of a store, by name.

    Raises
    ------
    SourceUnavailable
        If it cannot be read.
    """
    with _named_errors(address, options):
        arrays = arrays_of(address, filesystem(address, options))
        return {name: (dict(array.attrs), array.shape) for name, array in arrays.items()}


def find_scans(address: str, keys: ZarrKeys, options: Options) -> list[SourceFile]:
    """List the scans of a store: one `SourceFile` for those that lie in the same chunks.

    Raises
    ------
    DataError
        If the store lacks the variable, or does not name its dimensions.
    SourceUnavailable
        If it cannot be read.
    """
    with _named_errors(address, options):
        store = ZarrVariable(address, keys.variable, options)
        return list(_rows(store, keys))


def _rows(store: ZarrVariable, keys: ZarrKeys) -> Iterator[SourceFile]:
    chunks = store.chunk_versions()
    length, step = store.length, store.rows_per_chunk
    series = {name: np.asarray(store.arrays[name][...]) for name in store.along_time}
    for number, first in enumerate(range(0, length, step)):
        last = min(first + step, length)
        parts = {name: values[first:last] for name, values in series.items()}
        is_lost = store.without_time(first, parts)
        if is_lost is not None and is_lost.all():
            continue  # an append is under way; a later run finds the scans
        digest = blake2b(store.description, digest_size=16)
        for name, values in parts.items():
            digest.update(f"{name} {values.tolist()}".encode())
        for chunk in sorted(chunks.get(number, ())):
            digest.update(chunk.encode())
        times = None if is_lost is None else _span(parts[str(store.time)][~is_lost], store)
        yield SourceFile(
            f"{store.address}#{number:07d}",
            digest.hexdigest(),
            None,
            f"{canonical_address(store.address)}#{number:07d}",
            ZarrScans(store.address, keys.variable, first, last, times, keys.listed_values),
        )


def _span(numbers: Any, store: ZarrVariable) -> tuple[pd.Timestamp, pd.Timestamp] | None:
    """First and last time of a row, if they can be decoded; the reader says what is wrong."""
    attributes = store.arrays[str(store.time)].attrs
    try:
        times = xr.coding.times.decode_cf_datetime(
            numbers, str(attributes["units"]), cast(Any, attributes.get("calendar"))
        )
        index = pd.DatetimeIndex(times)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if index.hasnans else (index.min(), index.max())


def copy_scans(scans: ZarrScans, target: Path, options: Options) -> None:
    """Write scans of a store as a netCDF-4 file, with numbers and attributes as they are stored.

    Raises
    ------
    DataError
        If the scans are too large, or chunks that were not written would read as rain or dry.
    SourceUnavailable
        If the store cannot be read.
    """
    with _named_errors(scans.store, options):
        store = ZarrVariable(scans.store, scans.variable, options)
        store.check_size(scans.first, scans.last)
        store.check_fill(scans)
        with h5py.File(target, "w") as file:
            _write(file, store, slice(scans.first, scans.last))


@contextmanager
def _named_errors(address: str, options: Options) -> Iterator[None]:
    try:
        yield
    except UnpacksTooMuch as error:
        raise UnpacksTooMuch(f"{address}: {error}") from error
    except (ConfigError, DataError):
        raise
    except Exception as error:  # storage and codecs raise their own
        raise unavailable(address, error, options) from error


def _write(file: h5py.File, store: ZarrVariable, rows: slice) -> None:
    sizes: dict[str, int] = {}
    times = {name: np.asarray(store.arrays[name][rows]) for name in store.time_names}
    is_lost = store.without_time(rows.start, times)
    written: list[tuple[str, tuple[str, ...]]] = [(store.name, store.dims)]
    for name, dims, array in store.companions():
        if array.dtype.kind in "iuf":
            values = np.asarray(array[store.part(dims, rows)] if array.ndim else array[()])
        else:
            values = np.zeros((), np.int8)  # the text of a grid mapping variable
        file.create_dataset(name, data=values)
        if name in times and is_lost is not None and is_lost.any():
            _remove_times(file[name], is_lost)
        written.append((name, dims))
        sizes |= dict(zip(dims, values.shape, strict=True))
    place = store.part(store.dims, rows)
    shape = tuple(len(range(size)[s]) for s, size in zip(place, store.variable.shape, strict=True))
    sizes |= dict(zip(store.dims, shape, strict=True))
    data = file.create_dataset(store.name, shape, store.variable.dtype.newbyteorder("="))
    for _, source in store.chunks_of(rows.start, rows.stop):
        starts = [s.start - (p.start or 0) for s, p in zip(source, place, strict=True)]
        target = tuple(
            slice(start, start + s.stop - s.start) for start, s in zip(starts, source, strict=True)
        )
        data[target] = store.variable[source]
    for dim, size in sizes.items():
        is_coordinate = (dim, (dim,)) in written
        if not is_coordinate:
            file.create_dataset(dim, (size,), "f4")
        file[dim].make_scale(dim if is_coordinate else _NO_VARIABLE.format(size))
    for name, dims in written:
        for axis, dim in enumerate(dims):
            if dims != (name,):
                file[name].dims[axis].attach_scale(file[dim])
        for key, value in store.attributes(name).items():
            if key not in file[name].attrs:
                _write_attribute(file[name], key, value)


def _remove_times(dataset: h5py.Dataset, is_lost: npt.NDArray[np.bool_]) -> None:
    """Mark the times (scans,) or (scans, 2) of some scans as missing: such scans are rejected."""
    is_whole = dataset.dtype.kind in "iu"
    marker = dataset.dtype.type(np.iinfo(dataset.dtype).max if is_whole else np.nan)
    values = dataset[...]
    values[is_lost] = marker
    dataset[...] = values
    dataset.attrs["_FillValue"] = marker


def _write_attribute(dataset: h5py.Dataset, key: str, value: Any) -> None:
    """Write an attribute that is text or numbers; netCDF has no others."""
    if not isinstance(value, str):
        value = np.asarray(value)
        if value.dtype.kind not in "iuf":
            return
        if key == "_FillValue" and np.array_equal(value.astype(dataset.dtype), value, True):
            value = value.astype(dataset.dtype)
    dataset.attrs[key] = value
