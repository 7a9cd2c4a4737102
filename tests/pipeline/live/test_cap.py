"""CAP messages have the structure of version 1.2: elements, their order, words and formats."""

import re
from xml.etree import ElementTree

import pytest

from squall.pipeline.live.alerts.cap import NAMESPACE, cap_text
from squall.pipeline.live.alerts.rules import CapConfig
from tests.pipeline.live.test_alert_lifecycle import Service

# of the schema CAP-v1.2.xsd: elements in order, required ones with a star
ALERT = "identifier* sender* sent* status* msgType* source scope* restriction addresses code note references incidents info"  # noqa: E501
INFO = "language category* event* responseType urgency* severity* certainty* audience eventCode effective onset expires senderName headline description instruction web contact parameter resource area"  # noqa: E501
AREA = "areaDesc* polygon circle geocode altitude ceiling"
PARAMETER = "valueName* value*"
WORDS = {
    "status": "Actual Exercise System Test Draft",
    "msgType": "Alert Update Cancel Ack Error",
    "scope": "Public Restricted Private",
    "category": "Geo Met Safety Security Rescue Fire Health Env Transport Infra CBRNE Other",
    "urgency": "Immediate Expected Future Past Unknown",
    "severity": "Extreme Severe Moderate Minor Unknown",
    "certainty": "Observed Likely Possible Unlikely Unknown",
}
TIME = r"\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[-+]\d\d:\d\d"
POINT = r"-?\d+(\.\d+)?,-?\d+(\.\d+)?"
REPEATED = {"polygon", "parameter", "category"}


def check_cap(text: str) -> dict[str, str]:
    """Check a message; returns the texts of its elements."""
    root = ElementTree.fromstring(text.encode())
    assert root.tag == f"{{{NAMESPACE}}}alert"
    values: dict[str, str] = {}
    _check(root, ALERT, values)
    for info in root.findall(f"{{{NAMESPACE}}}info"):
        _check(info, INFO, values)
        areas = info.findall(f"{{{NAMESPACE}}}area")
        assert areas
        for area in areas:
            _check(area, AREA, values)
        for parameter in info.findall(f"{{{NAMESPACE}}}parameter"):
            _check(parameter, PARAMETER, {})
    for name, words in WORDS.items():
        assert values[name] in words.split(), name
    for name in ("sent", "onset", "expires"):
        assert re.fullmatch(TIME, values[name]), name
    for name in ("identifier", "sender"):
        assert not re.search(r"[\s,<&]", values[name])
    if values["msgType"] != "Alert":
        assert re.fullmatch(rf"[^\s,]+,[^\s,]+,{TIME}", values["references"])
    if "polygon" in values:
        points = values["polygon"].split()
        assert len(points) >= 4
        assert points[0] == points[-1]
        assert all(re.fullmatch(POINT, point) for point in points)
    if "circle" in values:
        assert re.fullmatch(rf"{POINT} \d+(\.\d+)?", values["circle"])
    return values


def _check(element: ElementTree.Element, known: str, values: dict[str, str]) -> None:
    order = [name.rstrip("*") for name in known.split()]
    names = [child.tag.removeprefix(f"{{{NAMESPACE}}}") for child in element]
    assert set(names) <= set(order)
    assert names == sorted(names, key=order.index)
    assert {name.rstrip("*") for name in known.split() if name.endswith("*")} <= set(names)
    assert all(names.count(name) == 1 for name in set(names) - REPEATED)
    for child, name in zip(element, names, strict=True):
        if not len(child):
            assert child.text
            values[name] = child.text


@pytest.fixture
def messages():
    """One of each kind."""
    service = Service()
    service.run(chance=0.7)
    service.run(chance=0.95)
    service.run("unknown", chance=None, reason="no <radar> & nothing else")
    service.run("not_met", chance=0.1)
    return service.messages


def test_all_kinds_of_messages_are_valid(messages):
    draft = CapConfig()
    texts = [check_cap(cap_text(message, draft)) for message in messages]
    assert [text["msgType"] for text in texts] == ["Alert", "Update", "Update", "Cancel"]
    assert {text["status"] for text in texts} == {"Draft"}
    first, second, third, last = texts
    assert first["sent"] == "2024-06-01T12:01:00-00:00"
    assert first["onset"] == "2024-06-01T12:20:00-00:00"
    assert first["expires"] == "2024-06-01T12:13:00-00:00"
    assert first["circle"] == "52.10000,5.20000 1.00"
    assert (first["certainty"], first["severity"]) == ("Likely", "Moderate")
    assert "chance within 30 min: 70 % (asked for: 60 %)" in first["description"]
    expected = f"{first['sender']},{first['identifier']},{first['sent']}"
    assert second["references"] == expected
    assert third["certainty"] == "Unknown"
    assert "Not confirmed since 2024-06-01 12:05 UTC: no <radar> & nothing" in third["note"]
    assert "The alert is not over." in third["description"]
    assert "does not meet the rule" in last["note"]


def test_an_area_is_a_closed_polygon_with_the_latitude_first(messages):
    message = messages[0]
    corners = ((5.0, 52.0), (6.0, 52.0), (6.0, 53.0))
    subject = message.alert.subject.model_copy(update={"polygons": (corners,), "place": None})
    alert = message.alert.model_copy(update={"subject": subject, "chance": None})
    text = cap_text(message.model_copy(update={"alert": alert}), CapConfig())
    values = check_cap(text)
    assert values["polygon"].startswith("52.00000,5.00000 52.00000,6.00000 53.00000,6.00000 52")
    assert "circle" not in values
    assert values["certainty"] == "Unknown"


def test_the_word_of_the_rule_counts(messages):
    message = messages[0]
    subject = message.alert.subject.model_copy(update={"certainty": "Possible"})
    alert = message.alert.model_copy(update={"subject": subject})
    text = cap_text(message.model_copy(update={"alert": alert}), CapConfig())
    assert check_cap(text)["certainty"] == "Possible"


def test_a_message_that_somebody_acts_on_names_its_sender():
    with pytest.raises(ValueError, match="Actual needs 'sender'"):
        CapConfig(status="Actual")
    assert CapConfig(status="Actual", sender="rain@example.org").status == "Actual"
    for sender in ("a b", "a,b", "a<b", ""):
        with pytest.raises(ValueError, match="sender"):
            CapConfig(sender=sender)


def test_the_check_itself_finds_mistakes(messages):
    text = cap_text(messages[1], CapConfig())
    for old, new in (
        ("<urgency>Expected", "<urgency>Soon"),
        ("<category>Met</category>", ""),
        ("-00:00</sent>", "Z</sent>"),
        ("<event>Rain</event>\n    <urgency>Expected</urgency>",
         "<urgency>Expected</urgency><event>Rain</event>"),
    ):  # fmt: skip
        assert old in text
        with pytest.raises((AssertionError, KeyError)):
            check_cap(text.replace(old, new))
