"""Alerts in the loop: what is published, what survives a kill, and what a webhook gets."""

import json
from xml.etree import ElementTree

import pandas as pd
import pytest

from squall.pipeline.live.child import ChildError
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.run import Service, live
from tests.pipeline.live.fake_worker import FakeFactory
from tests.pipeline.live.test_cap import NAMESPACE, check_cap
from tests.pipeline.live.world import HandClock

RULE = {
    "name": "heavy",
    "rain_mm_h": 10,
    "within": "30min",
    "chance": 0.6,
    "at": "Town",
    "runs_to_end": 1,
}


class Killed(BaseException):
    """Nothing in the service catches it, as nothing catches SIGKILL."""


class Here:
    """The worker in this process; it remembers what is posted."""

    def __init__(self, orders, site):
        self._worker = FakeFactory(orders, str(site))()
        self.posted = []

    def call(self, method, *arguments, deadline_s):
        try:
            result = getattr(self._worker, method)(*arguments)
        except ValueError as error:
            raise ChildError(str(error)) from error
        if method == "deliver":
            self.posted += [p for p in arguments[0] if p.identifier in result.delivered]
        return result

    def stop(self):
        pass


class World:
    """A service with one rule, in one process, that a test kills and starts again."""

    def __init__(self, folder, **changes):
        self.site, self.orders = folder / "site", folder / "orders.json"
        self.site.mkdir(parents=True)
        values = {
            "publish_to": str(self.site),
            "usual_latency": "2min",
            "stale_after": "30min",
            "keep": "1h",
            "places": {"Town": {"latitude": 52.1, "longitude": 5.2}},
            "alerts": [RULE | {"webhook": "https://example.org/secret"}],
        }
        self.config = LiveConfig.model_validate(values | changes)
        self.clock = HandClock("2024-06-01T12:01")
        self.order({})
        self.child = Here(self.orders, self.site)
        self.writes, self.kill_at = [], None
        self.start()

    def start(self):
        self.service = Service(self.config, self.child, self.clock)
        write = self.service._store.write

        def counted(name, content):
            if len(self.writes) == self.kill_at:
                self.kill_at = None
                raise Killed
            self.writes.append(name)
            write(name, content)

        self.service._store.write = counted

    def order(self, rules, **values):
        scan = self.clock.now().floor("5min")
        self.orders.write_text(json.dumps({"newest": str(scan), "rules": rules} | values))

    def say(self, state, chance=0.7, **values):
        """A scan arrives, and its run says this of the rule."""
        first = str(self.clock.now() + pd.Timedelta("20min")) if state == "met" else None
        answer = {"state": state, "chance": chance, "first": first, "reason": "no radar"}
        self.order({"heavy": answer | {"radius_km": 0.7}}, **values)
        self.cycle()
        self.clock.move(5)

    def cycle(self):
        try:
            self.service.cycle()
        except Killed:
            self.start()
            self.service.cycle()

    def json(self, name):
        return json.loads((self.site / f"{name}.json").read_text())

    def messages(self):
        """The published messages, by identifier."""
        texts = [path.read_text() for path in (self.site / "alerts").glob("*.xml")]
        return {values["identifier"]: values for values in map(check_cap, texts)}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_an_alert_from_its_beginning_to_its_end(world):
    for state in ("not_met", "met", "met", "unknown", "not_met"):
        world.say(state)
    book = world.json("alerts")
    (alert,) = book["alerts"]
    assert (alert["status"], alert["raised"], alert["ended"]) == (
        "ended", "2024-06-01T12:06:00Z", "2024-06-01T12:21:00Z",
    )  # fmt: skip
    assert alert["confirmed"] == "2024-06-01T12:10:00Z"
    messages = world.messages()
    chain = []
    values = messages[alert["identifier"]]
    while True:
        chain.append(values["msgType"])
        if "references" not in values:
            break
        sender, identifier, sent = values["references"].split(",")
        values = messages[identifier]
        assert (values["sender"], values["sent"]) == (sender, sent)
    assert chain == ["Cancel", "Update", "Update", "Alert"]
    assert len(messages) == 4
    assert world.json("status")["alerts_active"] == 0
    assert "squall_alerts_active 0.000" in (world.site / "metrics.prom").read_text()


