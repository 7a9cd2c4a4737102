"""Zarr stores as sources: times are scans, and what is appended later is found."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK
from squall.datasets.errors import ConfigError, DataError
from tests.pipeline.tiny_radar import (
    FIRST,
    POLAR,
    SIZE,
    STEP,
    codes_of,
    config_with,
    contents,
    rain,
    run,
    scan_at,
    write_file,
)
from tests.s3_server import S3Server, moto_endpoint, s3_environment, s3_server  # noqa: F401 (fixtures)

COUNT = 10
CONFIG = config_with(time_in_name=None)


def dataset(numbers: np.ndarray, first: pd.Timestamp = FIRST) -> xr.Dataset:
    """Scans as xarray has them: hundredths of mm/h are the packed numbers."""
    count = len(numbers)
    values = np.where(numbers == 65535, np.nan, numbers * 0.01)
    axes = {
        dim: (dim, sign * 1000.0 * np.arange(SIZE), {"units": "m"})
        for dim, sign in (("y", -1), ("x", 1))
    }
    data = xr.Dataset(
        {
            "rain": (("time", "y", "x"), values, {"units": "mm h-1", "grid_mapping": "proj"}),
            "proj": ((), 0, POLAR),
        },
        coords={"time": pd.date_range(first, periods=count, freq=STEP), **axes},
    )
    data["rain"].encoding = {
        "dtype": "u2", "scale_factor": 0.01, "_FillValue": 65535, "chunks": (2, 8, SIZE),
    }  # fmt: skip
    data["time"].encoding = {"units": "seconds since 1970-01-01", "dtype": "i8"}
    return data


@pytest.fixture
def numbers():
    scans = rain(COUNT)
    scans[:, :3] = 65535  # not observed
    scans[:, 3:6] = 0  # dry
    return scans


@pytest.fixture
def store(tmp_path, numbers):
    path = tmp_path / "radar.zarr"
    dataset(numbers).to_zarr(path, zarr_format=2)
    return path


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently")
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
def test_scans_are_those_of_a_netcdf_file(tmp_path, numbers, version, consolidated):
    store = tmp_path / "radar.zarr"
    dataset(numbers).to_zarr(store, zarr_format=version, consolidated=consolidated)
    report = run(tmp_path / "a", store, config=CONFIG)
    assert (report.ingested, report.complete) == (COUNT, True)
    run(tmp_path / "b", write_file(tmp_path / "all.nc", numbers, FIRST), config=CONFIG)
    from_zarr, from_netcdf = Archive.open(tmp_path / "a"), Archive.open(tmp_path / "b")
    np.testing.assert_array_equal(from_zarr.codes[:], from_netcdf.codes[:])
    assert from_zarr.grid.difference(from_netcdf.grid) is None
    assert (from_zarr.codes[:, :3] == 255).all()
    assert (from_zarr.codes[:, 3:6] == 0).all()


def test_only_what_was_appended_is_read(tmp_path, store, numbers, reads):
    run(tmp_path / "a", store, config=CONFIG)
    assert len(reads) == COUNT // 2
    reads.clear()
    assert run(tmp_path / "a", store, config=CONFIG).new_files == 0
    dataset(rain(3, seed=1), FIRST + COUNT * STEP).to_zarr(store, append_dim="time")
    report = run(tmp_path / "a", store, config=CONFIG)
    assert report.ingested == 3
    assert reads == [f"{store}#0000005", f"{store}#0000006"]
    np.testing.assert_array_equal(scan_at(tmp_path / "a", COUNT), codes_of(rain(3, seed=1))[0])
    dataset(rain(1, seed=2), FIRST + (COUNT + 3) * STEP).to_zarr(store, append_dim="time")
    report = run(tmp_path / "a", store, config=CONFIG)  # in the chunks of the scan before
    assert (report.ingested, report.complete) == (1, True)
    assert run(tmp_path / "a", store, config=CONFIG).new_files == 0


def test_a_corrected_scan_replaces_the_earlier_one(tmp_path, store, numbers):
    run(tmp_path / "a", store, config=CONFIG)
    array = zarr.open_array(store / "rain", mode="r+")
    array[4, 8:] = numbers[0, 8:]
    report = run(tmp_path / "a", store, config=CONFIG)
    assert (report.new_files, report.ingested, report.replaced) == (1, 0, 2)
    np.testing.assert_array_equal(scan_at(tmp_path / "a", 4)[8:], codes_of(numbers[0, 8:]))


def test_a_period_reads_its_chunks_only(tmp_path, store, reads):
    config = CONFIG
    report = run(
        tmp_path / "a", store, config=config, since=FIRST + 4 * STEP, until=FIRST + 5 * STEP
    )
    assert report.ingested == 2
    assert reads == [f"{store}#0000002"]


@pytest.mark.parametrize("version", [2, 3])
def test_a_chunk_that_was_not_written_is_never_dry(tmp_path, version):
    """Zarr fills in its fill value, here 0, which may be a dry scan or none at all."""
    store = tmp_path / "radar.zarr"
    data = dataset(rain(4)).isel(time=[0, 1, 2, 3])
    data["rain"].encoding = {"dtype": "f4", "chunks": (1, SIZE, SIZE), "_FillValue": None}
    data["rain"][2] = 0.0
    if version == 3:  # Zarr 2 writes no fill value, and reads 0
        data["rain"].encoding["fill_value"] = 0.0
    data.to_zarr(store, zarr_format=version, consolidated=False, write_empty_chunks=False)
    report = run(tmp_path / "a", store, config=CONFIG)
    assert (report.ingested, len(report.unavailable), report.complete) == (3, 1, False)
    ((_, reason),) = report.unavailable
    assert "would read as 0: list the value 0 in the network configuration" in reason
    dry = run(tmp_path / "b", store, config=config_with(time_in_name=None, dry_values=0))
    assert dry.ingested == 4
    assert (scan_at(tmp_path / "b", 2) == 0).all()


def test_a_fill_value_that_is_missing_stays_missing(tmp_path, store):
    (store / "rain" / "2.0.0").unlink()
    run(tmp_path / "a", store, config=CONFIG)
    assert (scan_at(tmp_path / "a", 4)[:8] == 255).all()
    assert (scan_at(tmp_path / "a", 4)[8:] != 255).any()


def test_a_store_without_the_variable_is_refused(tmp_path, store):
    with pytest.raises(DataError, match="has no variable 'rr'; it has proj, rain, time, x, y"):
        run(tmp_path / "a", store, config=config_with(variable="rr"))
    with pytest.raises(DataError, match="there is no Zarr store"):
        run(tmp_path / "a", tmp_path / "other.zarr")
    with pytest.raises(ConfigError, match="set 'variable'"):
        run(tmp_path / "a", store, config=config_with(variable=""))


def test_a_damaged_chunk_is_tried_again(tmp_path, store):
    (store / "rain" / "1.1.0").write_bytes(b"damaged")
    report = run(tmp_path / "a", store, config=CONFIG)
    assert (report.ingested, len(report.unavailable), report.complete) == (COUNT - 2, 1, False)


def test_chunks_with_too_many_scans_are_refused(tmp_path, store):
    text = (store / "rain" / ".zarray").read_text().replace("8,", "80000000,")
    (store / "rain" / ".zarray").write_text(text)
    report = run(tmp_path / "a", store, config=CONFIG)
    assert not report.ingested
    assert "write the store with fewer scans in a chunk" in report.unavailable[0][1]


def upload(store: Path, server: S3Server, bucket: str) -> None:
    for path in store.rglob("*"):
        if path.is_file():
            key = f"radar/2024.zarr/{path.relative_to(store).as_posix()}"
            server.put(bucket, key, path.read_bytes())


def test_a_store_on_object_storage(s3_server, tmp_path, numbers):  # noqa: F811
    bucket = s3_server.bucket("radar")
    address = f"s3://{bucket}/radar/2024.zarr"
    local = tmp_path / "radar.zarr"
    dataset(numbers).to_zarr(local, zarr_format=3, consolidated=False)
    upload(local, s3_server, bucket)
    report = run(tmp_path / "a", f"s3://{bucket}/radar/*.zarr", config=CONFIG)
    assert report.ingested == COUNT
    assert run(tmp_path / "a", address, config=CONFIG).new_files == 0
    assert set(Archive.open(tmp_path / "a").status) == {OK}
    run(tmp_path / "b", local, config=CONFIG)
    assert contents(tmp_path / "a").keys() == contents(tmp_path / "b").keys()
    dataset(rain(2, seed=1), FIRST + COUNT * STEP).to_zarr(
        local, append_dim="time", consolidated=False
    )
    upload(local, s3_server, bucket)
    assert run(tmp_path / "a", address, config=CONFIG).ingested == 2


@pytest.mark.parametrize(("version", "origin"), [(2, "2024-05-31 23:55"), (3, "2024-06-01")])
def test_a_scan_whose_time_is_not_written_yet_takes_no_other_place(
    tmp_path, numbers, version, origin
):
    """Until an append is complete, Zarr fills in 0: the moment from which the times count."""
    store = tmp_path / "radar.zarr"
    data = dataset(numbers)
    data["time"].encoding = {"units": f"seconds since {origin}", "dtype": "i8"}
    data.to_zarr(store, zarr_format=version, consolidated=False)
    later = dataset(rain(3, seed=1), FIRST + COUNT * STEP)
    later.to_zarr(store, append_dim="time", consolidated=False)
    time = zarr.open_array(store / "time", mode="r+")
    written = time[...]
    time[COUNT + 1 :] = 0  # one scan in the chunks of a whole one, and one alone
    report = run(tmp_path / "a", store, config=CONFIG)
    assert (report.ingested, report.new_files) == (COUNT + 1, COUNT // 2 + 1)
    assert Archive.open(tmp_path / "a").start == FIRST
    np.testing.assert_array_equal(scan_at(tmp_path / "a", 0)[6:], codes_of(numbers)[0, 6:])
    time[...] = written
    report = run(tmp_path / "a", store, config=CONFIG)
    assert (report.ingested, report.complete) == (2, True)
    np.testing.assert_array_equal(scan_at(tmp_path / "a", COUNT + 2), codes_of(rain(3, seed=1))[2])
