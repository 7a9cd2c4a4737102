"""Which of the source's files are new to the archive.

Owns the listing of a run and the comparison with the archive's marks, by address and version only;
no file is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from squall.datasets.addresses import (
    base_name,
    canonical_address,
    is_spelling_of,
    precedence,
)
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK, REDUNDANT
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar.file_times import snap_to_step, time_from_name
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.runs import Bools
from squall.datasets.sources.access import SourceFile
from squall.datasets.sources.find import find_files
from squall.datasets.sources.zarr_stores import ZarrKeys, is_zarr
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.file_marks import (
    mark_of_unused_file,
    mark_of_used_file,
    partial_version,
)
from squall.pipeline.ingest.reading import ReadRequest


@dataclass(frozen=True)
class Listing:
    """The canonical addresses of the files that may hold scans of the period; the new files."""

    files: frozenset[str]
    new: list[ReadRequest]

    @property
    def known(self) -> int:
        """Number of files that the archive knows."""
        return len(self.files) - len(self.new)


def list_files(
    config: IngestConfig, archive: Archive | None, *, since: pd.Timestamp | None = None
) -> Listing:
    """List the source's files that may hold scans of the period; the new ones in order of time.

    Parameters
    ----------
    archive : whose known files are not new; None if all files are new.
    since : first time for ``{time:…}`` parts, where the archive does not give it.

    Raises
    ------
    ConfigError
        If the configuration cannot work for the scans of a Zarr store.
    DataError
        If a pattern without a date matches no file.
    SourceUnavailable
        If the source cannot be listed.
    """
    network = config.source
    _check_stores(config)
    files = find_files(
        config.patterns,
        network.source_options,
        since=since or _first_time(config, archive),
        until=config.until,
        exclude=(*network.exclude, *config.exclude),
        zarr=ZarrKeys(network.variable, (*network.missing_values, *network.dry_values)),
    )
    if not files and not any("{" in pattern for pattern in config.patterns):
        raise DataError(f"no file matches {', '.join(config.patterns)}")
    requests = [ReadRequest(file, _time_of(file, network)) for file in files]
    requests = [r for r in requests if _may_hold_wanted_scans(r, config)]
    known = _known(requests, config, archive)
    new = [requests[i] for i in np.flatnonzero(~known).tolist()]
    last = pd.Timestamp.max
    new.sort(key=lambda r: (r.time_in_name or last, precedence(r.file.identity)))
    return Listing(frozenset(request.file.identity for request in requests), new)


def _check_stores(config: IngestConfig) -> None:
    """Refuse what needs the name of a file, for scans of Zarr stores, which have none."""
    stores = [pattern for pattern in config.patterns if is_zarr(pattern)]
    network = config.source
    if stores and (network.eras or network.time_from == "name"):
        key = "eras" if network.eras else "time_from: name"
        advice = "; write a configuration for each period" if network.eras else ""
        raise ConfigError(
            f"{stores[0]}: '{key}' needs the time in the name of each file, which scans of a Zarr "
            f"store do not have; leave it out{advice}"
        )


def _first_time(config: IngestConfig, archive: Archive | None) -> pd.Timestamp | None:
    """First time for the ``{time:…}`` parts of the patterns.

    An address has the time of a file, which may be earlier than that of a scan: the start of an
    accumulation, the first scan of the file, or a time shortly before the step.
    """
    if config.since is not None:
        return config.since - _most_before_scan(config.source)
    newest = None if archive is None else newest_time(archive)
    return config.source.begins if newest is None else newest - config.source.lookback


def _most_before_scan(network: RadarNetworkConfig) -> pd.Timedelta:
    """How much the time in a file's address may be before the valid time of one of its scans."""
    before = pd.Timedelta(0)
    for era in network.all_eras:
        from_start = era.accumulation if era.time_marks == "start" else None
        to_step = era.snap_tolerance if era.time_in_name else pd.Timedelta(0)
        before = max(before, to_step + (from_start or pd.Timedelta(0)))
    return network.file_span + before


def first_time_of_all(config: IngestConfig, archive: Archive) -> pd.Timestamp:
    """First time for ``{time:…}`` parts, so that the files of all stored scans are found."""
    first = archive.start - _most_before_scan(config.source) - pd.Timedelta("1D")
    begins = config.source.begins
    return first if begins is None else min(first, begins)


