"""Alerts are raised once, updated, ended by good data only: the pure function of runs."""

import pandas as pd
import pytest

from squall.pipeline.live.alerts.lifecycle import advance, identifier_of, lapsed
from squall.pipeline.live.alerts.records import Book, Evaluation, Outcome, Subject

NOW = pd.Timestamp("2024-06-01T12:01")
RULE = "heavy rain"


def at(minutes):
    return NOW + pd.Timedelta(minutes=minutes)


def subject(rule=RULE, runs_to_end=1):
    return Subject(
        rule=rule, headline="Heavy rain", rain_mm_h=10, within_min=30, least_chance=0.6,
        where="at_pixel", runs_to_end=runs_to_end, place="Town", latitude=52.1, longitude=5.2,
        radius_km=1.0, polygons=(),
        severity="Moderate", urgency="Expected", certainty=None,
    )  # fmt: skip


class Service:
    """Gives runs, 5 minutes apart, to the function under test."""

    def __init__(self):
        self.book, self.minutes, self.messages = Book(), 0, []

    runs_to_end = 1

    def run(self, state="met", chance=0.7, first=20, is_good=True, rules=(RULE,), reason=""):
        """One run; ``first`` is in minutes after its scan."""
        reference = at(self.minutes - 1)
        outcome = Outcome(
            state=state,
            reason=reason,
            chance=chance,
            first=reference + pd.Timedelta(minutes=first) if state == "met" else None,
        )
        self.evaluation = Evaluation(
            run=f"{reference:%Y%m%dT%H%M}Z-00000000",
            reference=reference,
            sent=at(self.minutes),
            expires=at(self.minutes + 12),
            is_good=is_good,
            outcomes=dict.fromkeys(rules, outcome),
        )
        # as a process does that reads everything from its files
        book = Book.from_text(self.book.as_text())
        evaluation = Evaluation.from_text(self.evaluation.as_text())
        subjects = {rule: subject(rule, self.runs_to_end) for rule in rules}
        self.book, messages = advance(book, evaluation, subjects, "me@example.org")
        self.messages += messages
        self.minutes += 5
        return messages

    @property
    def kinds(self):
        return [message.kind for message in self.messages]

    @property
    def alert(self):
        (alert,) = self.book.alerts
        return alert


@pytest.fixture
def service():
    return Service()


def test_nothing_is_raised_without_a_reason(service):
    for state in ("not_met", "unknown"):
        assert service.run(state) == ()
    assert service.book.alerts == ()


def test_an_alert_is_raised_once_and_each_message_refers_to_the_one_before(service):
    for _ in range(3):
        service.run(chance=0.7, first=20)
    assert [message.type for message in service.messages] == ["Alert", "Update", "Update"]
    assert len({message.identifier for message in service.messages}) == 3
    first, second, third = service.messages
    assert first.replaces is None
    assert second.replaces.identifier == first.identifier
    assert second.replaces.sent == first.alert.sent
    assert third.replaces.identifier == second.identifier
    assert service.alert.id == first.identifier
    assert service.alert.raised == NOW
    assert service.alert.confirmed == at(9)
    assert service.alert.expires == at(10 + 12)


def test_a_message_that_only_confirms_is_told_from_a_change(service):
    for chance in (0.7, 0.75, 0.8, 0.85, 0.9):
        service.run(chance=chance, first=20 - service.minutes)
    assert service.kinds == ["raised", "confirmed", "confirmed", "confirmed", "changed"]


def test_a_change_of_the_onset_is_told(service):
    for first in (40, 30, 25):  # 12:40, 12:35, 12:35
        service.run(first=first)
    assert service.kinds == ["raised", "confirmed", "confirmed"]
    service.run(first=10)
    assert service.kinds[-1] == "changed"
    assert service.alert.onset == at(24)


def test_rain_that_goes_on_keeps_its_onset(service):
    for _ in range(6):
        service.run(first=5)
    assert service.alert.onset == at(4)
    assert service.kinds == ["raised", *["confirmed"] * 5]


