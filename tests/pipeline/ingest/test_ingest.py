"""One pass of ingestion: which files are read, rejected and replaced."""

import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import MISSING, OK, REJECTED
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.radar.network_config import RadarNetworkConfig
from squall.datasets.sources.access import SourceUnavailable
from squall.pipeline.ingest.config import IngestConfig
from squall.pipeline.ingest.run import ingest
from squall.pipeline.status.summary import status


@pytest.fixture
def files(synthetic_files, tmp_path):
    """A copy of eight files, which a test may damage."""
    folder = tmp_path / "radar"
    folder.mkdir()
    for path in sorted(synthetic_files.rglob("*.nc"))[:8]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def run(files, synthetic_config, tmp_path):
    """Function that ingests the folder and returns the report."""

    def ingested(source=synthetic_config, workers=0, glob=f"{files}/*.nc"):
        return ingest(
            IngestConfig(
                source=source, archive=tmp_path / "a.icechunk", files=(glob,), workers=workers
            )
        )

    return ingested


def scan(folder, minute):
    return folder / f"synthetic_20240601T00{minute:02d}.nc"


def test_the_archive_has_all_scans_with_the_values_of_the_files(files, run, tmp_path):
    report = run()
    assert (report.found, report.ingested, report.rejected) == (8, 8, [])
    archive = Archive.open(tmp_path / "a.icechunk")
    read = archive.read(0, 8)
    for minute in (0, 35):
        with xr.open_dataset(scan(files, minute)) as source:
            expected = source.rainfall_rate.values[0]
        rates = read.sel(time=f"2024-06-01T00:{minute:02d}").values
        assert np.array_equal(np.isnan(rates), np.isnan(expected))
        wet = expected >= 0.08
        assert wet.any()
        np.testing.assert_allclose(rates[wet], expected[wet], rtol=0.016)


def test_a_second_run_changes_nothing(run, tmp_path):
    first = run()
    before = sorted(p.name for p in (tmp_path / "a.icechunk").rglob("*"))
    again = run()
    assert again.snapshot == first.snapshot
    assert (again.ingested, again.replaced, again.unchanged) == (0, 0, 8)
    assert sorted(p.name for p in (tmp_path / "a.icechunk").rglob("*")) == before


def damage(kind, path):
    content = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "not netCDF":
        path.write_bytes(b"<html>404 not found</html>")
    else:
        with xr.open_dataset(path) as opened:
            dataset = opened.load()
        if kind == "other grid":
            dataset = dataset.isel(x=slice(1, None))
        elif kind == "shifted grid":
            dataset = dataset.assign_coords(x=dataset.x + 500)
        elif kind == "no such variable":
            dataset = dataset.rename(rainfall_rate="rain")
        elif kind == "unknown units":
            dataset.rainfall_rate.attrs["units"] = "furlong"
        elif kind == "off the step":
            dataset = dataset.assign_coords(time=dataset.time + np.timedelta64(100, "s"))
        path.unlink()
        dataset.to_netcdf(path)


