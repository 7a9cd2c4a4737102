"""Web servers, and other file systems of fsspec."""

import os
import socket
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import aiohttp
import fsspec
import pandas as pd
import pytest

from squall.datasets.errors import ConfigError, DataError
from squall.datasets.sources.access import (
    FileVanished,
    SourceFile,
    SourceUnavailable,
    filesystem,
)
from squall.datasets.sources.find import find_files
from tests.datasets.sources.temporary_storage import (
    JUNE_1,
    JUNE_3,
    PATTERNS,
    QUICK_HTTP,
    QUICK_S3,
    addresses,
    answering,
    put,
    read,
    serving,
    zipped,
)
from tests.s3_server import moto_endpoint, s3_environment, s3_server  # noqa: F401 (fixtures)

# Other file systems of fsspec


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def test_any_file_system_of_fsspec_is_searched(memory):
    for name in ("a/x.nc", "a/b/y.nc", "a/20240601.nc", "a/.z.nc"):
        memory.pipe(f"/radar/{name}", name.encode())
    files = find_files(["memory://radar/**/*.nc"])
    assert [file.address for file in files] == [
        "memory://radar/a/20240601.nc",
        "memory://radar/a/x.nc",
        "memory://radar/a/b/y.nc",
    ]
    assert [read(file) for file in files] == [b"a/20240601.nc", b"a/x.nc", b"a/b/y.nc"]
    assert addresses("memory://radar/a/x.nc") == ["memory://radar/a/x.nc"]
    days = "memory://radar/{time:a/%Y%m%d}.nc"
    for until in (JUNE_3, pd.Timestamp("2024-06-30")):
        assert addresses(days, since=JUNE_1, until=until) == ["memory://radar/a/20240601.nc"]
    with pytest.raises(SourceUnavailable, match="memory://none/: cannot be reached"):
        find_files(["memory://none/*.nc"])


def test_the_error_for_a_missing_package_names_it(monkeypatch):
    def missing(protocol):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(ConfigError, match=r"gs:// needs a package.*pip install 'squall\[gcs\]'"):
        find_files(["gs://bucket/*.nc"])
    with pytest.raises(ConfigError, match=r"abfs:// needs a package.*Please install"):
        find_files(["abfs://bucket/*.nc"])


