"""Reference pages that are made from the code: every command, and every key of a configuration.

`pages` gives the Markdown text of each page by its path in ``docs/``. `scripts/docs_hooks.py` adds
them to the site; they are not committed, so they cannot be out of date.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import asdict, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import pandas as pd
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.times import duration_text
from squall.pipeline.cli.main import COMMANDS
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.train.experiment import ExperimentConfig

CONFIGURATIONS: dict[str, tuple[type[BaseModel], str]] = {
    "network": (
        RadarNetworkConfig,
        "The file that `squall init` writes and `squall ingest` reads. Examples are in "
        "`configs/archives/`. A network needs `name` and `step`; what the files say themselves can "
        "be left out ([ingestion](../../ingestion.md), [file formats](../../formats.md)).",
    ),
    "experiment": (
        ExperimentConfig,
        "The file that `squall train` reads. Examples are in `configs/experiments/`. Each key can "
        "also be set on the command line, like `optimiser.learning_rate=0.001` "
        "([training](../../training.md)).",
    ),
    "live": (
        LiveConfig,
        "The file that `squall live` reads. Examples are in `configs/live/` "
        "([a live service](../../live.md), [alerts](../../alerts.md)).",
    ),
}
TITLES = {"network": "Radar network", "experiment": "Experiment", "live": "Live service"}
KINDS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "text",
    Any: "any value",
}
CHECKED_KINDS = {  # by the name of the function that reads the value
    "parse_time": "time",
    "parse_duration": "duration",
    "parse_age": "duration",
    "archive_address": "address",
}
LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def pages() -> dict[str, str]:
    """Path in ``docs/`` and Markdown text of each generated page."""
    commands = {f"reference/commands/{name}.md": command_page(name) for name in COMMANDS}
    configurations = {
        f"reference/configuration/{name}.md": configuration_page(name) for name in CONFIGURATIONS
    }
    return {"reference/commands/index.md": _list_of_commands()} | commands | configurations


def _list_of_commands() -> str:
    rows = [f"| [`squall {name}`]({name}.md) | {text(said)} |" for name, said in COMMANDS.items()]
    head = "# Command line\n\nAll times are UTC. These pages are made from the program itself.\n\n"
    codes = (
        "\n\n| exit code | means |\n| --- | --- |\n| 0 | all is well |\n"
        "| 1 | something is wrong with the data |\n"
        "| 2 | a wrong argument, path or configuration |\n"
        "| 3 | another process is writing the archive |\n"
        "| 130, 143 | interrupted, terminated |\n"
    )
    return head + "| command | what it does |\n| --- | --- |\n" + "\n".join(rows) + codes


def command_page(name: str) -> str:
    """Usage, options and examples of a command and of its sub-commands."""
    module = importlib.import_module(f"squall.pipeline.cli.{name}")
    parser = argparse.ArgumentParser(
        prog=f"squall {name}",
        description=f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.",
        epilog=module.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return _of_parser(parser, "#")


def _of_parser(parser: argparse.ArgumentParser, level: str) -> str:
    parts = [f"{level} {parser.prog}", text(parser.description or ""), _usage(parser)]
    inner: list[argparse.ArgumentParser] = []
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            if isinstance(action, argparse._SubParsersAction):
                inner += action.choices.values()
            elif "--help" not in action.option_strings:
                rows.append(_of_action(parser, action))
        if rows:
            own_title = group.title not in ("positional arguments", "options")
            title = str(group.title)
            parts += [f"**{text(title[0].upper() + title[1:])}**"] if own_title else []
            parts.append("\n".join(["| argument | meaning |", "| --- | --- |", *rows]))
    if parser.epilog:
        parts.append(_block(parser.epilog.strip()))
    return "\n\n".join(parts + [_of_parser(command, f"{level}#") for command in inner]) + "\n"


def _usage(parser: argparse.ArgumentParser) -> str:
    """The command with what has to be given, as a block of code."""
    words = [parser.prog]
    for action in parser._actions:
        if action.required and not isinstance(action, argparse._SubParsersAction):
            words.append(_invocation(parser, action))
    return f"```bash\n{' '.join([*words, '[OPTIONS]'])}\n```"


def _invocation(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """How an argument is written, like ``--out FILE.nc``."""
    formatter = parser._get_formatter()
    if not action.option_strings:
        return formatter._format_args(action, str(action.metavar or action.dest))
    if action.choices:
        more = " …" if action.nargs else ""
        return f"{action.option_strings[0]} {action.dest.rpartition('_')[2].upper()}{more}"
    return formatter._format_action_invocation(action)


def _of_action(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    meaning = text(parser._get_formatter()._expand_help(action) if action.help else "")
    if action.choices:
        meaning += ": " + ", ".join(f"`{choice}`" for choice in action.choices)
    if action.required and action.option_strings:
        meaning += " (required)"
    return f"| `{_in_cell(_invocation(parser, action))}` | {meaning} |"


def configuration_page(name: str) -> str:
    """The keys of a configuration file: values, defaults, meanings."""
    model, introduction = CONFIGURATIONS[name]
    parts = [f"# {TITLES[name]}", introduction, _LEGEND]
    parts += [_of_model(*section) for section in _sections(model)]
    return "\n\n".join(parts) + "\n"


_LEGEND = (
    "A duration is written like `5min`, `2h` or `1D`, a time like `2024-06-01T04:25` (UTC). A list "
    "is written `[a, b]`. `null` stands for no value."
)


def _sections(model: type[BaseModel], key: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """A model and the models of its keys, each with its dotted key."""
    yield model, key
    for name, field in model.model_fields.items():
        for inner in models_of(field.annotation):
            inner_key = f"{key}.{name}" if key else name
            yield from _sections(inner, inner_key)


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The models among the types that an annotation consists of, in their order."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_of(argument)]


def _of_model(model: type[BaseModel], key: str) -> str:
    kind = model.model_fields.get("kind")
    title = f"`{key}`" + (f", `kind: {kind.default}`" if kind is not None else "")
    introduction = inspect.cleandoc(model.__doc__ or "")
    parts = [f"## {title}", text(introduction)] if key else []
    rows = [
        f"| `{name}` | {value_of(field)} | {default_of(field)} | {_meaning(model, name, field)} |"
        for name, field in model.model_fields.items()
    ]
    table = ["| key | value | default | meaning |", "| --- | --- | --- | --- |", *rows]
    return "\n\n".join([*parts, "\n".join(table)])


def _meaning(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    if field.description:
        return text(field.description)
    if name == "kind":
        return "which of the losses"
    inner = models_of(field.annotation)
    summary = inspect.cleandoc(inner[0].__doc__ or "").split("\n\n")[0] if inner else ""
    return text(summary.replace("\n", " "))


def value_of(field: FieldInfo) -> str:
    """What may be written as the value of a key."""
    limits = [
        f"{word} {limit:g}"
        for mark in field.metadata
        for name, word in LIMITS.items()
        if isinstance(limit := getattr(mark, name, None), int | float)
    ]
    checked = [
        CHECKED_KINDS[name]
        for mark in field.metadata
        if (name := getattr(getattr(mark, "func", None), "__name__", "")) in CHECKED_KINDS
    ]
    kind = checked[0] if checked else kind_of(field.annotation)
    return f"{kind}, {' and '.join(limits)}" if limits else kind


def kind_of(annotation: Any) -> str:
    """The type of a value in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin is tuple:
        return f"list of: {kind_of(inner[0])}"
    if origin is dict:
        return f"mapping of names to: {kind_of(inner[1])}"
    if models_of(annotation):
        return "keys, below"
    if hasattr(annotation, "__metadata__"):
        marks = [getattr(getattr(m, "func", None), "__name__", "") for m in annotation.__metadata__]
        known = [CHECKED_KINDS[mark] for mark in marks if mark in CHECKED_KINDS]
        return known[0] if known else kind_of(inner[0])
    if inner:
        kinds = [kind_of(member) for member in inner if member is not NoneType]
        return " or ".join(dict.fromkeys(kinds))
    if is_dataclass(annotation):
        return f"keys {', '.join(f'`{field.name}`' for field in fields(annotation))}"
    return KINDS[annotation]


def default_of(field: FieldInfo) -> str:
    """The default value of a key, as it would be written."""
    if field.is_required():
        return "**required**"
    default = field.default
    if default is PydanticUndefined or isinstance(default, BaseModel):
        return ""
    return f"`{_in_cell(_written(default))}`"


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return duration_text(pd.Timedelta(value))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return f"[{', '.join(_written(member) for member in value)}]"
    if is_dataclass(value) and not isinstance(value, type):
        pairs = (f"{name}: {_written(member)}" for name, member in asdict(value).items())
        return f"{{{', '.join(pairs)}}}"
    return str(value) or '""'


def text(said: str) -> str:
    """A text of the program as Markdown: what is not between backticks is no markup."""
    parts = re.split(r"(`[^`]*`)", said)
    plain = [re.sub(r"([\\*_<>\[\]|])", r"\\\1", part) for part in parts[::2]]
    code = [_in_cell(part) for part in parts[1::2]]
    return "".join(a + b for a, b in zip(plain, [*code, ""], strict=True))


def _in_cell(code: str) -> str:
    return code.replace("|", "\\|")


def _block(content: str) -> str:
    return f"```text\n{content}\n```"
