"""Configurations from YAML and the command line into typed models, with errors people can use."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from squall.datasets.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def load_config(path: Path, model: type[Model], overrides: Sequence[str] = ()) -> Model:
    """Read a YAML file, apply ``a.b=value`` overrides, validate.

    Raises
    ------
    ConfigError
        If the file is missing, is no YAML mapping, or a value is unknown or wrong; the message
        names the file, the key, what was found and what is expected.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text file; a YAML configuration is expected") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is no YAML: {str(error).replace(chr(10), ' ')}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected 'key: value' lines, found a {type(values).__name__}")
    for override in overrides:
        apply_override(values, override)
    return validated(model, values, str(path))


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one ``a.b=value`` in nested dictionaries; the value is read as YAML."""
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise ConfigError(f"'{override}' is no override; write it like data.batch_size=8")
    *parents, last = key.split(".")
    inner = values
    for parent in parents:
        inner = inner.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"'{override}': '{parent}' holds a value, not further keys")
    try:
        inner[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"'{override}': '{text}' is no YAML value") from error


def validated(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """Build a model; every mistake in one message."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, detail) for detail in error.errors()]
        raise ConfigError("\n".join(f"{where}: {line}" for line in lines)) from error


def _explain(model: type[BaseModel], detail: Any) -> str:
    place, known = _followed(model, detail["loc"])
    key = ".".join(place)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(place[-1], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
        return f"unknown key '{key}'; {hint}"
    if detail["type"] == "missing":
        return f"'{key}' is missing"
    found = detail.get("input")
    shown = "" if isinstance(found, dict) or not key else f" (found {found!r})"
    return f"{key + ': ' if key else ''}{message}{shown}"


def _followed(model: type[BaseModel], place: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Where pydantic found a mistake, as it stands in YAML, and the keys known beside it."""
    parts: list[str] = []
    kinds: list[Any] = [model]
    known: list[str] = []
    for part in place:
        tagged = [kind for kind in kinds if _tag(kind) == part]
        if tagged:  # which model of a union is meant: not a key
            kinds = tagged
            continue
        known = [name for kind in kinds for name in _fields(kind)]
        parts.append(str(part))
        if not isinstance(part, int):  # the place in a list leads to what the list is of
            kinds = [member for kind in kinds for member in _members(_fields(kind).get(part))]
    return parts, known


def _fields(kind: Any) -> dict[str, Any]:
    """Annotations of a model's or dataclass's fields, by name."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return dict.fromkeys(getattr(kind, "__dataclass_fields__", {}))


def _members(annotation: Any) -> list[Any]:
    """The types that an annotation is made of: those of a union, a list, ``Annotated``."""
    inner = get_args(annotation)
    return [member for part in inner for member in _members(part)] if inner else [annotation]


def _tag(kind: Any) -> Any:
    """What ``kind`` is in a model of a union."""
    fields = getattr(kind, "model_fields", {})
    return fields["kind"].default if "kind" in fields else None
