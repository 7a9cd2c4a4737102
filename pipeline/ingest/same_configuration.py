"""Whether an archive was filled with the configuration of this run.

Owns the configuration that an archive stores, and the comparison with another one. A key changes
what a file gives unless `network_config.NOT_FOR_READING` names it, so a new key counts by default.
Scans of two calibrations must not stand in one archive.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK
from squall.datasets.errors import ConfigError
from squall.datasets.public_text import public_address
from squall.datasets.radar.formats import named_format
from squall.datasets.radar.network_config import NOT_FOR_READING, RadarNetworkConfig
from squall.datasets.radar.radar_file import file_digest

_MASKS = "clutter_mask_digests"
# Limits that decide which scans are accepted, not what they hold. A looser limit changes no scan
# that is stored already: 1 where a greater value is looser, -1 where a smaller one is.
_LIMITS = {
    "snap_tolerance": 1,
    "quality.name_tolerance": 1,
    "quality.highest_share": 1,
    "quality.least_observed_share": -1,
    "quality.reject_identical": -1,
}


def stored_configuration(network: RadarNetworkConfig) -> str:
    """The configuration as an archive stores it: without options and signatures of the source.

    Raises
    ------
    ConfigError
        If a clutter mask cannot be read.
    """
    patterns = tuple(public_address(pattern) for pattern in network.source)
    public = network.model_copy(update={"source": patterns})
    values = public.model_dump(mode="json", exclude={"source_options"})
    digests = mask_digests(network)
    return json.dumps(values | ({_MASKS: digests} if digests else {}))


def mask_digests(network: RadarNetworkConfig) -> dict[str, str]:
    """Digest of each clutter mask by its path: a mask may change although its path does not."""
    masks = {era.quality.clutter_mask for era in network.all_eras} - {None}
    try:
        return {str(path): file_digest(str(path)) for path in masks}
    except OSError as error:
        raise ConfigError(f"quality.clutter_mask: cannot be read: {error}") from error


def refuse_other_configuration(archive: Archive, network: RadarNetworkConfig) -> None:
    """Refuse to add scans that are read otherwise than those in the archive.

    Raises
    ------
    ConfigError
        If a key that changes values or times differs from the archive's, at a time at which the
        archive holds scans. The message names the keys with both values.
    """
    changes = list(_changes(archive, network))
    if changes:
        raise ConfigError(
            f"{archive.address}: was filled with another configuration; scans of the two must not "
            f"be mixed. Changed: {'; '.join(dict.fromkeys(changes))}. Change it back, or read all "
            "files again with --reread, or give another --archive"
        )


def _changes(archive: Archive, network: RadarNetworkConfig) -> Iterator[str]:
    """Key, stored and configured value of each difference that concerns a stored scan."""
    text = archive.attributes.get("configuration")
    if not text:  # an archive that another program made
        return
    values = json.loads(text)
    digests = values.pop(_MASKS, {})
    try:
        stored = RadarNetworkConfig.model_validate(_with_nan(values))
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(str(part) for part in detail["loc"])
        yield f"{key}, which this release of Squall does not understand ({detail['msg']})"
        return
    good = archive.times[np.flatnonzero(archive.status == OK)]
    new_digests = mask_digests(network)
    eras = (*stored.eras_since, *network.eras_since)
    boundaries = [None, *sorted({since for since, _ in eras})]
    for first, end in zip(boundaries, [*boundaries[1:], None], strict=True):
        if not _any_between(good, first, end):
            continue
        old_values = _reading_values(stored.at(first), digests, new_digests)
        new_values = _reading_values(network.at(first), new_digests, digests)
        for key in sorted(old_values.keys() | new_values.keys()):
            old, new = old_values.get(key), new_values.get(key)
            is_same = json.dumps(old) == json.dumps(new)
            has_grid = stored.at(first).grid is not None
            if key == "format" and _is_format_of_the_content(old, new, has_grid):
                continue
            if not (is_same or _is_looser(key, stored.at(first), network.at(first))):
                yield f"'{key}' was {_shown(old)}, is {_shown(new)}"


def _is_format_of_the_content(old: str | None, new: str | None, has_grid: bool) -> bool:
    """Whether one configuration names no format, and the other one that the content tells anyway.

    A file of another content is rejected by both. But where the key ``grid`` places the pixels, a
    netCDF file can also be read as plain HDF5 and the other way round, with other attributes.
    """
    if old is not None and new is not None:
        return False
    name = new if old is None else old
    if has_grid and name in ("netcdf", "hdf5"):
        return False
    return name is not None and named_format(name).recognises is not None


def _any_between(
    times: pd.DatetimeIndex, first: pd.Timestamp | None, end: pd.Timestamp | None
) -> bool:
    is_within = np.ones(len(times), dtype=bool)
    if first is not None:
        is_within &= times >= first
    if end is not None:
        is_within &= times < end
    return bool(is_within.any())


def _reading_values(
    config: RadarNetworkConfig, digests: Mapping[str, str], other_digests: Mapping[str, str]
) -> dict[str, Any]:
    """Plain values of all keys that change what a file gives, inner ones as ``quality.…``."""
    keys = _flat(config.model_dump(mode="json", exclude=NOT_FOR_READING | {"eras"}))
    mask = keys["quality.clutter_mask"]
    if mask in digests and other_digests:  # the content counts, not the place
        keys["quality.clutter_mask"] = f"a mask with the digest {digests[mask]}"
    return keys


def _flat(values: Mapping[str, Any], outer: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= (
            _flat(value, f"{outer}{key}.") if isinstance(value, Mapping) else {outer + key: value}
        )
    return flat


def _is_looser(key: str, old: RadarNetworkConfig, new: RadarNetworkConfig) -> bool:
    """Whether a limit accepts all scans that it accepted before."""
    sign = _LIMITS.get(key)
    if sign is None:
        return False
    owner, _, name = key.rpartition(".")
    before, after = ((getattr(c, owner) if owner else c) for c in (old, new))
    return bool(getattr(after, name) > getattr(before, name)) == (sign > 0)


def _shown(value: Any) -> str:
    return "not set" if value is None or value == "" or value == [] else json.dumps(value)


def _with_nan(values: dict[str, Any]) -> dict[str, Any]:
    """Configuration of an earlier release, which stored a NaN of a list of numbers as null."""
    lists = {key: values[key] for key in ("missing_values", "dry_values") if values.get(key)}
    numbers = {k: [math.nan if v is None else v for v in numbers] for k, numbers in lists.items()}
    return values | numbers
