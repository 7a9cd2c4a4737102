"""Requests of `squall status` for an archive on object storage."""

import threading
from collections.abc import Iterator

import pytest

from squall.datasets.archive import repository
from squall.datasets.archive.writer import ArchiveWriter
from squall.datasets.grid import Grid
from squall.pipeline.cli.main import main
from squall.pipeline.status.summary import status
from tests.datasets.archive.archive_store import NOON, STEP, Codes, Scans
from tests.pipeline.ingest.test_s3 import Proxy
from tests.s3_server import S3Server, moto_endpoint, s3_environment, s3_server  # noqa: F401

SNAPSHOTS = 60


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Proxy]:  # noqa: F811
    server = Proxy(s3_server.endpoint)
    server.hangs.set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with s3_environment(server.endpoint):
        yield server
    server.shutdown()
    server.server_close()


def test_the_number_of_requests_does_not_grow_with_the_snapshots(
    proxy: Proxy,
    s3_server: S3Server,  # noqa: F811
    grid: Grid,
    rain_codes: Codes,
    scans_of: Scans,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = f"s3://{s3_server.bucket('archives')}/radar"
    writer = ArchiveWriter(address, STEP, {"name": "radar"})
    scans = scans_of(rain_codes(SNAPSHOTS), NOON)
    counts = {}
    for number, scan in enumerate(scans, 1):
        writer.commit(grid, [scan], [], "one scan")
        if number in (1, SNAPSHOTS):
            proxy.requests.clear()
            summary = status(address)
            counts[number] = len(proxy.requests)
            assert (summary.present, summary.snapshots) == (number, number)
    assert counts[SNAPSHOTS] <= counts[1] + 4, counts
    # Moto splits a listing after 1,000 objects, as S3 does; the bound is reached by fewer pages
    assert counts[SNAPSHOTS] + 2 * repository.LISTED_PAGES <= 50, counts
    listed = s3_server.client.list_objects_v2(Bucket="archives", Prefix="radar/")["Contents"]
    assert summary.size_bytes == sum(entry["Size"] for entry in listed)

    monkeypatch.setattr(repository, "LISTED_PAGES", 0)
    assert main(["status", address]) == 0
    printed = capsys.readouterr().out
    assert "size       not counted on disk" in printed
    assert "snapshots  more than" in printed
