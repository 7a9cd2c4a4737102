"""Where radar files come from: found by patterns on any storage, read as local files."""

from datasets.sources.access import FileVanished, SourceFile, SourceUnavailable
from datasets.sources.archives import OpenArchives
from datasets.sources.fetch import local_copy
from datasets.sources.find import find_files

__all__ = [
    "FileVanished",
    "OpenArchives",
    "SourceFile",
    "SourceUnavailable",
    "find_files",
    "local_copy",
]
