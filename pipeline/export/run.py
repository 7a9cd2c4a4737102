"""An archive as a plain Zarr store of the MLCast source-data convention.

Owns the layout that the convention asks for and writing it so that an interrupted export never
looks finished. Reading such a store back is `datasets.mlcast.store`; `docs/mlcast.md` has the
rules.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import fsspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import zarr
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from squall.datasets.addresses import is_remote
from squall.datasets.archive.records import OK
from squall.datasets.archive.repository import unreachable
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.mlcast.field import store_at
from squall.datasets.mlcast.metadata import VARIABLE, global_attributes, store_metadata, unmet_rules
from squall.datasets.open_archive import open_archive
from squall.datasets.times import EndTime, Time
from squall.pipeline.progress import tracked

ROOT_LAST = (".zattrs", ".zgroup", ".zmetadata")
SPAN_BYTES = 2**28  # of codes that all threads hold together
STATISTICS_SPAN = 4096  # time steps whose block statistics are looked at together


class ExportConfig(BaseModel):
    """What to export, where to, and who answers for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    archive: str = Field(description="archive to export: a folder, s3:// or gs://")
    out: str = Field(description="Zarr store to make: a folder, s3:// or another fsspec address")
    convention: Literal["mlcast"] = "mlcast"
    start: Time | None = Field(default=None, description="first scan, UTC")
    end: EndTime | None = Field(default=None, description="last scan, UTC")
    license: str | None = Field(
        default=None, description="SPDX identifier, where the archive's attributes have none"
    )
    creator: str | None = Field(
        default=None,
        pattern=r"^[^<>]*[^<>\s] <[^<>@\s]+@[^<>@\s]+>$",
        description="contact for the data set, like 'Ada Lovelace <ada@example.org>'",
    )
    identifier: str | None = Field(
        default=None,
        pattern=r"^[A-Z]{2}-[A-Za-z0-9]\w*-[A-Za-z0-9]\w*$",
        description="data set identifier COUNTRY-ENTITY-VARIABLE, like NL-KNMI-rainfall_flux",
    )
    created_with: str | None = Field(
        default=None,
        pattern=r"^https://github\.com/mlcast-community/mlcast-dataset-[^-\s]+-\S+@\S+$",
        description="repository and version of the data set's recipe at mlcast-community",
    )
    workers: int | None = Field(default=None, gt=0, description="threads (default: one a core)")

    @field_validator("out")
    @classmethod
    def _plain_folder(cls, out: str) -> str:
        return out.removeprefix("file://")

    @model_validator(mode="after")
    def _ordered(self) -> ExportConfig:
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ValueError(f"end {self.end} lies before start {self.start}")
        return self


@dataclass(frozen=True)
class ExportResult:
    """What an export holds; times are UTC."""

    out: str
    scans: int
    missing: int
    first: pd.Timestamp
    last: pd.Timestamp
    license: str
    unmet: tuple[str, ...]
    """rules of the convention that this export breaks, by section"""

    def __str__(self) -> str:
        lines = [
            f"{self.out}: {self.scans} scans, {self.first:%Y-%m-%d %H:%M} to "
            f"{self.last:%Y-%m-%d %H:%M} UTC, {self.missing} missing times, {self.license}"
        ]
        return "\n".join([*lines, *(f"  not met: {rule}" for rule in self.unmet)])


def export(config: ExportConfig) -> ExportResult:
    """Write the good scans of an archive as a store of the convention.

    Scans that are missing, rejected or without any observed pixel stay out of the time axis and
    are listed in ``missing_times``.

    Raises
    ------
    ConfigError
        If the target is not empty, or the licence is none of SPDX.
    DataError
        If there is no archive, or it holds no scan in the period.
    """
    archive = open_archive(config.archive)
    license = _license(config, archive)
    _refuse_what_is_there(config.out)
    good = _observed(archive, _period(archive, config))
    kept = np.flatnonzero(good)
    if not kept.size:
        raise DataError(
            f"{archive.address}: holds no scan with an observed pixel from "
            f"{config.start or 'its first time'} to {config.end or 'its last'}"
        )
    times = archive.times
    missing = times[kept[0] + np.flatnonzero(~good[kept[0] : kept[-1] + 1])]
    given = {
        "mlcast_created_by": config.creator,
        "mlcast_created_with": config.created_with,
        "mlcast_dataset_identifier": config.identifier,
    }
    attributes = global_attributes(archive, license, times[kept], missing, given)
    metadata = store_metadata(archive.grid, times[kept], missing, attributes)
    with _target(config.out) as place:
        filesystem, root = _writable(place)
        filesystem.pipe({f"{root}/{k}": v for k, v in metadata.items() if k not in ROOT_LAST})
        array: Any = zarr.open_array(store_at(place, read_only=False), path=VARIABLE, mode="r+")
        _write_scans(archive, kept, array, config.workers or os.cpu_count() or 1)
        for key in ROOT_LAST:  # without these nothing takes the store for one
            filesystem.pipe_file(f"{root}/{key}", metadata[key])
    return ExportResult(
        out=config.out,
        scans=kept.size,
        missing=missing.size,
        first=times[kept[0]],
        last=times[kept[-1]],
        license=license,
        unmet=tuple(unmet_rules(archive.grid, times[kept], attributes)),
    )


