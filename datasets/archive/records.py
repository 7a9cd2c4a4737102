"""What an archive records about its scans and about the files that are not in it.

Holds constants and small types only, so that reading, writing and the MLCast store can share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd

from squall.datasets.errors import DataError

MISSING, OK, REJECTED = 0, 1, 2

FORMAT = 2
DIGEST_BYTES = 16
NO_TIME = np.iinfo(np.int64).min  # in the log, for files whose time nobody knows

# rules of the log that tell of files another one stands for; nothing is wrong with them
REDUNDANT = ("superseded", "duplicate")


class EmptyArchiveError(DataError):
    """An archive without a first commit: its first ingestion was cut off."""


@dataclass(frozen=True)
class Rejection:
    """A file or scan that is not in the archive, and why."""

    file: str  # address as ingestion found it
    digest: str
    reason: str
    time: pd.Timestamp | None = None
    rule: str = "unreadable"  # short name of the reason's kind, to count by
    file_mark: int = 0  # `file_mark`, so that the file need not be read again
    checksum: int = 0  # `codes_checksum`, where there are codes; kept for the time, not logged


def file_mark(address: str, version: str) -> int:
    """Mark of one state of one file: 8 bytes that stand for its address and version."""
    content = f"{address}\0{version}".encode()
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def check_format(address: str, attributes: Mapping[str, Any]) -> None:
    """Refuse what this release cannot read.

    Raises
    ------
    DataError
        If the attributes are those of no archive, or of another format.
    """
    if attributes.get("squall_format") != FORMAT:
        raise DataError(
            f"{address}: holds no Squall archive of format {FORMAT} "
            f"(found {attributes.get('squall_format')!r}); ingest it anew"
        )
