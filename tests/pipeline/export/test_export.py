"""Exporting an archive: what the store holds, what is refused, and what an interruption leaves."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import xarray as xr
from mlcast_dataset_validator.specs.source_data.radar_precipitation import validate_dataset
from pydantic import ValidationError

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import OK, Rejection
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.coding import RAIN_CODE
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.grid import Grid
from squall.datasets.mlcast import writer as mlcast_writer
from squall.datasets.mlcast.store import MlcastStore, is_plain_zarr
from squall.pipeline.export.config import ExportConfig
from squall.pipeline.export.run import export
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.run import forecast
from squall.pipeline.status.summary import status
from squall.pipeline.train.experiment import TrainConfig
from squall.pipeline.train.run import train
from squall.pipeline.verify.config import VerifyConfig
from squall.pipeline.verify.run import verify
from tests.s3_server import moto_endpoint, s3_server  # noqa: F401 (fixtures)

STEP = pd.Timedelta("5min")


def config(archive, out, **options):
    return ExportConfig(archive=str(archive), out=str(out), **options)


@pytest.fixture(scope="module")
def wide_archive(tmp_path_factory):
    """A 256 × 260 grid, eight time steps: 2 is missing, 4 has no observed pixel, 5 was rejected."""
    crs = pyproj.CRS.from_proj4("+proj=stere +lat_0=90 +lat_ts=60 +lon_0=0 +a=6378137 +b=6356752")
    grid = Grid(np.arange(260) * 1e3, -4e6 - np.arange(256) * 1e3, crs.to_wkt())
    codes = np.random.default_rng(1).integers(0, 255, (8, *grid.shape), dtype=np.uint8)
    codes[:, :40] = RAIN_CODE.NOT_OBSERVED
    codes[4] = RAIN_CODE.NOT_OBSERVED
    times = pd.date_range("2024-06-01", periods=8, freq=STEP)
    path = tmp_path_factory.mktemp("wide") / "wide.icechunk"
    scans = [
        StoredScan(time, codes[i], f"file{i}.nc", f"{i:032x}")
        for i, time in enumerate(times)
        if i not in (2, 5)
    ]
    attributes = {"name": "wide", "title": "Wide", "license": "CC-BY-4.0", "institution": "Us"}
    writer = ArchiveWriter(path, STEP, attributes | {"configuration": "{}"})
    writer.commit(grid, scans, [Rejection("file5.nc", "f" * 32, "is cut off", times[5])], "all")
    return path


def test_the_store_follows_the_convention(wide_archive, tmp_path):
    result = export(config(wide_archive, tmp_path / "out.zarr", creator="Ada L <ada@example.org>"))
    assert (result.scans, result.missing) == (5, 3)
    assert (result.first, result.last) == (
        pd.Timestamp("2024-06-01"),
        pd.Timestamp("2024-06-01T00:35"),
    )
    with xr.open_zarr(tmp_path / "out.zarr", chunks=None) as store:
        rain = store.rainfall_rate
        assert rain.dims == ("time", "y", "x")
        assert rain.dtype == np.float32
        assert rain.encoding["chunks"] == (1, 256, 260)
        assert [codec.codec_id for codec in rain.encoding["compressors"]] == ["zstd"]
        assert rain.attrs == {
            "standard_name": "rainfall_flux",
            "long_name": "rain rate",
            "units": "kg m-2 h-1",
            "grid_mapping": "crs",
        }
        minutes = (store.time.values - np.datetime64("2024-06-01")) / np.timedelta64(1, "m")
        assert minutes.tolist() == [0, 5, 15, 30, 35]
        absent = (store.missing_times.values - np.datetime64("2024-06-01")) / np.timedelta64(1, "m")
        assert absent.tolist() == [10, 20, 25]
        assert store.attrs["consistent_timestep_start"] == "2024-06-01T00:00:00"
        assert store.attrs["license"] == "CC-BY-4.0"
        assert store.attrs["institution"] == "Us"
        assert "configuration" not in store.attrs
        to_degrees = pyproj.Transformer.from_crs(store.crs.attrs["crs_wkt"], 4326, always_xy=True)
        lon, lat = to_degrees.transform(store.x.values[-1], store.y.values[0])
        np.testing.assert_allclose([store.lon[0, -1], store.lat[0, -1]], [lon, lat], atol=1e-5)
        assert store.crs.attrs["spatial_ref"] == store.crs.attrs["crs_wkt"]
        assert pyproj.CRS.from_wkt(store.crs.attrs["crs_wkt"]).area_of_use is not None


def failed_rules(address):
    """Requirements that the convention's own checker fails and warns of."""
    with xr.open_zarr(address) as store:
        report, _ = validate_dataset(store)
    return {
        status: [f"{r.section} {r.requirement}" for r in report.results if r.status == status]
        for status in ("FAIL", "WARNING", "PASS")
    }


