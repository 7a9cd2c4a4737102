"""Publishes alerts: ``alerts.json`` and the CAP messages. It runs in the parent.

Public: `AlertDesk`, `ALERTS`.

The answers to the rules lie in each run. They are taken up when the run is published, or by the
next process. CAP files are written before ``alerts.json``, which says that they count. All of them
follow from the run and from the ``alerts.json`` before, so a process that was killed loses and
doubles nothing.
"""

from __future__ import annotations

import json
import logging

import pandas as pd

from squall.datasets.errors import DataError, first_line
from squall.pipeline.live.alerts.cap import cap_text
from squall.pipeline.live.alerts.lifecycle import POSTED, advance, lapsed
from squall.pipeline.live.alerts.records import (
    ACTIVE,
    RULES_FILE,
    Book,
    Evaluation,
    Message,
    subject_of,
)
from squall.pipeline.live.alerts.webhook import Deliveries, Posting
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.states import Run
from squall.pipeline.live.store import MESSAGES, RUNS, Store, reference_of

log = logging.getLogger("squall.live")

ALERTS = "alerts.json"


class AlertDesk:
    """The alerts of a service."""

    def __init__(self, store: Store, config: LiveConfig) -> None:
        self._store, self._config = store, config
        self._hooked = {rule.name for rule in config.alerts if rule.webhook is not None}
        self._book: Book | None = None
        self._unanswered: tuple[str, ...] = ()
        self._undelivered: tuple[str, ...] = ()
        self._failure = ""

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong lately, in words."""
        failure = (self._failure,) if self._failure else ()
        return (*failure, *self._unanswered, *self._undelivered)

    @property
    def active(self) -> int | None:
        """Number of active alerts; None if it is not known."""
        return None if self._book is None else len(self._book.active)

    def take_up(self, run: Run | None, now: pd.Timestamp) -> None:
        """Take up what the published run says of the rules, once; nothing that fails is raised."""
        self._failure = ""
        try:
            book = self._read()
            if run is not None and run.id != book.run and (self._config.alerts or book.active):
                self._advance(book, run)
            elif (aged := lapsed(book, now)) is not book:
                self._write(aged)
        except (OSError, DataError) as error:
            self._failure = f"alerts: {first_line(error)}"
        except ValueError as error:
            self._failure = f"alerts: {first_line(error)}"
            log.error("%s", self._failure)

    def postings(self) -> list[Posting]:
        """The messages that wait for a webhook, oldest first."""
        cap, book = self._config.cap, self._book or Book()
        postings = []
        for message in book.undelivered:
            body = {"status": cap.status, "cap": _name(message.identifier)}
            body |= message.model_dump(mode="json")
            text = json.dumps(body, ensure_ascii=False)
            postings.append(Posting(message.identifier, message.alert.subject.rule, text))
        return postings

    @property
    def is_posting(self) -> bool:
        """Whether messages wait."""
        return bool(self._book and self._book.undelivered)

    def not_posted(self, reason: str) -> None:
        """Name why no message could be posted."""
        self._undelivered = (f"alerts cannot be posted: {reason}",)

    def posted(self, deliveries: Deliveries) -> None:
        """Forget the messages that have arrived; raises what the store raises."""
        self._undelivered = deliveries.problems
        assert self._book is not None
        waiting = tuple(
            message
            for message in self._book.undelivered
            if message.identifier not in deliveries.delivered
            and message.alert.subject.rule in self._hooked
        )
        if len(waiting) < len(self._book.undelivered):
            self._write(self._book.model_copy(update={"undelivered": waiting}))

    def prune(self, limit: pd.Timestamp) -> None:
        """Forget alerts that ended before a time, and messages that are older and not the last.

        It raises what the store raises.
        """
        if self._book is None or not (self._config.alerts or self._book.alerts):
            return
        book = self._book
        alerts = tuple(a for a in book.alerts if a.status == ACTIVE or a.ended >= limit)
        waiting = tuple(m for m in book.undelivered if m.alert.sent >= limit)
        if (len(alerts), len(waiting)) != (len(book.alerts), len(book.undelivered)):
            self._write(book.model_copy(update={"alerts": alerts, "undelivered": waiting}))
        used = {_name(alert.identifier) for alert in alerts}
        for name in self._store.names(MESSAGES):
            reference = reference_of(name.removeprefix(f"{MESSAGES}/").partition(".")[0])
            if reference is not None and reference < limit and name not in used:
                self._store.remove_file(name)

    def _read(self) -> Book:
        """The alerts that an earlier process published; without any if the file is damaged."""
        if self._book is None:
            text = self._store.read(ALERTS)
            self._book = Book()
            if text is not None:
                try:
                    self._book = Book.from_text(text)
                except ValueError as error:
                    raise ValueError(f"{ALERTS} {error}; alerts are raised anew") from error
        return self._book

    def _advance(self, book: Book, run: Run) -> None:
        name = f"{RUNS}/{run.id}/{RULES_FILE}"
        text = self._store.read(name)
        if text is None:
            self._failure = f"alerts: {name} is missing, so the run says nothing of the rules"
            return
        evaluation = Evaluation.from_text(text)
        subjects = {}
        for rule in self._config.alerts:
            outcome = evaluation.outcomes.get(rule.name)
            place = self._config.places.get(rule.at or "")
            subjects[rule.name] = subject_of(rule, place, outcome.radius_km if outcome else None)
        book, messages = advance(book, evaluation, subjects, self._config.cap.sender)
        for message in messages:
            self._store.write(_name(message.identifier), cap_text(message, self._config.cap))
        posted = [m for m in messages if m.kind in POSTED and m.alert.subject.rule in self._hooked]
        self._write(book.model_copy(update={"undelivered": (*book.undelivered, *posted)}))
        self._unanswered = tuple(
            f"alert rule '{rule}' cannot be answered: {outcome.reason}"
            for rule, outcome in evaluation.outcomes.items()
            if outcome.is_permanent and not run.fallback
        )
        for message in messages:
            self._say(message)

    def _write(self, book: Book) -> None:
        self._store.write(ALERTS, book.as_text())
        self._book = book

    @staticmethod
    def _say(message: Message) -> None:
        if message.kind in POSTED:
            log.warning("alert %s: %s", message.kind, message.alert.subject.headline)


def _name(identifier: str) -> str:
    return f"{MESSAGES}/{identifier}.xml"
