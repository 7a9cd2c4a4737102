"""One function on many items in worker processes."""

import multiprocessing
import signal
import time

import cv2
import pytest

from squall.pipeline import processes
from squall.pipeline.processes import results_of


def test_results_come_in_the_order_of_the_items():
    with results_of(str, [3, 1, 2], 2, preload=__name__, advice="") as results:
        assert list(results) == ["3", "1", "2"]
    with results_of(str, [3, 1, 2], 1, preload=__name__, advice="") as results:
        assert list(results) == ["3", "1", "2"]


def test_an_error_ends_the_workers_and_no_other_process():
    """Workers that are busy for minutes are terminated, not waited for."""
    before = set(multiprocessing.active_children())  # of other tests in this process
    spawn = multiprocessing.get_context("spawn")
    other = spawn.Process(target=time.sleep, args=(600,))
    other.start()
    start = time.monotonic()

    def interrupted():
        seconds = [0, 600, 600, 600]
        with results_of(time.sleep, seconds, 2, preload="time", advice="") as results:
            next(iter(results))
            assert len(set(multiprocessing.active_children()) - before) == 3
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert set(multiprocessing.active_children()) - before == {other}
        assert time.monotonic() - start < 300
    finally:
        other.terminate()
        other.join()


def test_a_worker_can_be_terminated_although_the_fork_server_ignores_it(monkeypatch):
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    threads = cv2.getNumThreads()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    monkeypatch.setattr(processes, "_function", None)
    monkeypatch.setattr(processes, "end_with_parent", lambda: None)
    try:
        processes._start_worker(str)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        cv2.setNumThreads(threads)


def test_few_items_are_submitted_at_any_time():
    class Pool:
        submitted = 0

        def submit(self, function, item):
            self.submitted += 1
            future = processes.Future()
            future.set_result(item)
            return future

    pool = Pool()
    results = processes._in_order(pool, range(100), at_most=4)
    assert next(results) == 0
    assert pool.submitted == 4
    assert list(results) == list(range(1, 100))
