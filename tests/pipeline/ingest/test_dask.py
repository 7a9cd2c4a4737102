"""Processes, threads and a running cluster give the same archive; workers that die are replaced."""

import os
import signal
import socket
import time
from contextlib import nullcontext

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK, REJECTED
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.ingest import execution
from squall.pipeline.ingest import run as run_module
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.execution import LocalExecution
from tests.pipeline.tiny_radar import (
    FIRST,
    SIZE,
    STEP,
    assert_same,
    config_with,
    contents,
    path_of,
    rain,
    run,
    write_file,
    write_scans,
)

COUNT = 60
CONFIG = config_with(quality={"least_observed_share": 0.5})


@pytest.fixture(scope="module")
def radar(tmp_path_factory):
    folder = tmp_path_factory.mktemp("radar")
    files = write_scans(folder, COUNT)
    files[30].write_bytes(b"broken")
    numbers = rain(30, seed=2)
    numbers[20] = 65535
    first = FIRST + (COUNT + 5) * STEP
    write_file(path_of(folder, first, "_many"), numbers, first)
    return folder


@pytest.fixture(scope="module")
def expected(radar, tmp_path_factory):
    archive = tmp_path_factory.mktemp("local") / "a.icechunk"
    run(archive, radar / "*.nc", config=CONFIG)
    return contents(archive)


@pytest.fixture
def small_steps(monkeypatch):
    """Several batches, whose tasks hold a few scans each."""
    monkeypatch.setattr("squall.pipeline.ingest.batches.TASK_PIXELS", 8 * SIZE * SIZE)
    monkeypatch.setattr("squall.pipeline.ingest.batches.BATCH_PIXELS", 1)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize(("scheduler", "workers"), [("processes", 2), ("threads", 3)])
def test_local_workers_give_the_same_archive(scheduler, workers, radar, expected, tmp_path):
    archive = tmp_path / "a.icechunk"
    report = run(archive, radar / "*.nc", config=CONFIG, scheduler=scheduler, workers=workers)
    assert (report.ingested, len(report.rejected)) == (COUNT - 1 + 29, 2)
    assert_same(contents(archive), expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "LocalCluster", None)  # no worker starts where no file is new
        again = run(archive, radar / "*.nc", config=CONFIG, scheduler=scheduler, workers=workers)
    assert (again.unchanged, again.commits) == (COUNT + 1, 0)


@pytest.mark.usefixtures("small_steps")
def test_a_cluster_gives_the_same_archive(radar, expected, tmp_path):
    archive = tmp_path / "a.icechunk"
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        assert cluster.scheduler_address.startswith("tcp://")
        for count in (20, COUNT + 1):  # the second run has late files
            files = sorted(radar.glob("*.nc"))[-count:]
            run(archive, *files, config=CONFIG, scheduler=cluster.scheduler_address)
        assert len(cluster.scheduler.workers) == 2, "the cluster must keep its workers"
    assert_same(contents(archive), expected)


def test_an_address_without_a_scheduler_is_an_error(radar, tmp_path, monkeypatch):
    monkeypatch.setattr("squall.pipeline.cluster.ANSWER_TIMEOUT_S", 1)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{reserved.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(DataError, match=f"{address}: no Dask scheduler answers there"):
            run(tmp_path / "a.icechunk", radar / "*.nc", config=CONFIG, scheduler=address)
    assert time.monotonic() - started < 20
    assert not (tmp_path / "a.icechunk").exists()


def test_a_cluster_without_workers_is_an_error(radar, tmp_path, monkeypatch):
    monkeypatch.setattr("squall.pipeline.cluster.JOIN_TIMEOUT_S", 0.5)
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster:
        address = cluster.scheduler_address
        with pytest.raises(DataError, match=r"no worker joined within 0.5 s; start some"):
            run(tmp_path / "a.icechunk", radar / "*.nc", config=CONFIG, scheduler=address)


# -- workers that die ------------------------------------------------------------------------------


def crash_at(monkeypatch, *names):
    """Kill the process that reads one of these files, as a damaged file may do."""
    original = execution.read_files

    def reading(requests, settings):  # a closure is sent to the workers with its code
        if any(request.file.address.endswith(names) for request in requests):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(requests, settings)

    monkeypatch.setattr(execution, "read_files", reading)


def test_a_worker_that_dask_does_not_replace_is_started_again(monkeypatch):
    monkeypatch.setattr("squall.pipeline.cluster.CHECK_S", 0.5)
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}),
        execution.started_execution("processes", 1) as workers,
    ):
        cluster = workers._client.cluster
        cluster.sync(cluster.workers[0].close)
        future = workers._client.submit(os.getpid, pure=False)
        workers._wait([future])
        assert future.result() != os.getpid()


def test_without_any_worker_a_wait_ends_with_an_error(monkeypatch):
    monkeypatch.setattr("squall.pipeline.cluster.CHECK_S", 0.1)
    monkeypatch.setattr("squall.pipeline.cluster.JOIN_TIMEOUT_S", 0.5)
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster.scheduler_address) as client,
    ):
        workers = execution.DaskExecution(client)
        with pytest.raises(DataError, match=r"no worker for 0.5 s.*run it again"):
            workers._wait([client.submit(os.getpid)])


