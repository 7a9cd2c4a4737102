"""Where radar files come from: found by patterns on any storage, read as local files."""

from squall.datasets.sources.access import FileVanished, SourceFile, SourceUnavailable
from squall.datasets.sources.containers import OpenContainers
from squall.datasets.sources.fetch import local_copy
from squall.datasets.sources.find import find_files

__all__ = [
    "FileVanished",
    "OpenContainers",
    "SourceFile",
    "SourceUnavailable",
    "find_files",
    "local_copy",
]
