"""Reading one radar file into encoded scans, by the network configuration.

Owns the steps for one file: digest, reader, encoding, quality rules. Keeps no state between files,
so that worker processes can read one file each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.measures import ScanMeasures, measure
from squall.datasets.radar.encoding import encode_scan
from squall.datasets.radar.file_times import (
    check_interval,
    dates_in_name,
    snap_to_step,
    steps_from_name,
    time_from_name,
)
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.opening import open_product
from squall.datasets.radar.product import Product
from squall.datasets.radar.quality import (
    NAME_AND_TIME,
    SAME_TIME,
    UNREADABLE,
    QualityError,
    check_dates_in_name,
    check_observed_share,
    check_span_of_name,
    check_time_in_name,
)
from squall.datasets.radar.regrid import nearest


@dataclass(frozen=True, eq=False)
class FileScan:
    """One scan of a file, harmonised and encoded.

    ``codes`` (y, x) is None in a report that was sent from a worker process without them.
    """

    time: pd.Timestamp
    codes: npt.NDArray[np.uint8] | None
    measures: ScanMeasures


@dataclass(frozen=True)
class RejectedScan:
    """A scan or a whole file that is rejected; ``time`` is None if no slot is known for it."""

    time: pd.Timestamp | None
    rule: str
    reason: str


@dataclass(frozen=True)
class FileReport:
    """Scans of one file on its grid, and the rejected scans with the reasons.

    ``scan_count`` counts all scans of the file, also those that were not asked for;
    ``masked_px`` counts pixels of its kept scans that were marked as not observed, by rule;
    ``steps_from_name`` is how many steps after the time in its name the scan of a file is, None if
    the file holds several scans, or no time is in its name;
    ``recognised`` is the title of the format that its content tells, as in `Product`.
    """

    path: str
    digest: str
    size: int
    grid: Grid | None = None
    scans: list[FileScan] = field(default_factory=list)
    rejected: list[RejectedScan] = field(default_factory=list)
    scan_count: int = 0
    masked_px: dict[str, int] = field(default_factory=dict)
    steps_from_name: int | None = None
    recognised: str | None = None

    def without_codes(self) -> FileReport:
        """Return the report without codes, small enough to be sent between processes."""
        return replace(self, scans=[replace(scan, codes=None) for scan in self.scans])


def file_digest(path: str) -> str:
    """Compute the digest of a file's bytes, 32 hexadecimal digits."""
    digest = blake2b(digest_size=16)
    with Path(path).open("rb") as stream:
        while block := stream.read(2**22):
            digest.update(block)
    return digest.hexdigest()