def test_an_active_alert_is_counted(world):
    world.say("met")
    assert world.json("status")["alerts_active"] == 1
    assert "squall_alerts_active 1.000" in (world.site / "metrics.prom").read_text()


def test_a_service_without_rules_publishes_no_alerts(tmp_path):
    world = World(tmp_path, alerts=[], places={})
    world.say("met")
    assert not (world.site / "alerts.json").exists()
    assert not (world.site / "alerts").exists()
    assert world.json("status")["alerts_active"] == 0


def test_a_source_that_is_down_does_not_end_an_alert(world):
    world.say("met")
    for _ in range(20):
        world.say("met", newest="2024-06-01T12:00", problems=["source: no answer"])
    (alert,) = world.json("alerts")["alerts"]
    assert world.json("status")["state"] == "stale"
    assert (alert["status"], alert["not_confirmed_since"]) == ("active", "2024-06-01T12:00:00Z")
    assert alert["why_not_confirmed"] == "no newer forecast has been made"
    world.say("met")
    (alert,) = world.json("alerts")["alerts"]
    assert alert["not_confirmed_since"] is None


def test_a_fallback_does_not_end_an_alert(world):
    world.say("met")
    world.say("not_met", make="fail")
    assert world.json("status")["state"] == "fallback"
    (alert,) = world.json("alerts")["alerts"]
    assert (alert["status"], alert["not_confirmed_since"]) == ("active", "2024-06-01T12:00:00Z")


STATES = (("met", 0.7), ("met", 0.95), ("not_met", 0.1))


def run_through(world):
    for state, chance in STATES:
        world.say(state, chance)
    world.cycle()


def test_a_kill_between_any_two_writes_neither_loses_nor_doubles_an_alert(tmp_path):
    undisturbed = World(tmp_path / "undisturbed")
    run_through(undisturbed)
    kinds = sorted(values["msgType"] for values in undisturbed.messages().values())
    assert kinds == ["Alert", "Cancel", "Update"]
    posted = [json.loads(posting.body)["kind"] for posting in undisturbed.child.posted]
    assert posted == ["raised", "changed", "ended"]
    names = [name.partition("/")[0] for name in undisturbed.writes]
    assert {"alerts", "alerts.json", "latest.json"} <= set(names)
    for moment in (
        i for i, name in enumerate(names) if name in ("latest.json", "alerts.json", "alerts")
    ):
        world = World(tmp_path / f"kill{moment}")
        world.kill_at = moment
        run_through(world)
        assert world.kill_at is None
        (alert,) = world.json("alerts")["alerts"]
        assert alert["status"] == "ended"
        assert world.json("alerts")["undelivered"] == []
        messages = world.messages()
        assert sorted(values["msgType"] for values in messages.values()) == kinds, names[moment]
        replaced = [v["references"].split(",")[1] for v in messages.values() if "references" in v]
        assert len(set(replaced)) == 2
        assert set(replaced) < set(messages)
        # a message may be posted twice, under the same key
        keys = {p.identifier: json.loads(p.body)["kind"] for p in world.child.posted}
        assert list(keys.values()) == posted, names[moment]


def test_a_newer_scan_after_a_kill_does_not_hide_what_the_last_run_said(world):
    world.kill_at = next(i for i in range(9) if i == 1)  # after latest.json
    world.order({"heavy": {"state": "met", "chance": 0.7, "first": "2024-06-01T12:20"}})
    with pytest.raises(Killed):
        world.service.cycle()
    assert world.writes == ["latest.json"]
    world.clock.move(5)
    world.start()
    world.say("not_met")
    (alert,) = world.json("alerts")["alerts"]
    assert (alert["raised"], alert["status"]) == ("2024-06-01T12:01:00Z", "ended")


