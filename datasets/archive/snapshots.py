"""Looking after an archive: its history of commits, tags that protect, expiry of old snapshots.

Public: `history`, `tag`, `delete_tag`, `expire`. None of them changes what the newest snapshot
holds; reading is `datasets.archive.archive`, writing scans `datasets.archive.writer`, verifying
`squall.datasets.archive.check`.

Every commit leaves a snapshot, and a snapshot keeps the chunks that later commits replaced. An
archive that grows by single scans therefore needs `expire` from time to time: it forgets old
snapshots and deletes what only they held.
"""

from __future__ import annotations

import os
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

from squall.datasets.addresses import is_remote
from squall.datasets.archive.repository import BRANCH, open_repository, write_lock
from squall.datasets.errors import ConfigError

# Icechunk takes other names, too, but lists only those of ASCII without line breaks, and cannot
# protect what it does not list.
TAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

# No lock keeps ingestion out of an object store while it is tidied up. Chunks that an ingestion has
# written and not yet committed look like garbage; none is a day old, for it commits by the batch.
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
        return asdict(self) | {"time": f"{self.time:%Y-%m-%dT%H:%M:%SZ}", "tags": list(self.tags)}

    def __str__(self) -> str:
        tags = f"  [{', '.join(self.tags)}]" if self.tags else ""
        return f"{self.snapshot}  {self.time:%Y-%m-%d %H:%M:%S}  {self.message}{tags}"


@dataclass(frozen=True)
class ExpireReport:
    """What an expiry did, or would do; sizes in bytes."""

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
            "cut_off": f"{self.cut_off:%Y-%m-%dT%H:%M:%SZ}",
            "kept_by_tags": list(self.kept_by_tags),
        }

    def __str__(self) -> str:
        kept = f"{self.kept} kept"
        if self.kept_by_tags:
            kept += f" (older ones by tag: {', '.join(self.kept_by_tags)})"
        size = f"{self.bytes_freed / 1e6:.3g} MB in {self.files_deleted} files"
        plural = "" if self.expired == 1 else "s"
        old = f"{self.expired} snapshot{plural} of before {self.cut_off:%Y-%m-%d %H:%M} UTC"
        if not self.dry_run:
            return f"{old} expired, {kept}; freed {size}"
        return (
            f"{old} would expire, {kept}; nothing was changed. "
            f"Nobody holds {size} even now, what the expired ones hold comes on top"
        )


def history(address: str | Path, limit: int | None = None) -> list[Commit]:
    """Commits, newest first: those of the archive, and older ones that a tag holds.

    Raises
    ------
    DataError
        If there is no archive at the address.
    """
    repository = open_repository(os.fspath(address))
    return list(islice(_commits(repository), limit))


def tags_of(repository: icechunk.Repository) -> dict[str, str]:
    """Name of each tag and the snapshot that it holds."""
    return {name: str(repository.lookup_tag(name)) for name in sorted(repository.list_tags())}


def _commits(repository: icechunk.Repository) -> Iterator[Commit]:
    held: dict[str, tuple[str, ...]] = {}
    for name, snapshot in tags_of(repository).items():
        held[snapshot] = (*held.get(snapshot, ()), name)
    tagged = [repository.lookup_snapshot(snapshot) for snapshot in held]
    tagged.sort(key=lambda info: info.written_at, reverse=True)
    seen: set[str] = set()
    for info in merge(
        repository.ancestry(branch=BRANCH), tagged, key=lambda info: info.written_at, reverse=True
    ):
        if info.parent_id is None or info.id in seen:  # the empty root is no commit of anyone
            continue
        seen.add(info.id)
        time = pd.Timestamp(info.written_at).tz_convert(None)
        yield Commit(info.id, time, info.message, held.get(info.id, ()))


def tag(address: str | Path, name: str, snapshot: str | None = None) -> str:
    """Protect a snapshot, the newest unless one is named, from `expire`; returns its identifier.

    Raises
    ------
    ConfigError
        If the name is no good or taken, or no such snapshot is in the history.
    DataError
        If there is no archive, or another process keeps writing it.
    """
    address = os.fspath(address)
    if not TAG_NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name for a tag: it takes up to 100 letters of a to z, digits, '.', "
            "'_' and '-', the first a letter or digit"
        )
    repository = open_repository(address)
    with write_lock(address):  # an expiry at the same time might delete what is tagged
        wanted = snapshot or repository.lookup_branch(BRANCH)
        found = next((c for c in _commits(repository) if c.snapshot == wanted), None)
        if found is None:
            raise ConfigError(
                f"{address}: has no snapshot {snapshot!r}; `squall archive history` lists them"
                if snapshot
                else f"{address}: nothing to tag, for nothing has been ingested yet"
            )
        tags = tags_of(repository)
        if name in tags:
            raise ConfigError(
                f"{address}: there is a tag {name!r} already, on snapshot {tags[name]}; tags do "
                "not move, choose another name"
            )
        try:
            repository.create_tag(name, found.snapshot)
        except icechunk.IcechunkError as error:
            if "already exists" not in str(error):
                raise
            raise ConfigError(
                f"{address}: a deleted tag had the name {name!r}, and names are never used "
                "twice; choose another"
            ) from error
    return found.snapshot


def delete_tag(address: str | Path, name: str) -> str:
    """Take a tag away; returns the snapshot that it held, which may now expire.

    Raises
    ------
    ConfigError
        If there is no such tag.
    """
    address = os.fspath(address)
    repository = open_repository(address)
    with write_lock(address):
        tags = tags_of(repository)
        if name not in tags:
            there = ", ".join(tags) or "none"
            raise ConfigError(f"{address}: has no tag {name!r}; there are: {there}")
        repository.delete_tag(name)
    return tags[name]


def expire(
    address: str | Path,
    older_than: timedelta,
    *,
    dry_run: bool = False,
    lock_timeout_s: float = 60.0,
) -> ExpireReport:
    """Forget snapshots older than an age, and delete what only they held.

    The newest snapshot and those under a tag stay, whatever their age. Who reads an expired
    snapshot meanwhile, as a long training may, loses it: tag it, or leave a longer age.

    On a disk the file lock keeps writers out, so all garbage goes, what killed ingestions left too.
    Object storage has no such lock; there, objects stay for a day at least (`REMOTE_SAFETY_AGE`)
    and until they are older than the age given.

    Raises
    ------
    ConfigError
        If the age is negative or of more than a century.
    DataError
        If there is no archive, or another process keeps writing it.
    """
    address = os.fspath(address)
    if not timedelta(0) <= older_than <= OLDEST:
        raise ConfigError(f"snapshots older than {older_than} cannot be; give an age like 30D")
    repository = open_repository(address)
    with write_lock(address, lock_timeout_s):
        now = pd.Timestamp.now("UTC")
        cut_off = now - older_than
        garbage_of = now if not is_remote(address) else min(cut_off, now - REMOTE_SAFETY_AGE)
        tags = tags_of(repository)
        commits = list(_commits(repository))
        naive = cut_off.tz_convert(None)
        old = {c.snapshot for c in commits if c.time < naive} - {repository.lookup_branch(BRANCH)}
        expired = old - set(tags.values())
        if not dry_run:
            repository.expire_snapshots(cut_off.to_pydatetime())
        freed = repository.garbage_collect(garbage_of.to_pydatetime(), dry_run=dry_run)
    return ExpireReport(
        address=address,
        cut_off=naive,
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
