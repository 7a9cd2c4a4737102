"""For the tests of sources: files, zip and tar files, a web server, short time-outs."""

import io
import os
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import pandas as pd
from fsspec.implementations.http import HTTPFileSystem

from squall.datasets.sources.access import SourceFile
from squall.datasets.sources.fetch import local_copy
from squall.datasets.sources.find import find_files
from tests.s3_server import moto_endpoint, s3_environment, s3_server  # noqa: F401 (fixtures)

JUNE_1, JUNE_3 = pd.Timestamp("2024-06-01"), pd.Timestamp("2024-06-03")
QUICK_S3 = {
    "config_kwargs": {
        "connect_timeout": 5.0,  # a busy machine answers slowly
        "read_timeout": 0.5,
        "retries": {"mode": "standard", "total_max_attempts": 1},
    }
}
QUICK_HTTP = {"client_kwargs": {"timeout": {"sock_connect": 0.5, "sock_read": 0.5}}}


def put(path: Path | str, content: bytes = b"rain") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)


def addresses(*patterns: str, options: dict | None = None, **span: pd.Timestamp) -> list[str]:
    return [file.address for file in find_files(patterns, options or {}, **span)]


def read(file: SourceFile, options: dict | None = None) -> bytes:
    with local_copy(file, options or {}) as path:
        return path.read_bytes()


def zipped(path: Path | str | io.BytesIO, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as container:
        for name, content in members.items():
            container.writestr(name, content)


def tarred(path: Path | str, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as container:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1_700_000_000
            container.addfile(member, io.BytesIO(content))


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    HTTPFileSystem.clear_instance_cache()
    try:
        with mock.patch.dict(os.environ, NO_PROXY="127.0.0.1", no_proxy="127.0.0.1"):
            yield f"http://127.0.0.1:{server.server_port}"
    finally:
        HTTPFileSystem.clear_instance_cache()
        server.shutdown()
        thread.join()
        server.server_close()


def answering(status: int, body: bytes = b"", length: int | None = None, delay: float = 0.0):
    """Handler class that gives the same answer to each request."""

    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            time.sleep(delay)
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = answer

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the client did not wait for the answer
                super().handle()

    return Answer


PATTERNS = ["x.nc", "in/*.nc", "in/{time:%Y/%m/%d}/*.nc", "in/{time:%Y%m%d}.nc"]