BROKEN = {
    "empty": ("unreadable", "the file is empty"),
    "truncated": ("unreadable", "cannot be read as netCDF"),
    "not netCDF": ("unreadable", "its format is not recognised"),
    "other grid": ("other grid", "another grid than the archive: 64×63 pixels instead of 64×64"),
    "shifted grid": ("other grid", "x coordinates differ by up to 500"),
    "no such variable": ("unreadable", "has no variable 'rainfall_rate'; it has rain"),
    "unknown units": ("unreadable", "units 'furlong' are no rain unit"),
    "off the step": ("off the step", "100 s off the step of 5 min"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_rejected_and_the_others_are_ingested(kind, files, run, tmp_path):
    damage(kind, scan(files, 15))
    report = run()
    assert report.ingested == 7
    (rejected,) = report.rejected
    assert rejected.file == str(scan(files, 15))
    assert BROKEN[kind][1] in rejected.reason
    assert rejected.rule == BROKEN[kind][0]
    assert not report.complete
    archive = Archive.open(tmp_path / "a.icechunk")
    slot = archive.index_of(pd.Timestamp("2024-06-01T00:15"))
    assert archive.status[slot] == (MISSING if kind == "off the step" else REJECTED)
    assert np.isnan(archive.read(slot, 1)).all()
    (logged,) = archive.rejections
    assert (logged.file, logged.reason) == (rejected.file, rejected.reason)
    again = run()
    assert (again.new_files, again.unchanged, again.rejected) == (0, 8, [])
    assert (again.standing, again.complete) == ([rejected], False)
    assert again.snapshot == report.snapshot
    summary = status(tmp_path / "a.icechunk")
    assert (summary.rejected, summary.rejected_by_rule) == (1, {rejected.rule: 1})
    assert f"rejected   1: 1 {rejected.rule}" in str(summary)
    assert f"1 rejected ({rejected.rule}: 1; 1 of them by earlier runs)" in str(again)
    scan(files, 15).unlink()
    assert run().complete  # a file that is gone is no longer asked for


def test_a_first_file_on_another_grid_does_not_decide_the_grid(files, run):
    damage("other grid", scan(files, 0))
    report = run()
    assert report.ingested == 7
    assert [rejected.file for rejected in report.rejected] == [str(scan(files, 0))]
    assert "describe the period under 'eras'" in report.rejected[0].reason


def test_without_a_usable_file_no_archive_is_made(files, run, tmp_path):
    for path in files.glob("*.nc"):
        path.write_bytes(b"")
    report = run()
    assert len(report.rejected) == 8
    assert not (tmp_path / "a.icechunk").exists()


def test_a_repaired_file_is_ingested(files, run, tmp_path):
    good = scan(files, 15).read_bytes()
    damage("truncated", scan(files, 15))
    run()
    scan(files, 15).write_bytes(good)
    report = run()
    assert (report.ingested, report.unchanged, report.rejected) == (1, 7, [])
    archive = Archive.open(tmp_path / "a.icechunk")
    assert (archive.status == OK).all()
    assert archive.rejections == []


def reissue(path, factor=2.0):
    with xr.open_dataset(path) as opened:
        dataset = opened.load()
    dataset["rainfall_rate"] = dataset.rainfall_rate * factor
    path.unlink(missing_ok=True)
    dataset.to_netcdf(path)
    return dataset.rainfall_rate.values[0]


def test_a_reissued_file_replaces_its_scan(files, run, tmp_path):
    run()
    expected = reissue(scan(files, 10))
    report = run()
    assert (report.ingested, report.replaced, report.unchanged) == (0, 1, 7)
    rates = Archive.open(tmp_path / "a.icechunk").read(2, 1).values[0]
    wet = (expected >= 0.08) & (expected < 205)
    np.testing.assert_allclose(rates[wet], expected[wet], rtol=0.016)


def test_a_broken_reissued_file_does_not_remove_the_good_scan(files, run, tmp_path):
    run()
    before = Archive.open(tmp_path / "a.icechunk").read(3, 1)
    damage("truncated", scan(files, 15))
    assert len(run().rejected) == 1
    archive = Archive.open(tmp_path / "a.icechunk")
    assert archive.status[3] == OK
    xr.testing.assert_identical(archive.read(3, 1), before)


def test_late_and_early_files_get_their_time_slots(files, run, tmp_path):
    for pattern in ("synthetic_20240601T00[23]*.nc", "synthetic_20240601T000*.nc", "*.nc"):
        run(glob=f"{files}/{pattern}")
    archive = Archive.open(tmp_path / "a.icechunk")
    index = archive.index_of(pd.Timestamp("2024-06-01T00:00"))
    assert (archive.status[index:] == OK).all()
    with xr.open_dataset(scan(files, 0)) as source:
        assert np.array_equal(
            np.isnan(archive.read(index, 1)[0]), np.isnan(source.rainfall_rate.values[0])
        )
    report = status(tmp_path / "a.icechunk")
    assert (report.present, report.missing, report.first) == (8, 0, "2024-06-01 00:00")


def test_another_networks_archive_is_refused(run, synthetic_config):
    run()
    values = synthetic_config.model_dump()
    with pytest.raises(ConfigError, match="archive of the network synthetic, the configuration"):
        run(source=RadarNetworkConfig(**values | {"name": "other"}))
    with pytest.raises(ConfigError, match="archive of the step"):
        run(source=RadarNetworkConfig(**values | {"step": "10min"}))


def write_daily_file(path, source_files, damaged):
    """Write the scans of several files into one file, with impossible values in one of them."""
    parts = []
    for file in source_files:
        with xr.open_dataset(file) as opened:
            parts.append(opened.load())
    whole = xr.concat(parts, "time", data_vars="minimal", coords="minimal", compat="override")
    whole.rainfall_rate[damaged] = -5.0
    whole.to_netcdf(path, encoding={"rainfall_rate": {"dtype": "float32"}})


def test_a_file_with_one_bad_scan_gives_the_others(files, run, tmp_path):
    write_daily_file(files / "day.nc", sorted(files.glob("*.nc")), damaged=3)
    first = run(glob=f"{files}/day.nc")
    assert (first.ingested, len(first.rejected)) == (7, 1)
    again = run(glob=f"{files}/day.nc")
    assert (again.new_files, again.unchanged, again.rejected) == (0, 1, [])
    assert again.snapshot == first.snapshot
    assert status(tmp_path / "a.icechunk").rejected == 1


def test_a_good_file_of_the_same_name_does_not_hide_a_broken_one(files, run, tmp_path):
    for day, source in (("1", 15), ("2", 20)):
        (files / day).mkdir()
        shutil.copy(scan(files, source), files / day / "same.nc")
    (files / "1" / "same.nc").write_bytes(b"broken")
    run(glob=f"{files}/[12]/*.nc")
    (rejection,) = Archive.open(tmp_path / "a.icechunk").rejections
    assert rejection.file == str(files / "1" / "same.nc")


def test_rejections_before_the_first_good_scan_are_remembered(files, run, tmp_path):
    for index in range(24):
        (files / f"a{index:02d}.nc").write_bytes(b"")
    first = run()
    assert len(first.rejected) == 24
    assert len(Archive.open(tmp_path / "a.icechunk").rejections) == 24
    assert run().snapshot == first.snapshot


def test_no_matching_file_is_an_error(run, tmp_path):
    with pytest.raises(DataError, match="no file matches"):
        run(glob=f"{tmp_path}/*.nc")
    with pytest.raises(SourceUnavailable, match="nothing/: cannot be listed"):
        run(glob=f"{tmp_path}/nothing/*.nc")