def test_a_good_run_ends_the_alert(service):
    service.run()
    (message,) = service.run("not_met")
    assert (message.type, message.kind) == ("Cancel", "ended")
    assert message.replaces.identifier == service.messages[0].identifier
    assert service.alert.status == "ended"
    assert service.alert.ended == at(5)
    assert service.run("not_met") == ()
    (message,) = service.run("met")
    assert (message.type, message.replaces) == ("Alert", None)
    assert [alert.status for alert in service.book.alerts] == ["ended", "active"]


@pytest.mark.parametrize(
    ("state", "is_good", "words"),
    [
        ("unknown", True, "no radar"),
        ("unknown", False, "no radar"),
        ("not_met", False, "extrapolation, late, or without all scans"),
    ],
)
def test_missing_data_and_fallbacks_do_not_end_an_alert(service, state, is_good, words):
    service.run()
    for _ in range(3):
        service.run(state, is_good=is_good, reason="no radar")
    assert service.kinds == ["raised", "unconfirmed", "still_unconfirmed", "still_unconfirmed"]
    assert service.alert.status == "active"
    assert service.alert.not_confirmed_since == at(-1)
    assert words in service.alert.why_not_confirmed
    service.run("met")
    assert service.kinds[-1] == "changed"
    assert service.alert.not_confirmed_since is None


def test_chances_that_vary_around_the_limit_are_one_alert(service):
    service.runs_to_end = 2
    states = ["met", "not_met", "met", "not_met", "unknown", "met", "not_met", "unknown", "not_met"]
    for state in states:
        service.run(state, first=45 - service.minutes)
    assert service.kinds == [
        *("raised", "missed", "confirmed", "missed", "unconfirmed", "changed", "missed"),
        *("unconfirmed", "ended"),
    ]
    assert service.alert.status == "ended"


def test_one_run_that_does_not_meet_the_rule_is_told(service):
    service.runs_to_end = 2
    service.run()
    service.run("not_met")
    assert service.alert.not_confirmed_since == at(-1)
    assert "the forecast from 2024-06-01T12:05:00Z does not" in service.alert.why_not_confirmed


def test_a_fallback_may_raise_what_it_can_answer(service):
    service.run("met", is_good=False)
    assert service.kinds == ["raised"]


def test_without_a_newer_run_an_alert_is_not_confirmed_and_not_ended(service):
    service.run()
    book = service.book
    assert lapsed(book, at(12)) is book
    service.book = lapsed(book, at(13))
    assert service.alert.status == "active"
    assert service.alert.not_confirmed_since == at(-1)
    assert lapsed(service.book, at(600)) is service.book
    service.minutes = 600
    service.run(first=20)
    assert service.alert.not_confirmed_since is None
    assert service.alert.onset == at(619)  # not that of ten hours before


def test_the_same_run_says_nothing_twice(service):
    service.run()
    book, messages = advance(service.book, service.evaluation, {RULE: subject()}, "me")
    assert (book, messages) == (service.book, ())


def test_a_rule_that_is_gone_ends_its_alert(service):
    service.run(rules=(RULE, "other"))
    messages = service.run(rules=("other",))
    assert [(m.kind, m.alert.subject.rule) for m in messages] == [
        ("ended", RULE),
        ("confirmed", "other"),
    ]
    assert "no longer in the configuration" in messages[0].alert.why_ended


def test_a_run_that_was_not_asked_a_rule_does_not_end_its_alert(service):
    service.run(rules=(RULE,))
    service.minutes += 5
    evaluation = service.evaluation.model_copy(update={"run": "another", "outcomes": {}})
    _, (message,) = advance(service.book, evaluation, {RULE: subject()}, "me")
    assert message.kind == "unconfirmed"


def test_identifiers_are_plain_and_differ():
    names = ["Heavy rain", "heavy  rain", "Überflutung, <Köln>", "雨", "雪"]
    identifiers = [identifier_of("20240601T1200Z-00000000", name) for name in names]
    assert len(set(identifiers)) == len(names)
    for identifier in identifiers:
        assert identifier.isascii()
        assert not set(identifier) & set(" ,<&/")
