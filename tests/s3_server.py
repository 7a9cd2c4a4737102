"""An S3 server on this machine: a test that needs it imports the fixture `s3_server`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}
_UNSET = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3")


@dataclass
class S3Server:
    """A running server; during a test, the environment variables name it."""

    endpoint: str
    client: Any
    _buckets: list[str] = field(default_factory=list)

    def bucket(self, name: str) -> str:
        """Make an empty bucket, which is deleted after the test; returns its name."""
        self.client.create_bucket(Bucket=name)
        self._buckets.append(name)
        return name

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Store one object."""
        self.client.put_object(Bucket=bucket, Key=key, Body=content)

    def clear(self) -> None:
        """Delete the buckets that the test made, with their content."""
        for bucket in self._buckets:
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                keys = [{"Key": item["Key"]} for item in page.get("Contents", ())]
                if keys:
                    self.client.delete_objects(Bucket=bucket, Delete={"Objects": keys})
            self.client.delete_bucket(Bucket=bucket)
        self._buckets.clear()


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """Address of moto's server on a free port."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_server(moto_endpoint: str) -> Iterator[S3Server]:
    """The server, with credentials and endpoint in the environment of this process."""
    with s3_environment(moto_endpoint):
        client = boto3.client("s3")
        server = S3Server(moto_endpoint, client)
        yield server
        server.clear()
        client.close()


@contextmanager
def s3_environment(endpoint: str) -> Iterator[None]:
    """Environment with S3 at ``endpoint``; s3fs forgets its file systems of other endpoints."""
    with mock.patch.dict(os.environ, {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}):
        for name in _UNSET:
            os.environ.pop(name, None)
        s3fs.S3FileSystem.clear_instance_cache()
        try:
            yield
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
