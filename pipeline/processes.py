"""One function on many items, in this process or in worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

import cv2
import torch

from squall.datasets.errors import DataError
from squall.datasets.orphans import end_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def results_of(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    *,
    preload: str,
    advice: str,
) -> Iterator[Iterable[Result]]:
    """The function's results in the order of the items. No worker is left when the context ends.

    Parameters
    ----------
    function : can be pickled; each worker gets it once.
    workers : number of processes. 1 = this process.
    preload : name of a module that workers need; it is imported once for all of them.
    advice : what to do if a worker dies, the end of a sentence.

    Raises
    ------
    DataError
        If a worker process dies.
    """
    if workers == 1 or len(items) < 2:
        yield map(function, items)
        return
    # The server has imported all modules; it has no threads and no open GPU when it forks.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    other_children = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(items)), context, initializer=_start_worker, initargs=(function,)
    )
    try:
        yield _in_order(pool, items, at_most=2 * workers)
    except BaseException as error:
        # An item may take minutes, so the workers are not allowed to finish theirs.
        for process in set(multiprocessing.active_children()) - other_children:
            process.kill()  # a worker that is still starting may ignore SIGTERM
        if not isinstance(error, BrokenProcessPool):
            raise
        raise DataError(
            f"a worker process died, probably because memory ran out. {advice}"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, items: Sequence[Any], *, at_most: int) -> Iterator[Any]:
    """Results in the order of the items; at most `at_most` are submitted and not yet returned."""
    pending: deque[Future[Any]] = deque()
    for item in items:
        pending.append(pool.submit(_call, item))
        if len(pending) >= at_most:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


_function: Callable[[Any], Any] | None = None  # of a worker process


def _start_worker(function: Callable[[Any], Any]) -> None:
    global _function
    end_with_parent()
    # Ctrl-C reaches the main process, which terminates the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # If this process has trained before, its fork server ignores SIGTERM, and so would the workers.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _function = function


def _call(item: Any) -> Any:
    assert _function is not None
    return _function(item)
