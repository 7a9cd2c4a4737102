"""Local, unpacked copies of the files that `squall init` looks at, each made once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from squall.datasets.errors import DataError
from squall.datasets.radar.unpacked import unpacked
from squall.datasets.sources.access import SourceFile, UnclearFill
from squall.datasets.sources.containers import OpenContainers
from squall.datasets.sources.fetch import local_copy


class Copies:
    """Paths on this machine of looked-at files; they exist until ``stack`` closes.

    Parameters
    ----------
    options : for the file systems.

    Attributes
    ----------
    unclear_fill : fill value of a Zarr store that may mean not observed or dry; None if there is
        none.
    """

    def __init__(self, options: Mapping[str, Any], stack: ExitStack) -> None:
        self._options, self._stack = options, stack
        # a compressed tar file is unpacked once for all of its files
        self._containers = stack.enter_context(OpenContainers(options))
        self._paths: dict[str, Path] = {}
        self.unclear_fill: float | None = None

    def path(self, file: SourceFile) -> Path:
        """Path of a file's content.

        Raises
        ------
        DataError
            If the file cannot be fetched or unpacked; the message names it.
        """
        if file.identity not in self._paths:
            path = str(self._copied(file))
            try:
                self._paths[file.identity] = Path(self._stack.enter_context(unpacked(path)))
            except DataError as error:
                raise DataError(f"{file.identity}: {error}") from error
        return self._paths[file.identity]

    def _copied(self, file: SourceFile) -> Path:
        try:
            return self._stack.enter_context(local_copy(file, self._options, self._containers))
        except UnclearFill as error:
            assert file.scans is not None
            self.unclear_fill = error.value
            listed = replace(file.scans, listed=(error.value,))
            copy = local_copy(replace(file, scans=listed), self._options, self._containers)
            return self._stack.enter_context(copy)