@pytest.mark.slow
@pytest.mark.parametrize(("group_size", "workers"), [(1, 1), (24, 2)])
def test_a_file_that_kills_its_reader_is_rejected_alone(
    group_size, workers, tmp_path, monkeypatch, fourteen_files
):
    monkeypatch.setattr("squall.pipeline.ingest.batches.TIME_CHUNK", group_size)
    monkeypatch.setattr("squall.pipeline.ingest.batches.BATCH_PIXELS", 1)
    crash_at(monkeypatch, "T0010.nc", "T0055.nc")
    archive = tmp_path / "a.icechunk"
    report = run(archive, fourteen_files / "*.nc", workers=workers)
    assert sorted((rejected.time, rejected.rule) for rejected in report.rejected) == [
        ("2024-06-01T00:10:00", "unreadable"),
        ("2024-06-01T00:55:00", "unreadable"),
    ]
    assert all("the process that read it died" in rejected.reason for rejected in report.rejected)
    assert np.flatnonzero(Archive.open(archive).status == REJECTED).tolist() == [2, 11]
    assert report.ingested == 12
    assert run(archive, fourteen_files / "*.nc", workers=0).standing == report.rejected


@pytest.fixture
def fourteen_files(tmp_path):
    write_scans(tmp_path / "radar", 14)
    return tmp_path / "radar"


def test_a_worker_that_dies_while_it_writes_is_replaced(fourteen_files, tmp_path, monkeypatch):
    original, mark = execution._write_chunk, tmp_path / "died once"

    def dying(*arguments):
        fork = original(*arguments)
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return fork

    monkeypatch.setattr(execution, "_write_chunk", dying)
    archive = tmp_path / "a.icechunk"
    report = run(archive, fourteen_files / "*.nc", workers=2)
    assert mark.exists()
    assert (report.ingested, report.rejected) == (14, [])
    assert (Archive.open(archive).status == OK).all()
    run(tmp_path / "local", fourteen_files / "*.nc")
    assert_same(contents(archive), contents(tmp_path / "local"))


def test_a_worker_reports_a_mistake_in_the_configuration(radar, tmp_path):
    config = config_with(quality={"clutter_mask": str(tmp_path / "none.nc")})
    with pytest.raises(ConfigError, match=r"clutter_mask: cannot be read: .*none\.nc"):
        run(tmp_path / "a.icechunk", radar / "*.nc", config=config, workers=2)


def test_the_run_after_a_crash_reads_in_worker_processes(fourteen_files, tmp_path, monkeypatch):
    """A few files are read without workers, so one of them can crash the run, but only once."""
    crash_at(monkeypatch, "T0010.nc")
    archive = tmp_path / "a.icechunk"
    pid = os.fork()
    if pid == 0:
        try:
            run(archive, fourteen_files / "*.nc", workers=None)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    report = run(archive, fourteen_files / "*.nc", workers=None)
    assert (report.ingested, len(report.rejected)) == (13, 1)
    assert "the process that read it died" in report.rejected[0].reason
    assert run(archive, fourteen_files / "*.nc", workers=None).standing == report.rejected
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("a.icechunk", "a.icechunk.lock", "radar"),
    ]


@pytest.mark.parametrize("start_s", [-1.0, 1e9])
def test_processes_start_when_they_gain_more_than_they_cost(
    start_s, fourteen_files, tmp_path, monkeypatch
):
    """The first batches are read in this process; the archive is the same in both cases."""
    run(tmp_path / "expected", fourteen_files / "*.nc", workers=0)
    batches, started = [], []
    original = LocalExecution.start
    monkeypatch.setattr(run_module, "START_S", start_s)
    monkeypatch.setattr("squall.pipeline.ingest.batches.TIME_CHUNK", 2)
    monkeypatch.setattr("squall.pipeline.ingest.batches.BATCH_PIXELS", 1)

    def counted(self, groups, settings):
        batches.append(sum(len(group) for group in groups))
        return original(self, groups, settings)

    def processes(scheduler, worker_count):
        started.append((scheduler, worker_count))
        return nullcontext(LocalExecution())

    monkeypatch.setattr(run_module, "CPU_COUNT", 2)
    monkeypatch.setattr(run_module, "started_execution", processes)
    monkeypatch.setattr(LocalExecution, "start", counted)
    report = run(tmp_path / "a.icechunk", fourteen_files / "*.nc", workers=None)
    assert report.ingested == 14
    assert batches[:2] == [2, 4]
    assert started == ([("processes", 2)] if start_s < 0 else [])
    assert_same(contents(tmp_path / "a.icechunk"), contents(tmp_path / "expected"))


def test_an_archive_on_object_storage_is_filled_by_processes_at_once():
    """It has no mark of a crash, so a file that kills its reader would kill every pass."""
    local, remote = (
        IngestConfig(source=config_with(), archive=address, files=("*.nc",))
        for address in ("/data/a", "s3://bucket/a")
    )
    starts_here = run_module._starts_in_this_process
    assert starts_here(local, 1000, False)
    assert not starts_here(local, 10, True)
    assert starts_here(remote, 10, False)
    assert not starts_here(remote, 1000, False)
