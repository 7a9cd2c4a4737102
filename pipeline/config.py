"""Configurations from YAML and the command line into typed models, with errors people can use."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from datasets.errors import ConfigError

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
    key = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = _keys(model, detail["loc"][:-1])
        close = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(known)}"
        return f"unknown key '{key}'; {hint}"
    if detail["type"] == "missing":
        return f"'{key}' is missing"
    found = detail.get("input")
    shown = "" if isinstance(found, dict) or not key else f" (found {found!r})"
    return f"{key + ': ' if key else ''}{message}{shown}"


def _keys(model: type[BaseModel], parents: tuple[Any, ...]) -> list[str]:
    for parent in parents:
        field = model.model_fields.get(str(parent))
        if field is None or not isinstance(field.annotation, type):
            return []
        if not issubclass(field.annotation, BaseModel):
            return list(getattr(field.annotation, "__dataclass_fields__", {}))
        model = field.annotation
    return list(model.model_fields)
