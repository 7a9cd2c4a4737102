"""What the child process does: looks for new scans, and makes the files of a run.

Public: `Worker`.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import DataError
from squall.datasets.open_archive import open_archive
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.times import duration_text
from squall.pipeline.config import load_config
from squall.pipeline.forecast.config import ForecastConfig, Product
from squall.pipeline.forecast.methods import (
    Extrapolation,
    ForecastMethod,
    find_method,
    is_ensemble,
    used_steps,
)
from squall.pipeline.forecast.names import EXTRAPOLATION
from squall.pipeline.forecast.run import forecast, missing_times
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.run import ingest
from squall.pipeline.live.alerts.evaluate import evaluate
from squall.pipeline.live.alerts.records import RULES_FILE
from squall.pipeline.live.alerts.webhook import Deliveries, Posting, Webhooks
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.member_check import MemberSample, RememberedMembers
from squall.pipeline.live.products import write_products
from squall.pipeline.live.self_check import Codes, Counts, Remembered
from squall.pipeline.live.states import Arrivals, Order, Run
from squall.pipeline.live.store import open_store, run_id

log = logging.getLogger("squall.live")

FORECAST_FILE = "forecast.nc"
# of an ensemble; the members would fill by far the most space
PRODUCTS: tuple[Product, ...] = (
    "median", "percentiles", "chances", "neighbourhood", "amounts", "times",
)  # fmt: skip
BAND = (10.0, 90.0)
KEEP_BITS = 7  # of rates and amounts: within 0.4 %, and half the size


class _Made(NamedTuple):
    """A run that is not scored yet."""

    reference: pd.Timestamp
    codes: Codes  # (lead_time, y, x)
    members: MemberSample


class Worker:
    """Ingests and forecasts; it lives as long as the process."""

    def __init__(self, config: LiveConfig, replay: str | None = None) -> None:
        self.config = config
        self._replay = replay
        self._ingestion: IngestConfig | None = None
        if replay is None:
            assert config.network is not None
            network = load_config(config.network, RadarNetworkConfig)
            self._ingestion = IngestConfig(
                source=network, archive=config.archive, files=config.files, workers=0
            )
        self._address = replay or (self._ingestion.address if self._ingestion else "")
        self._method: ForecastMethod | None = None
        self._made: _Made | None = None
        self._remembered: tuple[Remembered, RememberedMembers] | None = None
        hooks = {rule.name: rule.webhook for rule in config.alerts if rule.webhook is not None}
        self._webhooks = Webhooks(
            {name: webhook.get_secret_value() for name, webhook in hooks.items()}
        )

    def look(self, now: pd.Timestamp) -> Arrivals:
        """Bring the archive up to date, and say what the newest scan is.

        A source that does not answer and an archive that cannot be read are problems of the result.
        """
        problems = self._ingest(now)
        try:
            archive = open_archive(self._address)
        except DataError as error:
            if self._ingestion is not None and not problems:  # ingestion found nothing
                span = duration_text(self.config.look_back)
                problems = (f"no radar file of the last {span} has come (look_back)",)
            return Arrivals(None, None, (), problems or (str(error),))
        good = np.flatnonzero(archive.status == OK)
        times = archive.times
        if self._replay is not None:
            good = good[times[good] <= now - self.config.usual_latency]
        if not good.size:
            return Arrivals(None, archive.step, (), problems, self._outside(archive))
        newest = times[good[-1]]
        if newest > now + archive.step:
            ahead = round((newest - now) / pd.Timedelta("1min"))
            problems = (
                *problems,
                f"the newest scan is {ahead} min in the future; check the clock of this machine",
            )
        missing = self._missing(archive, int(good[-1]))
        return Arrivals(newest, archive.step, missing, problems, self._outside(archive))

    def make(self, order: Order, now: pd.Timestamp | None = None) -> Run:
        """Forecast, ask the rules of alerts, make the products, and publish them as a run.

        Parameters
        ----------
        now : the present moment of the service (default: the order's reference time).
        """
        config = self.config
        archive = open_archive(self._address)
        model = EXTRAPOLATION if order.fallback else config.model
        members = None if order.fallback else config.members
        if members is not None and not is_ensemble(self._model(archive)):
            members = None
        run = run_id(order.reference)
        with open_store(config.publish_to).new_run(run) as folder:
            asked = {
                "archive": self._address,
                "model": model,
                "out": folder / FORECAST_FILE,
                "at": order.reference,
                "lead_times": order.lead_times,
                "keep_bits": KEEP_BITS,
            }
            if members:
                asked |= {
                    "members": members,
                    "thresholds_mm_h": config.thresholds_mm_h,
                    "percentiles": BAND,
                    "products": PRODUCTS,
                }
            sample = MemberSample()
            dataset = forecast(ForecastConfig.model_validate(asked), sample.take)
            result = Run(
                *(run, order.reference, order.lead_times, model),
                missing=order.missing,
                fallback=order.fallback,
            )
            evaluation = evaluate(
                *(dataset, archive.grid, result, config),
                now=order.reference if now is None else now,
                step=archive.step,
            )
            (folder / RULES_FILE).write_text(evaluation.as_text(), encoding="utf-8")
            codes = write_products(folder, dataset, archive, result, config)
        self._made = _Made(order.reference, codes, sample)
        return result

    def check(self) -> list[tuple[pd.Timestamp, Counts, pd.Timedelta]]:
        """Score the scans that have come since the last call, and remember the last run.

        Returns
        -------
        Valid time, counts, and the archive's step, for each scan.
        """
        if self._made is None:
            return []
        (reference, codes, sample), self._made = self._made, None
        archive = open_archive(self._address)
        lead_times = self.config.lead_times(archive.step)
        if self._remembered is None:
            self._remembered = (
                Remembered(self.config.thresholds_mm_h, lead_times),
                RememberedMembers(lead_times),
            )
        runs, ensembles = self._remembered
        newest = archive.index_of(reference)
        since = runs.scored_until
        first = newest if since is None else archive.index_of(since) + 1
        scored = []
        for index in range(first, newest + 1):
            if archive.status[index] == OK:
                observed = archive.read(index, 1).values[0]
                time = archive.times[index]
                counts = runs.score(time, observed, archive.step)
                counts = ensembles.score(time, observed, archive.step, counts)
                scored.append((time, counts, archive.step))
        method = Extrapolation(lead_times)
        context = archive.read(newest - method.context + 1, method.context).values
        leads = method.leads(context, lead_times)
        del context
        extrapolated = np.stack([RAIN_CODE.encode(rain) for rain in leads])
        runs.add(reference, codes, extrapolated)
        if sample.fields:  # an ensemble
            ensembles.add(reference, sample, extrapolated)
        return scored

    def deliver(self, postings: list[Posting], wait_s: float = 0.0) -> Deliveries:
        """Post messages about alerts, see `Webhooks.deliver`."""
        return self._webhooks.deliver(postings, wait_s)

    def base_map(self) -> dict[str, Any]:
        """What lies under the rain on the page: coasts, borders, towns."""
        # it imports Matplotlib and Cartopy, which the first forecast should not wait for
        from squall.pipeline.live.base_map import base_map

        return base_map(open_archive(self._address).grid)

    def _ingest(self, now: pd.Timestamp) -> tuple[str, ...]:
        """One pass of ingestion; what went wrong, in words."""
        if self._ingestion is None:
            return ()
        recent = self._ingestion.model_copy(update={"since": now - self.config.look_back})
        try:
            report = ingest(recent)
        except DataError as error:
            return (str(error),)
        # also those of earlier looks, as long as the file lies there and is not replaced
        rejected = (*report.rejected, *report.standing)
        problems = [f"{entry.file}: {entry.reason}" for entry in rejected]
        problems += [f"{file}: {reason}" for file, reason in report.unavailable]
        return tuple(problems)

    def _outside(self, archive: ScanStore) -> tuple[str, ...]:
        """A note for each place of the configuration that the radar's grid does not hold."""
        return tuple(
            f"place '{name}' lies outside the radar's grid, so its forecast is not known; correct "
            "its latitude and longitude, or remove it"
            for name, place in self.config.places.items()
            if archive.grid.pixel_at(place.latitude, place.longitude) is None
        )

    def _missing(self, archive: ScanStore, newest: int) -> tuple[pd.Timestamp, ...]:
        """Scans that the model uses before the newest one, and that the archive lacks."""
        try:
            steps = used_steps(self._model(archive))
        except (DataError, ValueError):
            return ()  # the model is missing; the forecast will say so
        return tuple(missing_times(archive, newest, steps))

    def _model(self, archive: ScanStore) -> ForecastMethod:
        """The configured model, opened once."""
        if self._method is None:
            self._method = find_method(self.config.model, archive)
        return self._method
