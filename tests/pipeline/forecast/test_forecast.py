"""The forecast stage: the file, its times, grid and provenance, and its errors."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import ValidationError

from squall.datasets.archive.archive import Archive
from squall.datasets.archive.records import MISSING
from squall.datasets.errors import ConfigError, DataError
from squall.pipeline.cli.main import main
from squall.pipeline.forecast import run as forecast_run
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.run import forecast
from tests.pipeline import tiny_radar


def config(chain, tmp_path, **changes):
    values = {"archive": chain.archive, "model": chain.model, "out": tmp_path / "f.nc"}
    return ForecastConfig(**values | changes)


@pytest.fixture(scope="module")
def written(chain, tmp_path_factory):
    path = tmp_path_factory.mktemp("forecast") / "f.nc"
    forecast(config(chain, path.parent, at="2024-06-01T04:00"))
    with xr.open_dataset(path) as dataset:
        return dataset.load()


def test_times_decode_and_agree(written):
    assert written.forecast_reference_time.values == np.datetime64("2024-06-01T04:00")
    assert list(written.time.values) == [
        np.datetime64("2024-06-01T04:00") + np.timedelta64(5 * k, "m") for k in range(1, 5)
    ]
    assert (written.time == written.forecast_reference_time + written.lead_time).all()
    assert written.context_time.values[-1] == written.forecast_reference_time.values


def test_the_grid_is_that_of_the_archive(written, chain):
    grid = Archive.open(chain.archive).grid
    assert np.array_equal(written.x, grid.x)
    assert np.array_equal(written.y, grid.y)
    assert written.spatial_ref.attrs["crs_wkt"] == grid.crs_wkt
    assert written.spatial_ref.attrs["grid_mapping_name"] == "lambert_azimuthal_equal_area"
    for name in ("rain_rate", "observed_rain_rate"):
        mapping = written[name].attrs.get("grid_mapping") or written[name].encoding["grid_mapping"]
        assert mapping == "spatial_ref"
        assert written[name].attrs["units"] == "mm h-1"


def test_the_observed_rain_rate_is_that_of_the_archive(written, chain):
    archive = Archive.open(chain.archive)
    last = archive.read(archive.index_of(written.forecast_reference_time.to_pandas()), 1)
    np.testing.assert_array_equal(written.observed_rain_rate.values[-1], last.values[0])


def test_rain_is_finite_where_observed_and_missing_where_not(written):
    observed = ~np.isnan(written.observed_rain_rate).all("context_time")
    assert observed.any()
    assert (~observed).any()
    is_known = ~np.isnan(written.rain_rate.values)
    assert np.array_equal(is_known, np.broadcast_to(observed, (4, 64, 64)))
    assert float(written.rain_rate.min()) >= 0


def test_provenance_names_snapshot_and_checkpoint(written, chain):
    assert written.attrs["archive_snapshot"] == Archive.open(chain.archive).snapshot
    assert len(written.attrs["checkpoint_sha256"]) == 64
    assert written.attrs["Conventions"].startswith("CF-")
    assert written.attrs["license"] == "CC0-1.0"


def test_latest_is_the_last_scan(chain, tmp_path):
    dataset = forecast(config(chain, tmp_path))
    assert dataset.forecast_reference_time.values == np.datetime64("2024-06-01T04:55")


def test_any_number_of_lead_times(chain, tmp_path):
    assert forecast(config(chain, tmp_path, lead_times=9)).sizes["lead_time"] == 9


def test_the_error_for_a_missing_time_names_the_nearest(chain, tmp_path):
    with pytest.raises(DataError, match="nearest is 2024-06-01 04:55, the latest 2024-06-01 04:55"):
        forecast(config(chain, tmp_path, at="2024-06-01T07:00"))
    with pytest.raises(DataError, match="not on the archive's step"):
        forecast(config(chain, tmp_path, at="2024-06-01T04:03"))
    with pytest.raises(ValidationError, match="'noon' is no time"):
        forecast(config(chain, tmp_path, at="noon"))
    assert not (tmp_path / "f.nc").exists()


def test_missing_checkpoints_and_other_files_are_refused(chain, tmp_path):
    with pytest.raises(ConfigError, match=r"none\.ckpt: neither a file nor a packaged model"):
        forecast(config(chain, tmp_path, model=tmp_path / "none.ckpt"))
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        forecast(config(chain, tmp_path, model=tmp_path / "text.ckpt"))


@pytest.mark.parametrize("name", ["extrapolation", "persistence"])
def test_methods_without_training_write_the_same_file(chain, tmp_path, name):
    dataset = forecast(config(chain, tmp_path, model=name, at="2024-06-01T04:00"))
    assert dataset.sizes["lead_time"] == 12  # an hour
    assert dataset.attrs["model"] == name
    assert dataset.attrs["source"].startswith(f"{name} (squall ")
    assert "checkpoint" not in dataset.attrs
    with xr.open_dataset(tmp_path / "f.nc") as written:
        np.testing.assert_array_equal(written.rain_rate, dataset.rain_rate)


@pytest.mark.parametrize("fill", [0.0, np.nan], ids=["all dry", "all missing"])
def test_dry_and_missing_scans_can_be_forecast_from(chain, fill):
    model = NetworkMethod.load(chain.model, Archive.open(chain.archive))
    rate = model.nowcast(np.full((3, 40, 50), fill, dtype=np.float32), 4)
    assert rate.shape == (4, 40, 50)
    if np.isnan(fill):
        assert np.isnan(rate).all()
    else:
        assert np.isfinite(rate).all()
        assert rate.mean() < 0.5


def test_a_scan_missing_from_the_context_does_not_stop_a_forecast(chain):
    archive = Archive.open(chain.archive)
    context = archive.read(50, 3).values
    context[1] = np.nan
    rate = NetworkMethod.load(chain.model, archive).nowcast(context, 4)
    assert np.array_equal(np.isfinite(rate[0]), ~np.isnan(context).all(axis=0))


def test_packaged_weights_forecast_by_name(chain, tmp_path):
    network = forecast(config(chain, tmp_path, model="squall-base", at="2024-06-01T04:00"))
    assert network.sizes["lead_time"] == 12
    assert network.attrs["model"] == "squall-base"
    is_known = network.rain_rate.isel(lead_time=0).notnull()
    extrapolation = forecast(config(chain, tmp_path, model="extrapolation", at="2024-06-01T04:00"))
    both = is_known & extrapolation.rain_rate.isel(lead_time=0).notnull()
    assert both.mean() > 0.3
    # trained weights are near the extrapolation after one step, and not the same
    difference = abs(
        network.rain_rate.isel(lead_time=0) - extrapolation.rain_rate.isel(lead_time=0)
    ).where(both)
    assert (
        0
        < float(difference.mean())
        < float(extrapolation.rain_rate.isel(lead_time=0).where(both).mean())
    )


def test_a_scan_without_an_observed_pixel_is_not_announced_as_dry(tmp_path, capsys, caplog):
    folder, times = tmp_path / "files", [tiny_radar.FIRST + i * tiny_radar.STEP for i in range(4)]
    folder.mkdir()
    for number, time in enumerate(times):
        value = tiny_radar.rain(1)
        value[:] = 0 if number < 3 else 65535  # not observed
        tiny_radar.write_file(tiny_radar.path_of(folder, time), value, time)
    archive = tmp_path / "a.icechunk"
    tiny_radar.run(archive, folder / "*.nc")
    command = ["forecast", "--archive", str(archive), "--model", "persistence", "--out"]
    assert main([*command, str(tmp_path / "f.nc")]) == 0
    output = capsys.readouterr()
    assert "up to" not in output.out
    assert "no pixel could be forecast" in output.out
    assert "nothing was observed in the scan of 00:15 UTC" in caplog.text


def test_minutes_give_the_lead_times(chain, tmp_path):
    dataset = forecast(config(chain, tmp_path, model="persistence", minutes=25))
    assert (dataset.lead_time / np.timedelta64(1, "m")).values.tolist() == [5, 10, 15, 20, 25]
    for minutes, advice in ((12, "give 10 or 15"), (4, "give 5"), (0.5, "give 5")):
        with pytest.raises(ConfigError, match=f"no multiple of the step of .*5 min; {advice}"):
            forecast(config(chain, tmp_path, model="persistence", minutes=minutes))
    with pytest.raises(ValidationError, match="either lead_times or minutes"):
        config(chain, tmp_path, lead_times=3, minutes=15)


def aged(monkeypatch, age):
    """The clock shows a time after the archive's latest scan, of 04:55."""
    time = pd.Timestamp("2024-06-01T04:55") + pd.Timedelta(age)
    monkeypatch.setattr(forecast_run, "now", lambda: time)


