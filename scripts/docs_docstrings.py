"""Docstrings of this project for griffe, which knows NumPy's.

In a docstring of this project the text behind a parameter's name is what its type cannot say: its
dims, unit and meaning. Griffe takes it for the type. So it is moved to the description, and griffe
takes the type from the signature, also that of the result.
"""

from __future__ import annotations

import re
from textwrap import indent
from typing import Any

import griffe

_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)
_NAMED = re.compile(r"^([*\w][*\w, ]*) : (.*)$", re.MULTILINE)


def as_numpy(text: str) -> str:
    """A docstring of this project as griffe understands it."""
    first, *sections = _SECTION.split(text)
    pairs = zip(sections[::2], sections[1::2], strict=True)
    return first.replace("\n::\n", "\n") + "".join(_section(*pair) for pair in pairs)


def _section(title: str, body: str) -> str:
    if title in ("Returns", "Yields"):
        body = ":\n" + indent(body, "    ")  # neither name nor type
    if title in ("Parameters", "Attributes"):
        body = _NAMED.sub(r"\1\n    \2", body)
    return f"{title}\n{'-' * len(title)}\n{body}"


class ProjectDocstrings(griffe.Extension):
    """Rewrites the docstring of each object when it is collected."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_numpy(obj.docstring.value)