def _license(config: ExportConfig, archive: ScanStore) -> str:
    text = config.license or archive.attributes.get("license")
    if not text:
        raise ConfigError(
            f"{archive.address}: says nothing of a licence, and the convention wants one; give "
            "--license with an SPDX identifier, such as CC-BY-4.0"
        )
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression as error:
        raise ConfigError(
            f"licence '{text}' is no SPDX identifier (https://spdx.org/licenses); give the one of "
            "the data with --license, such as CC-BY-4.0"
        ) from error


def _refuse_what_is_there(out: str) -> None:
    filesystem, root = fsspec.core.url_to_fs(out)
    filesystem.invalidate_cache()
    try:
        taken = filesystem.isfile(root) or (filesystem.isdir(root) and bool(filesystem.ls(root)))
    except Exception as error:  # each object store has errors of its own
        if is_remote(out):
            raise unreachable(out, error) from error
        raise
    if taken:
        raise ConfigError(
            f"{out}: is there already and is not empty; an export overwrites nothing: remove it "
            "(an export that was killed leaves an unusable rest) or choose another place"
        )


def _period(archive: ScanStore, config: ExportConfig) -> npt.NDArray[np.bool_]:
    times = archive.times
    inside = archive.status == OK
    if config.start is not None:
        inside &= np.asarray(times >= config.start)
    if config.end is not None:
        inside &= np.asarray(times <= config.end)
    return inside


def _observed(archive: ScanStore, good: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(time,) the good scans that have an observed pixel, by their block statistics."""
    observed = good.copy()
    for low in range(0, good.size, STATISTICS_SPAN):
        part = np.zeros_like(good)
        part[low : low + STATISTICS_SPAN] = good[low : low + STATISTICS_SPAN]
        if part.any():
            shares = archive.block_statistics("observed_share", part)
            observed[part] = shares.any(axis=(1, 2))
    return observed


def _write_scans(archive: ScanStore, kept: npt.NDArray[np.int64], array: Any, workers: int) -> None:
    """Threads take spans of the archive's chunks along time, each read once."""
    frame = int(np.prod(archive.grid.shape))
    chunk = archive.codes.chunks[0]
    span = chunk * max(1, 8 // chunk)
    workers = max(1, min(workers, SPAN_BYTES // (span * frame)))
    edges = np.flatnonzero(np.diff(kept // span)) + 1
    parts = np.split(np.arange(kept.size), edges)

    def write(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        first = int(kept[rows[0]])
        codes = np.asarray(archive.codes[first : int(kept[rows[-1]]) + 1])
        for row in rows.tolist():
            array[row] = RAIN_CODE.decode(codes[kept[row] - first])
        return rows

    written = (row for rows in _in_threads(write, parts, workers) for row in rows)
    for _ in tracked(written, "export", kept.size):
        pass


def _in_threads(
    write: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]],
    parts: Sequence[npt.NDArray[np.int64]],
    workers: int,
) -> Iterator[npt.NDArray[np.int64]]:
    """Results as they come; never more parts under way than threads."""
    with ThreadPoolExecutor(workers) as pool:
        under_way: set[Future[npt.NDArray[np.int64]]] = set()
        for part in parts:
            if len(under_way) == workers:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            under_way.add(pool.submit(write, part))
        yield from (future.result() for future in under_way)


@contextmanager
def _target(out: str) -> Iterator[str]:
    """Address to write to; what is not finished goes away again."""
    if is_remote(out):
        try:
            yield out
        except BaseException:
            filesystem, root = _writable(out)
            filesystem.invalidate_cache()
            if filesystem.exists(root):
                filesystem.rm(root, recursive=True)
            raise
        return
    final = Path(out).absolute()
    part = final.with_name(f".{final.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        yield str(part)
        part.replace(final)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _writable(address: str) -> tuple[Any, str]:
    """Filesystem that makes the folders it needs, and the path of an address in it."""
    if not is_remote(address):
        return fsspec.filesystem("file", auto_mkdir=True), address
    filesystem, root = fsspec.core.url_to_fs(address)
    return filesystem, root.rstrip("/")
