"""What a forecaster wants to be alerted to, and how the messages are signed.

Public: `AlertRule`, `CapConfig`, `check_rules`. It imports neither xarray nor PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from squall.datasets.spelling import did_you_mean
from squall.datasets.times import Age, duration_text
from squall.pipeline.forecast.names import LAGRANGIAN, METHODS

Corners = tuple[tuple[float, float], ...]
Where = Literal["at_pixel", "within_10km"]
Severity = Literal["Extreme", "Severe", "Moderate", "Minor", "Unknown"]
Urgency = Literal["Immediate", "Expected", "Future", "Past", "Unknown"]
Certainty = Literal["Observed", "Likely", "Possible", "Unlikely", "Unknown"]


def read_area(value: Any) -> tuple[Corners, ...]:
    """Polygons of longitude and latitude, from a GeoJSON file or from a list of corners.

    Raises
    ------
    ValueError
        If the file cannot be read, holds no polygon, or a polygon crosses itself or has a hole.
    """
    if isinstance(value, (str, Path)):
        return _of_file(Path(value))
    if not isinstance(value, Sequence) or not value:
        raise ValueError("must be a GeoJSON file, or corners like [[5.0, 52.0], [5.3, 52.0], …]")
    return (_checked(value),)


def _of_file(path: Path) -> tuple[Corners, ...]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as GeoJSON: {error}") from error
    polygons: list[Corners] = []
    for geometry in _geometries(content):
        kind, coordinates = geometry.get("type"), geometry.get("coordinates") or ()
        if kind not in ("Polygon", "MultiPolygon"):
            raise ValueError(f"{path} holds a {kind}; a Polygon or a MultiPolygon is expected")
        for rings in coordinates if kind == "MultiPolygon" else [coordinates]:
            if len(rings) > 1:
                raise ValueError(f"{path} has a polygon with a hole; an alert's area has none")
            polygons += [_checked(ring) for ring in rings]
    if not polygons:
        raise ValueError(f"{path} holds no polygon")
    return tuple(polygons)


def _geometries(content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, dict):
        return []
    if content.get("type") == "FeatureCollection":
        return [geometry for part in content.get("features", ()) for geometry in _geometries(part)]
    return [content.get("geometry") or {}] if content.get("type") == "Feature" else [content]


def _checked(ring: Any) -> Corners:
    """The corners of a polygon, without the last one if it repeats the first."""
    import shapely  # type: ignore[import-untyped]  # only for areas: the parent stays small

    try:
        corners = tuple((float(corner[0]), float(corner[1])) for corner in ring)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError("a corner is a longitude and a latitude, like [5.18, 52.1]") from error
    corners = corners[:-1] if len(corners) > 1 and corners[0] == corners[-1] else corners
    if len(set(corners)) < 3:
        raise ValueError("an area needs at least three corners")
    for lon, lat in corners:
        if not (-180 <= lon <= 180 and -90 <= lat <= 90):
            raise ValueError(f"[{lon:g}, {lat:g}] is no longitude and latitude in degrees")
    if not shapely.Polygon(corners).is_valid:
        raise ValueError("the edges of the area cross each other; give the corners in turn")
    return corners


def _share(value: Any) -> Any:
    if isinstance(value, (int, float)) and value > 1:
        raise ValueError(f"is a share between 0 and 1; write {value / 100:g} for {value:g} %")
    return value


class AlertRule(BaseModel):
    """When to raise an alert: rain of at least a rate, at a place or in an area, soon enough."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=80, description="of the rule; unique")
    rain_mm_h: float = Field(gt=0, description="one of thresholds_mm_h [mm/h]")
    within: Age = Field(description="from the present moment on, at most the horizon")
    chance: Annotated[float | None, BeforeValidator(_share)] = Field(
        default=None, gt=0, description="least chance, 0 to 1; left out: the forecast itself"
    )
    where: Where = Field(
        default="at_pixel", description="rain at the pixel, or anywhere within 10 km of it"
    )
    at: str | None = Field(default=None, description="name of one of `places`")
    area: Annotated[tuple[Corners, ...] | None, BeforeValidator(read_area)] = Field(
        default=None, description="GeoJSON file, or corners: longitude and latitude"
    )
    runs_to_end: int = Field(
        default=2, ge=1, le=20, description="good runs in a row that do not meet it end an alert"
    )
    headline: str = Field(default="", max_length=160, description="of the messages")
    severity: Severity = Field(default="Unknown", description="word of CAP")
    urgency: Urgency = Field(default="Expected", description="word of CAP")
    certainty: Certainty | None = Field(
        default=None, description="word of CAP (default: after the chance)"
    )
    webhook: SecretStr | None = Field(default=None, description="address that messages go to")

    @model_validator(mode="after")
    def _complete(self) -> AlertRule:
        if (self.at is None) == (self.area is None):
            raise ValueError("give either 'at', the name of a place, or 'area'")
        if not self.within:
            raise ValueError("within must be longer than nothing, like 30min")
        if self.where == "within_10km" and self.chance is None:
            raise ValueError("where: within_10km is for chances; give 'chance' too")
        if self.webhook is not None:
            _check_webhook(self.webhook.get_secret_value())
        return self


