"""Quality rules: which scans are kept, and which pixels count as not observed.

Owns the rules' names, which archives and reports store, and their limits. Knows no file format. A
new rule is a function here, with its limit in `QualityConfig`, which `radar_file` calls.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.times import Duration

UNREADABLE = "unreadable"
IMPOSSIBLE_VALUE = "impossible value"
PHYSICAL_RANGE = "physical range"
OBSERVED_SHARE = "observed share"
OFF_STEP = "off the step"
IMPOSSIBLE_TIME = "impossible time"
NAME_AND_TIME = "name and time"
OTHER_GRID = "other grid"
IDENTICAL = "identical scans"
SAME_TIME = "same time"
OTHER_INTERVAL = "other interval"
# rules that mask pixels only
CLUTTER_MASK = "clutter mask"
VALID_RANGE = "valid range"

_A_DAY = pd.Timedelta(days=1)
_A_YEAR = pd.Timedelta(days=366)
# no digital radar archive is older; a lost time is often written as 1970-01-01
EARLIEST = pd.Timestamp("1975-01-01")


class QualityError(DataError):
    """A scan that a quality rule rejects; ``rule`` is one of the rules' names above."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule

    def __reduce__(self) -> tuple[Any, ...]:
        return QualityError, (self.rule, str(self))


