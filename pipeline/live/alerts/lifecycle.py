"""How alerts are raised, updated and ended: pure functions of the alerts so far and a run.

Public: `advance`, `lapsed`, `identifier_of`.

All that a message says, its identifier and its time too, follows from the alerts so far and the
run. So a process that was killed at any moment writes the same messages again, and no others.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

from squall.datasets.times import utc_text
from squall.pipeline.live.alerts.records import (
    ACTIVE,
    CHANGED,
    CONFIRMED,
    ENDED,
    MET,
    MISSED,
    NOT_MET,
    RAISED,
    STILL_UNCONFIRMED,
    UNCONFIRMED,
    UNKNOWN,
    Alert,
    Book,
    Evaluation,
    Kind,
    Message,
    Outcome,
    Reference,
    Said,
    Subject,
)

_NOT_ASKED = Outcome(state=UNKNOWN, reason="the run was made before the rule")
CHANGE_OF_CHANCE = 0.2
CHANGE_OF_ONSET = pd.Timedelta("10min")
POSTED = (RAISED, CHANGED, UNCONFIRMED, ENDED)  # kinds of messages that a webhook gets


def advance(
    book: Book, evaluation: Evaluation, subjects: Mapping[str, Subject], sender: str
) -> tuple[Book, tuple[Message, ...]]:
    """Take up what a run says; returns the alerts after it, and the messages about them.

    Each run gives one message for each active alert, because a message of CAP expires when the
    next run is overdue. Chances vary around a limit from run to run, so an alert ends if as many
    good runs in a row as its rule says do not meet it. It also ends if its rule is gone. If a run
    cannot answer, or is not good and does not meet the rule, the alert stays and is not confirmed.

    Parameters
    ----------
    subjects : of all rules of the configuration, by name.
    """
    if evaluation.run == book.run:
        return book, ()
    active = {alert.subject.rule: alert for alert in book.active}
    messages = []
    for rule in [*active, *(name for name in evaluation.outcomes if name not in active)]:
        alert, subject = active.get(rule), subjects.get(rule)
        outcome = evaluation.outcomes.get(rule, _NOT_ASKED)
        if subject is not None and outcome.state == MET:
            messages.append(_met(alert, outcome, subject, evaluation, sender))
        elif alert is not None:
            messages.append(_not_met(alert, outcome if subject else None, evaluation))
    changed = {message.alert.id: message.alert for message in messages}
    kept = [changed.pop(alert.id, alert) for alert in book.alerts]
    book = book.model_copy(
        update={
            "run": evaluation.run,
            "updated": evaluation.sent,
            "alerts": (*kept, *changed.values()),
        }
    )
    return book, tuple(messages)


def lapsed(book: Book, now: pd.Timestamp) -> Book:
    """Mark the alerts whose messages have expired without a newer run; none of them ends."""
    alerts = tuple(
        alert.model_copy(
            update={
                "not_confirmed_since": alert.confirmed,
                "why_not_confirmed": "no newer forecast has been made",
            }
        )
        if alert.status == ACTIVE and alert.not_confirmed_since is None and alert.expires < now
        else alert
        for alert in book.alerts
    )
    return book if alerts == book.alerts else book.model_copy(update={"alerts": alerts})


def identifier_of(run: str, rule: str) -> str:
    """Identifier of the message that a run gives about a rule: letters, digits, ``-`` and ``.``."""
    plain = unicodedata.normalize("NFKD", rule).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40]
    digest = hashlib.sha256(rule.encode()).hexdigest()[:6]
    return f"{run}.{words}-{digest}" if words else f"{run}.{digest}"


def _met(
    alert: Alert | None, outcome: Outcome, subject: Subject, evaluation: Evaluation, sender: str
) -> Message:
    identifier = identifier_of(evaluation.run, subject.rule)
    now: dict[str, Any] = {
        "subject": subject,
        "expires": evaluation.expires,
        "chance": outcome.chance,
        "rain_mm_h": outcome.rain_mm_h,
        "confirmed": evaluation.reference,
        "not_confirmed_since": None,
        "why_not_confirmed": "",
        "misses": 0,
        "identifier": identifier,
        "sent": evaluation.sent,
        "sender": sender,
    }
    if alert is None:
        said = Said(onset=outcome.first, chance=outcome.chance, is_confirmed=True)
        first = {"id": identifier, "status": ACTIVE, "raised": evaluation.sent}
        alert = Alert(onset=outcome.first, said=said, **first, **now)
        return _message(alert, RAISED, None)
    # rain that has begun began when it did, not at the next valid time
    has_begun = alert.onset <= evaluation.sent < alert.expires
    onset = alert.onset if has_begun else outcome.first
    said = Said(onset=onset, chance=outcome.chance, is_confirmed=True)
    kind: Kind = CHANGED if _is_material(alert.said, said) else CONFIRMED
    update: dict[str, Any] = now | {"onset": onset} | ({"said": said} if kind == CHANGED else {})
    return _message(alert.model_copy(update=update), kind, alert)


def _is_material(before: Said, after: Said) -> bool:
    change = abs((after.chance or 0.0) - (before.chance or 0.0))
    return (
        before.is_confirmed != after.is_confirmed
        or change >= CHANGE_OF_CHANCE - 1e-9
        or abs(after.onset - before.onset) >= CHANGE_OF_ONSET
    )


def _not_met(alert: Alert, outcome: Outcome | None, evaluation: Evaluation) -> Message:
    """The message about an alert whose rule is not met, or is gone (``outcome`` is None)."""
    now: dict[str, Any] = {
        "identifier": identifier_of(evaluation.run, alert.subject.rule),
        "sent": evaluation.sent,
        "expires": evaluation.expires,
    }
    is_miss = outcome is not None and outcome.state == NOT_MET and evaluation.is_good
    misses = alert.misses + is_miss
    miss = f"the forecast from {utc_text(evaluation.reference)} does not meet the rule"
    if outcome is None or (is_miss and misses >= alert.subject.runs_to_end):
        why = "the rule is no longer in the configuration" if outcome is None else miss
        update = now | {"status": ENDED, "ended": evaluation.sent, "why_ended": why}
        update |= {"not_confirmed_since": None, "why_not_confirmed": "", "misses": misses}
        return _message(alert.model_copy(update=update), ENDED, alert)
    reason = outcome.reason
    if outcome.state == NOT_MET:
        bad = "the forecast is made by extrapolation, late, or without all scans"
        reason = miss if is_miss else bad
    update = now | {"not_confirmed_since": alert.confirmed, "why_not_confirmed": reason}
    update["misses"] = misses
    kind: Kind = STILL_UNCONFIRMED
    if is_miss:
        kind = MISSED
    elif alert.said.is_confirmed:
        kind = UNCONFIRMED
        update["said"] = alert.said.model_copy(update={"is_confirmed": False})
    return _message(alert.model_copy(update=update), kind, alert)


def _message(alert: Alert, kind: Kind, replaced: Alert | None) -> Message:
    """The message about an alert; ``replaced`` is the alert as the last message left it."""
    replaces = None
    if replaced is not None:
        replaces = Reference(
            sender=replaced.sender, identifier=replaced.identifier, sent=replaced.sent
        )
    return Message(
        identifier=alert.identifier,
        type=_TYPES.get(kind, "Update"),
        kind=kind,
        replaces=replaces,
        alert=alert,
    )


_TYPES: dict[Kind, Literal["Alert", "Cancel"]] = {RAISED: "Alert", ENDED: "Cancel"}
