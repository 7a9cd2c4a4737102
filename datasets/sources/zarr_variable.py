"""An open Zarr store: the variable with the scans, its coordinates, its chunks and what fills them.

Owns what the metadata of a store mean, for Zarr 2 and 3. Scans are listed and copied by
`squall.datasets.sources.zarr_stores`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from math import isclose, isnan, prod
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

from squall.datasets.addresses import is_remote
from squall.datasets.errors import DataError
from squall.datasets.sources.access import Options, UnclearFill, ZarrScans, filesystem, version_of
from squall.datasets.sources.zarr_codecs import checked
from squall.datasets.unpacking import MAX_FILE_BYTES

MAX_SCANS = 2**21
MAX_VALUES = 2**25  # of a coordinate


def arrays_of(address: str, remote: fsspec.AbstractFileSystem) -> dict[str, Any]:
    """The arrays of a store, by name."""
    root = str(remote._strip_protocol(address))
    if is_remote(address):
        # the wrapper runs the connections that the listing has opened, and opens no others
        wrapped = AsyncFileSystemWrapper(remote, asynchronous=True)
        opened: Any = zarr.storage.FsspecStore(wrapped, path=root, read_only=True)
    else:
        opened = zarr.storage.LocalStore(root, read_only=True)
    # consolidated metadata may be older than the scans that were appended last
    group = zarr.open_group(opened, mode="r", use_consolidated=False)
    return dict(group.arrays())


class ZarrVariable:
    """An open store, and the variable with the scans.

    Raises
    ------
    DataError
        If the store lacks the variable, or does not name its dimensions.
    """

    def __init__(self, address: str, variable: str, options: Options) -> None:
        self.address = address
        self._remote = filesystem(address, options)
        self._root = str(self._remote._strip_protocol(address))
        self.arrays = arrays_of(address, self._remote)
        if variable not in self.arrays:
            names = ", ".join(sorted(self.arrays)) or "none at all"
            raise DataError(
                f"{address}: has no variable '{variable}'; it has {names}; set 'variable' in the "
                "network configuration to one of them"
            )
        self.name, self.variable = variable, self._checked(variable)
        self.dims = self._dims(variable)
        if len(self.dims) != self.variable.ndim or self.variable.ndim < 2:
            raise DataError(
                f"{address}: variable '{variable}' does not name its dimensions as xarray does; "
                "write the store with xarray, or add _ARRAY_DIMENSIONS (Zarr 2) or "
                "dimension_names (Zarr 3)"
            )
        if max(self.variable.shape) > MAX_SCANS:
            raise DataError(f"{address}: says that it has the shape {self.variable.shape}")

    def _checked(self, name: str) -> Any:
        return checked(self.arrays[name], f"{self.address}: '{name}'")

    def _dims(self, name: str) -> tuple[str, ...]:
        array = self.arrays[name]
        named = getattr(array.metadata, "dimension_names", None)
        return tuple(named or array.attrs.get("_ARRAY_DIMENSIONS", ()))

    @cached_property
    def time(self) -> str | None:
        """The coordinate of the scans' times, by which they are listed."""
        for dim in self.dims:
            if dim in self.arrays and " since " in str(self.arrays[dim].attrs.get("units", "")):
                return dim
        return None

    @property
    def _axis(self) -> int | None:
        """Position of the dimension along which scans follow each other; None for one scan."""
        if self.time is not None:
            return self.dims.index(self.time)
        return 0 if self.variable.ndim > 2 else None

    @property
    def length(self) -> int:
        return 1 if self._axis is None else int(self.variable.shape[self._axis])

    @property
    def _chunk_shape(self) -> tuple[int, ...]:
        """Shape of what lies in one object: a chunk, or a shard of chunks."""
        return tuple(self.variable.shards or self.variable.chunks)

    @property
    def rows_per_chunk(self) -> int:
        return 1 if self._axis is None else self._chunk_shape[self._axis]

    @cached_property
    def _companions(self) -> list[str]:
        """Coordinates and the like: arrays of few numbers along the variable's dimensions."""
        listed = str(self.variable.attrs.get("coordinates", "")).split()
        names = []
        for name, array in self.arrays.items():
            dims = self._dims(name)
            is_map = array.ndim == 2 and set(dims) <= set(self.dims) and self.time not in dims
            is_small = array.ndim <= 1 or dims[0] == self.time or (is_map and name in listed)
            if name == self.name or len(dims) != array.ndim or array.ndim > 2 or not is_small:
                continue
            is_number = array.dtype.kind in "iuf"
            if array.ndim and not is_number:
                continue
            if array.size > MAX_VALUES or prod(array.shards or array.chunks or (1,)) > MAX_VALUES:
                raise DataError(f"{self.address}: '{name}' has {array.size:,} values, too many")
            if is_number:
                self._checked(name)
            names.append(name)
        return sorted(names)

    @cached_property
    def along_time(self) -> list[str]:
        axis = self._axis
        return (
            []
            if axis is None
            else [n for n in self._companions if self.dims[axis] in self._dims(n)]
        )

    @cached_property
    def time_names(self) -> list[str]:
        """The coordinate of the scans' times, and its bounds if it has some."""
        bounds = "" if self.time is None else self.arrays[self.time].attrs.get("bounds", "")
        return [name for name in self.along_time if name in (self.time, bounds)]

    def without_time(
        self, first: int, series: Mapping[str, npt.NDArray[Any]]
    ) -> npt.NDArray[np.bool_] | None:
        """Which scans have no time yet, since Zarr fills in a number until an append is complete.

        The first scan of a store may have this number: times often count from it.

        Parameters
        ----------
        first : position of the first scan.
        series : numbers of `time_names`, (scans,) or (scans, 2).

        Returns
        -------
        (scans,), None without a coordinate of times.
        """
        if self.time is None:
            return None
        is_lost = np.zeros(len(series[self.time]), dtype=bool)
        for name in self.time_names:
            fill = self.arrays[name].metadata.fill_value
            filled = np.asarray(series[name] == (0 if fill is None else fill))
            is_lost |= filled.reshape(len(is_lost), -1).all(axis=1)
        if first == 0:
            is_lost[:1] = False
        return is_lost

    @cached_property
    def description(self) -> bytes:
        """All that decides how numbers are read, without the number of scans."""
        described = [
            (name, str(self.arrays[name].dtype), self._dims(name), dict(self.arrays[name].attrs))
            for name in (self.name, *self._companions)
        ]
        fixed = [
            n for n in self._companions if n not in self.along_time and self.arrays[n].ndim == 1
        ]
        values = [np.asarray(self.arrays[name][...]).tolist() for name in fixed]
        return repr((described, values, self.variable.fill_value, self._chunk_shape)).encode()

    def chunk_versions(self) -> dict[int, list[str]]:
        """Name and version of each written chunk, by the number of its row."""
        folder = f"{self._root}/{self.name}"
        rows: dict[int, list[str]] = {}
        for path, info in self._remote.find(folder, detail=True).items():
            numbers = re.findall(r"\d+", path[len(folder) :])
            if (info.get("size") or 0) > MAX_FILE_BYTES:
                raise DataError(
                    f"{self.address}: {path.rpartition('/')[2]} of '{self.name}' has "
                    f"{info['size']:,} bytes, at most {MAX_FILE_BYTES:,} are read at once"
                )
            is_chunk = re.fullmatch(r"/(c/)?\d+([./]\d+)*", path[len(folder) :]) is not None
            if is_chunk and len(numbers) == self.variable.ndim:
                row = 0 if self._axis is None else int(numbers[self._axis])
                rows.setdefault(row, []).append(f"{'.'.join(numbers)} {version_of(info)}")
        return rows

    def chunks_of(
        self, first: int, last: int
    ) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Number and place of each chunk with scans from ``first`` to before ``last``."""
        ranges = []
        for axis, (size, chunk) in enumerate(
            zip(self.variable.shape, self._chunk_shape, strict=True)
        ):
            start, end = (first, last) if axis == self._axis else (0, size)
            ranges.append(
                [
                    (k, slice(max(k * chunk, start), min((k + 1) * chunk, end)))
                    for k in range(start // chunk, -(-end // chunk))
                ]
            )
        for cell in product(*ranges):
            yield tuple(number for number, _ in cell), tuple(place for _, place in cell)

    def check_size(self, first: int, last: int) -> None:
        """Refuse scans that share chunks and are together larger than any radar file."""
        itemsize = self.variable.dtype.itemsize
        scan = self.variable.size // max(self.length, 1) * itemsize
        largest = max(scan * (last - first), prod(self._chunk_shape) * itemsize)
        if largest > MAX_FILE_BYTES:
            raise DataError(
                f"{self.address}: the scans of one row of chunks, {self._chunk_shape}, have "
                f"{largest:,} bytes, at most {MAX_FILE_BYTES:,} are read at once; write the store "
                "with fewer scans in a chunk"
            )

    def attributes(self, name: str) -> dict[str, Any]:
        """Attributes of an array, with the fill value that xarray takes for ``_FillValue``."""
        array = self.arrays[name]
        attributes = {k: v for k, v in dict(array.attrs).items() if k != "_ARRAY_DIMENSIONS"}
        fill = attributes.get("_FillValue")
        if isinstance(fill, str) and array.dtype.kind == "f":  # as xarray writes it in Zarr 3
            attributes["_FillValue"] = xr.backends.zarr.FillValueCoder.decode(fill, array.dtype)
        is_v2 = array.metadata.zarr_format == 2
        if is_v2 and fill is None and array.metadata.fill_value is not None:
            attributes["_FillValue"] = array.metadata.fill_value
        return attributes

    def check_fill(self, scans: ZarrScans) -> None:
        """Refuse what might be missing or dry: chunks that were not written, a fill value of 0."""
        fill = self.variable.metadata.fill_value
        number = 0.0 if fill is None else float(fill)
        attributes = self.attributes(self.name)
        scale = float(attributes.get("scale_factor", 1.0))
        value = number * scale + float(attributes.get("add_offset", 0.0))
        if any(isclose(value, v, rel_tol=1e-6, abs_tol=1e-3 * abs(scale)) for v in scans.listed):
            return
        markers = np.ravel([attributes.get(k, []) for k in ("_FillValue",)]).tolist()
        markers += np.ravel(attributes.get("missing_value", [])).tolist()
        is_missing = isnan(number) or number in [float(marker) for marker in markers]
        advice = (
            f"list the value {value:g} in the network configuration: under 'missing_values' if "
            "it means not observed, under 'dry_values' if it means no rain"
        )
        if is_missing and value == 0:
            fault = f"{self.address}: the fill value of '{self.name}' is 0: {advice}"
            raise UnclearFill.of(value, fault)
        if not is_missing and (self.variable.shards or self._any_unwritten(scans)):
            raise UnclearFill.of(
                value,
                f"{self.address}: chunks of '{self.name}' are not written, or cannot be told from "
                f"such, and would read as {value:g}: {advice}; or wait until they are written",
            )

    def _any_unwritten(self, scans: ZarrScans) -> bool:
        for number, _ in self.chunks_of(scans.first, scans.last):
            key = self.variable.metadata.encode_chunk_key(number)
            if not self._remote.exists(f"{self._root}/{self.name}/{key}"):
                return True
        return False

    def companions(self) -> Iterator[tuple[str, tuple[str, ...], Any]]:
        """Name, dimensions and array of each coordinate."""
        for name in self._companions:
            yield name, self._dims(name), self.arrays[name]

    def part(self, dims: Sequence[str], rows: slice) -> tuple[slice, ...]:
        """The place of the scans ``rows`` in an array with these dimensions."""
        along = None if self._axis is None else self.dims[self._axis]
        return tuple(rows if dim == along else slice(None) for dim in dims)
