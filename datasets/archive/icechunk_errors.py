"""What an error of Icechunk means: the only module that reads the texts of its messages.

Icechunk raises `icechunk.IcechunkError` for nearly everything, so the cause is only known from
the text, which is no stable interface. `tests/datasets/archive/test_icechunk_errors.py` provokes
each error with the installed release: after an upgrade it shows which text has changed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import icechunk

from squall.datasets.addresses import is_remote, unreachable
from squall.datasets.errors import DataError

_CREATED_MEANWHILE = "updated by other session"
_FOLDER_NOT_EMPTY = "clean prefixes"
_TAG_NAME_USED = "already exists"
_DISK_FULL = ("No space left", "os error 28", "os error 122")  # ENOSPC, EDQUOT
_NOT_PERMITTED = (("Permission denied", "os error 13"), ("Read-only file system", "os error 30"))
_OBJECT_MISSING = ("not found", "nosuchkey", "no such key", "requested range")
_MESSAGE_LENGTH = 200


def is_created_meanwhile(error: BaseException) -> bool:
    """Whether another process created the same repository at the same moment (object storage)."""
    return _CREATED_MEANWHILE in str(error)


def is_folder_not_empty(error: BaseException) -> bool:
    """Whether a repository cannot be created because something lies at its address."""
    return _FOLDER_NOT_EMPTY in str(error)


def is_tag_name_used(error: Exception) -> bool:
    """Whether a tag cannot be created because a tag has or had its name."""
    return _TAG_NAME_USED in str(error)


def is_object_missing(error: BaseException) -> bool:
    """Whether an object store answered that an object does not exist or is too short."""
    text = str(error).lower()
    return any(words in text for words in _OBJECT_MISSING)


def is_permission_denied(error: Exception) -> bool:
    """Whether a file may not be read."""
    return "permission denied" in str(error).lower()


def is_of_icechunk(error: BaseException) -> bool:
    """Whether Icechunk raised an error; where its Rust code panics, it is no `Exception`."""
    return isinstance(error, icechunk.IcechunkError) or type(error).__name__ == "PanicException"


@contextmanager
def in_words(address: str) -> Iterator[None]:
    """Raise a DataError for what Icechunk raises while it opens or reads a repository."""
    try:
        yield
    except BaseException as error:
        if not is_of_icechunk(error):
            raise
        if is_remote(address) and not is_object_missing(error):
            raise unreachable(address, error) from error
        raise DataError(
            f"{address}: cannot be opened as an archive: {message_of(error)}; see what is damaged "
            "with `squall archive check`, or restore the file from a copy"
        ) from error


def message_of(error: BaseException) -> str:
    """The message of an error in one line, without the call stack that Icechunk adds."""
    lines = [line.strip(" x|`->") for line in str(error).splitlines()]
    message = " ".join(itertools.takewhile(lambda line: not line.startswith("context"), lines))
    return " ".join(message.split())[:_MESSAGE_LENGTH] or type(error).__name__


def unwritable(address: str, error: BaseException) -> DataError:
    """Translate an error of writing: a full disk, a missing permission, or no answer."""
    text = str(error)
    if any(words in text for words in _DISK_FULL):
        return DataError(
            f"{address}: the disk is full; everything committed before is intact, free some space "
            "and run again"
        )
    for reason, number in _NOT_PERMITTED:
        if reason in text or number in text:
            return DataError(
                f"{address}: may not be written ({reason[0].lower()}{reason[1:]}); give this user "
                "the right to write there, or choose another place for the archive"
            )
    return unreachable(address, error)