@pytest.mark.parametrize("until", ["2024-06-01T00:05", None])
def test_the_checker_fails_only_rules_that_the_data_cannot_meet(wide_archive, tmp_path, until):
    out = tmp_path / "out.zarr"
    options = {"creator": "Ada L <ada@example.org>", "identifier": "NL-US-rainfall_flux"}
    result = export(config(wide_archive, out, end=until, **options))
    rules = failed_rules(out)
    assert rules["FAIL"] == [
        "3.3 Minimum 3-year coverage",
        "5.4 Global attribute 'mlcast_created_with'",
    ]
    assert {rule for rule in rules["WARNING"] if "GDAL" not in rule} == set()
    assert len(rules["PASS"]) > 30
    assert [rule.split()[0] for rule in result.unmet] == ["3.3", "5.4"]


def test_rules_that_are_not_met_are_named(rain_archive, tmp_path):
    result = export(config(rain_archive, tmp_path / "out.zarr"))
    assert [rule.split(":")[0] for rule in result.unmet] == [
        "3.2 256 × 256 pixels",
        "3.3 a record of 3 years",
        "5.4 attribute mlcast_created_by",
        "5.4 attribute mlcast_created_with",
        "5.4 attribute mlcast_dataset_identifier",
    ]
    assert "75 scans, 2024-06-01 00:00 to 2024-06-01 06:35 UTC, 5 missing times" in str(result)


def test_a_geographic_grid_is_exported_and_read_back(tmp_path, rain_codes):
    crs = pyproj.CRS.from_epsg(4326)
    grid = Grid(5 + np.arange(64) * 0.01, 52 - np.arange(48) * 0.01, crs.to_wkt())
    codes = rain_codes(3)
    times = pd.date_range("2024-06-01", periods=3, freq=STEP)
    writer = ArchiveWriter(tmp_path / "a", STEP, {"name": "degrees", "license": "CC0-1.0"})
    scans = [
        StoredScan(t, c, "f", f"{i:032x}")
        for i, (t, c) in enumerate(zip(times, codes, strict=True))
    ]
    writer.commit(grid, scans, [], "all")
    result = export(config(tmp_path / "a", tmp_path / "out.zarr"))
    assert result.unmet[0].startswith("3.1 projected x and y")
    store = MlcastStore.open(tmp_path / "out.zarr")
    assert grid.difference(store.grid) is None
    np.testing.assert_array_equal(store.codes[:], codes)


def test_a_period_is_exported_inclusive(wide_archive, tmp_path):
    out = tmp_path / "out.zarr"
    result = export(
        config(wide_archive, out, start="2024-06-01T02:15+02:00", end="2024-06-01T00:30")
    )
    assert (result.scans, result.missing) == (2, 2)
    store, archive = MlcastStore.open(out), Archive.open(wide_archive)
    assert store.start == pd.Timestamp("2024-06-01T00:15")
    np.testing.assert_array_equal(store.codes[:], archive.codes[3:7])


def test_an_empty_period_and_a_reversed_one_are_refused(wide_archive, tmp_path):
    with pytest.raises(DataError, match="no scan with an observed pixel from 2025-01-01"):
        export(config(wide_archive, tmp_path / "out.zarr", start="2025-01-01"))
    with pytest.raises(ValidationError, match="lies before start"):
        config(wide_archive, tmp_path, start="2025-01-02", end="2025-01-01")
    assert not list(tmp_path.iterdir())


def test_a_licence_is_required_and_must_be_an_spdx_identifier(
    wide_archive, tmp_path, grid, scans_of, rain_codes
):
    writer = ArchiveWriter(tmp_path / "a", STEP, {"name": "a"})
    writer.commit(grid, scans_of(rain_codes(2), "2024-06-01"), [], "two")
    out = tmp_path / "out.zarr"
    with pytest.raises(ConfigError, match=r"names no licence.*--license.*CC-BY-4\.0"):
        export(config(tmp_path / "a", out))
    with pytest.raises(ConfigError, match=r"'http://creativecommons\.org/x' is no SPDX identifier"):
        export(config(tmp_path / "a", out, license="http://creativecommons.org/x"))
    assert export(config(tmp_path / "a", out, license="cc-by-4.0")).license == "CC-BY-4.0"
    assert xr.open_zarr(out, chunks=None).attrs["license"] == "CC-BY-4.0"


def test_nothing_is_overwritten(wide_archive, tmp_path):
    out = tmp_path / "out.zarr"
    out.mkdir()
    (out / "diary.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty; an export overwrites nothing"):
        export(config(wide_archive, out))
    assert (out / "diary.txt").read_text() == "mine"
    (out / "diary.txt").unlink()
    assert export(config(wide_archive, out)).scans == 5
    with pytest.raises(ConfigError, match="is not empty"):
        export(config(wide_archive, out))


