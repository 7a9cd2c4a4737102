"""Stores for the loader's benchmark: real scans, repeated in time up to some GB.

Owns making them, in the archive's layout and in those that it is compared with.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import zarr
from zarr.codecs import ZstdCodec

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.layout import TIME_CHUNK
from squall.datasets.archive.records import OK
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.measures import measure
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.config import load_config
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.export.run import export
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.run import ingest

ROOT = Path(__file__).parents[2]
NETWORKS = ("knmi", "fmi")
START = pd.Timestamp("2010-01-01")
COMMIT_SCANS = 20 * TIME_CHUNK


def archives(folder: Path, gib: float) -> list[str]:
    """Addresses of one archive for each network, ``gib`` of codes in total; makes missing ones."""
    return [str(_repeated(network, folder, gib / len(NETWORKS))) for network in NETWORKS]


def _repeated(network: str, folder: Path, gib: float) -> Path:
    """The network's real scans, repeated without a gap in time."""
    path = folder / f"{network}-{gib:g}"
    if path.exists():
        return path
    source = load_config(ROOT / "configs" / "archives" / f"{network}.yaml", RadarNetworkConfig)
    originals = folder / f"{network}-real"
    ingest(IngestConfig(source=source, archive=str(originals)))
    real = Archive.open(originals)
    codes = real.codes[:][real.status == OK]
    measures = [measure(scan) for scan in codes]
    count = int(gib * 2**30) // codes[0].size
    partial = path.with_suffix(".partial")
    writer = ArchiveWriter(partial, real.step, {"name": network, "title": f"{network}, repeated"})
    for first in range(0, count, COMMIT_SCANS):
        scans = [
            StoredScan(
                START + index * real.step,
                codes[index % len(codes)],
                f"{index}.nc",
                f"{index:032x}",
                file_mark=index + 1,
                measures=measures[index % len(codes)],
            )
            for index in range(first, min(first + COMMIT_SCANS, count))
        ]
        writer.commit(real.grid, scans, [], "repeated")
    return partial.rename(path)


def plain_copy(archive: Archive, scans: int) -> Path:
    """The codes of the first scans as a plain Zarr array with the archive's chunks and codec."""
    path = Path(f"{archive.address}-plain.zarr")
    if path.exists():
        return path
    source, partial = archive.codes, path.with_suffix(".partial")
    array = zarr.create_array(
        str(partial),
        shape=(scans, *archive.grid.shape),
        chunks=source.chunks,
        dtype=source.dtype,
        compressors=ZstdCodec(level=3, checksum=True),
        fill_value=source.fill_value,
        overwrite=True,
    )
    for first in range(0, scans, COMMIT_SCANS):
        array[first : first + COMMIT_SCANS] = source[first : min(first + COMMIT_SCANS, scans)]
    return partial.rename(path)


def float_store(address: str) -> str:
    """The archive as a store of the MLCast convention: float32, one chunk for each scan."""
    path = f"{address}-mlcast.zarr"
    if not Path(path).exists():
        export(ExportConfig(archive=address, out=path, license="CC-BY-4.0"))
    return path
