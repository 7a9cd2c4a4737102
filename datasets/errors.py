"""Errors that a user can do something about: wrong configurations and unusable data.

Owns the exception classes that all rooms raise and the words of a foreign exception. Knows nothing
of files, archives or stores. No message holds the signature or the password of an address.
"""

from squall.datasets.public_text import public_message


class ConfigError(ValueError):
    """A configuration that cannot work; the message says which value and what to do."""

    def __init__(self, message: str = "") -> None:
        super().__init__(public_message(message))


class DataError(ValueError):
    """Radar files, archives or forecasts that cannot be used; the message says which and why."""

    def __init__(self, message: str = "") -> None:
        super().__init__(public_message(message))


class ForecastError(DataError):
    """A radar file that holds forecasts and no observation, so that it is not ingested."""


class BusyError(DataError):
    """Another process is writing the archive; nothing was changed, try again later."""


def first_line(error: BaseException) -> str:
    """First line of an exception's message; its ``repr`` if it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else repr(error)
