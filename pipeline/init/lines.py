"""Lines of a configuration with their comments, and the YAML file that they make.

Owns how a line looks: what was found, what is a guess, and ``???`` where something is missing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from squall.pipeline.config import UNFILLED

_WIDTH = 100


Kind = Literal["found", "guess", "missing", "fact"]


@dataclass(frozen=True)
class Line:
    """A key with its value and what is known about it.

    Parameters
    ----------
    key : of `RadarNetworkConfig`; a line of a ``fact`` has no key of its own.
    kind : ``found`` in files or names, a ``guess``, ``missing``, or a ``fact``: what the files
        themselves say, so that no key is needed.
    """

    key: str
    value: Any
    comment: str
    kind: Kind = "found"

    @property
    def text(self) -> str:
        """The line, with its comment behind it, or above it where it would be too long."""
        if self.kind == "fact":
            return _comment(f"{self.key}: {self.comment}")
        value = UNFILLED if self.kind == "missing" else as_yaml(self.value)
        start = f"{self.key}: {value}"
        words = {"found": "", "guess": "a guess: ", "missing": ""}[self.kind] + self.comment
        if self.kind == "missing" or len(start) + len(words) < _WIDTH:
            return f"{start}  # {words}"
        return f"{_comment(words)}\n{start}"


def _comment(text: str) -> str:
    """A comment of as many lines as it needs."""
    return textwrap.fill(
        text, _WIDTH, initial_indent="# ", subsequent_indent="#   ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def as_yaml(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True
    )
    return text.strip().removesuffix("...").strip()


def document(header: Sequence[str], lines: Sequence[Line]) -> str:
    """A configuration as YAML text."""
    return "\n".join([*(f"# {line}".rstrip() for line in header), *(x.text for x in lines), ""])
