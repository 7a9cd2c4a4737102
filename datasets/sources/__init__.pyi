from .access import FileVanished as FileVanished
from .access import SourceFile as SourceFile
from .access import SourceUnavailable as SourceUnavailable
from .containers import OpenContainers as OpenContainers
from .fetch import local_copy as local_copy
from .find import find_files as find_files
