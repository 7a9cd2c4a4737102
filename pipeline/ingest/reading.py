"""Reading radar files, in whatever process.

Owns how much one task reads: files until a bound on memory, a file with many scans in parts.
Where tasks run is `squall.pipeline.ingest.execution`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
from dask.sizeof import sizeof

from squall.datasets.archive.layout import TIME_CHUNK
from squall.datasets.errors import DataError
from squall.datasets.grid import Grid
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import FileReport, read_file
from squall.datasets.sources.access import SourceFile
from squall.datasets.sources.fetch import local_copy

SCANS_AT_ONCE = 12 * TIME_CHUNK  # of one file with many scans


@dataclass(frozen=True)
class ReadRequest:
    """A file to read, from the scan with index ``first_scan`` on."""

    file: SourceFile
    time_in_name: pd.Timestamp | None = None
    first_scan: int = 0


@dataclass(frozen=True)
class FilePart:
    """The result of one request: the scans that were read, or the reason why nothing was read."""

    request: ReadRequest
    report: FileReport | None
    unavailable: str = ""

    @property
    def identity(self) -> str:
        """Canonical address of the file, by which archives and reports name it."""
        return self.request.file.identity

    @property
    def remaining(self) -> ReadRequest | None:
        """Request for the scans of the file that were not read yet; None if there are none."""
        if self.report is None:
            return None
        end = self.request.first_scan + len(self.report.scans) + len(self.report.rejected)
        return replace(self.request, first_scan=end) if end < self.report.scan_count else None


@sizeof.register(FilePart)
def _size_of_part(file_part: FilePart) -> int:
    """Bytes that Dask would have to move: it runs tasks where their data are."""
    scans = file_part.report.scans if file_part.report else []
    return 1000 + sum(scan.codes.nbytes for scan in scans if scan.codes is not None)


@dataclass(frozen=True)
class ReadSettings:
    """How to read a batch of files.

    Parameters
    ----------
    network : describes the files.
    target_grid : for eras that are regridded to it; None before there is an archive.
    max_px : pixels whose codes one task may hold.
    """

    network: RadarNetworkConfig
    target_grid: Grid | None
    max_px: int


def read_files(requests: Sequence[ReadRequest], settings: ReadSettings) -> list[FilePart]:
    """Read files until the bound on memory; another task has to read the others."""
    parts: list[FilePart] = []
    held_px = 0
    for request in requests:
        if parts and held_px >= settings.max_px:
            break
        file_part = _read(request, settings)
        parts.append(file_part)
        if file_part.report is not None and file_part.report.grid is not None:
            height, width = file_part.report.grid.shape
            held_px += len(file_part.report.scans) * height * width
    return parts


def _read(request: ReadRequest, settings: ReadSettings) -> FilePart:
    identity = request.file.identity
    try:
        with local_copy(request.file, settings.network.source_options) as path:
            report = read_file(
                str(path),
                settings.network,
                first=request.first_scan,
                count=SCANS_AT_ONCE,
                max_px=settings.max_px,
                target_grid=settings.target_grid,
            )
        return FilePart(request, replace(report, path=identity))
    except DataError as error:  # an outage, or a broken zip or tar file
        return FilePart(request, None, str(error))
    except OSError as error:
        return FilePart(request, None, f"{identity}: {error.strerror or error}")
