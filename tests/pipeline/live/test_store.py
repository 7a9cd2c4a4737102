"""Runs are published whole, on a folder and on S3."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pandas as pd
import pytest

from squall.datasets.errors import DataError
from squall.pipeline.live.store import open_store, reference_of, run_id
from tests.datasets.sources.temporary_storage import serving
from tests.s3_server import moto_endpoint, s3_server  # noqa: F401 (fixtures)

FIRST, SECOND = "20240601T1200Z-00000000", "20240601T1205Z-11111111"


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path):
    """Address of a store, and a function that lists its files."""
    if request.param == "folder":
        site = tmp_path / "site"
        return str(site), lambda: sorted(
            path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()
        )
    server = request.getfixturevalue("s3_server")
    server.bucket("live")

    def files():
        listed = server.client.list_objects_v2(Bucket="live")
        return sorted(item["Key"].removeprefix("site/") for item in listed.get("Contents", ()))

    return "s3://live/site", files


def fill(folder: Path) -> None:
    (folder / "frames").mkdir()
    (folder / "frames" / "a.png").write_bytes(b"picture")
    (folder / "manifest.json").write_text("{}")


def test_a_run_is_published_whole(place):
    address, files = place
    store = open_store(address)
    assert store.runs() == []
    for run in (SECOND, FIRST):
        with store.new_run(run) as folder:
            fill(folder)
            assert not any(run in name for name in files() if not name.startswith("."))
    assert store.runs() == [FIRST, SECOND]
    assert f"runs/{FIRST}/frames/a.png" in files()
    store.remove(FIRST)
    store.remove(FIRST)
    assert store.runs() == [SECOND]
    assert files() == [f"runs/{SECOND}/frames/a.png", f"runs/{SECOND}/manifest.json"]


def test_small_files_in_a_folder(place):
    address, files = place
    store = open_store(address)
    assert store.names("alerts") == []
    for name in ("alerts/b.xml", "alerts/a.xml"):
        store.write(name, "text")
    assert store.names("alerts") == ["alerts/a.xml", "alerts/b.xml"]
    store.remove_file("alerts/a.xml")
    store.remove_file("alerts/a.xml")
    assert store.names("alerts") == ["alerts/b.xml"]
    assert files() == ["alerts/b.xml"]


def test_a_run_that_fails_is_not_published(place):
    address, files = place
    store = open_store(address)

    def fail(folder):
        fill(folder)
        raise RuntimeError("no weights")

    with pytest.raises(RuntimeError, match="no weights"), store.new_run(FIRST) as folder:
        fail(folder)
    assert store.runs() == []
    assert files() == []


def test_small_files_are_replaced(place):
    address, files = place
    store = open_store(address)
    assert store.read("latest.json") is None
    for text in ("first", "second"):
        store.write("latest.json", text)
        assert store.read("latest.json") == text
    assert files() == ["latest.json"]


def test_objects_say_how_long_they_may_be_cached(s3_server):  # noqa: F811
    s3_server.bucket("live")
    store = open_store("s3://live/site")
    with store.new_run(FIRST) as folder:
        fill(folder)
    store.write("latest.json", "{}")
    store.write("metrics.prom", "x 1\n")
    store.write("alerts/a.xml", "<alert/>")

    def headers(key):
        head = s3_server.client.head_object(Bucket="live", Key=f"site/{key}")
        return head["CacheControl"], head["ContentType"]

    for_ever = "public, max-age=31536000, immutable"
    assert headers(f"runs/{FIRST}/frames/a.png") == (for_ever, "image/png")
    assert headers(f"runs/{FIRST}/manifest.json") == (for_ever, "application/json")
    assert headers("latest.json") == ("no-cache", "application/json")
    assert headers("alerts/a.xml") == ("no-cache", "application/cap+xml")


def test_the_manifest_is_the_last_object_of_a_run(s3_server, monkeypatch):  # noqa: F811
    s3_server.bucket("live")
    store = open_store("s3://live/site")
    put, order = store._files.put_file, []

    def noted(source, target, **options):
        order.append(Path(target).name)
        return put(source, target, **options)

    monkeypatch.setattr(store._files, "put_file", noted)
    with store.new_run(FIRST) as folder:
        fill(folder)
        (folder / "z.json").write_text(json.dumps([]))
    assert order[-1] == "manifest.json"
    assert len(order) == 3


def test_files_of_a_run_are_uploaded_at_the_same_time(s3_server, monkeypatch):  # noqa: F811
    s3_server.bucket("live")
    store = open_store("s3://live/site")
    put, together = store._files.put_file, threading.Barrier(3)

    def waiting(source, target, **options):
        if not target.endswith("manifest.json"):
            together.wait(timeout=10)  # until three files are on their way
        put(source, target, **options)

    monkeypatch.setattr(store._files, "put_file", waiting)
    with store.new_run(FIRST) as folder:
        fill(folder)
        for name in ("b.json", "c.json"):
            (folder / name).write_text("[]")
    assert store.size(f"runs/{FIRST}/manifest.json") == 2


def test_a_file_that_cannot_be_uploaded_leaves_no_manifest(s3_server, monkeypatch):  # noqa: F811
    s3_server.bucket("live")
    store = open_store("s3://live/site")
    put = store._files.put_file

    def failing(source, target, **options):
        if target.endswith("a.png"):
            raise OSError("the line is cut")
        put(source, target, **options)

    monkeypatch.setattr(store._files, "put_file", failing)
    with pytest.raises(DataError, match="the line is cut"), store.new_run(FIRST) as folder:
        fill(folder)
    assert store.size(f"runs/{FIRST}/manifest.json") is None


def test_a_bucket_that_is_not_there_is_a_clear_error(s3_server):  # noqa: F811
    store = open_store("s3://nowhere/site")
    with pytest.raises(DataError, match=r"s3://nowhere/site: cannot be reached .*credentials"):
        store.write("latest.json", "{}")


def test_a_server_that_does_not_answer_is_a_clear_error(s3_server, monkeypatch):  # noqa: F811
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(DataError, match="s3://live/site: cannot be reached"):
        open_store("s3://live/site").read("latest.json")


@pytest.mark.parametrize("code", [500])
def test_a_server_that_fails_is_a_clear_error(code, s3_server, monkeypatch):  # noqa: F811
    class Failing(BaseHTTPRequestHandler):
        def answer(self):
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

        def log_message(self, *_):
            pass

    with serving(Failing) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        store = open_store("s3://live/site")
        with pytest.raises(DataError, match="s3://live/site: cannot be reached"):
            store.write("latest.json", "{}")


def test_a_killed_processes_half_run_is_cleared(tmp_path):
    left = tmp_path / ".incoming" / SECOND
    left.mkdir(parents=True)
    (left / "forecast.nc").write_bytes(b"half")
    with open_store(str(tmp_path)).new_run(FIRST) as folder:
        fill(folder)
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_names_of_runs():
    for time in map(pd.Timestamp, ("2024-06-01T12:00", "2024-06-01T12:00:30", "1999-01-01")):
        name = run_id(time)
        assert reference_of(name) == time
        assert run_id(time) != name
    for name in ("x", "20240601T1200Z", "20240601T1200Z-zzzzzzzz", ".lock"):
        assert reference_of(name) is None


def test_parts_of_files_are_read(place):
    store = open_store(place[0])
    store.write("a/b.json", "0123456789")
    assert store.size("a/b.json") == 10
    assert store.read_bytes("a/b.json") == b"0123456789"
    assert store.read_bytes("a/b.json", 2, 5) == b"234"
    assert store.read_bytes("a/b.json", 8) == b"89"
    assert store.read_bytes("nothing") is None
    assert store.size("nothing") is None
