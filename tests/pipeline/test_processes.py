"""One function on many items, in worker processes and on a cluster."""

import multiprocessing
import os
import signal
import time

import cv2
import pytest
import torch
from distributed import LocalCluster

from squall.datasets.errors import DataError
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

    class Pools:
        def start(self, workers):
            return pool

    pool = Pool()
    results = processes._in_order(Pools(), range(100), 2, None)
    assert next(results) == 0
    assert pool.submitted == 4
    assert list(results) == list(range(1, 100))


def dies_at_3(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return 10 * number


def test_a_worker_that_dies_costs_its_own_item_alone():
    """Also those that were submitted with it, and were in no process or in another one."""
    with results_of(
        dies_at_3, range(9), 2, preload=__name__, advice="", if_lost=lambda item: f"lost {item}"
    ) as results:
        assert list(results) == [0, 10, 20, "lost 3", 40, 50, 60, 70, 80]


def test_a_worker_that_dies_is_an_error_where_each_item_is_needed():
    def computed():
        with results_of(dies_at_3, range(9), 2, preload=__name__, advice="Run it again") as results:
            list(results)

    with pytest.raises(DataError, match=r"a worker process died.*Run it again"):
        computed()


def number_of_threads(_):
    return torch.get_num_threads(), cv2.getNumThreads()


def test_each_item_is_computed_with_one_thread():
    """Sums of floating-point numbers depend on the number of threads."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    try:
        for workers in (1, 2):
            with results_of(
                number_of_threads, [0, 1], workers, preload=__name__, advice=""
            ) as results:
                assert list(results) == [(1, 1), (1, 1)]
        assert number_of_threads(0) == (2, 2)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@pytest.fixture
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as started:
        yield started


def test_a_cluster_gives_the_same_results(cluster):
    """Dask repeats an item whose worker dies; here it gives up at once."""
    cluster.scheduler.allowed_failures = 0
    with results_of(
        *(dies_at_3, range(9), 1),
        preload="",
        advice="",
        scheduler=cluster.scheduler_address,
        if_lost=lambda item: f"lost {item}",
    ) as results:
        assert list(results) == [0, 10, 20, "lost 3", 40, 50, 60, 70, 80]


def fails(_):
    raise DataError("no such archive")


def test_an_error_on_a_cluster_is_an_error(cluster, monkeypatch):
    def computed():
        with results_of(
            fails, [1], 1, preload="", advice="", scheduler=cluster.scheduler_address
        ) as results:
            list(results)

    with pytest.raises(DataError, match="no such archive"):
        computed()
    monkeypatch.setattr("squall.pipeline.cluster.code_version", lambda: "9.9.9")
    with pytest.raises(DataError, match=r"has Squall .*, and 9\.9\.9 is asked for; start the work"):
        computed()


def test_fewer_workers_than_cores_where_memory_is_short(monkeypatch, caplog):
    caplog.set_level("INFO", logger="squall")
    monkeypatch.setattr(processes, "cores", lambda: 8)
    monkeypatch.setattr(processes, "free_memory", lambda: 32e9)
    assert processes.affordable_workers(1e9) == 8
    assert caplog.messages == []
    assert processes.affordable_workers(6e9) == 4  # 0.9 x 32 GB, less 1 GB of the main process
    (line,) = caplog.messages
    assert line.startswith("4 worker processes, not 8: each needs some 6.0 GB on this grid")
    assert "32.0 GB of memory are free; --workers changes it" in line
    assert processes.affordable_workers(60e9) == 1
    monkeypatch.setattr(processes, "cores", lambda: 1)
    assert processes.affordable_workers(60e9) == 1


GB = 2**30


def _write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("groups", "folders", "expected"),
    [
        ("0::/", {}, 100 * GB),
        ("0::/", {"": ("max", 9 * GB)}, 100 * GB),
        ("0::/", {"": (8 * GB, 3 * GB)}, 6 * GB),  # a container; 1 GB of it are pages of files
        ("0::/slurm/job/step", {"slurm/job": (16 * GB, 0), "slurm": ("max", 0)}, 17 * GB),
        ("0::/a/b", {"a/b": (16 * GB, 0), "a": (2 * GB, 4 * GB)}, 0),
        ("12:cpu:/a\n4:memory:/a", {"memory/a": (8 * GB, 0), "cpu/a": (1, 0)}, 9 * GB),
        ("4:memory:/docker/1", {"memory": (8 * GB, 0)}, 9 * GB),  # the container sees its own root
    ],
)
def test_free_memory_is_that_of_the_machine_or_of_a_control_group(
    groups, folders, expected, monkeypatch, tmp_path
):
    _write(tmp_path / "proc", {"meminfo": f"MemTotal: 1 kB\nMemAvailable: {100 * GB // 1024} kB"})
    _write(tmp_path / "proc" / "self", {"cgroup": groups})
    for folder, (limit, used) in folders.items():
        stat = f"anon 5\ninactive_file {GB // 2}\nactive_file {GB // 2}"
        first = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        second = ("memory.max", "memory.current")
        names = first if folder.startswith("memory") else second
        files = dict(zip(names, (limit, used), strict=True)) | {"memory.stat": stat}
        _write(tmp_path / "groups" / folder, files)
    monkeypatch.setattr(processes, "PROC", tmp_path / "proc")
    monkeypatch.setattr(processes, "CONTROL_GROUPS", tmp_path / "groups")
    assert processes.free_memory() == expected


def test_this_machine_has_free_memory():
    assert 2**26 < processes.free_memory() < 2**50