@pytest.mark.parametrize(
    "address",
    [
        "https://me:hunter2@host/*.nc",
        "s3://AKIAhunter2@bucket/*.nc",
        "ftp://me:hunter2@host/x.nc",
        "zip://*.nc::https://hunter2@host/x.zip",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(address):
    with pytest.raises(ConfigError, match="must not hold a user or password") as raised:
        find_files([address])
    assert "hunter2" not in str(raised.value)


# Web servers


class RecordingFiles(SimpleHTTPRequestHandler):
    requests: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        self.requests.append(f"{self.command} {self.path}")


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """Address of a server that serves the current folder, with index pages."""
    RecordingFiles.requests.clear()
    with serving(partial(RecordingFiles, directory=str(folder))) as address:
        yield address


def test_index_pages_are_searched(web):
    for name in ("2024/06/01/x.nc", "2024/06/03/y y.nc", "2024/06/03/z.txt", "2024/07/x.nc"):
        put(name, name.encode())
    files = find_files([f"{web}/{{time:%Y/%m/%d}}/*.nc"], since=JUNE_1, until=JUNE_3)
    assert [file.address for file in files] == [
        f"{web}/2024/06/01/x.nc",
        f"{web}/2024/06/03/y%20y.nc",
    ]
    assert [file.name for file in files] == ["x.nc", "y y.nc"]
    assert [file.size for file in files] == [15, 17]
    assert read(files[1]) == b"2024/06/03/y y.nc"
    assert len(addresses(f"{web}/**/*.nc")) == 3
    assert addresses(f"{web}/2024/06/*/y y.nc") == [f"{web}/2024/06/03/y%20y.nc"]
    assert addresses(f"{web}/2024/06/*/*.h5") == []


def test_the_version_of_a_web_file_follows_its_time(web):
    put("x.nc")
    os.utime("x.nc", (1e9, 1e9))
    (before,) = find_files([f"{web}/x.nc"])
    assert before.size == 4
    assert "2001" in before.version
    os.utime("x.nc", (1.1e9, 1.1e9))
    assert find_files([f"{web}/x.nc"])[0].version != before.version


def test_listings_are_not_cached(web):
    put("in/x.nc")
    assert len(addresses(f"{web}/in/*.nc")) == 1
    put("in/y.nc")
    assert len(addresses(f"{web}/in/*.nc")) == 2


def test_dated_names_are_requested_without_an_index_page(web):
    put("in/202406010000.nc")
    pattern = f"{web}/in/{{time:%Y%m%d%H%M}}.nc"
    span = {"since": JUNE_1, "until": JUNE_1 + pd.Timedelta("3min")}
    assert addresses(pattern, **span) == [f"{web}/in/202406010000.nc"]
    assert not [line for line in RecordingFiles.requests if line.endswith("/in/")]
    later = {"since": JUNE_3, "until": JUNE_3 + pd.Timedelta("3min")}
    assert addresses(f"{web}/none/{{time:%Y%m%d%H%M}}.nc", **later) == []


def test_a_missing_web_folder_is_an_outage_but_a_missing_day_is_not(web):
    put("in/x.nc")
    with pytest.raises(SourceUnavailable, match=r"/none/: cannot be reached.*check the name"):
        find_files([f"{web}/none/*.nc"])
    with pytest.raises(SourceUnavailable, match=r"/none/: cannot be reached"):
        find_files([f"{web}/none/{{time:%Y}}/*.nc"], since=JUNE_1, until=JUNE_3)
    assert addresses(f"{web}/in/{{time:%Y}}/*.nc", since=JUNE_1, until=JUNE_3) == []
    with pytest.raises(DataError, match=r"none\.nc: there is no such file"):
        find_files([f"{web}/none.nc"])


def test_files_in_a_zip_file_on_a_web_server(web):
    zipped("day.zip", {"x.nc": b"one", "y.nc": b"two"})
    files = find_files([f"zip://*.nc::{web}/*.zip"])
    assert [file.address for file in files] == [
        f"zip://x.nc::{web}/day.zip",
        f"zip://y.nc::{web}/day.zip",
    ]
    assert [read(file) for file in files] == [b"one", b"two"]


def test_a_deleted_web_file_has_vanished_and_leaves_no_copy(web, folder, tmp_path, monkeypatch):
    put("x.nc")
    (file,) = find_files([f"{web}/x.nc"])
    Path("x.nc").unlink()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(FileVanished, match=r"x\.nc: was listed but no longer exists"):
        read(file)
    assert [path.name for path in tmp_path.iterdir()] == ["radar"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("status", "message"),
    [(500, "500.*the server has a problem"), (503, "503"), (403, "403.*credentials")],
)
def test_an_error_of_a_web_server_is_an_outage(pattern, status, message):
    with serving(answering(status)) as address, pytest.raises(SourceUnavailable, match=message):
        find_files([f"{address}/{pattern}"], since=JUNE_1, until=JUNE_3)


@pytest.mark.parametrize("link", ["x.nc", "x.nc?v=2", "x.nc#top", "x.nc?v=2#top", "./x.nc"])
def test_links_of_an_index_page_may_have_queries(link):
    page = f'<a href="{link}">x</a> <a href="?C=N;O=D">Name</a> <a href="/other/y.nc">y</a>'
    with serving(answering(200, page.encode())) as address:
        (file,) = find_files([f"{address}/radar/*.nc"])
        assert file.address == f"{address}/radar/x.nc"


@pytest.mark.parametrize("name", ["a#1.nc", "b?2.nc"])
def test_names_in_a_store_may_have_the_characters_of_a_query(memory, name):
    memory.pipe(f"/radar/{name}", b"content")
    (file,) = find_files(["memory://radar/*.nc"])
    assert file.address == f"memory://radar/{name}"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_web_server_that_hangs_is_an_outage(pattern):
    hanging, outage = serving(answering(200, delay=2.0)), pytest.raises(SourceUnavailable)
    with hanging as address, outage as raised:
        find_files([f"{address}/{pattern}"], QUICK_HTTP, since=JUNE_1, until=JUNE_3)
    assert raised.match(r"Timeout.*check the network")


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("protocol", ["http", "s3"])
def test_a_closed_port_is_an_outage(pattern, protocol):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        address = f"{endpoint}/{pattern}" if protocol == "http" else f"s3://radar/{pattern}"
        with s3_environment(endpoint), pytest.raises(SourceUnavailable, match="check the network"):
            find_files([address], {"s3": QUICK_S3}, since=JUNE_1, until=JUNE_3)


def test_an_incomplete_download_is_refused():
    with serving(answering(200, b"only this", length=1000)) as address:
        file = SourceFile(f"{address}/x.nc", "v", 1000)
        with pytest.raises(SourceUnavailable, match=r"x\.nc: cannot be reached"):
            read(file)
    with serving(answering(200, b"only this")) as address:
        with pytest.raises(
            SourceUnavailable, match="cut off: 9 bytes were received, 1,000 were listed"
        ):
            read(SourceFile(f"{address}/x.nc", "v", 1000))
        assert read(SourceFile(f"{address}/x.nc", "v", None)) == b"only this"


def test_a_hanging_download_times_out():
    hanging, outage = serving(answering(200, b"x", delay=2.0)), pytest.raises(SourceUnavailable)
    with hanging as address, outage as raised:
        read(SourceFile(f"{address}/x.nc", "v", 1), QUICK_HTTP)
    assert raised.match("Timeout")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (1800, 10, 60)),
        ({"client_kwargs": {"timeout": {"sock_read": 5}}}, (1800, 10, 5)),
        ({"https": {"client_kwargs": {"timeout": {"total": 90}}}}, (90, 10, 60)),
        ({"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=7)}}, (7, None, None)),
    ],
)
def test_the_time_outs_of_web_servers(given, expected):
    """Seconds for a whole download, to connect, and between two pieces."""
    timeout = filesystem("https://radar.example/x.nc", given).client_kwargs["timeout"]
    assert (timeout.total, timeout.sock_connect, timeout.sock_read) == expected


def test_messages_hide_the_query_of_an_address():
    with serving(answering(403)) as address:
        with pytest.raises(SourceUnavailable, match=r"x\.nc\?day=1:") as raised:
            find_files([f"{address}/x.nc?day=1&signature=hunter2"])
        assert "hunter2" not in str(raised.value)


def test_a_query_belongs_to_the_address_but_not_to_the_name():
    with serving(answering(200, b"rain")) as address:
        (file,) = find_files([f"{address}/get/x%20y.nc?version=1"])
        assert (file.name, file.size, read(file)) == ("x y.nc", 4, b"rain")
