"""Flags of a command, made from the configuration of its stage.

The pydantic model is the only source: a field is a flag, its description is the help text, its
default is the default. What a model cannot say (metavar, group, another name) stands in an
`Option` beside the field. The model, not argparse, reads and checks the values; a message about
a wrong value names the flag.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from squall.datasets.addresses import existing_address
from squall.datasets.errors import ConfigError
from squall.pipeline.config import NoOption, Option, OptionsOf, validated

Model = TypeVar("Model", bound=BaseModel)


def add_options(
    parser: argparse.ArgumentParser, model: type[BaseModel], *, without: Sequence[str] = ()
) -> None:
    """Add a flag or a positional argument for each field of a configuration.

    Tuples take several values, and a repeated flag adds to them. Booleans are switches.

    Parameters
    ----------
    without : fields that the command sets in another way.
    """
    groups: dict[str, Any] = {"": parser}
    for key, field, option in _options(model):
        if key in without:
            continue
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        container = groups[option.group]
        if option.excludes:
            if option.excludes not in groups:
                groups[option.excludes] = container.add_mutually_exclusive_group()
            container = groups[option.excludes]
        named = {} if option.positional else {"dest": key, "required": field.is_required()}
        name = key if option.positional else _flag(key, option)
        container.add_argument(
            name, default=argparse.SUPPRESS, help=_help(field), **named, **_value(field, option)
        )


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every command has."""
    parser.add_argument("--quiet", action="store_true", help="print errors and results only")
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="lines for people, or one JSON object per line (default: text)",
    )


def configured(model: type[Model], arguments: argparse.Namespace, **further: Any) -> Model:
    """Build a configuration from what the user typed; unset flags keep the model's defaults.

    Parameters
    ----------
    further : fields that no flag sets.

    Raises
    ------
    ConfigError
        If a value is wrong; the message names the flag.
    """
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for key, _, option in _options(model):
        names[key] = option.metavar if option.positional else _flag(key, option)
        outer, _, inner = key.rpartition(".")
        if outer:
            names[outer] = ""  # a mistake of the inner model as a whole has no flag
        if hasattr(arguments, key):
            target = values.setdefault(outer, {}) if outer else values
            target[inner] = getattr(arguments, key)
    return validated(model, values | further, "", names)


def existing(text: str) -> str:
    """Type of an argument: a remote address, or a local path that exists."""
    try:
        return existing_address(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def existing_path(text: str) -> Path:
    """Type of an argument: a local path that exists."""
    path = Path(text).expanduser()
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder")
    return path


def _options(model: type[BaseModel], outer: str = "") -> Iterator[tuple[str, FieldInfo, Option]]:
    """Dotted name, field and option of each field that the command line sets."""
    for name, field in model.model_fields.items():
        marks = [m for m in field.metadata if isinstance(m, (Option, OptionsOf, NoOption))]
        mark = marks[0] if marks else Option()
        if isinstance(mark, Option):
            yield outer + name, field, mark
        elif isinstance(mark, OptionsOf):
            inner = _options(field.annotation, f"{name}.")  # type: ignore[arg-type]
            keys = {f"{name}.{field}" for field in mark.fields}
            yield from (option for option in inner if option[0] in keys)


def _flag(key: str, option: Option) -> str:
    return option.flag or "--" + key.rpartition(".")[2].replace("_", "-")


def _value(field: FieldInfo, option: Option) -> dict[str, Any]:
    """What argparse has to know of a value: how many, which choices, how to call it."""
    kinds = list(_kinds(field.annotation))
    if bool in kinds:
        return {"action": "store_true"}
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    value: dict[str, Any] = {"choices": choices} if choices else {}
    unit = re.search(r"\[([\w/]+)", field.description or "")
    metavar = option.metavar or (unit[1].upper() if unit else "N" if int in kinds else "")
    if metavar and not choices:
        value["metavar"] = metavar
    if get_origin(field.annotation) is tuple:
        is_optional = option.positional and not field.is_required()
        value |= {"nargs": "*" if is_optional else "+", "action": "extend"}
    if option.exists:
        value["type"] = existing_path if Path in kinds else existing
    return value


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that an annotation consists of."""
    inner = get_args(annotation)
    if not inner or get_origin(annotation) is Literal:
        yield annotation
    for argument in inner:
        yield from _kinds(argument)


def _help(field: FieldInfo) -> str:
    text = (field.description or "").replace("%", "%%")
    default = field.default
    unsaid = field.is_required() or field.default_factory or default in (None, "", False, ())
    if unsaid or "(default" in text:
        return text
    values = default if isinstance(default, tuple) else (default,)
    return f"{text} (default: {' '.join(_default_text(value) for value in values)})"


def _default_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, timedelta):
        import pandas as pd

        from squall.datasets.times import duration_text

        return duration_text(pd.Timedelta(value))
    return str(value)
