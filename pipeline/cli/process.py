"""What all commands share: log lines, and messages and exit codes of errors."""

from __future__ import annotations

import errno
import logging
import sys

from squall.datasets.errors import BusyError, ConfigError
from squall.datasets.public_text import public_message, public_text
from squall.pipeline.interrupts import Terminated


def explained(error: BaseException) -> tuple[str, int]:
    """Message and exit code of an error."""
    if isinstance(error, Terminated):
        return "terminated; finished work is kept", 143
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; finished work is kept", 130
    if isinstance(error, ConfigError):
        return str(error), 2
    if isinstance(error, BusyError):
        return str(error), 3
    message = public_message(str(error))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        message += (
            "; free some, also in /dev/shm, which worker processes need (docker run --shm-size=4g)"
        )
    return message, 1


class PublicText(logging.Filter):
    """Removes signatures and passwords of addresses from log lines, also of libraries."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the message of a record; never drops one."""
        record.msg, record.args = public_text(record.getMessage()), None
        return True


def set_up_logging(*, quiet: bool, as_json: bool) -> None:
    """Log to standard error: lines for people, or one JSON object per line."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(PublicText())
    if as_json:
        from pythonjsonlogger.json import JsonFormatter

        fields = ["levelname", "name", "message"]
        renamed = {"levelname": "level", "name": "logger"}
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter(fields, rename_fields=renamed, timestamp=True))
    logging.getLogger("squall").setLevel(logging.WARNING if quiet else logging.INFO)
