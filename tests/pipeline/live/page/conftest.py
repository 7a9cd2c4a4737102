"""A published site, a server for it, and a browser that shows its page."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page

from squall.pipeline.live.clock import Clock
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.page import page_files
from squall.pipeline.live.run import Service
from squall.pipeline.live.work import Worker

TIMES = ("2024-06-01T03:52", "2024-06-01T03:57", "2024-06-01T04:02")
LEADS = 4


class MovedClock(Clock):
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = pd.Timestamp(TIMES[0])

    def now(self) -> pd.Timestamp:
        return self.time


@dataclass
class DirectChild:
    """Calls the worker in this process."""

    worker: Worker

    def call(self, method: str, *arguments: Any, deadline_s: float) -> Any:
        return getattr(self.worker, method)(*arguments)


@dataclass
class Site:
    """A folder with a page, and its address."""

    folder: Path
    address: str = ""
    missing: set[str] = field(default_factory=set)
    """parts of addresses that the server does not answer"""

    def json(self, name: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((self.folder / name).read_text())
        return values

    @property
    def latest(self) -> str:
        return str(self.json("latest.json")["id"])

    def published(self) -> datetime:
        """When the machine wrote the status."""
        return datetime.fromisoformat(self.json("status.json")["machine_time"])


@pytest.fixture(scope="module")
def published(chain: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of an ensemble of the synthetic radar, each with its scan."""
    folder = tmp_path_factory.mktemp("site")
    publish(folder, chain)
    return folder


def publish(folder: Path, chain: Any) -> None:
    """Publish the runs of `published`."""
    if not page_files():
        pytest.skip("the page was not built: the npm registry could not be reached")
    config = LiveConfig.model_validate(
        {
            "publish_to": str(folder),
            "minutes": 5 * LEADS,
            "members": 3,
            "thresholds_mm_h": (0.5, 2.0),
            "places": {
                "Middle": {"latitude": 55.6, "longitude": 10.9},
                "Besançon": {"latitude": 47.24, "longitude": 6.02},
            },
            "alerts": [
                {
                    "name": "any rain",
                    "rain_mm_h": 0.5,
                    "within": "15min",
                    "chance": 0.05,
                    "area": [[10.8, 55.5], [11.0, 55.5], [11.0, 55.7], [10.8, 55.7]],
                },
                {
                    "name": "rain at Besançon",
                    "rain_mm_h": 0.5,
                    "within": "15min",
                    "chance": 0.05,
                    "at": "Besançon",
                },
            ],
            "usual_latency": "1min",
            "stale_after": "20min",
        }
    )
    clock = MovedClock()
    service = Service(config, DirectChild(Worker(config, str(chain.archive))), clock)  # type: ignore[arg-type]
    for time in TIMES:
        clock.time = pd.Timestamp(time)
        assert service.cycle().name == "fresh"


@pytest.fixture
def site(published: Path, tmp_path: Path) -> Iterator[Site]:
    """A copy of the site that a test may change, with a server."""
    folder = tmp_path / "site"
    shutil.copytree(published, folder)
    site = Site(folder)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            if any(part in self.path for part in site.missing):
                self.send_error(404)
            else:
                super().do_GET()

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site.address = f"http://127.0.0.1:{server.server_port}/"
    yield site
    server.shutdown()
    server.server_close()


class Visitor:
    """Opens pages, and collects what goes wrong in them."""

    def __init__(self, browser: Browser, site: Site) -> None:
        self._browser, self._site = browser, site
        self.errors: list[str] = []
        self.asked: list[str] = []
        self._contexts: list[Any] = []

    def open(
        self, fragment: str = "", *, after_s: float = 5.0, width: int = 1200, **options: Any
    ) -> Page:
        """The page of the site as it is some time after the last status."""
        context = self._browser.new_context(
            viewport={"width": width, "height": 780}, timezone_id="Europe/Copenhagen", **options
        )
        self._contexts.append(context)
        page: Page = context.new_page()
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.clock.install(time=self._site.published() + timedelta(seconds=after_s))
        page.goto(self._site.address + fragment)
        page.wait_for_function("document.querySelector('#time b').textContent !== ''")
        page.wait_for_selector("#forecast-map .raster")
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def visitor(chromium: Browser, site: Site) -> Iterator[Visitor]:
    visitor = Visitor(chromium, site)
    yield visitor
    visitor.close()
    assert not visitor.errors
