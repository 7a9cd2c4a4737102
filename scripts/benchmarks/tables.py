"""Prints the numbers of a benchmark as a table and writes them as JSON."""

import json
import os
import platform
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from squall import __version__
from squall.pipeline.provenance import now_utc


def parser(description: str) -> ArgumentParser:
    """A parser with the options that all benchmarks share."""
    options = ArgumentParser(description=description)
    options.add_argument("--json", type=Path, metavar="FILE", help="write the same numbers as JSON")
    options.add_argument("--folder", type=Path, help="scratch folder (default: a temporary one)")
    return options


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with the same keys as a table."""
    texts = [{key: _text(value) for key, value in row.items()} for row in rows]
    widths = {key: max(len(key), *(len(text[key]) for text in texts)) for key in texts[0]}
    print("  ".join(key.ljust(width) for key, width in widths.items()))
    for text in texts:
        print("  ".join(text[key].ljust(width) for key, width in widths.items()))
    print(flush=True)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def keep(arguments: Namespace, results: Mapping[str, Any]) -> None:
    """Write the numbers and the machine that they were measured on, with ``--json``."""
    if arguments.json is not None:
        machine = {"cores": os.cpu_count(), "machine": platform.machine()}
        about = {"squall_version": __version__, "written": now_utc(), **machine}
        arguments.json.write_text(json.dumps(about | dict(results), indent=2) + "\n")
