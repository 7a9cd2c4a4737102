"""Records of an archive about its scans and about files and scans that are not in it.

Owns constants and small types that reading, writing and the MLCast store share; reads and writes
nothing.
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

CODES = "rain_rate_code"  # name of the array of scans

FORMAT = 2
DIGEST_BYTES = 16
NO_TIME = np.iinfo(np.int64).min  # in the log, for files without a known time

# rules of log entries about good files whose scans another file has delivered
REDUNDANT = ("superseded", "duplicate")


class EmptyArchiveError(DataError):
    """An archive without a first commit: its first ingestion was interrupted."""


@dataclass(frozen=True)
class Rejection:
    """A file or scan that is not in the archive, and why; one entry of the log."""

    file: str  # address
    digest: str
    reason: str
    time: pd.Timestamp | None = None
    rule: str = "unreadable"  # kind of the reason, for counting
    file_mark: int = 0  # `file_mark`, so that the file need not be read again
    checksum: int = 0  # `codes_checksum` of a rejected scan; stored for its time, not in the log


def file_mark(address: str, version: str) -> int:
    """Digest of a file's address and version, 8 bytes: tells a known file without reading it."""
    content = f"{address}\0{version}".encode()
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def check_format(address: str, attributes: Mapping[str, Any]) -> None:
    """Refuse a Zarr group that this release cannot read.

    Raises
    ------
    DataError
        If its attributes are not those of an archive, or name another format.
    """
    if attributes.get("squall_format") != FORMAT:
        raise DataError(
            f"{address}: holds no Squall archive of format {FORMAT} "
            f"(found {attributes.get('squall_format')!r}); ingest its files again "
            "into a new archive"
        )
