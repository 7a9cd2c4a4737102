"""The stage ``squall export``: an archive as a plain Zarr store of the MLCast convention.

Owns which scans are exported, under which licence, and the report. `squall.datasets.mlcast` owns
the convention: `metadata` describes the store, `writer` writes it, `store` reads it back.
`docs/mlcast.md` has the rules.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from squall.datasets.addresses import is_remote
from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.mlcast.metadata import global_attributes, store_metadata, unmet_rules
from squall.datasets.mlcast.writer import refuse_existing, write_store
from squall.datasets.open_archive import open_archive
from squall.datasets.runs import Bools
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.outputs import check_output_folder
from squall.pipeline.progress import tracked


@dataclass(frozen=True)
class ExportResult:
    """What was exported; times are UTC, ``unmet`` lists rules that the store breaks."""

    out: str
    scans: int
    missing: int
    first: pd.Timestamp
    last: pd.Timestamp
    license: str
    unmet: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.out}: {self.scans} scans, {self.first:%Y-%m-%d %H:%M} to "
            f"{self.last:%Y-%m-%d %H:%M} UTC, {self.missing} missing times, {self.license}"
        ]
        return "\n".join([*lines, *(f"  not met: {rule}" for rule in self.unmet)])


def export(config: ExportConfig) -> ExportResult:
    """Write the stored scans of an archive as a store of the MLCast convention.

    Times whose scan is missing, rejected or without any observed pixel are not in the time axis;
    ``missing_times`` lists them.

    Raises
    ------
    ConfigError
        If the target is not empty, or the licence is no SPDX identifier.
    DataError
        If there is no archive, or it has no scan in the period.
    """
    if not is_remote(config.out):
        check_output_folder(Path(config.out), "OUT")
    refuse_existing(config.out)
    archive = open_archive(config.archive)
    license = _license(config, archive)
    is_exported = _observed(archive, _stored_in_period(archive, config))
    indices = np.flatnonzero(is_exported)
    if not indices.size:
        raise DataError(
            f"{archive.address}: has no scan with an observed pixel from "
            f"{config.start or 'its first time'} to {config.end or 'its last'}"
        )
    times = archive.times[indices]
    first, last = int(indices[0]), int(indices[-1])
    missing = archive.times[first + np.flatnonzero(~is_exported[first : last + 1])]
    from_options = {
        "mlcast_created_by": config.creator,
        "mlcast_created_with": config.created_with,
        "mlcast_dataset_identifier": config.identifier,
    }
    attributes = global_attributes(archive, license, times, missing, from_options)
    metadata = store_metadata(archive.grid, times, missing, attributes)
    write_store(
        config.out,
        metadata,
        archive,
        indices,
        threads=config.workers or os.cpu_count() or 1,
        progress=lambda rows, count: tracked(rows, "export", count),
    )
    return ExportResult(
        out=config.out,
        scans=indices.size,
        missing=missing.size,
        first=times[0],
        last=times[-1],
        license=license,
        unmet=tuple(unmet_rules(archive.grid, times, attributes)),
    )


def _license(config: ExportConfig, archive: ScanStore) -> str:
    """The licence as a canonical SPDX identifier."""
    text = config.license or archive.attributes.get("license")
    if not text:
        raise ConfigError(
            f"{archive.address}: names no licence, which the convention requires; give "
            "--license with an SPDX identifier, such as CC-BY-4.0"
        )
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression as error:
        raise ConfigError(
            f"licence '{text}' is no SPDX identifier (https://spdx.org/licenses); give the data's "
            "licence with --license, such as CC-BY-4.0"
        ) from error


def _stored_in_period(archive: ScanStore, config: ExportConfig) -> Bools:
    """(time,) whether a scan is stored for a time of the period."""
    times = archive.times
    selected = archive.status == OK
    if config.start is not None:
        selected &= np.asarray(times >= config.start)
    if config.end is not None:
        selected &= np.asarray(times <= config.end)
    return selected


def _observed(archive: ScanStore, selected: Bools) -> Bools:
    """(time,) the selected scans that have an observed pixel, by their block statistics."""
    observed, chunk = selected.copy(), archive.block_chunk
    for low in range(0, selected.size, chunk):
        span = selected[low : low + chunk]
        if span.any():
            shares = archive.block_rows("observed_share", low, low + span.size)
            observed[low : low + span.size] &= shares.any(axis=(1, 2))
    return observed
