"""`Product`: what every reader returns, the interface between file formats and ingestion.

A reader is a context manager: called with a local path and the network configuration, it opens one
file and yields a `Product`. It finds grid, times and numbers; `squall.datasets.radar.encoding`
converts the numbers to rain, and `squall.datasets.radar.quality` decides which scans are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.network_config import RadarNetworkConfig

MAX_SCAN_PIXELS = 2**27  # the largest composites have some 25 million
MAX_AXIS_PIXELS = 2**17
MAX_SCANS = 2**20  # in one file: ten years of a scan every five minutes


Limits = tuple[float | None, float | None]


@dataclass(frozen=True)
class Packing:
    """How a file stores its values: value = stored * scale + offset, in ``units``.

    Parameters
    ----------
    units : as the file writes them, like ``mm h-1`` or ``dBZ``; see `units.parse_unit`.
    missing : stored values that mean not observed.
    dry : stored values that mean observed without rain (``undetect`` of ODIM).
    lowest, highest : stored values outside this range mean not observed; None = no limit.
    doubtful : stored values that may be a marker of missing pixels which their type cannot hold.
    other_limits : what ``lowest`` and ``highest`` may mean instead, if the file does not make
        clear whether its limits are stored or unpacked values; see `valid_range`.
    """

    units: str
    scale: float = 1.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()
    dry: tuple[float, ...] = ()
    lowest: float | None = None
    highest: float | None = None
    other_limits: Limits | None = None
    doubtful: tuple[float, ...] = ()


@dataclass(frozen=True)
class Product:
    """An open file with scans on one grid.

    Parameters
    ----------
    grid : north up, in metres (degrees where the CRS is geographic).
    times : valid time of each scan, UTC, in the file's order; the end of an accumulation; NaT
        where the file has none.
    intervals : duration of each scan's accumulation; None for rates and reflectivity, and if the
        file does not say.
    read_stored : function of a scan's position in the file, which reads the scan's numbers as they
        are stored, of any type, (y, x) on the grid. It works while the file is open, and nothing
        is read before it is called. A position that no scan has raises `IndexError`.
    recognised : title of the format that the content tells; None if the configuration names it.
        Readers leave it out.
    """

    grid: Grid
    times: tuple[pd.Timestamp, ...]
    intervals: tuple[pd.Timedelta | None, ...]
    packing: Packing
    read_stored: Callable[[int], npt.NDArray[Any]]
    recognised: str | None = None

    def __post_init__(self) -> None:
        read = self.read_stored

        def read_existing(scan: int) -> npt.NDArray[Any]:
            if not 0 <= scan < len(self.times):
                raise IndexError(scan)
            return read(scan)

        object.__setattr__(self, "read_stored", read_existing)  # so readers need no check


Reader = Callable[[str, RadarNetworkConfig], AbstractContextManager[Product]]


def check_scan_shape(height: int, width: int) -> None:
    """Reject absurd dimensions before memory is allocated for them.

    Raises
    ------
    DataError
        If a scan of this shape cannot be a radar composite.
    """
    if max(height, width) > MAX_AXIS_PIXELS or height * width > MAX_SCAN_PIXELS:
        raise DataError(
            f"says that it has {height} × {width} pixels, more than any radar composite "
            f"(at most {MAX_AXIS_PIXELS} a side and {MAX_SCAN_PIXELS} in total)"
        )


def north_up(stored: npt.NDArray[Any], flip_rows: bool, flip_columns: bool) -> npt.NDArray[Any]:
    """Reverse the rows and columns of a scan (y, x), where they must be to lie on its grid."""
    return stored[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
