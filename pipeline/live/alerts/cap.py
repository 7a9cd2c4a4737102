"""A message of the Common Alerting Protocol, version 1.2 (OASIS, 2010).

Public: `cap_text`. http://docs.oasis-open.org/emergency/cap/v1.2/CAP-v1.2-os.html
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import pandas as pd

from squall.pipeline.live.alerts.records import ENDED, Alert, Message
from squall.pipeline.live.alerts.rules import CapConfig, Certainty

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"
LIKELY = 0.5  # the limit between Likely and Possible in CAP


def cap_text(message: Message, cap: CapConfig) -> str:
    """The message as XML."""
    root = ElementTree.Element("alert", {"xmlns": NAMESPACE})
    alert = message.alert
    _add(root, "identifier", message.identifier)
    _add(root, "sender", alert.sender)
    _add(root, "sent", _time(alert.sent))
    _add(root, "status", cap.status)
    _add(root, "msgType", message.type)
    _add(root, "scope", "Public")
    if message.type != "Alert":
        _add(root, "note", alert.why_ended or _confirmation(alert))
    if message.replaces is not None:
        before = message.replaces
        _add(root, "references", f"{before.sender},{before.identifier},{_time(before.sent)}")
    _add_info(root, alert, cap)
    ElementTree.indent(root)
    declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return declaration + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add_info(root: ElementTree.Element, alert: Alert, cap: CapConfig) -> None:
    subject = alert.subject
    info = ElementTree.SubElement(root, "info")
    _add(info, "language", cap.language)
    _add(info, "category", "Met")
    _add(info, "event", "Rain")
    _add(info, "urgency", subject.urgency)
    _add(info, "severity", subject.severity)
    _add(info, "certainty", _certainty(alert))
    _add(info, "onset", _time(alert.onset))
    _add(info, "expires", _time(alert.expires))
    _add(info, "headline", subject.headline)
    _add(info, "description", " ".join(_sentences(alert)))
    for name, value in (("chance", alert.chance), ("rain_mm_h", alert.rain_mm_h)):
        if value is not None:
            parameter = ElementTree.SubElement(info, "parameter")
            _add(parameter, "valueName", name)
            _add(parameter, "value", f"{value:.4g}")
    _add_area(info, alert)


def _add_area(info: ElementTree.Element, alert: Alert) -> None:
    subject = alert.subject
    area = ElementTree.SubElement(info, "area")
    _add(area, "areaDesc", subject.place or subject.rule)
    for corners in subject.polygons:
        points = " ".join(f"{lat:.5f},{lon:.5f}" for lon, lat in (*corners, corners[0]))
        _add(area, "polygon", points)
    if subject.place is not None:
        circle = f"{subject.latitude:.5f},{subject.longitude:.5f} {subject.radius_km or 0.0:.2f}"
        _add(area, "circle", circle)


def _certainty(alert: Alert) -> Certainty:
    """The word of the rule, or that of the chance; what is not confirmed is not known."""
    if alert.not_confirmed_since is not None:
        return "Unknown"
    if alert.subject.certainty is not None or alert.chance is None:
        return alert.subject.certainty or "Unknown"
    return "Likely" if alert.chance > LIKELY else "Possible"


def _sentences(alert: Alert) -> Iterator[str]:
    subject = alert.subject
    where = f"at {subject.place}" if subject.place else f"in the area {subject.rule}"
    near = ", or within 10 km of it," if subject.where == "within_10km" else ""
    yield (
        f"A nowcast from radar says: rain of {subject.rain_mm_h:g} mm/h or more {where}{near} from "
        f"{alert.onset:%Y-%m-%d %H:%M} UTC."
    )
    if alert.chance is not None:
        asked = f" (asked for: {100 * subject.least_chance:g} %)" if subject.least_chance else ""
        chance = f"{100 * alert.chance:.0f} %{asked}"
        yield f"Highest chance within {subject.within_min:g} min: {chance}."
    if alert.status == ENDED:
        yield f"Ended: {alert.why_ended}."
    elif alert.not_confirmed_since is not None:
        yield f"{_confirmation(alert)}. The alert is not over."


def _confirmation(alert: Alert) -> str:
    if alert.not_confirmed_since is None:
        return f"confirmed by the forecast from {alert.confirmed:%Y-%m-%d %H:%M} UTC"
    since = f"Not confirmed since {alert.not_confirmed_since:%Y-%m-%d %H:%M} UTC"
    return f"{since}: {alert.why_not_confirmed}"


def _time(time: pd.Timestamp) -> str:
    """UTC as CAP writes it: it allows no ``Z``."""
    return f"{time:%Y-%m-%dT%H:%M:%S}-00:00"


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = text
