"""Configurations: YAML and command lines become typed models.

Owns reading YAML, overrides like ``data.batch_size=8``, messages that name every mistake, and what
a field says about its flag (`Option`). `squall.pipeline.cli.options` makes the flags.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ValidationError

from squall.datasets.errors import ConfigError
from squall.datasets.spelling import did_you_mean

Model = TypeVar("Model", bound=BaseModel)
LOCAL = "processes"  # a scheduler: processes of this machine
SCHEDULER = rf"^({LOCAL}|(tcp|tls|ucx|wss?)://.+)$"  # `LOCAL`, or the address of one of Dask
UNFILLED = "???"  # a value that the user has to fill in


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    finite = all(0 < value < math.inf for value in values)
    if not finite or list(values) != sorted(set(values)):
        raise ValueError("must be positive and rise")
    return values


Rising = Annotated[tuple[float, ...], AfterValidator(_rising)]
"""positive numbers, each larger than the one before"""


@dataclass(frozen=True)
class Option:
    """How a field of a stage's configuration appears on the command line.

    It stands in the field's annotation, ``Annotated[float, Option(flag="--every")]``. A field
    without it is the flag ``--field-name``. Type, default and description are the field's own.

    Parameters
    ----------
    flag : name of the flag, where it is not that of the field.
    metavar : name of the value in the help. By default the unit that the description ends with,
        or N for whole numbers.
    positional : the value has no flag.
    group : title under which the help lists the flag.
    excludes : flags with the same text here exclude each other.
    exists : the value is a path or an address, and a local one has to exist.
    """

    flag: str = ""
    metavar: str = ""
    positional: bool = False
    group: str = ""
    excludes: str = ""
    exists: bool = False


@dataclass(frozen=True)
class OptionsOf:
    """A field that is a model; some of that model's fields are flags."""

    fields: tuple[str, ...]


@dataclass(frozen=True)
class NoOption:
    """A field that no flag sets, and why."""

    reason: str


def load_config(path: Path, model: type[Model], overrides: Sequence[str] = ()) -> Model:
    """Read a YAML file, apply ``a.b=value`` overrides, validate.

    Raises
    ------
    ConfigError
        If the file is missing or no YAML mapping, or if a key is unknown or a value is wrong. The
        message names the file, the key, the value and what is expected.
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
    _check_filled(path, values, text)
    return validated(model, values, str(path))


def _check_filled(path: Path, values: dict[str, Any], text: str) -> None:
    """Refuse keys whose value is still ``???``; the message repeats the comments beside them."""
    messages = []
    for key in _unfilled(values):
        name, quote = re.escape(key.rpartition(".")[2]), "['\"]?"
        line = rf"^\s*{name}:\s*{quote}{re.escape(UNFILLED)}{quote}\s*#\s*(.*)$"
        comment = re.search(line, text, re.MULTILINE)
        advice = comment[1].strip() if comment else "write its value there"
        messages.append(f"{path}: '{key}' is still {UNFILLED}: {advice}")
    if messages:
        raise ConfigError("\n".join(messages))


def _unfilled(values: Any, outer: str = "") -> Iterator[str]:
    """Dotted keys with the value ``???``."""
    if values == UNFILLED:
        yield outer
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from _unfilled(value, f"{outer}.{key}" if outer else str(key))
    elif isinstance(values, list):
        for number, value in enumerate(values):
            yield from _unfilled(value, f"{outer}.{number}")


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


def validated(
    model: type[Model], values: dict[str, Any], where: str, flags: Mapping[str, str] | None = None
) -> Model:
    """Build a model; the message of an error names every mistake.

    Parameters
    ----------
    where : begins each line of the message, like the name of the file; may be empty.
    flags : what the user typed for a key, like ``{"every_minutes": "--every"}``; an empty flag
        leaves the key out of the message.

    Raises
    ------
    ConfigError
        If a value is unknown, missing or wrong.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        start = f"{where}: " if where else ""
        lines = [start + _explain(model, detail, flags or {}) for detail in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def _explain(model: type[BaseModel], detail: Any, flags: Mapping[str, str]) -> str:
    place, known = _followed(model, detail["loc"])
    key = ".".join(place)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        hint = did_you_mean(place[-1], known) or f"; known here: {', '.join(known)}"
        return f"unknown key '{key}'{hint}"
    name = _as_typed(key, flags)
    if detail["type"] == "missing":
        return f"{name} is missing" if key in flags else f"'{key}' is missing"
    value = detail.get("input")
    if detail["type"] in ("tuple_type", "list_type"):
        message = "should be a list" + (f", like [{value}]" if value is not None else "")
    value_text = f" (found {value!r})"
    if isinstance(value, dict) or not name or repr(value) in message:
        value_text = ""
    if detail["type"] == "literal_error":
        value_text += did_you_mean(str(value), re.findall(r"'([^']+)'", detail["ctx"]["expected"]))
    return f"{name + ': ' if name else ''}{message}{value_text}"


def _as_typed(key: str, flags: Mapping[str, str]) -> str:
    """The flag that set a key, or an outer key of it; the key itself where no flag did."""
    parts = key.split(".")
    outer_keys = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((flags[outer] for outer in outer_keys if outer in flags), key)


def _followed(model: type[BaseModel], place: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Place of a mistake as keys of the YAML file, and the keys that are known at this place."""
    parts: list[str] = []
    kinds: list[Any] = [model]
    known: list[str] = []
    for key_or_index in place:
        tagged = [kind for kind in kinds if _tag(kind) == key_or_index]
        if tagged:  # the tag of a model in a union is no key
            kinds = tagged
            continue
        known = [name for kind in kinds for name in _fields(kind)]
        parts.append(str(key_or_index))
        if not isinstance(key_or_index, int):  # an item of a list has the types in `kinds` already
            types = [_fields(kind).get(key_or_index) for kind in kinds]
            kinds = [member for annotation in types for member in _members(annotation)]
    return parts, known


def _fields(kind: Any) -> dict[str, Any]:
    """Annotations of a model's or dataclass's fields, by name."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return dict.fromkeys(getattr(kind, "__dataclass_fields__", {}))


def _members(annotation: Any) -> list[Any]:
    """The types that an annotation consists of: those of a union, a list, ``Annotated``."""
    inner = get_args(annotation)
    return [member for kind in inner for member in _members(kind)] if inner else [annotation]


def _tag(kind: Any) -> Any:
    """Value of the field ``kind``, by which pydantic chooses a model of a union."""
    fields = getattr(kind, "model_fields", {})
    return fields["kind"].default if "kind" in fields else None
