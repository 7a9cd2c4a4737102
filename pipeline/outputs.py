"""Where a command writes: the path is checked before any work, so that no work is lost.

Public: `OutputPath`, `output_path`, `check_output_file`, `check_output_folder`, `check_own_folder`.

Each stage calls a check first. Missing folders are no error: they are created with the output.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from squall.datasets.addresses import local_path
from squall.datasets.errors import ConfigError

_LONGEST_NAME = 220  # bytes; most systems allow 255, a temporary file beside it has a longer name


def output_path(value: Any) -> Path:
    """The local path that a text names, with ``~`` expanded.

    Raises
    ------
    ConfigError
        If the value is no path, or the address of an object store.
    """
    if not isinstance(value, str | os.PathLike):
        raise ConfigError(f"expected a path, found {value!r}")
    text = os.fspath(value)
    path = local_path(text)
    if path is None or re.match(r"[a-z0-9]{2,}:/", path):  # pathlib makes s3:/ of s3://
        raise ConfigError(f"'{text}' is an address; give a path on this machine and copy it later")
    if not path.strip() or "\0" in path:
        raise ConfigError(f"'{text}' is no path")
    return Path(path)


OutputPath = Annotated[Path, BeforeValidator(output_path)]


def check_output_file(path: Path, flag: str, suffixes: Sequence[str] = ()) -> None:
    """Check that a file can be written.

    Parameters
    ----------
    flag : what the user typed the path after, for the message.
    suffixes : how the file's name may end, in small letters; empty: anyhow.

    Raises
    ------
    ConfigError
        If the path is a folder, its name has another ending, or its folder cannot be written to.
    """
    example = f"name{suffixes[0]}" if suffixes else "name"
    with _as_config_error(path, flag):
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder; {flag} names a file, like {path / example}")
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: is no regular file; {flag} names a file to write")
        if suffixes and path.suffix.lower() not in suffixes:
            raise ConfigError(
                f"{path}: the name of the file must end in {' or '.join(suffixes)} ({flag})"
            )
        _check_names(path, flag)
        _check_writable(path.parent, flag)


def check_output_folder(path: Path, flag: str) -> None:
    """Check that a folder can be created or written to.

    Raises
    ------
    ConfigError
        If the path is a file, or the folder cannot be created or written to.
    """
    with _as_config_error(path, flag):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path}: is a file; {flag} names a folder")
        _check_names(path, flag)
        _check_writable(path, flag)


def check_own_folder(path: Path, flag: str, is_own: Callable[[Path], bool], what: str) -> None:
    """Check that a folder can be written, and holds nothing, or what it is to hold.

    Parameters
    ----------
    is_own : whether a folder with files is one that may be replaced or go on.
    what : it is to hold, for the message.

    Raises
    ------
    ConfigError
        As `check_output_folder`, or if the folder holds something else.
    """
    check_output_folder(path, flag)
    if path.is_dir() and any(path.iterdir()) and not is_own(path):
        raise ConfigError(
            f"{path}: is a folder that holds something else than {what} of Squall; remove it or "
            f"choose another {flag}"
        )


@contextmanager
def _as_config_error(path: Path, flag: str) -> Iterator[None]:
    """Turn what the system says of a path into a message that names the flag."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror}; choose another {flag}"
        ) from error


def _check_names(path: Path, flag: str) -> None:
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise ConfigError(f"{path}: the name is too long; choose a shorter {flag}")


def _check_writable(folder: Path, flag: str) -> None:
    """Check the folder or, where it does not exist, the nearest folder above it that does."""
    existing = folder.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    if not existing.exists():
        raise ConfigError(f"{existing}: is a link to nothing; remove it or choose another {flag}")
    if not existing.is_dir():
        raise ConfigError(f"{existing}: is a file, so nothing can be written into it ({flag})")
    try:  # asking for the permission is not enough: a disk may be read-only, or no disk
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise ConfigError(
            f"{existing}: nothing can be written there ({error.strerror}); give this user the "
            f"right to write there, or choose another {flag}"
        ) from error
