"""One function on many items, in this process, in worker processes or on a Dask cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch

from squall.datasets.errors import DataError
from squall.datasets.orphans import end_with_parent
from squall.pipeline.config import LOCAL

Item = TypeVar("Item")
Result = TypeVar("Result")

SHARE_OF_MEMORY = 0.9  # that worker processes and this one may fill
PROC, CONTROL_GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_LIMIT_AND_USE = {  # of the second and the first version of control groups
    "": ("memory.max", "memory.current"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}
OWN_BYTES = 1e9  # of this process, which plans, adds up and writes

log = logging.getLogger("squall.processes")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def chosen_workers(asked: int | None, scheduler: str, bytes_each: float) -> int:
    """The number of workers that `results_of` takes: as many as are asked for, or fit.

    A cluster has workers of its own.
    """
    if asked is None and scheduler == LOCAL:
        return affordable_workers(bytes_each)
    return asked or 1


def affordable_workers(bytes_each: float) -> int:
    """One worker process for each core, or fewer if memory is short; a log line then says so.

    Parameters
    ----------
    bytes_each : memory that each of them needs.
    """
    wanted = cores()
    if wanted == 1:
        return 1
    memory = free_memory()
    workers = min(wanted, max(1, int((SHARE_OF_MEMORY * memory - OWN_BYTES) // bytes_each)))
    if workers < wanted:
        log.info(
            "%d worker process%s, not %d: each needs some %.1f GB on this grid, and %.1f GB "
            "of memory are free; --workers changes it",
            *(workers, "es" * (workers > 1), wanted, bytes_each / 1e9, memory / 1e9),
        )
    return workers


def free_memory() -> int:
    """Memory that processes may still take, bytes: of the machine, or of a control group.

    Containers and jobs of SLURM have limits on a group of processes. A group above may have a
    lower one.
    """
    of_machine = dict(line.split()[:2] for line in _lines(PROC / "meminfo"))
    return max(0, min([1024 * int(of_machine["MemAvailable:"]), *_free_in_groups()]))


def _free_in_groups() -> Iterator[int]:
    """What the limit of each control group around this process leaves, bytes."""
    for line in _lines(PROC / "self" / "cgroup"):
        _, kind, path = line.split(":", 2)
        if kind not in _LIMIT_AND_USE:
            continue
        root, group = CONTROL_GROUPS / kind, CONTROL_GROUPS / kind / path.lstrip("/")
        for folder in (each for each in (group, *group.parents) if each.is_relative_to(root)):
            limit, used = (_number(folder / name) for name in _LIMIT_AND_USE[kind])
            if limit is not None and used is not None:
                yield limit - used + _cache(folder)


def _number(path: Path) -> int | None:
    """The number in a file of the kernel; None for ``max``, or if there is no such file."""
    first = _lines(path)[:1]
    return int(first[0]) if first and first[0].isdecimal() else None


def _cache(group: Path) -> int:
    """Pages of files that a control group may give back, bytes."""
    words = [line.split() for line in _lines(group / "memory.stat")]
    return sum(int(word[1]) for word in words if word[0] in ("inactive_file", "active_file"))


def _lines(path: Path) -> list[str]:
    """The lines of a file of the kernel; none if there is no such file."""
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []


@contextmanager
def results_of(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    *,
    preload: str,
    advice: str,
    scheduler: str = LOCAL,
    if_lost: Callable[[Item], Result] | None = None,
) -> Iterator[Iterable[Result]]:
    """The function's results in the order of the items. No worker is left when the context ends.

    Each item is computed with one thread, so that the results are the same for any number of
    workers.

    Parameters
    ----------
    function : can be pickled; each worker gets it once.
    workers : number of processes. 1 = this process.
    preload : name of a module that workers need; it is imported once for all of them.
    advice : what to do if a worker dies, the end of a sentence.
    scheduler : `LOCAL`, or the address of a Dask scheduler, whose workers then do all the work.
    if_lost : the result of an item whose process died, also when it was the only one that ran. By
        default a worker that dies is an error.

    Raises
    ------
    DataError
        If a worker process dies and there is no ``if_lost``, or the cluster does not answer.
    """
    if scheduler != LOCAL:
        from squall.pipeline.cluster import existing_cluster, results_on  # takes half a second

        with existing_cluster(scheduler) as client:
            yield results_on(client, function, items, if_lost)
        return
    if workers == 1 or len(items) < 2:
        with one_thread():
            yield map(function, items)
        return
    pools = _Pools(function, preload)
    try:
        yield _in_order(pools, items, min(workers, len(items)), if_lost)
    except BrokenProcessPool as error:
        raise DataError(
            f"a worker process died, probably because memory ran out. {advice}"
        ) from error
    finally:
        pools.close()


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch and OpenCV use one thread inside the block."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


class _Pools:
    """Starts pools of worker processes, one at a time."""

    def __init__(self, function: Callable[[Any], Any], preload: str) -> None:
        self._function = function
        # The server has imported all modules; it has no threads and no open GPU when it forks.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([preload])
        self._pool: ProcessPoolExecutor | None = None
        self._other_children = set(multiprocessing.active_children())

    def start(self, workers: int) -> ProcessPoolExecutor:
        """End the pool that runs, and start another."""
        self.close()
        self._pool = ProcessPoolExecutor(
            workers, self._context, initializer=_start_worker, initargs=(self._function,)
        )
        return self._pool

    def close(self) -> None:
        """End all workers."""
        if self._pool is None:
            return
        # An item may take minutes, so the workers are not allowed to finish theirs.
        for process in set(multiprocessing.active_children()) - self._other_children:
            process.kill()  # a worker that is still starting may ignore SIGTERM
        self._pool.shutdown(cancel_futures=True)
        self._pool = None


def _in_order(
    pools: _Pools, items: Iterable[Any], workers: int, if_lost: Callable[[Any], Any] | None
) -> Iterator[Any]:
    """Results in the order of the items; few items are submitted and not yet returned.

    If a worker dies, nobody knows which of these items killed it: they then run one at a time.
    """
    pool = pools.start(workers)
    rest = iter(items)
    pending: deque[tuple[Any, Future[Any]]] = deque()
    while True:
        for item in islice(rest, 2 * workers - len(pending)):
            pending.append((item, _submitted(pool, item)))
        if not pending:
            return
        item, future = pending[0]
        try:
            result = future.result()
        except BrokenProcessPool:
            if if_lost is None:
                raise
            pool = pools.start(1)
            for item, future in pending:
                if future.done() and future.exception() is None:
                    yield future.result()
                    continue
                try:
                    result = pool.submit(_call, item).result()
                except BrokenProcessPool:
                    result, pool = if_lost(item), pools.start(1)
                yield result
            pending.clear()
            pool = pools.start(workers)
        else:
            pending.popleft()
            yield result


def _submitted(pool: ProcessPoolExecutor, item: Any) -> Future[Any]:
    try:
        return pool.submit(_call, item)
    except BrokenProcessPool as error:
        future: Future[Any] = Future()
        future.set_exception(error)
        return future


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
