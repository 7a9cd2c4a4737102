"""What every reader of radar files gives: the small interface between formats and ingestion.

A reader is a context manager, called with a local path and the network configuration, that
opens one file and yields a `Product`. It finds things in a file; what the numbers mean is
`squall.datasets.radar.encoding`, what is good enough to keep is `squall.datasets.radar.quality`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import pandas as pd

from squall.datasets.errors import DataError
from squall.datasets.grid import Grid

if TYPE_CHECKING:
    from squall.datasets.radar.network_config import RadarNetworkConfig

MAX_SCAN_PIXELS = 2**27  # the largest composites have some 25 million
LONGEST_AXIS = 2**17
MAX_SCANS = 2**20  # in one file: ten years of one every five minutes


@dataclass(frozen=True)
class Packing:
    """How a file stores its values: value = stored * scale + offset, in ``units``.

    Parameters
    ----------
    units : as the file writes them, like ``mm h-1`` or ``dBZ``; see `units.parse_unit`.
    missing : stored values that mean not observed.
    dry : stored values that mean observed, and no rain (``undetect`` of ODIM).
    lowest, highest : stored values outside this range are not observed; None for no limit.
    """

    units: str
    scale: float = 1.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()
    dry: tuple[float, ...] = ()
    lowest: float | None = None
    highest: float | None = None


@dataclass(frozen=True)
class Product:
    """One open file: scans on one grid.

    Parameters
    ----------
    grid : north up, in metres (degrees where the CRS is geographic).
    times : valid time of each scan, UTC, in the file's order; the end of an accumulation.
    intervals : over which each scan's accumulation was gathered; None for rates, reflectivity and
        where the file does not tell.
    read_stored : function of a scan's position in the file, which reads the scan's numbers as they
        are stored, of any type, (y, x) on the grid. It works while the file is open, and nothing
        is read before it is called.
    """

    grid: Grid
    times: tuple[pd.Timestamp, ...]
    intervals: tuple[pd.Timedelta | None, ...]
    packing: Packing
    read_stored: Callable[[int], npt.NDArray[Any]]


Reader = Callable[[str, "RadarNetworkConfig"], AbstractContextManager[Product]]


def check_scan_shape(height: int, width: int) -> None:
    """Refuse absurd dimensions before memory is taken for them.

    Raises
    ------
    DataError
        If a scan of this shape cannot be a radar composite.
    """
    if max(height, width) > LONGEST_AXIS or height * width > MAX_SCAN_PIXELS:
        raise DataError(
            f"says that it has {height} × {width} pixels, more than any radar composite "
            f"(at most {LONGEST_AXIS} a side and {MAX_SCAN_PIXELS} in all)"
        )
