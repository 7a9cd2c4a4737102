"""What is stored of alerts, as JSON: the answers to the rules, alerts, and their messages.

Public: `Outcome`, `Evaluation`, `Subject`, `subject_of`, `Alert`, `Message`, `Book`, `RULES_FILE`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from squall.datasets.errors import first_line
from squall.datasets.times import parse_time, utc_text
from squall.pipeline.live.alerts.rules import AlertRule, Certainty, Corners, Severity, Urgency

RULES_FILE = "rules.json"  # in the folder of a run

Utc = Annotated[Any, BeforeValidator(parse_time), PlainSerializer(utc_text)]
MaybeUtc = Annotated[
    Any,
    BeforeValidator(lambda value: None if value is None else parse_time(value)),
    PlainSerializer(lambda value: None if value is None else utc_text(value)),
]

Answer = Literal["met", "not_met", "unknown"]
MET: Answer = "met"
NOT_MET: Answer = "not_met"
UNKNOWN: Answer = "unknown"
AlertStatus = Literal["active", "ended"]
ACTIVE: AlertStatus = "active"
ENDED: Literal["ended"] = "ended"  # also a kind of message
Kind = Literal[
    "raised", "changed", "confirmed", "missed", "unconfirmed", "still_unconfirmed", "ended"
]
RAISED: Kind = "raised"
CHANGED: Kind = "changed"
CONFIRMED: Kind = "confirmed"
MISSED: Kind = "missed"
UNCONFIRMED: Kind = "unconfirmed"
STILL_UNCONFIRMED: Kind = "still_unconfirmed"


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    def as_text(self) -> str:
        """JSON, times in ISO format, UTC."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Any:
        """The record of `as_text`; ValueError if it is none."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(f"is of another version of Squall: {first_line(error)}") from error


class Outcome(_Record):
    """What a run says of a rule."""

    state: Answer
    reason: str = ""
    """why it is unknown"""
    is_permanent: bool = False
    """whether no run of this configuration can answer the rule"""
    chance: float | None = None
    """the highest in the window that is known"""
    rain_mm_h: float | None = None
    """the highest in the window that is known, if the rule asks for no chance"""
    first: MaybeUtc = None
    """first valid time at which the rule is met"""
    radius_km: float | None = None
    """of the circle that a place stands for"""


class Evaluation(_Record):
    """What a run says of all rules."""

    run: str
    reference: Utc
    sent: Utc
    """when the rules were asked; a message of this run is sent at this time"""
    expires: Utc
    """when the next run is overdue"""
    is_good: bool
    """made by the model, in time, and from all scans that it uses; only such a run ends an alert"""
    outcomes: dict[str, Outcome]


class Subject(_Record):
    """What an alert is about: its rule, without what is secret."""

    rule: str
    headline: str
    rain_mm_h: float
    within_min: float
    least_chance: float | None
    where: str
    runs_to_end: int
    place: str | None
    latitude: float | None
    longitude: float | None
    radius_km: float | None
    polygons: tuple[Corners, ...]
    """corners, longitude and latitude; not closed"""
    severity: Severity
    urgency: Urgency
    certainty: Certainty | None


def subject_of(rule: AlertRule, place: Any, radius_km: float | None) -> Subject:
    """What an alert of a rule is about.

    Parameters
    ----------
    place : the place with this name, with latitude and longitude; None for an area.
    """
    rain = f"{rule.rain_mm_h:g} mm/h or more"
    around = " within 10 km of" if rule.where == "within_10km" else ""
    if rule.at:
        headline = f"Rain of {rain}{around or ' at'} {rule.at}"
    else:
        headline = f"{rule.name}: rain of {rain}{around and around + ' the area'}"
    return Subject(
        rule=rule.name,
        headline=rule.headline or headline,
        rain_mm_h=rule.rain_mm_h,
        within_min=rule.within.total_seconds() / 60,
        least_chance=rule.chance,
        where=rule.where,
        runs_to_end=rule.runs_to_end,
        place=rule.at,
        latitude=place.latitude if place else None,
        longitude=place.longitude if place else None,
        radius_km=radius_km,
        polygons=rule.area or (),
        severity=rule.severity,
        urgency=rule.urgency,
        certainty=rule.certainty,
    )


class Said(_Record):
    """What the last message said that was more than a confirmation."""

    onset: Utc
    chance: float | None
    is_confirmed: bool


class Alert(_Record):
    """An alert, current or ended."""

    id: str
    """identifier of its first message"""
    status: AlertStatus
    subject: Subject
    raised: Utc
    onset: Utc
    """first valid time at which the rule was met"""
    expires: Utc
    chance: float | None
    rain_mm_h: float | None
    confirmed: Utc
    """reference time of the last run that met the rule"""
    not_confirmed_since: MaybeUtc = None
    """the same time, if a later run or none could answer; None if the alert is confirmed"""
    why_not_confirmed: str = ""
    misses: int = 0
    """good runs in a row that did not meet the rule"""
    ended: MaybeUtc = None
    why_ended: str = ""
    sender: str
    identifier: str
    """of its last message"""
    sent: Utc
    said: Said


class Reference(_Record):
    """Names a message."""

    sender: str
    identifier: str
    sent: Utc


class Message(_Record):
    """A message about an alert."""

    identifier: str
    type: Literal["Alert", "Update", "Cancel"]
    kind: Kind
    replaces: Reference | None
    """the message before; None of a first"""
    alert: Alert
    """as it is after this message"""


class Book(_Record):
    """``alerts.json``: the alerts, and the messages that wait for a webhook."""

    format: int = 1
    run: str = ""
    """the last run whose answers are in it"""
    updated: MaybeUtc = None
    alerts: tuple[Alert, ...] = ()
    undelivered: tuple[Message, ...] = ()

    @property
    def active(self) -> list[Alert]:
        """The alerts that are not ended."""
        return [alert for alert in self.alerts if alert.status == ACTIVE]
