"""Every `squall …` command line of documents, scripts, configurations and help texts.

    .venv/bin/python scripts/command_lines.py

prints a table: each of them with its place and what runs it. `tests/test_command_lines.py` checks
that squall accepts all of them.
"""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from squall.pipeline.cli.main import COMMANDS

SHELL_OPERATORS = {"|", "||", "&&", ";", "&", ">", ">>"}
ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = [path for path in sorted((ROOT / "scripts").iterdir()) if path.is_file()]
CONFIGURATIONS = sorted((ROOT / "configs").rglob("*.yaml"))
# documents whose command lines are run, one after the other: those that match the pattern
RUN = {
    "README.md": ("tests/test_readme.py", ""),
    "docs/tutorials/first-forecast.md": ("tests/test_tutorials.py", ""),
    "docs/tutorials/own-archive.md": ("tests/test_tutorials.py", ""),
    "docs/tutorials/train.md": ("tests/test_tutorials.py", "^(?!.*devices=4)"),
    "docs/tutorials/live-service.md": ("tests/test_live_tutorial.py", ""),
    "scripts/demo": ("the demo", ""),
    "scripts/live-demo": ("tests/test_live_tutorial.py", "--replay"),
    "scripts/release": ("the release", ""),
}


class CommandLine(NamedTuple):
    """A command line, and where it stands."""

    place: str
    line: str

    @property
    def words(self) -> list[str]:
        """The words behind `squall`, up to what the shell joins to them."""
        line = self.line.replace("$configs", "configs").replace("…", "s3://bucket/a")
        words = shlex.split(line, comments=True)[1:]
        return list(takewhile(lambda word: word not in SHELL_OPERATORS, words))

    @property
    def run_by(self) -> str:
        """What runs it; otherwise it is only parsed."""
        runner, pattern = RUN.get(self.place, ("", ""))
        return runner if re.search(pattern, self.line) else ""


def command_lines() -> Iterator[CommandLine]:
    """All of them, in the order of their places."""
    for path in DOCUMENTS:
        yield from _at(path, in_document(path.read_text()))
    for path in [*SCRIPTS, *CONFIGURATIONS]:
        yield from _at(path, in_script(path.read_text()))
    for name in COMMANDS:
        for line in in_help(name):
            yield CommandLine(f"help of {name}", line)


def _at(path: Path, lines: list[str]) -> Iterator[CommandLine]:
    for line in lines:
        yield CommandLine(path.relative_to(ROOT).as_posix(), line)


def in_document(text: str) -> list[str]:
    """Command lines of code blocks, and those between backticks that have a flag and its value."""
    joined = text.replace("\\\n", " ")
    lines = re.findall(r"^(?:\$ )?(squall .*)", joined, re.MULTILINE)
    inline = re.findall(r"`(squall [^`…]* --\w[^`…]* [^`…]*)`", joined)
    return lines + inline


def in_script(text: str) -> list[str]:
    """Command lines of a shell script, or in a comment."""
    joined = text.replace("\\\n", " ")
    commands = re.findall(r'^ *(?:"\$squall"|#\s+squall) (.*)', joined, re.MULTILINE)
    return ["squall " + command for command in commands]


def in_help(name: str) -> list[str]:
    """Command lines of the examples at the end of a command's help."""
    module = importlib.import_module(f"squall.pipeline.cli.{name}")
    joined = module.EXAMPLES.replace("\\\n", " ")
    return re.findall(r"^  (squall .*)", joined.replace("  (from cron and the like)", ""), re.M)


def main() -> None:
    """Print a Markdown table."""
    print("| place | command line | parsed by a test | run by |\n| --- | --- | --- | --- |")
    for command in command_lines():
        line = " ".join(command.line.split()).replace("|", "\\|")
        print(f"| {command.place} | `{line}` | yes | {command.run_by} |")


if __name__ == "__main__":
    main()