def refuse_lost_scans(archive: Archive, listing: Listing) -> None:
    """Refuse to read an archive's files again if some of them are gone.

    Raises
    ------
    DataError
        If a stored scan's file is not in the listing.
    """
    rows = np.flatnonzero(archive.status == OK)
    sources = archive.records(rows)["source"].tolist() if rows.size else []
    by_name: dict[str, list[str]] = {}
    for file in listing.files:
        by_name.setdefault(base_name(file), []).append(file)
    gone = {
        source
        for source in set(sources) - listing.files
        if not any(is_spelling_of(source, file) for file in by_name.get(base_name(source), ()))
    }
    lost = [int(row) for row, source in zip(rows, sources, strict=True) if source in gone]
    if lost:
        first, last = (archive.start + row * archive.step for row in (lost[0], lost[-1]))
        raise DataError(
            f"{archive.address}: --reread would lose {len(lost)} of {len(sources)} scans, from "
            f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, because their files are not "
            f"found any more, such as {sorted(gone)[0]}; bring the files back, let the patterns "
            "find them, or fill another --archive"
        )


def newest_time(archive: Archive) -> pd.Timestamp | None:
    """Valid time of the newest good scan of an archive."""
    good = np.flatnonzero(archive.status == OK)
    return archive.times[good[-1]] if good.size else None


def _time_of(file: SourceFile, network: RadarNetworkConfig) -> pd.Timestamp | None:
    """Time in a file's name; of scans in a Zarr store that of the first one."""
    if file.scans is None:
        return time_from_name(file.name, network)
    try:
        return None if file.scans.times is None else snap_to_step(file.scans.times[0], network)
    except DataError:  # reading says what is wrong
        return None


def _may_hold_wanted_scans(request: ReadRequest, config: IngestConfig) -> bool:
    """Whether a file can have scans of the period; they start at the time in its name."""
    time_in_name, scans = request.time_in_name, request.file.scans
    if scans is not None and scans.times is not None:
        # valid times may be later than those of the store by an accumulation
        time_in_name, last_time = scans.times[0], scans.times[1] + _most_before_scan(config.source)
    elif time_in_name is None:
        return True
    else:
        last_time = time_in_name + config.source.file_span
    return (config.since is None or last_time >= config.since) and (
        config.until is None or time_in_name <= config.until
    )


def _known(requests: Sequence[ReadRequest], config: IngestConfig, archive: Archive | None) -> Bools:
    """Which files need not be read: used files, and unused ones whose result cannot change."""
    if archive is None or not requests:
        return np.zeros(len(requests), dtype=bool)
    network = config.source
    files = [request.file for request in requests]
    marks_if_unused = _marks(mark_of_unused_file(f.identity, f.version, network) for f in files)
    since = _oldest_scan(requests, config)
    log_entries = archive.refusals
    unused_marks = {entry.file_mark for entry in (*log_entries, *archive.redundant(since))}
    current_marks = set(marks_if_unused.tolist()) | {
        mark_of_unused_file(f.identity, partial_version(f.version), network) for f in files
    }
    # scans of a used file may have been rejected: read it again if the result can change
    outdated_files = {
        canonical_address(entry.file)
        for entry in log_entries
        if entry.rule not in REDUNDANT and entry.file_mark not in current_marks
    }
    is_outdated = np.array([file.identity in outdated_files for file in files])
    marks = archive.marks(since)
    is_used = np.isin(_marks(mark_of_used_file(f.identity, f.version) for f in files), marks)
    # earlier releases made marks of addresses as they were typed
    is_used |= np.isin(_marks(mark_of_used_file(f.address, f.version) for f in files), marks)
    is_unused = np.isin(marks_if_unused, _marks(sorted(unused_marks)))
    return (is_used & ~is_outdated) | is_unused


def _marks(marks: Iterable[int]) -> npt.NDArray[np.uint64]:
    return np.array(list(marks), dtype=np.uint64)


def _oldest_scan(requests: Sequence[ReadRequest], config: IngestConfig) -> pd.Timestamp | None:
    """Lower bound of the valid times of the files' scans; None if a name has no time."""
    times = [request.time_in_name for request in requests]
    if None in times:
        return None
    tolerance = max(era.quality.name_tolerance for era in config.source.all_eras)
    return min(time for time in times if time is not None) - config.source.file_span - tolerance
