"""What surrounds every command: log lines, SIGTERM, and the exit codes of errors."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from datasets.errors import BusyError, ConfigError


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it; what is open is closed as after Ctrl-C."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminated(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def explained(error: BaseException) -> tuple[str, int]:
    """Message and exit code of an error."""
    if isinstance(error, Terminated):
        return "terminated; what was finished is kept", 143
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; what was finished is kept", 130
    if isinstance(error, ConfigError):
        return str(error), 2
    if isinstance(error, BusyError):
        return str(error), 3
    return str(error), 1


def set_up_logging(*, quiet: bool, as_json: bool) -> None:
    """Log to standard error: lines for people, or one JSON object a line."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    if as_json:
        from pythonjsonlogger.json import JsonFormatter

        fields = ["levelname", "name", "message"]
        renamed = {"levelname": "level", "name": "logger"}
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter(fields, rename_fields=renamed, timestamp=True))
    logging.getLogger("squall").setLevel(logging.WARNING if quiet else logging.INFO)
