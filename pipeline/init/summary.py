"""One scan, read with the new configuration, in a few lines for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj

from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.grid import Grid, lonlat_crs
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file


@dataclass(frozen=True)
class Scan:
    """A scan as an archive would hold it.

    Parameters
    ----------
    rain_rate_mm_h : (y, x), NaN = not observed.
    assumed : keys that are still missing; for them a value was assumed to read the scan.
    masked_px : pixels that quality rules hide, by rule.
    """

    time: pd.Timestamp
    grid: Grid
    rain_rate_mm_h: npt.NDArray[np.float32]
    assumed: tuple[str, ...]
    masked_px: Mapping[str, int]

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Assumed keys of the grid: with them, nobody knows where on the Earth the pixels lie."""
        return tuple(key for key in self.assumed if key in ("grid", "crs"))


def read_scan(path: Path, network: RadarNetworkConfig, assumed: Sequence[str] = ()) -> Scan:
    """Read the first scan of a file.

    Parameters
    ----------
    assumed : keys for which ``network`` has a value that nobody knows.

    Raises
    ------
    ConfigError, DataError
        If the scan cannot be used, with the reason.
    """
    report = read_file(str(path), network, count=1)
    if not report.scans:
        reasons = "; ".join(rejected.reason for rejected in report.rejected)
        raise DataError(f"{path.name}: its scan is rejected: {reasons}")
    scan = report.scans[0]
    assert scan.codes is not None
    assert report.grid is not None
    rain = RAIN_CODE.decode(scan.codes)
    return Scan(scan.time, report.grid, rain, tuple(assumed), report.masked_px)


def summary_of(scan: Scan) -> str:
    """Time, rain, shares of dry, wet and not observed pixels, pixel size and corners."""
    rain = scan.rain_rate_mm_h
    is_observed = ~np.isnan(rain)
    wet = rain[is_observed & (rain > 0)]
    shares = [
        f"{mask.mean():.1%} {word}"
        for mask, word in (
            (is_observed & (rain == 0), "dry"),
            (is_observed & (rain > 0), "wet"),
            (~is_observed, "not observed"),
        )
    ]
    lines = [("time", f"{scan.time:%Y-%m-%d %H:%M:%S} UTC")]
    if not {"missing_values", "dry_values"} & set(scan.assumed):
        lines.append(("pixels", ", ".join(shares)))
    if wet.size and not {"units", "accumulation"} & set(scan.assumed):
        middle, high = np.percentile(wet, (50, 99))
        rates = f"median {middle:.2g}, 99 % below {high:.3g}, highest {wet.max():.3g} mm/h"
        lines.append(("wet pixels", rates))
    if scan.masked_px:
        counts = ", ".join(f"{count} {rule}" for rule, count in scan.masked_px.items())
        lines.append(("hidden", f"{counts} (pixels, by quality rule)"))
    if not scan.unplaced:
        lines += _places(scan.grid)
    if scan.assumed:
        lines.append(("not known", f"{', '.join(scan.assumed)}: fill in ??? first"))
    return "\n".join(f"  {name:<11} {text}" for name, text in lines)


def _places(grid: Grid) -> list[tuple[str, str]]:
    height, width = grid.pixel_size
    unit, scale = ("°", 1.0) if grid.crs.is_geographic else (" km", 1000.0)
    size = f"{width / scale:.5g} × {height / scale:.5g}{unit} (x × y), {grid.projection_name}"
    lonlat = pyproj.Transformer.from_crs(grid.crs, lonlat_crs(grid.crs), always_xy=True)
    west, east = grid.x[0] - width / 2, grid.x[-1] + width / 2
    north, south = grid.y[0] + height / 2, grid.y[-1] - height / 2
    corners = {
        "north-west": (west, north),
        "north-east": (east, north),
        "south-west": (west, south),
        "south-east": (east, south),
    }
    texts = [f"{name} {_place(*lonlat.transform(*corner))}" for name, corner in corners.items()]
    return [
        ("pixel size", size),
        ("corners", f"{texts[0]}, {texts[1]}"),
        ("", f"{texts[2]}, {texts[3]}"),
    ]


def _place(longitude: float, latitude: float) -> str:
    if not (np.isfinite(longitude) and np.isfinite(latitude)):
        return "off the Earth"
    south, west = "S" if latitude < 0 else "N", "W" if longitude < 0 else "E"
    return f"{abs(latitude):.3f}{south} {abs(longitude):.3f}{west}"
