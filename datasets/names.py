"""Names that become parts of paths: of networks, archives and experiments.

Owns which names are safe as the name of a file or folder on any system.
"""

import re
from typing import Annotated

from pydantic import AfterValidator

LONGEST_NAME = 100
# what Windows takes for devices, also with an ending
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def check_name(name: str) -> str:
    """Return a name that is safe in paths.

    Raises
    ------
    ValueError
        If it is not: empty, ``..``, with a slash, a control character or an ending dot, or long.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ValueError("use letters, digits, '_', '.' and '-' only")
    if not name[0].isalnum() or name.endswith("."):
        raise ValueError("begin with a letter or a digit, and do not end with '.'")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"has {len(name)} characters, use at most {LONGEST_NAME}")
    if _DEVICES.fullmatch(name):
        raise ValueError("is the name of a device on Windows; use another one")
    return name


def safe_name(text: str) -> str:
    """A safe name that resembles a text, for the names in other people's archives."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:LONGEST_NAME]
    name = name.lstrip("._-").rstrip(".") or "archive"
    return f"archive-{name}" if _DEVICES.fullmatch(name) else name


FileName = Annotated[str, AfterValidator(check_name)]
