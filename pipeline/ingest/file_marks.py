"""Marks of files in the archive: they say which files need not be read again.

Owns what goes into a mark. A mark stands for the address and the version of a file; the mark of a
file that gave no scan also stands for what could change that result.
"""

from __future__ import annotations

from squall import __version__
from squall.datasets.archive.records import file_mark
from squall.datasets.radar.network_config import RadarNetworkConfig


def mark_of_used_file(address: str, version: str) -> int:
    """Mark of a file whose scans are in the archive."""
    return file_mark(address, version)


def mark_of_unused_file(address: str, version: str, network: RadarNetworkConfig) -> int:
    """Mark of a file that was rejected or not needed.

    It changes with the configuration and with the release, because these may use the file.
    """
    begins = "" if network.begins is None else f"\0{network.begins}"  # it allows early scans
    return file_mark(address, f"{version}\0{network.reading_key}\0{__version__}{begins}")


def partial_version(version: str) -> str:
    """Version for the marks of a file of which only some scans were read: it is read again."""
    return f"{version}\0part"
