"""Reading one radar file into coded scans, as an network configuration describes it.

Owns the order of things for one file: digest, reader, code, quality rules. One call reads one file
and is safe in a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import ConfigError, DataError, first_line
from squall.datasets.grid import Grid
from squall.datasets.measures import ScanMeasures, measure
from squall.datasets.radar.encoding import encode_scan
from squall.datasets.radar.file_times import snap_to_step, time_from_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.product import Product
from squall.datasets.radar.quality import (
    NAME_AND_TIME,
    UNREADABLE,
    QualityError,
    check_observed_share,
    check_time_in_name,
    mask_clutter,
)
from squall.datasets.radar.readers.choice import FORMATS, reader_of
from squall.datasets.radar.regrid import nearest


@dataclass(frozen=True, eq=False)
class FileScan:
    """One scan of a file, harmonised and coded; ``codes`` (y, x) stay where they were read."""

    time: pd.Timestamp
    codes: npt.NDArray[np.uint8] | None
    measures: ScanMeasures


@dataclass(frozen=True)
class RejectedScan:
    """A scan, or with ``time`` None perhaps a whole file, that cannot be used."""

    time: pd.Timestamp | None
    rule: str
    reason: str


@dataclass(frozen=True)
class FileReport:
    """What one file gave: scans on its grid, and what had to be set aside with the reason.

    ``scan_count`` is that of the whole file, of which only a part may have been asked for;
    ``masked_px`` counts pixels by the rule that hid them.
    """

    path: str
    digest: str
    size: int
    grid: Grid | None = None
    scans: list[FileScan] = field(default_factory=list)
    rejected: list[RejectedScan] = field(default_factory=list)
    scan_count: int = 0
    masked_px: dict[str, int] = field(default_factory=dict)

    def without_codes(self) -> FileReport:
        """The same report, small enough to travel between processes."""
        return replace(self, scans=[replace(scan, codes=None) for scan in self.scans])


def file_digest(path: str) -> str:
    """Digest of a file's bytes, 32 hexadecimal digits."""
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
    """Read, harmonise and code the scans of a file; never raises for what is in the file.

    Parameters
    ----------
    path : a local file; its name may tell the time and the era.
    first, count : the scans to read, by their position in the file; None for all.
    max_px : pixels to hold at once: fewer scans are read where they would have more.
    target_grid : the archive's grid, for eras that are brought to it.

    Raises
    ------
    ConfigError
        If the configuration cannot work, whatever the file.
    OSError
        If the file cannot be opened.
    """
    eras = config
    named = time_from_name(path, eras)
    config = eras.at(named)
    report = FileReport(path, file_digest(path), Path(path).stat().st_size)
    if report.size == 0:
        return replace(
            report, rejected=[RejectedScan(named, UNREADABLE, "the file is empty (0 bytes)")]
        )
    try:
        with reader_of(config)(path, config) as product:
            end = len(product.times)
            if count is not None:
                end = min(end, first + count)
            if max_px is not None:
                height, width = product.grid.shape
                end = min(end, first + max(1, max_px // (height * width)))
            return _read_scans(report, product, range(first, end), named, target_grid, config, eras)
    except ConfigError:
        raise
    except DataError as error:
        reason = str(error)
    except Exception as error:  # a broken file may fail anywhere in the library that reads it
        reason = f"cannot be read as {FORMATS[config.format]}: {first_line(error)}"
    return replace(report, rejected=[RejectedScan(named, UNREADABLE, reason)])


def _read_scans(
    report: FileReport,
    product: Product,
    wanted: Sequence[int],
    named: pd.Timestamp | None,
    target_grid: Grid | None,
    config: RadarNetworkConfig,
    eras: RadarNetworkConfig,
) -> FileReport:
    scans: list[FileScan] = []
    rejected: list[RejectedScan] = []
    masked = {"physical range": 0, "clutter mask": 0}
    grid = product.grid if config.regrid is None or target_grid is None else target_grid
    within = (min(product.times), max(product.times)) if product.times else None
    for index in wanted:
        slot: pd.Timestamp | None = None
        time = product.times[index]
        try:
            slot = snap_to_step(time, config)
            if within is not None:
                check_time_in_name(*within, named, config.quality)
            _check_era(slot, named, eras)
            stored = product.read_stored(index)
            if stored.shape != product.grid.shape:
                there = product.grid.shape
                raise DataError(f"a scan of {stored.shape} pixels is on a grid of {there}")
            codes, too_high = encode_scan(stored, product.packing, product.intervals[index], config)
            if grid is not product.grid:
                codes = nearest(codes, product.grid, grid)
            masked["physical range"] += too_high
            masked["clutter mask"] += mask_clutter(codes, config.quality)
            check_observed_share(codes, config.quality)
            scans.append(FileScan(slot, codes, measure(codes)))
        except QualityError as error:
            rejected.append(RejectedScan(slot, error.rule, str(error)))
        except DataError as error:
            rejected.append(RejectedScan(slot, UNREADABLE, str(error)))
        except ConfigError:
            raise
        except (OSError, RuntimeError, ValueError) as error:  # a damaged chunk of this scan alone
            reason = f"cannot be read as {FORMATS[config.format]}: {first_line(error)}"
            rejected.append(RejectedScan(slot, UNREADABLE, reason))
    return replace(
        report,
        grid=grid,
        scans=scans,
        rejected=rejected,
        scan_count=len(product.times),
        masked_px={rule: count for rule, count in masked.items() if count},
    )


def _check_era(slot: pd.Timestamp, named: pd.Timestamp | None, eras: RadarNetworkConfig) -> None:
    """Refuse to read a scan as another era has it: without a name, the first one is taken."""
    if named is None and eras.at(slot) is not eras:
        raise QualityError(
            NAME_AND_TIME,
            f"time {slot:%Y-%m-%d %H:%M} lies in one of the eras, and the file's name has no time "
            "on the step by which that is known before reading; correct 'time_in_name' or "
            "'snap_tolerance' in the network configuration",
        )
