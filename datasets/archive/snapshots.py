"""Snapshots of an archive: the history of commits, tags that protect, expiry of old snapshots.

Public: `history`, `tag`, `delete_tag`, `expire`. None of them changes the newest snapshot.

Every commit leaves a snapshot, and a snapshot keeps the chunks that later commits replaced. An
archive that grows by single scans therefore needs `expire` from time to time: it removes old
snapshots and deletes the chunks that no other snapshot uses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any

import icechunk
import pandas as pd

from squall.datasets.addresses import archive_address, is_remote
from squall.datasets.archive.icechunk_errors import is_tag_name_used
from squall.datasets.archive.repository import BRANCH, listed_sizes, open_repository, write_lock
from squall.datasets.errors import ConfigError
from squall.datasets.times import utc_text

# Icechunk accepts other names, but lists only ASCII names without line breaks, and a tag that is
# not listed does not protect its snapshot.
TAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

# On object storage no lock keeps ingestion from writing during an expiry. Chunks that are written
# but not yet committed look like garbage. Each batch is committed, so they are younger than a day.
REMOTE_SAFETY_AGE = timedelta(days=1)
OLDEST = timedelta(days=36525)


@dataclass(frozen=True)
class Commit:
    """One snapshot in the history; the time is UTC."""

    snapshot: str
    time: pd.Timestamp
    message: str
    tags: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"time": utc_text(self.time), "tags": list(self.tags)}

    def __str__(self) -> str:
        tags = f"  [{', '.join(self.tags)}]" if self.tags else ""
        return f"{self.snapshot}  {self.time:%Y-%m-%d %H:%M:%S}  {self.message}{tags}"


@dataclass(frozen=True)
class ExpireReport:
    """What an expiry did, or would do; sizes in bytes, times in UTC."""

    address: str
    cut_off: pd.Timestamp
    dry_run: bool
    expired: int
    kept: int
    kept_by_tags: tuple[str, ...]
    files_deleted: int
    bytes_freed: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {
            "cut_off": utc_text(self.cut_off),
            "kept_by_tags": list(self.kept_by_tags),
        }

    def __str__(self) -> str:
        kept = f"{self.kept} kept"
        if self.kept_by_tags:
            kept += f" (older ones by tag: {', '.join(self.kept_by_tags)})"
        size = f"{self.bytes_freed / 1e6:.3g} MB in {self.files_deleted} files"
        plural = "" if self.expired == 1 else "s"
        old = f"{self.expired} snapshot{plural} older than {self.cut_off:%Y-%m-%d %H:%M} UTC"
        if not self.dry_run:
            return f"{old} expired, {kept}; freed {size}"
        return (
            f"{old} would expire, {kept}; nothing was changed. No snapshot uses {size} even now; "
            "what only the expired ones use is freed in addition"
        )


def history(address: str | Path, limit: int | None = None) -> list[Commit]:
    """Commits, newest first: those of the branch, and expired ones that a tag protects.

    Raises
    ------
    DataError
        If there is no archive at the address.
    """
    repository = open_repository(archive_address(address))
    return list(islice(_commits(repository), limit))


def snapshot_count(address: str, limit: int) -> int | None:
    """Number of snapshots; None if it takes too long to count them.

    On a disk those of `history` are counted, up to the limit. On object storage each would take a
    request, so the stored ones are listed: an expired snapshot counts until it is deleted.
    """
    if not is_remote(address):
        count = len(history(address, limit + 1))
        return None if count > limit else count
    sizes = listed_sizes(address, "snapshots/")
    return None if sizes is None else max(0, len(sizes) - 1)  # Icechunk itself makes the first


def tags_of(repository: icechunk.Repository) -> dict[str, str]:
    """Name of each tag and the snapshot that it protects."""
    return {name: str(repository.lookup_tag(name)) for name in sorted(repository.list_tags())}


def _commits(repository: icechunk.Repository) -> Iterator[Commit]:
    tags: dict[str, tuple[str, ...]] = {}
    for name, snapshot in tags_of(repository).items():
        tags[snapshot] = (*tags.get(snapshot, ()), name)
    tagged = [repository.lookup_snapshot(snapshot) for snapshot in tags]
    tagged.sort(key=lambda info: info.written_at, reverse=True)
    yielded: set[str] = set()
    for info in merge(
        repository.ancestry(branch=BRANCH), tagged, key=lambda info: info.written_at, reverse=True
    ):
        if info.parent_id is None or info.id in yielded:  # Icechunk itself makes the empty root
            continue
        yielded.add(info.id)
        time = pd.Timestamp(info.written_at).tz_convert(None)
        yield Commit(info.id, time, info.message, tags.get(info.id, ()))


def tag(address: str | Path, name: str, snapshot: str | None = None) -> str:
    """Protect a snapshot from `expire`: the given one, or the newest.

    Returns
    -------
    Identifier of the snapshot.

    Raises
    ------
    ConfigError
        If the name is invalid or in use, or the history has no such snapshot.
    DataError
        If there is no archive, or another process keeps writing it.
    """
    address = archive_address(address)
    if not TAG_NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name for a tag: a name has up to 100 letters a to z, digits, '.', "
            "'_' and '-' and begins with a letter or digit"
        )
    repository = open_repository(address)
    with write_lock(address):  # a concurrent expiry could delete the snapshot
        wanted = snapshot or repository.lookup_branch(BRANCH)
        if not any(commit.snapshot == wanted for commit in _commits(repository)):
            raise ConfigError(
                f"{address}: has no snapshot {snapshot!r}; `squall archive history` lists them"
                if snapshot
                else f"{address}: nothing to tag, because nothing has been ingested yet"
            )
        tags = tags_of(repository)
        if name in tags:
            raise ConfigError(
                f"{address}: snapshot {tags[name]} has a tag {name!r} already; tags do not move, "
                "choose another name"
            )
        try:
            repository.create_tag(name, wanted)
        except icechunk.IcechunkError as error:
            if not is_tag_name_used(error):
                raise
            raise ConfigError(
                f"{address}: a deleted tag had the name {name!r}, and a name cannot be used "
                "twice; choose another"
            ) from error
    return wanted


def delete_tag(address: str | Path, name: str) -> str:
    """Delete a tag; returns its snapshot, which may now expire.

    Raises
    ------
    ConfigError
        If there is no such tag.
    """
    address = archive_address(address)
    repository = open_repository(address)
    with write_lock(address):
        tags = tags_of(repository)
        if name not in tags:
            names = ", ".join(tags) or "none"
            raise ConfigError(f"{address}: has no tag {name!r}; its tags: {names}")
        repository.delete_tag(name)
    return tags[name]


def expire(
    address: str | Path,
    older_than: timedelta,
    *,
    dry_run: bool = False,
    lock_timeout_s: float = 60.0,
) -> ExpireReport:
    """Remove snapshots older than an age, and delete what only they use.

    The newest snapshot and tagged ones stay at any age. A process that reads an expired snapshot,
    for example a long training, fails: tag its snapshot, or choose a longer age.

    On a disk the file lock keeps writers out, so all garbage is deleted, also that of ingestions
    that were killed. Object storage has no such lock, so its objects are kept until they are older
    than the age and than `REMOTE_SAFETY_AGE`.

    Parameters
    ----------
    older_than : age.
    dry_run : only report.

    Raises
    ------
    ConfigError
        If the age is negative or more than a century.
    DataError
        If there is no archive, or another process keeps writing it.
    """
    address = archive_address(address)
    if not timedelta(0) <= older_than <= OLDEST:
        raise ConfigError(f"{older_than} is no age of a snapshot; give an age like 30D")
    repository = open_repository(address)
    with write_lock(address, lock_timeout_s):
        now = pd.Timestamp.now("UTC")
        cut_off = now - older_than
        cut_off_utc = cut_off.tz_convert(None)
        garbage_cut_off = min(cut_off, now - REMOTE_SAFETY_AGE) if is_remote(address) else now
        tags = tags_of(repository)
        commits = list(_commits(repository))
        newest = repository.lookup_branch(BRANCH)
        old = {c.snapshot for c in commits if c.time < cut_off_utc} - {newest}
        expired = old - set(tags.values())
        if not dry_run:
            repository.expire_snapshots(cut_off.to_pydatetime())
        freed = repository.garbage_collect(garbage_cut_off.to_pydatetime(), dry_run=dry_run)
    return ExpireReport(
        address=address,
        cut_off=cut_off_utc,
        dry_run=dry_run,
        expired=len(expired),
        kept=len(commits) - len(expired),
        kept_by_tags=tuple(name for name, snapshot in tags.items() if snapshot in old),
        files_deleted=freed.chunks_deleted
        + freed.manifests_deleted
        + freed.snapshots_deleted
        + freed.attributes_deleted
        + freed.transaction_logs_deleted,
        bytes_freed=freed.bytes_deleted,
    )
