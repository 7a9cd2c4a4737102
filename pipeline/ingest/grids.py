"""Which grid a new archive gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from squall.datasets.errors import ConfigError
from squall.datasets.grid import Grid
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.radar.radar_file import read_file
from squall.datasets.sources.fetch import local_copy
from squall.pipeline.ingest.reading import FilePart, ReadRequest


def commonest_grid(parts: Sequence[FilePart]) -> Grid | None:
    """The grid of most files, so that one odd file at the start does not decide the grid."""
    grids: list[Grid] = []
    votes: Counter[int] = Counter()
    for file_part in parts:
        report = file_part.report
        if report is None or report.grid is None or not report.scans:
            continue
        same = next((i for i, g in enumerate(grids) if g.difference(report.grid) is None), None)
        if same is None:
            same = len(grids)
            grids.append(report.grid)
        votes[same] += 1
    return grids[votes.most_common(1)[0][0]] if votes else None


def grid_for_regridding(requests: Sequence[ReadRequest], network: RadarNetworkConfig) -> Grid:
    """The grid that eras with ``regrid`` are brought to: that of a file of another era.

    Raises
    ------
    ConfigError
        If no file of another era can be read.
    """
    for request in requests:
        if network.at(request.time_in_name).regrid is None:
            with local_copy(request.file, network.source_options) as path:
                report = read_file(str(path), network, count=1)
            if report.grid is not None:
                return report.grid
    raise ConfigError(
        "eras with 'regrid' need the archive's own grid: let the first run include a file of a "
        "period without 'regrid'"
    )
