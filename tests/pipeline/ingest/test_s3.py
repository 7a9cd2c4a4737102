"""Sources and archives on object storage, with an S3 server on this machine."""

import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK
from squall.datasets.errors import BusyError, ConfigError, DataError
from squall.datasets.sources.access import SourceUnavailable
from squall.pipeline.cli.main import main
from squall.pipeline.status.summary import status
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
from tests.s3_server import moto_endpoint, s3_environment, s3_server  # noqa: F401 (fixtures)

COUNT = 30


@pytest.fixture
def radar(tmp_path):
    folder = tmp_path / "radar"
    write_scans(folder, COUNT)
    return folder


@pytest.fixture
def expected(radar, tmp_path):
    run(tmp_path / "local.icechunk", radar / "*.nc")
    return contents(tmp_path / "local.icechunk")


@pytest.fixture
def archive(s3_server):  # noqa: F811
    return f"s3://{s3_server.bucket('archives')}/tiny"


class Proxy(ThreadingHTTPServer):
    """A proxy of the S3 server: records requests, and answers some of them with an error."""

    daemon_threads = True

    def __init__(self, behind):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(behind).netloc
        self.requests = []
        self.fails = lambda method, path: False
        self.hangs = threading.Event()
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """Some tests need a client that gives up; print nothing."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.server.requests.append((self.command, self.path))
        if self.server.fails(self.command, self.path):
            self.server.hangs.wait()
            content = b"<Error><Code>InternalError</Code><Message>down</Message></Error>"
            self.send_response(500)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        connection = HTTPConnection(self.server.behind, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        reply = connection.getresponse()
        content = reply.read()
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = reply.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def proxy(s3_server) -> Iterator[Proxy]:  # noqa: F811
    server = Proxy(s3_server.endpoint)
    server.hangs.set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with s3_environment(server.endpoint):
        yield server
    server.hangs.set()
    server.shutdown()
    server.server_close()


def upload(s3, bucket, folder, key="{name}"):
    for path in sorted(folder.glob("*.nc")):
        time = pd.Timestamp(path.name[5:18])
        s3.put(bucket, key.format(name=path.name, time=time), path.read_bytes())


# -- the archive -----------------------------------------------------------------------------------


def test_an_archive_on_object_storage_equals_a_local_one(
    radar, expected, archive, tmp_path, capsys
):
    late = path_of(radar, FIRST + 11 * STEP).rename(tmp_path / "late.nc")
    assert run(archive, radar / "*.nc").ingested == COUNT - 1
    late.rename(path_of(radar, FIRST + 11 * STEP))
    second = run(archive, radar / "*.nc")
    assert (second.ingested, second.unchanged) == (1, COUNT - 1)
    third = run(archive, radar / "*.nc")
    assert (third.new_files, third.commits, third.snapshot) == (0, 0, second.snapshot)
    assert_same(contents(archive), expected)
    summary = status(archive)
    assert (summary.present, summary.missing) == (COUNT, 0)
    assert main(["status", archive]) == 0
    assert f"{COUNT} present" in capsys.readouterr().out
    scans = Archive.open(archive).read(COUNT - 4, 6)
    assert np.isfinite(scans[:4]).all()
    assert np.isnan(scans[4:]).all()


def test_an_open_archive_can_be_sent_to_another_process(radar, archive):
    run(archive, radar / "*.nc")
    opened = Archive.open(archive)
    code = (
        "import os, pickle, sys\n"
        "archive = pickle.load(sys.stdin.buffer)\n"
        "pickle.dump((archive.snapshot, archive.codes[:].tobytes()), sys.stdout.buffer)\n"
        "sys.stdout.flush()\n"
        "os._exit(0)\n"  # a thread of Icechunk may abort the process while Python shuts down
    )
    child = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(opened), stdout=subprocess.PIPE, check=True
    )
    assert pickle.loads(child.stdout) == (opened.snapshot, opened.codes[:].tobytes())


def test_readers_during_an_ingestion_see_complete_scans(radar, archive, monkeypatch):
    monkeypatch.setattr("squall.pipeline.ingest.batches.TASK_PIXELS", 4 * SIZE * SIZE)
    monkeypatch.setattr("squall.pipeline.ingest.batches.BATCH_PIXELS", 1)
    run(archive, *sorted(radar.glob("*.nc"))[:2])
    over, counts, failures = threading.Event(), set(), []

    def poll():
        while not over.is_set():
            try:
                counts.add(len(contents(archive)["times"]))  # compares codes with checksums
            except Exception as error:
                failures.append(error)

    readers = [threading.Thread(target=poll) for _ in range(2)]
    for reader in readers:
        reader.start()
    report = run(archive, radar / "*.nc")
    over.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert report.commits > 5
    assert len(counts) > 2


@pytest.mark.parametrize("ingested_before", [0, 4])
def test_two_ingestions_at_the_same_time_lose_and_duplicate_nothing(
    radar, expected, archive, monkeypatch, ingested_before
):
    monkeypatch.setattr("squall.pipeline.ingest.batches.TASK_PIXELS", 6 * SIZE * SIZE)
    monkeypatch.setattr("squall.pipeline.ingest.batches.BATCH_PIXELS", 1)
    monkeypatch.setattr("squall.pipeline.ingest.run.CONFLICTS", 50)
    if ingested_before:
        run(archive, *sorted(radar.glob("*.nc"))[:ingested_before])
    reports, failures = [], []

    def ingested():
        try:
            reports.append(run(archive, radar / "*.nc"))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ingested) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(report.ingested for report in reports) == COUNT - ingested_before
    assert sum(report.replaced for report in reports) == 0
    assert_same(contents(archive), expected)


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["/chunks/", "/refs/"])
def test_storage_that_fails_in_a_commit_leaves_the_archive_as_it_was(
    failing, radar, expected, archive, proxy
):
    run(archive, *sorted(radar.glob("*.nc"))[:8])
    before = contents(archive)
    proxy.fails = lambda method, path: method == "PUT" and failing in path
    with pytest.raises(DataError, match=f"{archive}: cannot be reached .*check the bucket"):
        run(archive, radar / "*.nc")
    proxy.fails = lambda method, path: False
    assert_same(contents(archive), before)
    report = run(archive, radar / "*.nc")
    assert (report.ingested, report.unchanged) == (COUNT - 8, 8)
    assert_same(contents(archive), expected)


@pytest.mark.slow
def test_storage_that_fails_during_the_creation_of_an_archive(
    radar, expected, archive, proxy, monkeypatch
):
    proxy.fails = lambda method, path: method == "PUT" and "/refs/" in path
    with pytest.raises(DataError, match=f"{archive}: cannot be reached"):
        run(archive, radar / "*.nc")
    proxy.fails = lambda method, path: False
    monkeypatch.setattr("squall.pipeline.ingest.run.CONFLICTS", 2)
    with pytest.raises(BusyError, match="another process is making this archive at this moment"):
        run(archive, radar / "*.nc")
    monkeypatch.setattr("squall.datasets.archive.repository.UNFINISHED_S", -60)
    assert run(archive, radar / "*.nc").ingested == COUNT
    assert_same(contents(archive), expected)


def test_a_prefix_with_other_objects_is_refused(
    radar,
    archive,
    s3_server,  # noqa: F811
    monkeypatch,
):
    monkeypatch.setattr("squall.datasets.archive.repository.UNFINISHED_S", -60)
    s3_server.put("archives", "tiny/config.yaml", b"x")
    s3_server.put("archives", "tiny/thesis.txt", b"five years of work")
    with pytest.raises(DataError, match="needs a folder of its own, and this one is not empty"):
        run(archive, radar / "*.nc")
    assert s3_server.client.list_objects_v2(Bucket="archives")["KeyCount"] == 2


# -- the source ------------------------------------------------------------------------------------


def test_source_and_archive_may_both_be_on_object_storage(radar, expected, archive, s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    upload(s3_server, bucket, radar, "in/{name}")
    report = run(archive, f"s3://{bucket}/in/*.nc")
    assert (report.found, report.ingested) == (COUNT, COUNT)
    assert_same(contents(archive), expected, but=["source"])
    assert contents(archive)["source"][0] == f"s3://{bucket}/in/rain_20240601T0000.nc"
    assert run(archive, f"s3://{bucket}/in/*.nc").unchanged == COUNT
    s3_server.put(bucket, "in/rain_20240601T0005.nc", b"broken")
    assert len(run(archive, f"s3://{bucket}/in/*.nc").rejected) == 1


def test_workers_read_and_write_on_object_storage(radar, expected, archive, s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    upload(s3_server, bucket, radar)
    assert run(archive, f"s3://{bucket}/*.nc", workers=2).ingested == COUNT
    assert_same(contents(archive), expected, but=["source"])


def test_a_run_lists_only_the_days_it_needs(tmp_path, proxy, s3_server):  # noqa: F811
    bucket = s3_server.bucket("radar")
    for day in range(6):
        time = FIRST + pd.Timedelta(days=day)
        content = write_file(path_of(tmp_path, time), rain(1, day)[0], time).read_bytes()
        s3_server.put(bucket, f"{time:%Y/%m/%d}/rain_{time:%Y%m%dT%H%M}.nc", content)
    pattern = f"s3://{bucket}/{{time:%Y/%m/%d}}/*.nc"
    config = config_with(begins="2024-06-02", lookback="1D")
    until = FIRST + pd.Timedelta("3D")

    def listed():
        queries = [parse_qs(urlsplit(path).query) for _, path in proxy.requests]
        proxy.requests.clear()
        return {query["prefix"][0][:10] for query in queries if "prefix" in query}

    archive = tmp_path / "a.icechunk"
    with pytest.raises(ConfigError, match="the time part needs a first time; give --since"):
        run(archive, pattern)
    report = run(archive, pattern, config=config, until=until)
    assert (report.found, report.ingested) == (3, 3)
    assert listed() == {"2024/06/02", "2024/06/03", "2024/06/04"}
    # later runs start one lookback before the newest scan
    report = run(archive, pattern, config=config, until=until + pd.Timedelta("1D"))
    assert (report.found, report.ingested) == (3, 1)
    assert listed() == {"2024/06/03", "2024/06/04", "2024/06/05"}
    report = run(archive, pattern, config=config, since=FIRST, until=FIRST)
    assert (report.found, report.ingested) == (1, 1)
    # a scan of 23:59:50 belongs to midnight, and its file lies in the folder of the day before
    assert listed() == {"2024/05/31", "2024/06/01"}
    too_early = pd.Timestamp("2023-01-01")
    assert run(archive, pattern, config=config, since=too_early, until=too_early).found == 0


def test_the_next_run_asks_a_source_again_that_answered_500(
    radar,
    tmp_path,
    proxy,
    s3_server,  # noqa: F811
):
    bucket = s3_server.bucket("radar")
    upload(s3_server, bucket, radar)
    archive, pattern = tmp_path / "a.icechunk", f"s3://{bucket}/*.nc"
    proxy.fails = lambda method, path: "rain_20240601T0100.nc" in path
    report = run(archive, pattern)
    assert (report.ingested, report.rejected) == (COUNT - 1, [])
    ((file, reason),) = report.unavailable
    assert file == f"s3://{bucket}/rain_20240601T0100.nc"
    assert "the server has a problem; the next run tries again" in reason
    proxy.fails = lambda method, path: "list-type" in path
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        run(archive, pattern)
    proxy.fails = lambda method, path: False
    assert run(archive, pattern).ingested == 1


def test_a_source_that_does_not_answer_in_time(radar, tmp_path, proxy, s3_server, monkeypatch):  # noqa: F811
    monkeypatch.setattr("squall.datasets.sources.access.READ_TIMEOUT_S", 0.5)
    bucket = s3_server.bucket("radar")
    upload(s3_server, bucket, radar)
    archive, pattern = tmp_path / "a.icechunk", f"s3://{bucket}/*.nc"
    proxy.fails = lambda method, path: "rain_20240601T0100.nc" in path
    proxy.hangs.clear()
    report = run(archive, pattern)
    assert (report.ingested, len(report.unavailable)) == (COUNT - 1, 1)
    proxy.hangs.set()
    proxy.fails = lambda method, path: False
    assert run(archive, pattern).ingested == 1
    assert (Archive.open(archive).status == OK).all()


def test_a_missing_bucket_is_an_error(radar, tmp_path, archive, capsys):
    config = tmp_path / "tiny.yaml"
    config.write_text(json.dumps(config_with().model_dump(mode="json", exclude_unset=True)))
    arguments = ["ingest", str(config), "--archive", archive, "--files", "s3://nowhere/*.nc"]
    assert main(arguments) == 1
    printed = capsys.readouterr().err
    assert "s3://nowhere/: cannot be reached" in printed
    assert "check the name and the endpoint" in printed
    files = ["--files", str(radar / "*.nc")]
    assert main(["ingest", str(config), "--archive", "s3://nowhere/tiny", *files]) == 1
    assert "s3://nowhere/tiny: cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("double", ["//in/{name}", "/in//{name}"])
def test_a_doubled_slash_is_part_of_a_key(double, radar, expected, tmp_path, s3_server):  # noqa: F811
    """Keys are not paths: s3://bucket//key and s3://bucket/key are two objects."""
    bucket = s3_server.bucket("radar")
    upload(s3_server, bucket, radar, double.removeprefix("/"))
    archive, pattern = tmp_path / "a.icechunk", f"s3://{bucket}{double.format(name='*.nc')}"
    assert run(archive, pattern).ingested == COUNT
    assert_same(contents(archive), expected, but=["source"])
    name = double.format(name="rain_20240601T0000.nc")
    assert contents(archive)["source"][0] == f"s3://{bucket}{name}"
    assert run(archive, pattern).unchanged == COUNT
    with pytest.raises(DataError, match="no file matches"):
        run(tmp_path / "other.icechunk", f"s3://{bucket}/in/*.nc")


@pytest.mark.parametrize("written", ["{bucket}//tiny", "{bucket}/tiny/", "{bucket}/in//tiny"])
def test_an_archive_at_an_address_with_doubled_slashes(written, radar, expected, s3_server):  # noqa: F811
    archive = "s3://" + written.format(bucket=s3_server.bucket("archives"))
    assert run(archive, radar / "*.nc").ingested == COUNT
    assert run(archive, radar / "*.nc").unchanged == COUNT
    assert_same(contents(archive), expected)
    assert status(archive).present == COUNT