@pytest.mark.parametrize(
    ("age", "level", "message"),
    [
        ("12min", "INFO", "of 2024-06-01 04:55 UTC, 12 min old"),
        ("61min", "WARNING", "61 min old"),
        ("5h", "WARNING", "5 h old"),
        ("5875D", "WARNING", "16 years old"),
        ("-2h", "WARNING", "2 h in the future; check the times of the archive and the clock"),
    ],
)
def test_the_log_tells_the_age_of_the_latest_scan(
    chain, tmp_path, monkeypatch, caplog, age, level, message
):
    caplog.set_level("INFO", "squall")
    aged(monkeypatch, age)
    forecast(config(chain, tmp_path, model="persistence", lead_times=1))
    (record,) = (r for r in caplog.records if "the latest scan" in r.getMessage())
    assert record.levelname == level
    assert message in record.getMessage()


def test_a_latest_scan_that_is_too_old_is_refused(chain, tmp_path, monkeypatch):
    changes = {"model": "persistence", "lead_times": 1, "max_age": "20min"}
    aged(monkeypatch, "20min")
    forecast(config(chain, tmp_path, **changes))
    (tmp_path / "f.nc").unlink()
    aged(monkeypatch, "21min")
    with pytest.raises(DataError, match=r"04:55 UTC, 21 min old; --max-age allows 20 min\. Run"):
        forecast(config(chain, tmp_path, **changes))
    assert not (tmp_path / "f.nc").exists()
    for wrong, message in (("20", "has no unit"), ("0min", "longer than nothing")):
        with pytest.raises(ValidationError, match=message):
            config(chain, tmp_path, max_age=wrong)
    with pytest.raises(ValidationError, match="a limit for the latest scan"):
        config(chain, tmp_path, max_age="1h", at="2024-06-01T04:00")


def test_the_file_names_the_scans_that_were_missing(chain, tmp_path, monkeypatch, written):
    assert "missing_context" not in written.attrs
    status = Archive.open(chain.archive).status.copy()
    status[-3:-1] = MISSING
    monkeypatch.setattr(Archive, "status", status)
    forecast(config(chain, tmp_path, model="extrapolation"))
    with xr.open_dataset(tmp_path / "f.nc") as dataset:
        assert dataset.attrs["missing_context"] == "2024-06-01T04:45:00, 2024-06-01T04:50:00"
    forecast(config(chain, tmp_path, model="persistence"))  # needs the last scan only
    with xr.open_dataset(tmp_path / "f.nc") as dataset:
        assert "missing_context" not in dataset.attrs
