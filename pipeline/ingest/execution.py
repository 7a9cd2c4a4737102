"""Where files are read and codes are written: in this process or in Dask workers.

Owns the tasks and their failures. One task reads a group of files, and the codes stay in the worker
that read them until they are written; only the descriptions of the scans are sent. What a task does
is `squall.pipeline.ingest.reading`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import dask
import icechunk
import zarr
from distributed import Client, Future, LocalCluster
from distributed.utils import get_mp_context

from squall.datasets.archive.layout import TIME_CHUNK
from squall.datasets.archive.writer import StoredScan, WriteCodes, write_codes
from squall.datasets.radar.quality import UNREADABLE
from squall.datasets.radar.radar_file import FileReport, RejectedScan
from squall.pipeline.cluster import existing_cluster, is_killed, wait_for
from squall.pipeline.ingest.reading import FilePart, ReadRequest, ReadSettings, read_files

_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
_LOCAL_CLUSTER = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.profile.enabled": False,
    # a worker's modules are imported once, in a process without threads that is then forked
    "distributed.worker.multiprocessing-method": "forkserver",
    # Dask's setting returns freed memory at once. Arrays of 1 MB, made and freed all the time,
    # would then be paged in each time, which takes as long as reading the files
    f"{_ENVIRONMENT}.MALLOC_TRIM_THRESHOLD_": 2**29,
    f"{_ENVIRONMENT}.MALLOC_MMAP_THRESHOLD_": 2**25,
    f"{_ENVIRONMENT}.MALLOC_TOP_PAD_": 2**26,
}
_OF_READERS = ("dask.array", "netCDF4")  # what the first file imports, xarray the first of them
WRITE_ATTEMPTS = 3  # of a batch, if workers die during the write


@dataclass
class ReadGroup:
    """Requests that one task reads, and as many parts as the bound on memory allows.

    ``result`` is the future of the parts with their codes, if they are in a Dask worker.
    """

    requests: Sequence[ReadRequest]
    settings: ReadSettings
    parts: list[FilePart] = field(default_factory=list)
    result: Future | None = None


class Execution(Protocol):
    """Where groups are read, and how their codes are written into a session."""

    worker_count: int

    def start(
        self, groups: Sequence[Sequence[ReadRequest]], settings: ReadSettings
    ) -> list[ReadGroup]:
        """Begin to read; `finish` waits for the result."""
        ...

    def finish(self, group: ReadGroup) -> list[ReadGroup]:
        """Wait for a group; several groups are returned if a file killed the process."""
        ...

    def codes_writer(self, groups: Sequence[ReadGroup]) -> WriteCodes | None:
        """Function that writes codes held by workers into a session; None if they are local."""
        ...


class LocalExecution:
    """Reads in this process, one file after the other."""

    worker_count = 1

    def start(
        self, groups: Sequence[Sequence[ReadRequest]], settings: ReadSettings
    ) -> list[ReadGroup]:
        return [ReadGroup(requests, settings) for requests in groups]

    def finish(self, group: ReadGroup) -> list[ReadGroup]:
        group.parts = read_files(group.requests, group.settings)
        return [group]

    def codes_writer(self, groups: Sequence[ReadGroup]) -> WriteCodes | None:
        return None


class DaskExecution:
    """Reads in the workers of a Dask cluster; the worker that read codes writes them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._running: list[Future] = []
        threads = client.nthreads()
        self.worker_count = max(1, sum(threads.values()))
        self._processes = len(threads)

    def start(
        self, groups: Sequence[Sequence[ReadRequest]], settings: ReadSettings
    ) -> list[ReadGroup]:
        started = [self._submit(requests, settings) for requests in groups]
        self._running = [future for future in self._running if not future.done()]
        self._running += [group.result for group in started if group.result is not None]
        return started

    def finish(self, group: ReadGroup) -> list[ReadGroup]:
        if self._receive_descriptions(group):
            return [group]
        # The process died because of a file of this group or of another one. Read each file
        # alone, which shows the file that kills its process.
        self._wait(self._running)
        single_groups = []
        for request in group.requests:
            single = self._submit([request], group.settings)
            if not self._receive_descriptions(single):
                single.parts = [_part_of_killed_reader(request)]
            single_groups.append(single)
        return single_groups

    def _submit(self, requests: Sequence[ReadRequest], settings: ReadSettings) -> ReadGroup:
        result = self._client.submit(read_files, list(requests), settings, pure=False)
        return ReadGroup(requests, settings, result=result)

    def _receive_descriptions(self, group: ReadGroup) -> bool:
        """Wait for the parts of a group; False if the process that read it died."""
        descriptions = self._client.submit(_without_codes, group.result, pure=False, priority=1)
        self._wait([descriptions])
        error = descriptions.exception()
        if error is None:
            group.parts = descriptions.result()
        elif not is_killed(error):
            raise error
        return error is None

    def codes_writer(self, groups: Sequence[ReadGroup]) -> WriteCodes | None:
        locations = {
            (file_part.request, scan): (group.result, position, scan)
            for group in groups
            if group.result is not None
            for position, file_part in enumerate(group.parts)
            for scan in range(len(file_part.report.scans) if file_part.report else 0)
        }

        def write(session: icechunk.Session, scans: Mapping[int, StoredScan], length: int) -> None:
            chunks: dict[int, list[tuple[int, Future, int, int]]] = {}
            for row, scan in scans.items():
                location = locations[scan.codes_key]
                chunks.setdefault(row // TIME_CHUNK, []).append((row, *location))
            futures = [self._submit_write(session, length, chunk) for chunk in chunks.values()]
            self._repeat_killed(futures)
            session.merge(*self._client.gather(futures))

        return write

    def _submit_write(
        self, session: icechunk.Session, length: int, chunk: Sequence[tuple[int, Future, int, int]]
    ) -> Future:
        """Start to write one chunk of the time axis: (row, result, part, scan) of each scan."""
        results = list({result.key: result for _, result, _, _ in chunk}.values())
        keys = [result.key for result in results]
        locations = [
            (row, keys.index(result.key), part_number, scan)
            for row, result, part_number, scan in chunk
        ]
        return self._client.submit(
            _write_chunk, session.fork(), length, locations, results, pure=False, priority=1
        )

    def _repeat_killed(self, futures: Sequence[Future]) -> None:
        for _ in range(WRITE_ATTEMPTS):
            self._wait(futures)
            failed = [future for future in futures if future.status == "error"]
            killed = [future for future in failed if is_killed(future.exception())]
            if not killed:
                break
            # a file that is read at the same time may have killed the worker; let it finish first
            self._wait(self._running)
            self._client.retry(killed)

    def _wait(self, futures: Sequence[Future]) -> None:
        """Wait until all are done; see `wait_for`."""
        wait_for(self._client, futures, self._processes)


def _part_of_killed_reader(request: ReadRequest) -> FilePart:
    reason = "the process that read it died; a damaged file may crash the library that reads it"
    rejected = [RejectedScan(request.time_in_name, UNREADABLE, reason)]
    return FilePart(request, FileReport(request.file.identity, "", 0, rejected=rejected))


def _without_codes(parts: list[FilePart]) -> list[FilePart]:
    return [
        replace(file_part, report=file_part.report.without_codes())
        if file_part.report
        else file_part
        for file_part in parts
    ]


def _write_chunk(
    fork: icechunk.session.ForkSession,
    length: int,
    locations: Sequence[tuple[int, int, int, int]],
    results: Sequence[list[FilePart]],
) -> icechunk.session.ForkSession:
    codes = {}
    for row, result, part_number, scan in locations:
        report = results[result][part_number].report
        assert report is not None
        codes[row] = report.scans[scan].codes
    array: Any = zarr.open_group(fork.store, mode="r+")["rain_rate_code"]
    if array.shape[0] < length:
        array.resize((length, *array.shape[1:]))
    write_codes(array, codes)
    return fork


@contextmanager
def started_execution(scheduler: str, worker_count: int) -> Iterator[Execution]:
    """Run this process alone, workers on this machine, or a cluster at a ``tcp://`` address.

    Parameters
    ----------
    scheduler : ``processes``, ``threads``, or the address of a Dask scheduler.
    worker_count : workers on this machine; 0 for this process alone.

    Raises
    ------
    DataError
        If the cluster does not answer or has no worker.
    """
    if scheduler not in ("processes", "threads"):
        with existing_cluster(scheduler) as client:
            yield DaskExecution(client)
    elif worker_count == 0:
        yield LocalExecution()
    else:
        with _local_cluster(scheduler == "processes", worker_count) as client:
            yield DaskExecution(client)


@contextmanager
def _local_cluster(processes: bool, worker_count: int) -> Iterator[Client]:
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # it logs each worker that ends
    # the fork server keeps the environment of the first run; credentials may have changed since
    environment = {"distributed.nanny.environ": dict(os.environ)}
    with dask.config.set(_LOCAL_CLUSTER | environment):
        get_mp_context().set_forkserver_preload([__name__, *_OF_READERS])
        with (
            LocalCluster(
                n_workers=worker_count if processes else 1,
                threads_per_worker=1 if processes else worker_count,
                processes=processes,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
