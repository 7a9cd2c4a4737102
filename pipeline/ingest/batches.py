"""Which files one task reads, and which tasks make one commit.

Owns the bounds on memory: of the codes that one task holds, and of those of one commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import TIME_CHUNK
from squall.datasets.grid import Grid
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.ingest.execution import Execution, ReadGroup
from squall.pipeline.ingest.reading import FilePart, ReadRequest, ReadSettings

TASK_PIXELS = 2**28  # codes that one task may hold, bytes
BATCH_PIXELS = 2**28  # codes of one commit, bytes; but at least two groups for each worker
MOST_BATCH_GROUPS = 12


class BatchQueue:
    """Files that are still to be read, in order of time.

    Parameters
    ----------
    requests : of all new files.
    archive : as it is before the run; its first time aligns groups with the archive's chunks.
    """

    def __init__(
        self,
        requests: Sequence[ReadRequest],
        network: RadarNetworkConfig,
        archive: Archive | None,
    ) -> None:
        self._requests = list(requests)
        self._network = network
        self._start = archive.start if archive else pd.Timestamp(0)

    def __len__(self) -> int:
        return len(self._requests)

    def start_batch(
        self, execution: Execution, grid: Grid | None, most_groups: int | None = None
    ) -> list[ReadGroup]:
        """Take the requests of the next batch and begin to read them; empty at the end."""
        groups = self._groups(most_groups or _group_count(grid, execution.worker_count))
        del self._requests[: sum(len(group) for group in groups)]
        return execution.start(groups, ReadSettings(self._network, grid, TASK_PIXELS))

    def put_back(self, groups: Sequence[ReadGroup]) -> None:
        """Read next what finished groups did not read because of the bound on memory."""
        self._requests[:0] = [request for group in groups for request in _unread(group)]

    def _groups(self, most: int) -> list[list[ReadRequest]]:
        """The first groups of the queue: each ends where a chunk of the archive ends.

        The time in the name decides. A group has at most as many files as a chunk has scans.
        """
        groups: list[list[ReadRequest]] = []
        last_chunk = None
        for request in self._requests:
            chunk = None if request.time_in_name is None else self._chunk(request.time_in_name)
            if not groups or chunk != last_chunk or len(groups[-1]) == TIME_CHUNK:
                if len(groups) == most:
                    break
                groups.append([])
            groups[-1].append(request)
            last_chunk = chunk
        return groups

    def _chunk(self, time: pd.Timestamp) -> int:
        return int((time - self._start) // (TIME_CHUNK * self._network.step))


def _group_count(grid: Grid | None, worker_count: int) -> int:
    """Number of groups of one commit: bounded by memory, but enough for all workers."""
    if grid is None:
        return worker_count
    height, width = grid.shape
    affordable = min(MOST_BATCH_GROUPS, BATCH_PIXELS // (height * width * TIME_CHUNK))
    return max(2 * worker_count, affordable)


def _unread(group: ReadGroup) -> Iterator[ReadRequest]:
    """The remaining scans of a large file, and the files after it."""
    if group.parts and group.parts[-1].remaining is not None:
        yield group.parts[-1].remaining
    yield from group.requests[len(group.parts) :]


def parts_of(groups: Sequence[ReadGroup]) -> list[FilePart]:
    """All parts of a batch."""
    return [file_part for group in groups for file_part in group.parts]
