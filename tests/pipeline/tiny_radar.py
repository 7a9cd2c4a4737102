"""Radar files of 16 × 16 pixels for tests of ingestion, and the content of their archive."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import MISSING, OK
from squall.datasets.archive.repository import open_repository
from squall.datasets.archive.writer import NEW_BRANCH, ArchiveWriter
from squall.datasets.coding import RAIN_CODE
from squall.datasets.measures import codes_checksum
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.report import IngestReport
from squall.pipeline.ingest.run import ingest

SIZE = 16
FIRST = pd.Timestamp("2024-06-01")
STEP = pd.Timedelta("5min")
POLAR = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 0.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
    "false_easting": 0.0,
    "false_northing": 0.0,
    "semi_major_axis": 6378137.0,
    "semi_minor_axis": 6356752.0,
}
VALUES: dict[str, Any] = {
    "name": "tiny",
    "step": "5min",
    "variable": "rain",
    "time_in_name": "rain_%Y%m%dT%H%M",
}
CONFIG = RadarNetworkConfig(**VALUES)


def config_with(**changes: Any) -> RadarNetworkConfig:
    """The configuration of the files, with changes."""
    return RadarNetworkConfig(**VALUES | changes)


def rain(count: int, seed: int = 0) -> np.ndarray:
    """(count, y, x) hundredths of mm/h; all scans differ."""
    return np.random.default_rng(seed).integers(0, 3000, (count, SIZE, SIZE), dtype=np.uint16)


def path_of(folder: Path, time: pd.Timestamp, suffix: str = "") -> Path:
    """Path of the file of one scan."""
    return folder / f"rain_{time:%Y%m%dT%H%M}{suffix}.nc"


def write_file(
    path: Path,
    numbers: np.ndarray,
    first: pd.Timestamp,
    *,
    step: pd.Timedelta = STEP,
    spacing_m: float = 1000.0,
    variable: str = "rain",
    units: str = "mm h-1",
) -> Path:
    """Write scans, (y, x) or (time, y, x) in hundredths, of consecutive times into one file."""
    numbers = numbers.reshape(-1, *numbers.shape[-2:])
    path.parent.mkdir(parents=True, exist_ok=True)
    with netCDF4.Dataset(path, "w") as file:
        for dim, size in zip(("time", "y", "x"), numbers.shape, strict=True):
            file.createDimension(dim, size)
        times = file.createVariable("time", "f8", ("time",))
        times.setncatts({"standard_name": "time", "units": "seconds since 1970-01-01"})
        times[:] = [(first + i * step).timestamp() for i in range(len(numbers))]
        for dim, sign in (("y", -1), ("x", 1)):
            axis = file.createVariable(dim, "f8", (dim,))
            axis.setncatts({"standard_name": f"projection_{dim}_coordinate", "units": "m"})
            axis[:] = sign * spacing_m * np.arange(file.dimensions[dim].size)
        file.createVariable("proj", "i4").setncatts(POLAR)
        field = file.createVariable(
            variable, "u2", ("time", "y", "x"), fill_value=65535, chunksizes=(1, *numbers.shape[1:])
        )
        field.setncatts({"units": units, "scale_factor": 0.01, "grid_mapping": "proj"})
        field.set_auto_maskandscale(False)
        field[:] = numbers
    return path


def write_scans(
    folder: Path, count: int, first: pd.Timestamp = FIRST, seed: int = 0, **options: Any
) -> list[Path]:
    """Write one file for each scan; returns their paths in order of time."""
    times = [first + i * STEP for i in range(count)]
    scans = rain(count, seed)
    return [
        write_file(path_of(folder, time), scan, time, **options)
        for time, scan in zip(times, scans, strict=True)
    ]


def run(
    archive: Path | str, *patterns: Path | str, config: RadarNetworkConfig = CONFIG, **settings: Any
) -> IngestReport:
    """One pass of ingestion, in this process unless ``workers`` is given."""
    return ingest(
        IngestConfig(
            source=config,
            archive=str(archive),
            files=tuple(str(pattern) for pattern in patterns),
            **{"workers": 0} | settings,
        )
    )


def codes_of(hundredths: np.ndarray) -> np.ndarray:
    """Codes of rain rates in hundredths of mm/h."""
    return RAIN_CODE.encode((hundredths * 0.01).astype(np.float32))


def scan_at(archive: Path, index: int) -> Any:
    """Codes that an archive holds ``index`` steps after `FIRST`."""
    opened = Archive.open(archive)
    return opened.codes[opened.index_of(FIRST + index * STEP)]


def contents(archive: Path | str) -> dict[str, Any]:
    """The content of an archive by time, without missing scans, and its log."""
    opened = Archive.open(archive)
    rows = np.flatnonzero(opened.status != MISSING)
    records = opened.records(rows)
    good = records["status"] == OK
    assert all(
        codes_checksum(scan) == checksum
        for scan, checksum in zip(
            opened.codes[:][opened.status == OK], records["checksum"][good], strict=True
        )
    )
    return {
        "times": [str(time) for time in opened.times[rows]],
        "status": records["status"].tolist(),
        "source": records["source"].tolist(),
        "digest": [row.tobytes().hex() for row in records["digest"]],
        "checksum": records["checksum"].tolist(),
        "codes": opened.codes[:][opened.status != MISSING],
        "rain_rate": opened.block_statistics("rain_rate", opened.status != MISSING),
        "log": sorted((r.file, str(r.time), r.rule, r.reason) for r in opened.rejections),
    }


def assert_same(actual: dict[str, Any], expected: dict[str, Any], but: Sequence[str] = ()) -> None:
    """Compare the `contents` of two archives; ``but`` names what may differ."""
    for name in expected.keys() - set(but):
        if isinstance(expected[name], np.ndarray):
            np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)
        else:
            assert actual[name] == expected[name], name


def unfinished(archive: str | Path) -> list[str]:
    """Branches of archives that are being filled again."""
    branches = open_repository(str(archive)).list_branches()
    return [branch for branch in branches if branch.startswith(NEW_BRANCH)]


@contextmanager
def stopped_before_the_new_archive_is_in_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run with ``--reread`` in the block is interrupted when all files are read."""

    def stops(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ArchiveWriter, "put_in_place", stops)
        with pytest.raises(KeyboardInterrupt):
            yield
