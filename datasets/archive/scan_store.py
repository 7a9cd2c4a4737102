"""`ScanStore`: the interface for reading scans, whether from Icechunk or from plain Zarr.

`Archive` (Icechunk) and `MlcastStore` (plain Zarr) implement it, and `open_archive` chooses between
them. Members that need only the abstract ones are implemented here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from squall.datasets.archive.records import Rejection
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.grid import GRID_MAPPING, Grid
from squall.datasets.names import safe_name
from squall.datasets.runs import Bools


class ScanStore(Protocol):
    """One radar network's scans at one snapshot, on a regular time axis, read only.

    An instance pickles as its address and snapshot, so it can be sent to worker processes.

    Attributes
    ----------
    address : a folder, ``s3://bucket/prefix`` or ``gs://…``.
    grid : pixel centres and projection.
    step : spacing of the time axis.
    start : valid time of index 0, UTC.
    attributes : name, title, institution, license and the like.
    """

    address: str
    grid: Grid
    step: pd.Timedelta
    start: pd.Timestamp
    attributes: dict[str, Any]

    @property
    @abstractmethod
    def snapshot(self) -> str:
        """Identifier of the state that is read."""

    @property
    @abstractmethod
    def block_px(self) -> int:
        """Side of the blocks that rain statistics are kept for, pixels."""

    @property
    @abstractmethod
    def codes(self) -> Any:
        """(time, y, x) uint8, lazily read; see `RainCode`."""

    @property
    @abstractmethod
    def status(self) -> npt.NDArray[np.uint8]:
        """(time,) 0 missing, 1 ok, 2 rejected."""

    @property
    @abstractmethod
    def checksums(self) -> npt.NDArray[np.uint64]:
        """(time,) `codes_checksum` of each scan, 0 where there is none."""

    @property
    @abstractmethod
    def rejections(self) -> list[Rejection]:
        """Files and scans that are not in the store, with their reasons."""

    @property
    def refusals(self) -> list[Rejection]:
        """The `rejections` that are about files and scans that cannot be used."""
        return self.rejections

    def redundant(self, since: pd.Timestamp | None = None) -> list[Rejection]:
        """The `rejections` that are about superseded and duplicate files.

        With a valid time, only files whose first scan is not earlier.
        """
        return []

    @abstractmethod
    def marks(self, since: pd.Timestamp | None = None) -> npt.NDArray[np.uint64]:
        """`file_mark` of the files of stored scans, from a valid time on; not unique, 0: none.

        A store into which nothing is ingested has no marks and gives an empty array.
        """

    @abstractmethod
    def records(self, rows: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """``status``, ``source``, ``digest`` (row, byte) and ``checksum`` of ascending indices.

        The digest is 0 where the file's content is not known.
        """

    @abstractmethod
    def block_statistics(self, name: str, where: Bools | None = None) -> npt.NDArray[np.float32]:
        """(time, block_y, block_x): ``rain_rate``, ``wet_share`` or ``observed_share``.

        With a mask over the time axis, only the times where the mask holds.
        """

    @property
    @abstractmethod
    def block_chunk(self) -> int:
        """Time steps of the block statistics that are read together."""

    @abstractmethod
    def block_rows(self, name: str, first: int, end: int) -> npt.NDArray[np.float32]:
        """(time, block_y, block_x): a block statistic of the time steps from first to end."""

    def mean_rain(self, where: Bools) -> npt.NDArray[np.float32]:
        """(time,) mean of all blocks' rain rates, mm/h, where a mask holds; 0 at other times.

        A block that is not observed counts as 0. The statistics of a long archive do not fit into
        memory, so they are read chunk by chunk.
        """
        means, span = np.zeros(where.size, dtype=np.float32), self.block_chunk
        for first in range(0, where.size, span):
            wanted = where[first : first + span]
            if wanted.any():
                rain = self.block_rows("rain_rate", first, first + wanted.size)
                means[first : first + wanted.size][wanted] = np.nan_to_num(rain[wanted]).mean(
                    (1, 2)
                )
        return means

    @abstractmethod
    def bytes_on_disk(self) -> int | None:
        """Size of the whole store, bytes; None if counting takes too long."""

    @property
    def name(self) -> str:
        """Short name of the radar network, safe as the name of a file or folder."""
        return safe_name(str(self.attributes["name"]))

    @property
    def title(self) -> str:
        """Full name of the radar network; the short one if there is none."""
        return str(self.attributes.get("title") or self.name)

    @property
    def times(self) -> pd.DatetimeIndex:
        """Valid time of every index, also of those without a scan, UTC."""
        return pd.date_range(self.start, periods=self.codes.shape[0], freq=self.step)

    def index_of(self, time: pd.Timestamp) -> int:
        """Index of a valid time on the regular axis; may lie outside the stored axis.

        Raises
        ------
        DataError
            If the time does not lie on the step.
        """
        index, rest = divmod(time - self.start, self.step)
        if rest != pd.Timedelta(0):
            minutes = self.step.total_seconds() / 60
            raise DataError(
                f"{self.address}: {time:%Y-%m-%d %H:%M:%S} is not on the archive's step: scans "
                f"are {minutes:g} min apart, one of them at {self.start:%H:%M:%S}"
            )
        return int(index)

    def read(self, first: int, count: int, *, lazy: bool = False) -> xr.DataArray:
        """Rain rate of consecutive scans; times outside the stored axis are not observed.

        Parameters
        ----------
        lazy : whether each scan is read only when it is used, and again each time.

        Returns
        -------
        (time, y, x) float32, mm/h, NaN = not observed, with the grid's coordinates.
        """
        values: Any = None
        if lazy:
            import dask.array

            read = dask.delayed(self._rates, pure=False)
            scans = [
                dask.array.from_delayed(read(index, 1), (1, *self.grid.shape), dtype=np.float32)
                for index in range(first, first + count)
            ]
            values = dask.array.concatenate(scans)
        else:
            values = self._rates(first, count)
        times = pd.date_range(self.start + first * self.step, periods=count, freq=self.step)
        return xr.DataArray(
            values,
            dims=("time", "y", "x"),
            coords={"time": times, **self.grid.coords()},
            name="rain_rate",
            attrs={
                "standard_name": "rainfall_rate",
                "long_name": "rain rate",
                "units": "mm h-1",
                "grid_mapping": GRID_MAPPING,
            },
        )

    def scans(self, first: int, count: int) -> Iterator[npt.NDArray[np.float32]]:
        """Rain rate (y, x) of consecutive scans as in `read`, one after the other.

        Their codes are read at once, since a chunk holds many scans; that is a byte a pixel.
        """
        return (RAIN_CODE.decode(codes) for codes in self._codes(first, count))

    def _rates(self, first: int, count: int) -> npt.NDArray[np.float32]:
        """(time, y, x) mm/h of `read`."""
        return RAIN_CODE.decode(self._codes(first, count))

    def _codes(self, first: int, count: int) -> npt.NDArray[np.uint8]:
        """(time, y, x) codes of `read`."""
        codes = np.full((count, *self.grid.shape), RAIN_CODE.NOT_OBSERVED, dtype=np.uint8)
        low, high = max(first, 0), min(first + count, self.codes.shape[0])
        if low < high:
            codes[low - first : high - first] = self.codes[low:high]
        return codes
