"""Clients of a server in this process."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi.testclient import TestClient

from squall.pipeline.live.store import open_store
from squall.pipeline.serve.app import app_of
from squall.pipeline.serve.config import ServeConfig
from squall.pipeline.serve.published import Published
from tests.pipeline.serve.site import publish

Serving = Callable[..., TestClient]


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Serve an address; every request looks at the store again."""
    with ExitStack() as stack:

        def start(address: Any, *, wait_s: float = 10.0, **options: Any) -> TestClient:
            config = ServeConfig(address=str(address), **({"requests_per_minute": 0} | options))
            published = Published(
                open_store(config.address),
                past=config.past,
                check_s=0,
                patience_s=0,
                wait_s=wait_s,
            )
            client = TestClient(app_of(config, published), raise_server_exceptions=False)
            return stack.enter_context(client)

        yield start


@pytest.fixture
def site(tmp_path):
    """A folder with one run."""
    address = tmp_path / "site"
    publish(address)
    return address


@pytest.fixture
def client(site, serving) -> TestClient:
    return serving(site)
