"""A worker that needs no radar and no model, for tests of the child and of the loop.

It obeys ``orders.json`` in the folder that it is given, so that a test can change what happens.
"""

import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from squall.pipeline.live.alerts.records import RULES_FILE, Evaluation
from squall.pipeline.live.alerts.webhook import Deliveries
from squall.pipeline.live.states import Arrivals, Run
from squall.pipeline.live.store import open_store, run_id

STEP = pd.Timedelta("5min")


@dataclass(frozen=True)
class FakeFactory:
    """Makes a `FakeWorker`."""

    orders: Path
    site: str

    def __call__(self):
        if self._orders().get("start") == "fail":
            raise RuntimeError("cannot start")
        return FakeWorker(self)

    def _orders(self):
        return json.loads(self.orders.read_text())


class FakeWorker:
    """Says what ``orders.json`` says."""

    def __init__(self, factory):
        self._factory = factory

    def look(self, now):
        orders = self._obey("look")
        newest = orders.get("newest")
        missing = tuple(pd.Timestamp(time) for time in orders.get("missing", ()))
        problems = tuple(orders.get("problems", ()))
        notes = tuple(orders.get("notes", ()))
        return Arrivals(pd.Timestamp(newest) if newest else None, STEP, missing, problems, notes)

    def make(self, order, now=None):
        orders = self._obey("fallback" if order.fallback else "make")
        name = run_id(order.reference)
        evaluation = Evaluation(
            run=name,
            reference=order.reference,
            sent=now.floor("s"),
            expires=order.reference + pd.Timedelta("12min"),
            is_good=not order.fallback,
            outcomes=orders.get("rules", {}),
        )
        with open_store(self._factory.site).new_run(name) as folder:
            (folder / "forecast.nc").write_bytes(os.urandom(20_000))
            (folder / RULES_FILE).write_text(evaluation.as_text())
            time.sleep(orders.get("pause_s", 0))
            files = ["forecast.nc"]
            (folder / "manifest.json").write_text(json.dumps({"id": name, "files": files}))
        model = "extrapolation" if order.fallback else "model"
        return Run(name, order.reference, order.lead_times, model, order.missing, order.fallback)

    def check(self):
        self._obey("check")
        return []

    def deliver(self, postings, wait_s=0.0):
        orders = self._obey("deliver")
        problems = ("webhook: down",) if orders.get("webhook") == "down" else ()
        arrived = () if problems else tuple(posting.identifier for posting in postings)
        return Deliveries(arrived, problems)

    def base_map(self):
        self._obey("base_map")
        return {"land": []}

    def pid(self):
        return os.getpid()

    def echo(self, value):
        logging.getLogger("squall.test").warning("said %s", value)
        logging.getLogger("squall.test").info("not heard")
        return value

    def _obey(self, method):
        orders = self._factory._orders()
        action = orders.get(method)
        if action == "fail":
            raise ValueError(f"{method} is ordered to fail")
        if action == "die":
            os._exit(7)
        if action == "pause":
            time.sleep(0.5)
        if action == "hang":
            time.sleep(60)
        return orders
