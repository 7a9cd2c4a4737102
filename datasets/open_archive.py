"""Opening an archive for reading: the module that chooses the implementation of `ScanStore`.

Another kind of store needs a class that implements `ScanStore` and a line in `open_archive`.
"""

from __future__ import annotations

from pathlib import Path

from squall.datasets.addresses import HTTP, archive_address, protocol_of
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.repository import repository_exists
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.mlcast.store import MlcastStore, is_plain_zarr


def open_archive(address: Path | str, snapshot: str | None = None) -> ScanStore:
    """Open an archive, or a plain Zarr store of the MLCast convention, for reading.

    Parameters
    ----------
    address : a folder, ``s3://bucket/prefix`` or ``gs://bucket/prefix``; for plain Zarr also
        ``https://…``.
    snapshot : the state to read; None for the newest.

    Raises
    ------
    DataError
        If there is neither at the address, or it has no such snapshot.
    """
    address = archive_address(address)
    is_repository = protocol_of(address) not in HTTP and repository_exists(address)
    if not is_repository and is_plain_zarr(address):
        return MlcastStore.open(address, snapshot)
    return Archive.open(address, snapshot)
