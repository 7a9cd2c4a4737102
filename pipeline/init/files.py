"""The files that `squall init` looks at.

Owns how the words of the command line become files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from squall.datasets.addresses import local_path, protocol_of, split_chain
from squall.datasets.errors import DataError
from squall.datasets.radar.fields import Field, in_words, rain_fields
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.sources.access import SourceFile
from squall.datasets.sources.find import find_files
from squall.datasets.sources.patterns import has_time
from squall.datasets.sources.zarr_stores import ZarrKeys, find_stores, is_zarr, list_arrays
from squall.datasets.times import now

MOST_LOOKED_AT = 4
MOST_NAMES = 2000
_RECENT = pd.Timedelta("2D")  # how far back addresses with {time:…} are looked for
_CONTAINERS = {".zip": "zip", ".tar": "tar", ".tgz": "tar", ".tbz2": "tar", ".txz": "tar"}


@dataclass(frozen=True)
class LeftOut:
    """Files that the user gave and that are not ingested.

    Parameters
    ----------
    forecasts : their number.
    others : number of files of other kinds that cannot be read.
    example : name of a forecast.
    pattern : whether the patterns leave them out.
    """

    forecasts: int
    others: int
    example: str
    pattern: bool = True


@dataclass(frozen=True)
class Given:
    """The files of a command line.

    Parameters
    ----------
    patterns : as typed; a folder or a zip or tar file as the pattern of the files in it.
    files : that match, sorted.
    options : for the file systems.
    left_out : forecasts that lie beside the files; None if there are none.
    """

    patterns: tuple[str, ...]
    files: tuple[SourceFile, ...]
    options: dict[str, Any]
    left_out: LeftOut | None = None

    @property
    def is_zarr(self) -> bool:
        """Whether the files are scans of Zarr stores."""
        return any(file.scans is not None for file in self.files)

    @property
    def looked_at(self) -> list[SourceFile]:
        """The files to open: the first, the largest, one in the middle and the last."""
        files = self.files
        largest = max(files, key=lambda file: file.size or 0)
        chosen = [largest, files[0], files[len(files) // 2], files[-1]]
        return list(dict.fromkeys(chosen))[:MOST_LOOKED_AT]


def given_files(
    words: Sequence[str], options: dict[str, Any], network: RadarNetworkConfig | None = None
) -> Given:
    """Find the files that the user names.

    Parameters
    ----------
    options : for the file systems.
    network : whose files they are, if it is known.

    Raises
    ------
    ConfigError, DataError
        As `find_files`, and if there is no file.
    """
    patterns = tuple(_as_pattern(word) for word in words)
    exclude: tuple[str, ...] = ()
    if network is None:
        zarr = _zarr_keys(patterns, options)
    else:
        listed = (*network.missing_values, *network.dry_values)
        exclude, zarr = network.exclude, ZarrKeys(network.variable, listed)
    since = now() - _RECENT
    files = find_files(patterns, options, since=since, exclude=exclude, zarr=zarr)
    if not files:
        recent = " of the last two days" if any(has_time(pattern) for pattern in patterns) else ""
        raise DataError(f"no file{recent} matches {', '.join(patterns)}")
    return Given(patterns, tuple(files), options)


def _zarr_keys(patterns: Sequence[str], options: dict[str, Any]) -> ZarrKeys | None:
    """The variable that looks like rain, of the first Zarr store; None if there is no store."""
    for pattern in filter(is_zarr, patterns):
        address = local_path(pattern) or pattern
        for store in find_stores(address, options, now() - _RECENT, None):
            fields = [
                Field(name, str(attributes.get("units", "")), _title(attributes), shape)
                for name, (attributes, shape) in list_arrays(store, options).items()
            ]
            rain = rain_fields(fields)
            if not rain:
                raise DataError(
                    f"{store}: no array of it looks like rain or reflectivity on a map; its arrays "
                    f"are: {in_words(fields)}. If one of them is rain, write 'variable: NAME' and "
                    "'units:' into a configuration yourself"
                )
            return ZarrKeys(rain[0].name)
    return None


def _title(attributes: dict[str, Any]) -> str:
    return str(attributes.get("standard_name") or attributes.get("long_name") or "")


def _as_pattern(word: str) -> str:
    """The pattern of the files in a folder or in a zip or tar file; other words as they are."""
    if is_zarr(word):
        return word
    path = local_path(word) if protocol_of(word) is None else None
    if path is not None and Path(path).is_dir():
        return f"{path.rstrip('/')}/**/*"
    suffixes = Path(word).suffixes
    is_tar = ".tar" in suffixes[-2:]
    kind = "tar" if is_tar else _CONTAINERS.get(suffixes[-1].lower() if suffixes else "")
    if kind and split_chain(word) is None:
        return f"{kind}://**::{word}"
    return word


def names_beside(given: Given) -> list[str]:
    """Names of the files in the folder of a single local file, which may tell the step."""
    path = local_path(given.patterns[0]) if protocol_of(given.patterns[0]) is None else None
    if len(given.files) > 1 or path is None or not Path(path).is_file():
        return []
    own = Path(path)
    names = sorted(other.name for other in own.parent.iterdir() if other.suffix == own.suffix)
    return names[:MOST_NAMES]
