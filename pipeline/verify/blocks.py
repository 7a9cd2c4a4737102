"""Blocks of scored cases: they grow case by case and are kept in files for a resumed run.

This module scores nothing (`squall.pipeline.verify.scoring`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import xarray as xr

from squall.pipeline.provenance import atomic_path
from squall.pipeline.scores.sums import ScoreSums
from squall.pipeline.verify.drawn import DrawnFields
from squall.pipeline.verify.plan import BLOCKS, Failure, Target

KEPT_CONFIGURATIONS = 5
_DIGEST_LENGTH = 16
_DIGEST = re.compile(f"[0-9a-f]{{{_DIGEST_LENGTH}}}")  # other folders are not ours to delete


@dataclass
class Block:
    """Sums, failures and times of the cases of one stretch of time on one archive.

    Parameters
    ----------
    sums : None where all cases failed.
    cases : number of cases that did not fail.
    seconds : how long each forecast took, by method.
    replaced : number of cases whose forecast is that of an extrapolation instead, by method; only
        methods that replaced any.
    drawn : fields of the cases that the report draws, by index of the reference time. They are not
        stored.
    """

    sums: ScoreSums | None = None
    cases: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    replaced: dict[str, int] = field(default_factory=dict)
    drawn: dict[int, DrawnFields] = field(default_factory=dict)

    def add(self, scored: Block) -> None:
        """Add one more case, or several."""
        if scored.sums is not None:
            self.sums = scored.sums if self.sums is None else self.sums + scored.sums
        self.cases += scored.cases
        self.failures += scored.failures
        for method, seconds in scored.seconds.items():
            self.seconds.setdefault(method, []).extend(seconds)
        for method, count in scored.replaced.items():
            self.replaced[method] = self.replaced.get(method, 0) + count
        self.drawn |= scored.drawn


class BlockStore:
    """Finished blocks on disk. Each configuration has its own folder, so that none are mixed.

    The blocks of the `KEPT_CONFIGURATIONS` that were used last are kept, so that the disk does not
    fill up as archives grow and models change.

    Parameters
    ----------
    out : folder of the verification.
    digest : hash of everything that decides the sums.
    """

    def __init__(self, out: Path, digest: str) -> None:
        self.folder = out / BLOCKS / digest[:_DIGEST_LENGTH]

    def has_others(self) -> bool:
        """Whether the same `out` has blocks of another configuration."""
        return any(path != self.folder for path in self.folder.parent.glob("*"))

    def remove_oldest(self) -> int:
        """Mark this configuration as used, and delete the blocks of those used longest ago.

        Returns
        -------
        The number of configurations whose blocks were deleted.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        os.utime(self.folder)
        folders = [
            path
            for path in self.folder.parent.iterdir()
            if path.is_dir() and not path.is_symlink() and _DIGEST.fullmatch(path.name)
        ]
        newest_first = sorted(folders, key=lambda path: path.stat().st_mtime_ns, reverse=True)
        oldest = [path for path in newest_first[KEPT_CONFIGURATIONS:] if path != self.folder]
        for path in oldest:
            shutil.rmtree(path, ignore_errors=True)
        return len(oldest)

    def clear(self) -> None:
        """Delete the blocks of this configuration."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, target: Target, name: str) -> Block | None:
        """A finished block, or None if it is not stored."""
        path = self._path(target, name)
        if not path.exists():
            return None
        with xr.open_dataset(path, decode_timedelta=True) as data:
            loaded = data.load()
        stored = json.loads(loaded.attrs.pop("block"))
        failures = [Failure(**failure) for failure in stored["failures"]]
        sums = ScoreSums(loaded) if loaded.data_vars else None
        return Block(sums, stored["cases"], failures, stored["seconds"], stored["replaced"])

    def save(self, target: Target, name: str, block: Block) -> None:
        """Store a finished block, atomically."""
        stored = {
            "cases": block.cases,
            "failures": [vars(failure) for failure in block.failures],
            "seconds": block.seconds,
            "replaced": block.replaced,
        }
        data = xr.Dataset() if block.sums is None else block.sums.data
        with atomic_path(self._path(target, name)) as temporary:
            data.assign_attrs(block=json.dumps(stored)).to_netcdf(temporary)

    def _path(self, target: Target, name: str) -> Path:
        return self.folder / target.name / f"{name}.nc"
