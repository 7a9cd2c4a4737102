"""What the parent needs to start the child's work, without importing what the work needs.

Public: `WorkerFactory`, `watch_of`, `start_of_replay`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from squall.datasets.addresses import is_remote
from squall.datasets.errors import ConfigError
from squall.pipeline.live.config import LiveConfig
from squall.pipeline.live.watch import FileWatch, watched_folders


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


def watch_of(config: LiveConfig) -> FileWatch:
    """Watches the folders of a service's radar files.

    Raises
    ------
    ConfigError
        If they are not on this machine, or one does not exist.
    """
    from squall.datasets.radar.network_config import RadarNetworkConfig
    from squall.pipeline.config import load_config

    assert config.network is not None
    network = load_config(config.network, RadarNetworkConfig)
    folders = watched_folders(config.files or network.source)
    addresses = (config.archive or network.archive, config.publish_to)
    own = [Path(address) for address in addresses if address and not is_remote(address)]
    return FileWatch(folders, own, config.poll_s)


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
