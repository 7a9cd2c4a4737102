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
    precedence_of_canonical,
)
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK, REDUNDANT, Rejection
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

MANY_FILES = 10_000  # from so many on, only the times of new files are read from their names


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
    requests = None  # times in names take longer than all else, so only those are read that count
    if len(files) < MANY_FILES or (config.since, config.until) != (None, None):
        requests = [ReadRequest(file, _time_of(file, network)) for file in files]
        requests = [r for r in requests if _may_hold_wanted_scans(r, config)]
        files = [request.file for request in requests]
    oldest = None if requests is None else _oldest_scan(requests, config)
    unknown = np.flatnonzero(~_known(files, config, archive, oldest)).tolist()
    if requests is None:
        new = [ReadRequest(files[i], _time_of(files[i], network)) for i in unknown]
    else:
        new = [requests[i] for i in unknown]
    last = pd.Timestamp.max
    new.sort(key=lambda r: (r.time_in_name or last, precedence_of_canonical(r.file.identity)))
    return Listing(frozenset(file.identity for file in files), new)


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


def _known(
    files: Sequence[SourceFile],
    config: IngestConfig,
    archive: Archive | None,
    since: pd.Timestamp | None,
) -> Bools:
    """Which files need not be read: used files, and unused ones whose result cannot change.

    Parameters
    ----------
    since : no file has a scan with an earlier valid time; None if that is not known.
    """
    if archive is None or not files:
        return np.zeros(len(files), dtype=bool)
    network = config.source
    log_entries = archive.refusals
    unused_marks = {entry.file_mark for entry in (*log_entries, *archive.redundant(since))}
    marks = archive.marks(since)
    known = np.isin(_marks(mark_of_used_file(f.identity, f.version) for f in files), marks)
    # earlier releases made marks of addresses as they were typed
    typed = [i for i in np.flatnonzero(~known).tolist() if files[i].address != files[i].identity]
    typed_marks = _marks(mark_of_used_file(files[i].address, files[i].version) for i in typed)
    known[typed] = np.isin(typed_marks, marks)
    known[_outdated(files, log_entries, network)] = False
    for i in np.flatnonzero(~known).tolist():
        file = files[i]
        known[i] = mark_of_unused_file(file.identity, file.version, network) in unused_marks
    return known


def _outdated(
    files: Sequence[SourceFile], log_entries: Sequence[Rejection], network: RadarNetworkConfig
) -> list[int]:
    """Positions of files with rejected scans whose result can change now, if they are read again.

    The file, the configuration or the release of Squall is another one.
    """
    marks_of: dict[str, set[int]] = {}
    for entry in log_entries:
        if entry.rule not in REDUNDANT:
            marks_of.setdefault(canonical_address(entry.file), set()).add(entry.file_mark)
    if not marks_of:
        return []
    outdated = []
    for i, file in enumerate(files):
        if file.identity in marks_of:
            current = {
                mark_of_unused_file(file.identity, version, network)
                for version in (file.version, partial_version(file.version))
            }
            if not marks_of[file.identity] <= current:
                outdated.append(i)
    return outdated


def _marks(marks: Iterable[int]) -> npt.NDArray[np.uint64]:
    return np.fromiter(marks, dtype=np.uint64)


def _oldest_scan(requests: Sequence[ReadRequest], config: IngestConfig) -> pd.Timestamp | None:
    """Lower bound of the valid times of the files' scans; None without files, or if a name has no
    time."""
    times = [request.time_in_name for request in requests]
    if not times or None in times:
        return None
    tolerance = max(era.quality.name_tolerance for era in config.source.all_eras)
    return min(time for time in times if time is not None) - config.source.file_span - tolerance
