"""What the parent needs to start the child's work, without importing what the work needs.

Public: `WorkerFactory`, `start_of_replay`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from squall.datasets.errors import ConfigError
from squall.pipeline.live.config import LiveConfig


@dataclass(frozen=True)
class WorkerFactory:
    """Makes the worker in the child process.

    Parameters
    ----------
    replay : address of an archive whose scans come as if they were live; None: radar files.
    """

    config: LiveConfig
    replay: str | None = None

    def __call__(self) -> Any:
        from squall.pipeline.live.work import Worker

        return Worker(self.config, self.replay)


def start_of_replay(address: str) -> pd.Timestamp:
    """An hour after the first good scan of an archive.

    Raises
    ------
    ConfigError
        If the archive has no scan.
    """
    from squall.datasets.archive.records import OK
    from squall.datasets.open_archive import open_archive

    archive = open_archive(address)
    good = archive.status == OK
    if not good.any():
        raise ConfigError(f"{address}: holds no scan to replay")
    return pd.Timestamp(archive.times[good.argmax()]) + pd.Timedelta("1h")
