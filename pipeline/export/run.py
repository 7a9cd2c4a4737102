"""The stage ``squall export``: an archive as a plain Zarr store of the MLCast convention.

Owns which scans are exported, under which licence, and the report. `squall.datasets.mlcast` owns
the convention: `metadata` describes the store, `writer` writes it, `store` reads it back.
`docs/mlcast.md` has the rules.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from squall.datasets.archive.records import OK
from squall.datasets.archive.scan_store import ScanStore
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.mlcast.metadata import global_attributes, store_metadata, unmet_rules
from squall.datasets.mlcast.writer import refuse_existing, write_store
from squall.datasets.open_archive import open_archive
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.progress import tracked

STATISTICS_SPAN = 4096  # time steps whose block statistics are looked at together


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
    refuse_existing(config.out)
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
    write_store(
        config.out,
        metadata,
        archive,
        kept,
        threads=config.workers or os.cpu_count() or 1,
        progress=lambda rows, count: tracked(rows, "export", count),
    )
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
