"""A Dask cluster that runs already: joining it, waiting for its workers, telling that one died.

Ingestion and everything that takes ``--scheduler ADDRESS`` use it. Clusters of this machine belong
to their stages.
"""

from __future__ import annotations

import pickle
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from distributed import Client, Future, wait

from squall.datasets.errors import DataError
from squall.pipeline.provenance import code_version

ANSWER_TIMEOUT_S, JOIN_TIMEOUT_S = 10, 300
CHECK_S = 5  # how often a wait looks whether there are workers


@contextmanager
def existing_cluster(address: str) -> Iterator[Client]:
    """Join the cluster of a scheduler.

    Raises
    ------
    DataError
        If the cluster does not answer or has no worker.
    """
    try:
        client = Client(address, timeout=ANSWER_TIMEOUT_S)
    except (OSError, ValueError, TimeoutError) as error:
        raise DataError(f"{address}: no Dask scheduler answers there ({error})") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=JOIN_TIMEOUT_S)
        except TimeoutError as error:
            raise DataError(
                f"{address}: no worker joined within {JOIN_TIMEOUT_S} s; start some"
            ) from error
        yield client


def is_killed(error: BaseException | None) -> bool:
    """Whether a future failed because the process of its worker ended."""
    return type(error).__name__ in ("KilledWorker", "CancelledError", "FutureCancelledError")


def wait_for(client: Client, futures: Sequence[Future], processes: int) -> None:
    """Wait until all are done, with a result or an error.

    A worker of this machine that ended and was not replaced is started again: on a busy machine
    Dask may give up to replace it.

    Parameters
    ----------
    processes : number of workers that a cluster of this machine should have.

    Raises
    ------
    DataError
        If there is no worker for `JOIN_TIMEOUT_S`.
    """
    last_seen = time.monotonic()
    while True:
        try:
            wait(futures, timeout=CHECK_S)
            return
        except TimeoutError:
            pass
        if client.nthreads():
            last_seen = time.monotonic()
        elif client.cluster is not None:
            client.cluster.scale(processes)
        if time.monotonic() - last_seen > JOIN_TIMEOUT_S:
            raise DataError(
                f"no worker for {JOIN_TIMEOUT_S} s, all have ended; what is finished is kept. "
                "Look at the logs of the workers, and run it again"
            )


def results_on(
    client: Client,
    function: Callable[[Any], Any],
    items: Iterable[Any],
    if_lost: Callable[[Any], Any] | None,
) -> Iterator[Any]:
    """The function's results in the order of the items, computed by the workers of a cluster.

    Few items are submitted and not yet returned. Dask repeats an item whose worker dies, as often
    as the scheduler's ``allowed-failures`` says. Several items may have run in this worker: those
    that Dask gives up are therefore computed again, one at a time.

    Parameters
    ----------
    if_lost : the result of an item whose worker died also then; by default that is an error.

    Raises
    ------
    DataError
        If the worker of an item died and there is no ``if_lost``, all workers are gone, or one has
        another version of Squall.
    """
    pickled, name, version = pickle.dumps(function), uuid.uuid4().hex, code_version()

    def submitted(item: Any) -> Future:
        return client.submit(_call, pickled, name, version, item, pure=False)

    rest, pending = iter(items), deque[tuple[Any, Future]]()
    while True:
        at_most = 2 * max(1, sum(client.nthreads().values()))
        for item in islice(rest, max(0, at_most - len(pending))):
            pending.append((item, submitted(item)))
        if not pending:
            return
        if not _is_lost(client, pending[0][1]):
            yield pending.popleft()[1].result()
            continue
        wait_for(client, [future for _, future in pending], 0)
        for item, future in pending:
            alone = submitted(item) if _is_lost(client, future) else future
            if not _is_lost(client, alone):
                yield alone.result()
            elif if_lost is None:
                raise DataError(f"the workers that computed {item} died")
            else:
                yield if_lost(item)
        pending.clear()


def _is_lost(client: Client, future: Future) -> bool:
    """Wait for a future; whether its worker died. Other errors are raised."""
    wait_for(client, [future], 0)
    error = future.exception()
    if error is not None and not is_killed(error):
        raise error
    return error is not None


_of_thread = threading.local()  # the function, in a worker of a cluster


def _call(pickled: bytes, name: str, version: str, item: Any) -> Any:
    """Call a function that each thread unpickles once: it may hold arrays that it uses again.

    Raises
    ------
    DataError
        If the worker has another version of Squall: its results may differ.
    """
    if getattr(_of_thread, "name", None) != name:
        if code_version() != version:
            raise DataError(
                f"a worker of the cluster has Squall {code_version()}, and {version} is asked for; "
                "start the workers again with this version"
            )
        import cv2
        import torch  # here, because ingestion does not need it

        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        _of_thread.function, _of_thread.name = pickle.loads(pickled), name
    return _of_thread.function(item)
