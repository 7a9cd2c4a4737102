"""Waits for new radar files in folders of this machine, so that a scan need not wait for a look.

Public: `FileWatch`, `watched_folders`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from squall.datasets.addresses import is_remote
from squall.datasets.errors import ConfigError
from squall.datasets.sources.patterns import fixed_folder

log = logging.getLogger("squall.live")

STEP_MS = 50


def watched_folders(patterns: Iterable[str]) -> list[Path]:
    """The folders that the patterns of radar files begin with.

    Raises
    ------
    ConfigError
        If a pattern is not on this machine, or its folder does not exist.
    """
    folders = []
    for pattern in patterns:
        if is_remote(pattern):
            raise ConfigError(f"watch: {pattern} is not on this machine; leave out 'watch: true'")
        folder = Path(fixed_folder(pattern, None) or ".").absolute()
        if not folder.is_dir():
            raise ConfigError(f"watch: {pattern}: there is no folder {folder}; make it first")
        folders.append(folder)
    return folders


class FileWatch:
    """Waits until a file changes in some folders, but no longer than a time.

    Changes between two waits end the next one at once.

    Parameters
    ----------
    folders : with all that is in them.
    own : folders that the service itself writes to. What changes there does not count, nor files
        beside them whose names begin like theirs: an archive's lock and mark of a pass.
    longest_s : of a wait.
    """

    def __init__(self, folders: list[Path], own: Iterable[Path], longest_s: float) -> None:
        from watchfiles import watch

        self._own = tuple(path.absolute() for path in own)
        self._changes = watch(
            *folders,
            watch_filter=lambda _, path: not self._is_own(Path(path)),
            step=STEP_MS,
            rust_timeout=round(1000 * longest_s),
            yield_on_timeout=True,
        )

    def wait(self) -> None:
        """Wait."""
        next(self._changes)

    def _is_own(self, path: Path) -> bool:
        return any(
            own == path or own in path.parents or str(path).startswith(f"{own}.")
            for own in self._own
        )
