"""A service with a fake worker and a clock that a test moves, and what it publishes."""

import json
from pathlib import Path

import pandas as pd

from squall.pipeline.live.child import Child
from squall.pipeline.live.clock import Clock
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.run import Service
from tests.pipeline.live.fake_worker import FakeFactory


class HandClock(Clock):
    """A clock that a test moves."""

    def __init__(self, text):
        self.time = pd.Timestamp(text)

    def now(self):
        return self.time

    def move(self, minutes):
        self.time += pd.Timedelta(minutes=minutes)


class World:
    """A service with a fake worker, and what it publishes."""

    def __init__(self, folder: Path):
        self.site, self.orders = folder / "site", folder / "orders.json"
        self.site.mkdir()
        self.config = LiveConfig(
            publish_to=str(self.site),
            model="model",
            usual_latency="2min",
            stale_after="30min",
            keep="1h",
            deadline_s=20,
        )
        self.clock = HandClock("2024-06-01T12:01")
        self.child = Child(FakeFactory(self.orders, str(self.site)))
        self.order(newest="2024-06-01T12:00")
        self.restart()

    def restart(self):
        self.service = Service(self.config, self.child, self.clock)

    def order(self, **values):
        self.orders.write_text(json.dumps(values))

    def json(self, name):
        return json.loads((self.site / f"{name}.json").read_text())

    def runs(self):
        folder = self.site / "runs"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def cycle(self):
        """One cycle; returns the published state. What ``latest.json`` names is always whole."""
        state = self.service.cycle()
        status = self.json("status")
        assert (status["state"], status["reason"]) == (state.name, state.reason)
        assert status["heartbeat"] == f"{self.clock.now():%Y-%m-%dT%H:%M:%SZ}"
        if (self.site / "latest.json").exists():
            latest = self.json("latest")
            assert (self.site / latest["manifest"]).exists()
            assert status["run"] == latest["id"]
        return state