class QualityConfig(BaseModel):
    """Limits of the quality rules; the defaults reject only impossible scans."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    highest_mm_h: float | None = Field(
        default=None, gt=0, description="a pixel with a higher rate counts as not observed [mm/h]"
    )
    highest_share: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="a scan with a larger share of observed pixels above highest_mm_h, or with "
        "impossible values, is rejected; fewer such pixels count as not observed",
    )
    least_observed_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="a scan with a smaller share of observed pixels is rejected",
    )
    reject_identical: bool = Field(
        default=True,
        description="reject a scan with rain that equals the scan before it in all pixels: the "
        "radar or its processing is stuck",
    )
    name_tolerance: Duration = Field(
        default=pd.Timedelta("3h"),  # smaller than the errors by a time zone or a wrong day
        description="how far the time in a file's name may be from the times in the file",
    )
    clutter_mask: Path | None = Field(
        default=None,
        description="netCDF file with a variable 'clutter' (y, x) on the archive's grid: a pixel "
        "where it is not 0 counts as not observed",
    )


def check_time(time: pd.Timestamp) -> None:
    """Reject a missing time (NaT), one before the first digital radars, or in the future."""
    if pd.isna(time):
        raise QualityError(IMPOSSIBLE_TIME, "the scan's time is missing in the file")
    latest = pd.Timestamp(datetime.now(UTC).replace(tzinfo=None) + _A_DAY)
    if not EARLIEST <= time <= latest:
        raise QualityError(
            IMPOSSIBLE_TIME,
            f"time {time:%Y-%m-%d %H:%M:%S} is impossible: before {EARLIEST:%Y} or in the future; "
            "correct the clock of the radar or the file, or name another variable of the time in "
            "the network configuration, for example 'time_variable: valid_time' (netCDF)",
        )


def check_time_in_name(
    first: pd.Timestamp, last: pd.Timestamp, named: pd.Timestamp | None, quality: QualityConfig
) -> None:
    """Reject a file whose name has a time far from its first to last scan: one of them is wrong."""
    tolerance = quality.name_tolerance
    if named is not None and not first - tolerance <= named <= last + tolerance:
        raise QualityError(
            NAME_AND_TIME,
            f"time {first:%Y-%m-%d %H:%M} inside the file is far from {named:%Y-%m-%d %H:%M} in "
            "its name; correct 'time_in_name' or 'time_variable' in the network configuration, "
            "or set quality.name_tolerance where such a difference is normal",
        )


def check_span_of_name(
    time: pd.Timestamp, named: pd.Timestamp | None, span: pd.Timedelta, quality: QualityConfig
) -> None:
    """Reject a scan far from the time in its file's name, though others of the file are near it.

    ``span`` is the period that a file covers; without one it may be a year.
    """
    longest = (span or _A_YEAR) + quality.name_tolerance
    if named is not None and abs(time - named) > longest:
        raise QualityError(
            NAME_AND_TIME,
            f"time {time:%Y-%m-%d %H:%M} of the scan is far from {named:%Y-%m-%d %H:%M} in the "
            f"file's name; if a file covers more than {longest.total_seconds() / 86_400:.3g} days, "
            "set 'file_span' in the network configuration, for example 'file_span: 3650D'",
        )


def check_dates_in_name(
    first: pd.Timestamp, last: pd.Timestamp, dates: list[pd.Timestamp], quality: QualityConfig
) -> None:
    """Reject a file if its name holds dates, and none is near its first to last scan.

    Of a name that ``time_in_name`` does not describe, only the days are known, and they may be
    those of another time zone.
    """
    tolerance = max(quality.name_tolerance, _A_DAY)
    if dates and not any(first - tolerance - _A_DAY < d <= last + tolerance for d in dates):
        nearest = min(dates, key=lambda date: abs(date - first))
        raise QualityError(
            NAME_AND_TIME,
            f"time {first:%Y-%m-%d %H:%M} inside the file is far from the date "
            f"{nearest:%Y-%m-%d} in its name; if the time is wrong, correct it in the file; if the "
            "date means something else, set a larger quality.name_tolerance in the network "
            f"configuration, for example '{math.ceil(abs(nearest - first) / _A_DAY) + 1}D'",
        )


def check_physical_range(count: int, observed: int, quality: QualityConfig) -> None:
    """Reject a scan with too many pixels above ``highest_mm_h``.

    Parameters
    ----------
    count, observed : number of pixels above the limit, and of all observed pixels.

    Raises
    ------
    QualityError
        If their share is above ``highest_share``.
    """
    if count > quality.highest_share * observed:
        raise QualityError(
            PHYSICAL_RANGE,
            f"{count} of {observed} observed pixels have more than {quality.highest_mm_h:g} mm/h, "
            f"more than a share of {quality.highest_share:g}",
        )


def clutter_at(shape: tuple[int, ...], quality: QualityConfig) -> npt.NDArray[np.bool_] | None:
    """Where the static clutter mask hides pixels of a scan; None without a mask.

    Raises
    ------
    QualityError
        If the mask and the scan have different shapes.
    ConfigError
        If the mask's file cannot be read.
    """
    if quality.clutter_mask is None:
        return None
    mask = read_clutter_mask(quality.clutter_mask)
    if mask.shape != shape:
        raise QualityError(  # perhaps one file has another grid, so the run goes on
            OTHER_GRID,
            f"{quality.clutter_mask}: the clutter mask has {mask.shape[0]} × {mask.shape[1]} "
            f"pixels, the scan has {shape[0]} × {shape[1]}",
        )
    return mask


def mask_clutter(codes: npt.NDArray[np.uint8], quality: QualityConfig) -> int:
    """Mark pixels of the static clutter mask as not observed, in place, and return their count.

    Raises as `clutter_at`.
    """
    mask = clutter_at(codes.shape, quality)
    if mask is None:
        return 0
    hidden = mask & (codes != RAIN_CODE.NOT_OBSERVED)
    codes[hidden] = RAIN_CODE.NOT_OBSERVED
    return int(hidden.sum())


def check_observed_share(codes: npt.NDArray[np.uint8], quality: QualityConfig) -> None:
    """Reject a scan with too small a share of observed pixels."""
    if quality.least_observed_share == 0.0:
        return
    share = float((codes != RAIN_CODE.NOT_OBSERVED).mean())
    if share < quality.least_observed_share:
        raise QualityError(
            OBSERVED_SHARE,
            f"{share:.1%} of the pixels are observed, at least "
            f"{quality.least_observed_share:.1%} are required",
        )


@lru_cache(maxsize=8)
def read_clutter_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Read a clutter mask: (y, x), north up, True where a pixel counts as not observed.

    Raises
    ------
    ConfigError
        If the file cannot be read or has no variable ``clutter`` of two dimensions.
    """
    import xarray as xr  # not at the top, because `squall ingest --help` must not wait for it

    try:
        with xr.open_dataset(path) as dataset:
            mask = dataset["clutter"].load()
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(
            f"{path}: is no clutter mask: expected netCDF with a variable 'clutter' (y, x), "
            f"found {error}"
        ) from error
    if mask.ndim != 2:
        raise ConfigError(f"{path}: 'clutter' has dimensions {mask.dims}, expected (y, x)")
    values = np.nan_to_num(np.asarray(mask.values, dtype=np.float64)) != 0
    # an axis without a coordinate gets pixel numbers from xarray, which say nothing of north
    rows, columns = (mask[dim] if dim in mask.coords else None for dim in mask.dims)
    if rows is not None and float(rows[0]) < float(rows[-1]):
        values = values[::-1]
    if columns is not None and float(columns[0]) > float(columns[-1]):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)