def _check_webhook(address: str) -> None:
    """Refuse what is no web address; the message does not repeat it, as it may hold a secret."""
    try:
        parts = urlsplit(address)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_web = False
    if not is_web or not address.isascii() or any(letter.isspace() for letter in address):
        raise ValueError("webhook is no web address; it begins with https:// or http://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("webhook must not hold a user or password; put a token into its path")


class CapConfig(BaseModel):
    """How messages of the Common Alerting Protocol are signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["Draft", "Actual"] = Field(
        default="Draft", description="Actual only if somebody may act on the messages unseen"
    )
    sender: str = Field(
        default="squall", pattern=r"^[^\s,<&]+$", description="who sends, like rain@example.org"
    )
    language: str = Field(default="en-GB", min_length=2, description="of the headlines")

    @model_validator(mode="after")
    def _named(self) -> CapConfig:
        if self.status == "Actual" and "sender" not in self.model_fields_set:
            raise ValueError("status Actual needs 'sender', like rain@example.org")
        return self


def check_rules(
    rules: Sequence[AlertRule],
    *,
    places: Collection[str],
    thresholds_mm_h: Sequence[float],
    minutes: float,
    members: int | None,
    model: str,
) -> None:
    """Refuse rules that the service cannot answer.

    Raises
    ------
    ValueError
        The message names the rule.
    """
    names = [rule.name for rule in rules]
    for rule in rules:
        start = f"alerts: rule '{rule.name}': "
        if names.count(rule.name) > 1:
            raise ValueError(f"{start}there are two of this name")
        if rule.at is not None and rule.at not in places:
            known = ", ".join(places) or "none"
            meant = did_you_mean(rule.at, places)
            raise ValueError(f"{start}'at: {rule.at}' is none of the places ({known}){meant}")
        if rule.rain_mm_h not in thresholds_mm_h:
            known = ", ".join(f"{threshold:g}" for threshold in thresholds_mm_h)
            raise ValueError(
                f"{start}rain_mm_h {rule.rain_mm_h:g} is none of thresholds_mm_h ({known})"
            )
        if rule.within > pd.Timedelta(minutes=minutes):
            raise ValueError(
                f"{start}within {duration_text(rule.within)} is longer than minutes ({minutes:g})"
            )
        if members and rule.chance is None:
            raise ValueError(f"{start}the service has members; give 'chance', like 0.6 for 60 %")
        if members is None and rule.where == "within_10km":
            raise ValueError(f"{start}where: within_10km needs 'members'")
        if members is None and rule.chance is not None and model in _WITHOUT_CHANCES:
            raise ValueError(
                f"{start}{model} gives no chances without members; give 'members', or leave out "
                "'chance' to ask the forecast itself"
            )


_WITHOUT_CHANCES = set(METHODS) - {LAGRANGIAN}