def read_file(
    path: str,
    config: RadarNetworkConfig,
    *,
    first: int = 0,
    count: int | None = None,
    max_px: int | None = None,
    target_grid: Grid | None = None,
) -> FileReport:
    """Read, harmonise and encode the scans of a file.

    Broken content never raises: it is reported in ``FileReport.rejected``.

    Parameters
    ----------
    path : a local file; its name may give the time and with it the era.
    first, count : position of the first scan to read, and how many; None for all.
    max_px : upper limit of the pixels in memory: reading stops before it is exceeded, but after
        one scan at the earliest.
    target_grid : the archive's grid, for eras with ``regrid``.

    Raises
    ------
    ConfigError
        If the configuration cannot work for any file.
    OSError
        If the file cannot be opened.
    """
    name_time = time_from_name(path, config)
    era = config.at(name_time)
    report = FileReport(path, file_digest(path), Path(path).stat().st_size)
    if report.size == 0:
        rejected = RejectedScan(name_time, UNREADABLE, "the file is empty (0 bytes)")
        return replace(report, rejected=[rejected])
    try:
        with open_product(path, era) as product:
            if era.time_from == "name":
                product = _timed_by_name(product, name_time)
            end = len(product.times)
            if count is not None:
                end = min(end, first + count)
            if max_px is not None:
                height, width = product.grid.shape
                end = min(end, first + max(1, max_px // (height * width)))
            grid = product.grid if era.regrid is None or target_grid is None else target_grid
            file = _OpenFile(product, config, era, name_time, grid, path)
            return _read_scans(report, file, range(first, end))
    except DataError as error:
        return replace(report, rejected=[RejectedScan(name_time, UNREADABLE, str(error))])


def _timed_by_name(product: Product, name_time: pd.Timestamp | None) -> Product:
    """The product with the time of its file's name in place of its own."""
    if name_time is None:
        raise DataError(
            "has no time in its name that lies on the step, which 'time_from: name' of the network "
            "configuration needs; correct 'time_in_name' or 'exclude' the file"
        )
    if len(product.times) != 1:
        raise DataError(
            f"holds {len(product.times)} scans, which one time in its name cannot tell apart; "
            "leave 'time_from: name' out of the network configuration"
        )
    return replace(product, times=(name_time,))


@dataclass(frozen=True)
class _OpenFile:
    """An open file, and what decides how its scans are read.

    Parameters
    ----------
    network : the configuration with all eras.
    era : the configuration in force at ``name_time``, the time in the file's name.
    grid : of the codes; it differs from the product's if the era's scans are regridded.
    """

    product: Product
    network: RadarNetworkConfig
    era: RadarNetworkConfig
    name_time: pd.Timestamp | None
    grid: Grid
    path: str

    @cached_property
    def _first_and_last(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        known = [time for time in self.product.times if not pd.isna(time)]
        return min(known), max(known)

    @cached_property
    def _dates_in_name(self) -> list[pd.Timestamp]:
        return dates_in_name(self.path)

    @cached_property
    def _first_position(self) -> dict[pd.Timestamp, int]:
        """Position of the first scan of each time."""
        positions: dict[pd.Timestamp, int] = {}
        for index, time in enumerate(self.product.times):
            positions.setdefault(time, index)
        return positions

    def check_first(self, index: int, slots: set[pd.Timestamp], slot: pd.Timestamp) -> None:
        """Reject a scan whose time an earlier scan of the file has; ``slots`` are those read."""
        if slot in slots or self._first_position[self.product.times[index]] != index:
            raise QualityError(
                SAME_TIME, f"scan {index + 1} of the file has the same time as one before, {slot}"
            )

    def check_times(self, slot: pd.Timestamp) -> None:
        """Reject a scan if the time in the file's name is wrong, or gives the wrong era."""
        quality = self.era.quality
        check_time_in_name(*self._first_and_last, self.name_time, quality)
        check_span_of_name(slot, self.name_time, self.era.file_span, quality)
        if self.name_time is None:
            check_dates_in_name(*self._first_and_last, self._dates_in_name, quality)
        if self.name_time is None and self.network.at(slot) is not self.network:
            raise QualityError(
                NAME_AND_TIME,
                f"time {slot:%Y-%m-%d %H:%M} lies in one of the eras, but the file was read "
                "without an era, because its name has no time on the step; correct "
                "'time_in_name' or 'snap_tolerance' in the network configuration",
            )

    def read_codes(self, index: int) -> tuple[npt.NDArray[np.uint8], Counter[str]]:
        """Read and encode the scan at a position, (y, x), and count its masked pixels by rule."""
        product, interval = self.product, self.product.intervals[index]
        check_interval(interval, self.era.units or product.packing.units, self.era)
        stored = product.read_stored(index)
        if stored.shape != product.grid.shape:
            raise DataError(f"a scan of {stored.shape} pixels is on a grid of {product.grid.shape}")
        codes, masked_px = encode_scan(stored, product.packing, interval, self.era, self._to_grid)
        check_observed_share(codes, self.era.quality)
        return codes, masked_px

    def _to_grid(self, field: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.grid is self.product.grid:
            return field
        return nearest(field, self.product.grid, self.grid)


def _read_scans(report: FileReport, file: _OpenFile, positions: Sequence[int]) -> FileReport:
    scans: list[FileScan] = []
    rejected: list[RejectedScan] = []
    slots: set[pd.Timestamp] = set()
    masked_px: Counter[str] = Counter()
    for index in positions:
        slot: pd.Timestamp | None = None
        try:
            slot = snap_to_step(file.product.times[index], file.era)
            file.check_first(index, slots, slot)
            file.check_times(slot)
            codes, masked_in_scan = file.read_codes(index)
            scans.append(FileScan(slot, codes, measure(codes)))
            slots.add(slot)
            masked_px += masked_in_scan
        except QualityError as error:
            # the slot of a second scan belongs to the first
            time = None if error.rule == SAME_TIME else slot
            rejected.append(RejectedScan(time, error.rule, str(error)))
        except DataError as error:
            rejected.append(RejectedScan(slot, UNREADABLE, str(error)))
    steps = None
    if len(file.product.times) == 1 and scans and file.name_time is not None:
        steps = steps_from_name(scans[0].time, file.name_time, file.era)
    return replace(
        report,
        grid=file.grid,
        scans=scans,
        rejected=rejected,
        scan_count=len(file.product.times),
        masked_px=dict(masked_px),
        steps_from_name=steps,
        recognised=file.product.recognised,
    )