def test_an_interrupted_export_leaves_nothing(wide_archive, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mlcast_writer, "_write_scans", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(config(wide_archive, tmp_path / "out.zarr"))
    assert not list(tmp_path.iterdir())


def test_a_failing_thread_ends_the_export(wide_archive, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(RAIN_CODE), "decode", lambda self, codes: fail(codes))
    with pytest.raises(OSError, match="No space left"):
        export(config(wide_archive, tmp_path / "out.zarr", workers=2))
    assert not list(tmp_path.iterdir())


def test_a_store_is_not_recognised_before_its_scans_are_written(
    wide_archive, tmp_path, monkeypatch
):
    write_scans, observed = mlcast_writer._write_scans, []

    def look_first(*arguments):
        yield from write_scans(*arguments)
        (unfinished,) = tmp_path.iterdir()
        observed.append(
            (is_plain_zarr(str(unfinished)), len(list((unfinished / "rainfall_rate").iterdir())))
        )

    monkeypatch.setattr(mlcast_writer, "_write_scans", look_first)
    export(config(wide_archive, tmp_path / "out.zarr"))
    assert observed == [(False, 5 + 2)]  # scans and the array's metadata


@pytest.mark.parametrize("workers", [1, 5])
def test_any_number_of_threads_writes_the_same(rain_archive, tmp_path, workers):
    export(config(rain_archive, tmp_path / "out.zarr", workers=workers))
    archive, store = Archive.open(rain_archive), MlcastStore.open(tmp_path / "out.zarr")
    np.testing.assert_array_equal(store.codes[:], archive.codes[:])


def test_an_export_can_be_exported_again(wide_archive, tmp_path):
    export(config(wide_archive, tmp_path / "one.zarr"))
    export(config(tmp_path / "one.zarr", tmp_path / "two.zarr"))
    first, second = (MlcastStore.open(tmp_path / f"{n}.zarr") for n in ("one", "two"))
    assert (first.name, first.title) == (second.name, second.title) == ("wide", "Wide")
    assert (second.status == OK).sum() == 5
    np.testing.assert_array_equal(first.codes[:], second.codes[:])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("creator", "Ada"),
        ("identifier", "knmi"),
        ("created_with", "https://github.com/somebody/else@v1"),
        ("workers", 0),
        ("convention", "other"),
    ],
)
def test_options_of_the_wrong_form_are_refused(option, value):
    with pytest.raises(ValidationError, match=option):
        config("a", "b", **{option: value})


def test_every_stage_reads_an_export(chain, tmp_path, make_experiment):
    out = Path(tmp_path / "out.zarr")
    export(config(chain.archive, out, license="CC0-1.0"))
    forecasts = [
        forecast(
            ForecastConfig(archive=archive, model=chain.model, out=tmp_path / name, at="latest")
        )
        for name, archive in (("a.nc", chain.archive), ("b.nc", out))
    ]
    np.testing.assert_array_equal(forecasts[0].rain_rate, forecasts[1].rain_rate)
    scores = [
        verify(
            VerifyConfig(
                archives=(archive,),
                models=(chain.model,),
                out=tmp_path / name,
                cases=0,
                workers=1,
                thresholds_mm_h=(0.5,),
                scales_km=(4.0,),
            )
        ).scores
        for name, archive in (("a", chain.archive), ("b", out))
    ]
    xr.testing.assert_equal(*(dataset.drop_vars("seconds") for dataset in scores))
    summary = status(out)
    assert (summary.present, summary.missing) == (60, 0)
    assert summary.first == "2024-06-01 00:00"
    result = train(TrainConfig(experiment=make_experiment(out), out=tmp_path / "run"))
    # windows are drawn chunk by chunk, and an export has other chunks
    assert result.best_val_loss == pytest.approx(chain.best_val_loss, rel=0.3)


def test_an_export_lives_on_object_storage(wide_archive, s3_server, monkeypatch):  # noqa: F811
    out = f"s3://{s3_server.bucket('nowcast')}/exports/wide.zarr"
    assert not is_plain_zarr(out)
    write_scans = mlcast_writer._write_scans

    def interrupt(*arguments):
        yield from write_scans(*arguments)
        s3_server.put("nowcast", "exports/wide.zarr/thesis.txt", b"put there meanwhile")
        raise KeyboardInterrupt

    monkeypatch.setattr(mlcast_writer, "_write_scans", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(config(wide_archive, out))
    (left,) = s3_server.client.list_objects_v2(Bucket="nowcast")["Contents"]
    assert left["Key"] == "exports/wide.zarr/thesis.txt"
    s3_server.client.delete_object(Bucket="nowcast", Key=left["Key"])

    monkeypatch.setattr(mlcast_writer, "_write_scans", write_scans)
    assert export(config(wide_archive, out)).scans == 5
    assert is_plain_zarr(out)
    archive, store = Archive.open(wide_archive), MlcastStore.open(out)
    np.testing.assert_array_equal(store.codes[:], archive.codes[:])
    assert (store.status == OK).sum() == 5
    assert store.bytes_on_disk() > 5 * 10_000
    with pytest.raises(ConfigError, match="is not empty"):
        export(config(wide_archive, out))


def test_object_storage_that_does_not_answer_is_named(
    wide_archive,
    monkeypatch,
    s3_server,  # noqa: F811
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    out = "s3://nowcast/other.zarr"
    with pytest.raises(DataError, match=r"s3://nowcast/other.zarr: cannot be reached"):
        export(config(wide_archive, out))
    with pytest.raises(DataError, match=r"s3://nowcast/other.zarr: cannot be reached"):
        is_plain_zarr(out)