def test_a_disk_that_is_full_delays_an_alert(world, monkeypatch):
    write, is_full = world.service._store.write, True

    def refuse(name, content):
        if is_full and name.startswith("alerts"):
            raise OSError(28, "No space left on device")
        write(name, content)

    monkeypatch.setattr(world.service._store, "write", refuse)
    world.say("met")
    assert world.json("latest")["reference_time"] == "2024-06-01T12:00:00Z"
    assert "alerts: [Errno 28]" in world.json("status")["problems"][0]
    is_full = False
    world.cycle()
    assert world.json("status")["problems"] == []
    assert len(world.json("alerts")["alerts"]) == 1


def test_a_webhook_that_is_down_is_named_and_gets_everything_later(world):
    world.say("met", webhook="down")
    assert world.json("status")["state"] == "fresh"
    assert len(world.json("alerts")["undelivered"]) == 1
    world.say("not_met", webhook="down")
    assert "webhook: down" in world.json("status")["problems"]
    assert world.child.posted == []
    world.start()  # the messages survive a restart
    world.order({})
    world.cycle()
    bodies = [json.loads(posting.body) for posting in world.child.posted]
    assert [body["kind"] for body in bodies] == ["raised", "ended"]
    assert [body["status"] for body in bodies] == ["Draft", "Draft"]
    assert bodies[0]["alert"]["subject"]["headline"] == "Rain of 10 mm/h or more at Town"
    for body in bodies:
        assert (world.site / body["cap"]).exists()
    assert world.json("alerts")["undelivered"] == []
    world.cycle()
    assert world.json("status")["problems"] == []


def test_posting_that_fails_is_named(world):
    world.say("met", deliver="fail")
    world.order({})
    world.cycle()
    assert "alerts cannot be posted: deliver is ordered" in world.json("status")["problems"][0]
    world.cycle()
    assert world.json("status")["problems"] == []
    kinds = [json.loads(posting.body)["kind"] for posting in world.child.posted]
    assert kinds == ["raised", "unconfirmed"]


def test_the_address_of_a_webhook_appears_nowhere(world, caplog):
    run_through(world)
    for path in world.site.rglob("*"):
        assert path.is_dir() or b"secret" not in path.read_bytes(), path
    assert "secret" not in caplog.text


def test_a_rule_that_no_run_can_answer_is_a_problem(world):
    reason = "the place lies outside the radar's grid"
    world.order({"heavy": {"state": "unknown", "reason": reason, "is_permanent": True}})
    world.cycle()
    problem = f"alert rule 'heavy' cannot be answered: {reason}"
    assert world.json("status")["problems"] == [problem]
    assert world.json("status")["state"] == "fresh"
    world.cycle()
    assert world.json("status")["problems"] == [problem]


def test_alerts_that_cannot_be_read_are_named(world):
    world.say("met")
    (world.site / "alerts.json").write_text('{"alerts": [3]}')
    world.start()
    world.say("met")
    assert len(world.json("alerts")["alerts"]) == 1
    assert world.json("alerts")["alerts"][0]["raised"] == "2024-06-01T12:06:00Z"


def test_old_messages_and_ended_alerts_are_deleted(world):
    for state in ("met", "not_met"):
        world.say(state)
    world.say("met")
    assert len(world.messages()) == 3
    for _ in range(16):
        world.say("met")
    book = world.json("alerts")
    assert [alert["status"] for alert in book["alerts"]] == ["active"]
    assert len(world.messages()) == 12  # those of the last hour
    assert book["alerts"][0]["identifier"] in world.messages()


def test_once_waits_for_the_answers(world):
    world.order({"heavy": {"state": "met", "chance": 0.7, "first": "2024-06-01T12:20"}})
    live(world.config, world.child, world.clock, once=True)
    assert len(world.child.posted) == 1


def test_messages_are_xml_with_the_namespace_of_cap(world):
    world.say("met")
    (path,) = (world.site / "alerts").glob("*.xml")
    text = path.read_text()
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<alert xmlns=')
    assert ElementTree.fromstring(text.encode()).tag == f"{{{NAMESPACE}}}alert"
