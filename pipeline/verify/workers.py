"""Many cases scored in this process or in worker processes, block by block."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import cv2
import torch

from squall.datasets.errors import DataError
from squall.datasets.orphans import end_with_parent
from squall.pipeline.progress import tracked
from squall.pipeline.verify.blocks import Block, BlockStore
from squall.pipeline.verify.plan import Plan, VerificationCase
from squall.pipeline.verify.scoring import Scorer


def scored_blocks(
    plan: Plan, cases: Sequence[VerificationCase], store: BlockStore, workers: int
) -> dict[tuple[int, str], Block]:
    """All blocks of the cases, by number of the target and name of the block.

    Stored blocks are loaded; the others are scored and stored. Cases are added up in their order,
    whatever the number of processes, so that the sums are the same to the last bit.

    Parameters
    ----------
    workers : number of processes. 1 = this process.

    Raises
    ------
    DataError
        If a worker process dies.
    """
    blocks: dict[tuple[int, str], Block] = {}
    for target, name in dict.fromkeys(map(_key, cases)):
        block = store.load(plan.targets[target], name)
        if block is not None:
            blocks[target, name] = block
    remaining = [case for case in cases if _key(case) not in blocks]
    n_remaining = Counter(map(_key, remaining))
    unfinished: dict[tuple[int, str], Block] = {}
    with _results(plan, remaining, workers) as results:
        scored_cases = tracked(results, "verify", len(remaining), "forecast")
        for case, scored in zip(remaining, scored_cases, strict=True):
            key = _key(case)
            block = unfinished.setdefault(key, Block())
            block.add(scored)
            n_remaining[key] -= 1
            if not n_remaining[key]:
                store.save(plan.targets[case.target], case.block, block)
                blocks[key] = unfinished.pop(key)
    return dict(sorted(blocks.items()))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _key(case: VerificationCase) -> tuple[int, str]:
    return case.target, case.block


@contextmanager
def _results(
    plan: Plan, cases: Sequence[VerificationCase], workers: int
) -> Iterator[Iterable[Block]]:
    """Scored cases in their order. No worker process is left when the context ends."""
    if workers == 1 or len(cases) < 2:
        yield map(Scorer(plan), cases)
        return
    # The server has imported all modules; it has no threads and no open GPU when it forks.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    other_children = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(cases)), context, initializer=_start_worker, initargs=(plan,)
    )
    try:
        yield _in_order(pool, cases, at_most=2 * workers)
    except BaseException as error:
        # A forecast may take minutes, so the workers are not allowed to finish theirs.
        for process in set(multiprocessing.active_children()) - other_children:
            process.kill()  # a worker that is still starting may ignore SIGTERM
        if not isinstance(error, BrokenProcessPool):
            raise
        raise DataError(
            "a worker process died, probably because memory ran out. Finished blocks are kept: "
            f"run it again with less than --workers {workers}"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, cases: Sequence[VerificationCase], *, at_most: int
) -> Iterator[Block]:
    """Scored cases in their order; at most `at_most` are submitted and not yet returned."""
    pending: deque[Future[Block]] = deque()
    for case in cases:
        pending.append(pool.submit(_score, case))
        if len(pending) >= at_most:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


_scorer: Scorer | None = None  # of a worker process


def _start_worker(plan: Plan) -> None:
    global _scorer
    end_with_parent()
    # Ctrl-C reaches the main process, which terminates the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # If this process has trained before, its fork server ignores SIGTERM, and so would the workers.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _scorer = Scorer(plan)


def _score(case: VerificationCase) -> Block:
    assert _scorer is not None
    return _scorer(case)
