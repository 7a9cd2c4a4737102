"""Many forecasts: the same as single ones, for any number of workers, after any interruption."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scores
import xarray as xr
from distributed import LocalCluster
from filelock import FileLock
from pydantic import ValidationError

from squall.datasets.errors import BusyError, ConfigError, DataError
from squall.datasets.open_archive import open_archive
from squall.pipeline.cli.main import main
from squall.pipeline.forecast import period as period_module
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.dataset import round_to_bits
from squall.pipeline.forecast.forecast_file import read_forecast
from squall.pipeline.forecast.period import Forecaster, forecast_period
from squall.pipeline.forecast.run import forecast
from tests.pipeline.forecast.period_examples import LEADS, PERIOD, contents, opened, period_config

ROOT = Path(__file__).parents[3]
# Extrapolation uses four scans: those of 00:00 to 00:15 begin too early, and 01:00 is missing.
TIMES = pd.DatetimeIndex(
    [f"2024-06-01T{time}" for time in ("00:20", "00:30", "00:40", "00:50", "01:20")]
).append(pd.date_range("2024-06-01T01:30", "2024-06-01T02:00", freq="10min"))
LEFT_OUT = pd.DatetimeIndex([f"2024-06-01T{time}" for time in ("00:00", "00:10", "01:00", "01:10")])


@pytest.fixture(scope="module")
def made(gappy_archive, tmp_path_factory):
    """A store that was made without interruption in one process."""
    out = tmp_path_factory.mktemp("made") / "p.zarr"
    forecast_period(period_config(gappy_archive, out))
    return out


def single(archive, out, time, **changes):
    values = {"archive": archive, "model": "extrapolation", "lead_times": LEADS, "at": time}
    return forecast(ForecastConfig(out=out / "single.nc", **values | changes))


def test_the_forecasts_are_single_ones_rounded_as_the_attribute_says(gappy_archive, made, tmp_path):
    store = opened(made)
    assert store.rain_rate.dims == ("reference_time", "lead_time", "y", "x")
    assert store.rain_rate.attrs["quantization_nsb"] == 7
    assert list(pd.DatetimeIndex(store.reference_time.values)) == list(TIMES)
    for time in TIMES[[0, 4, 8]]:
        alone = single(gappy_archive, tmp_path, time)
        of_store = store.rain_rate.sel(reference_time=time)
        np.testing.assert_array_equal(of_store, round_to_bits(alone.rain_rate.values, 7))
        for name in ("lead_time", "x", "y"):
            np.testing.assert_array_equal(store[name], alone[name])
        assert store.spatial_ref.attrs == alone.spatial_ref.attrs
    assert store.attrs["model"] == "extrapolation"
    assert store.attrs["title"].startswith("Precipitation nowcasts, ")


def test_without_rounding_the_forecasts_are_equal_to_the_bit(gappy_archive, tmp_path):
    config = period_config(gappy_archive, tmp_path / "p.zarr", keep_bits=23)
    forecast_period(config)
    store = opened(config.out)
    for time in TIMES:
        alone = single(gappy_archive, tmp_path, time).rain_rate.values
        np.testing.assert_array_equal(store.rain_rate.sel(reference_time=time).values, alone)


def test_a_missing_context_is_left_out_and_listed(gappy_archive, tmp_path, caplog):
    caplog.set_level("INFO", logger="squall")
    result = forecast_period(period_config(gappy_archive, tmp_path / "p.zarr"))
    assert (result.made, result.failed) == (len(TIMES), ())
    store = opened(tmp_path / "p.zarr")
    assert list(pd.DatetimeIndex(store.left_out_time.values)) == list(LEFT_OUT)
    reasons = store.left_out_reason.values.tolist()
    assert reasons[3] == "scans of the context are missing: 2024-06-01 01:00 UTC"
    assert [(item.time, item.reason) for item in result.left_out] == list(
        zip(LEFT_OUT, reasons, strict=True)
    )
    assert "9 to make, 4 reference times left out" in caplog.text
    assert (
        "left out: 2024-06-01 01:00 UTC to 2024-06-01 01:10, 2 times: scans of the" in caplog.text
    )
    assert "9 of 9 forecasts (100 %)" in caplog.text


def test_workers_and_a_cluster_give_the_same_store(gappy_archive, made, tmp_path):
    expected = contents(made)
    assert len([name for name in expected if name.startswith("rain_rate/c/")]) == len(TIMES)
    forecast_period(period_config(gappy_archive, tmp_path / "two.zarr", workers=2))
    assert contents(tmp_path / "two.zarr") == expected
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        forecast_period(period_config(gappy_archive, tmp_path / "c.zarr", scheduler=address))
    assert contents(tmp_path / "c.zarr") == expected


KILLED = """
import os, signal
from squall.pipeline.forecast.period import forecast_period
from squall.pipeline.forecast.store import ForecastStore
from tests.pipeline.forecast.period_examples import period_config

def run(moment, archive, out):
    original = getattr(ForecastStore, moment)
    def killed(self, *arguments):
        is_written = (self.path / "rain_rate/c/3").exists()
        if len(self.times) == 3 and is_written == (moment == "_commit"):
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, *arguments)
    setattr(ForecastStore, moment, killed)
    forecast_period(period_config(archive, out))
"""


@pytest.mark.parametrize("moment", ["_commit", "append"])
def test_a_killed_run_goes_on(gappy_archive, made, tmp_path, moment):
    """Killed before the fourth forecast counts: with its data written, and after three."""
    out, config = tmp_path / "p.zarr", period_config(gappy_archive, tmp_path / "p.zarr")
    script = f"{KILLED}\nrun({moment!r}, {str(gappy_archive)!r}, {str(out)!r})"
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    cut = opened(out)
    assert list(pd.DatetimeIndex(cut.reference_time.values)) == list(TIMES[:3])
    xr.testing.assert_equal(cut.rain_rate, opened(made).rain_rate[:3])
    result = forecast_period(config)
    assert (len(result.times), result.made) == (len(TIMES), len(TIMES) - 3)
    assert contents(out) == contents(made)
    assert len(opened(out).attrs["history"].splitlines()) == 2


def test_a_complete_store_is_left_alone_and_a_later_end_makes_it_longer(
    gappy_archive, made, tmp_path
):
    out = tmp_path / "p.zarr"
    start = PERIOD.partition("/")[0]
    forecast_period(period_config(gappy_archive, out, period=f"{start}/2024-06-01T00:40"))
    assert len(opened(out).reference_time) == 3
    assert forecast_period(period_config(gappy_archive, out)).made == 6
    assert {**contents(out), "zarr.json": None} == {**contents(made), "zarr.json": None}
    before = contents(out)
    assert forecast_period(period_config(gappy_archive, out)).made == 0
    assert contents(out) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lead_times": 4}, r"was made with lead_times 3, now it is 4; choose another --out, or"),
        ({"model": "persistence"}, "was made with model extrapolation, now it is persistence"),
        ({"keep_bits": 10}, "was made with keep_bits 7"),
        ({"every_minutes": 20}, "was made with every_minutes 10"),
    ],
)
def test_other_forecasts_are_not_added_to_a_store(gappy_archive, made, change, message):
    before = contents(made)
    with pytest.raises(ConfigError, match=message):
        forecast_period(period_config(gappy_archive, made, **change))
    assert contents(made) == before


def test_fresh_begins_again(gappy_archive, tmp_path):
    out = tmp_path / "p.zarr"
    forecast_period(period_config(gappy_archive, out, model="persistence"))
    result = forecast_period(period_config(gappy_archive, out, fresh=True))
    assert opened(out).attrs["model"] == "extrapolation"
    assert result.made == len(TIMES)


def test_what_fails_is_left_out_alone(gappy_archive, made, tmp_path, monkeypatch):
    original = period_module.forecast_from

    def fails(prepared, index, output):
        if index == 8:
            raise ValueError("no\nrain")
        return original(prepared, index, output)

    monkeypatch.setattr(period_module, "forecast_from", fails)
    result = forecast_period(period_config(gappy_archive, tmp_path / "p.zarr"))
    reason = "extrapolation failed: ValueError: no rain"
    assert result.failed == ((pd.Timestamp("2024-06-01T00:40"), reason),)
    assert list(result.times) == list(TIMES.drop("2024-06-01T00:40"))
    store = opened(tmp_path / "p.zarr")
    assert list(pd.DatetimeIndex(store.left_out_time.values)) == sorted(
        [*LEFT_OUT, pd.Timestamp("2024-06-01T00:40")]
    )
    xr.testing.assert_equal(
        store.rain_rate, opened(made).rain_rate.drop_sel(reference_time="2024-06-01T00:40")
    )


class Dying(Forecaster):
    """A worker is killed each time that it makes one of the forecasts."""

    def __call__(self, index):
        if index == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(index)


def test_a_worker_that_dies_costs_its_own_forecast_alone(gappy_archive, tmp_path, monkeypatch):
    monkeypatch.setattr(period_module, "Forecaster", Dying)
    start = PERIOD.partition("/")[0]
    config = period_config(
        gappy_archive, tmp_path / "p.zarr", workers=2, period=f"{start}/2024-06-01T00:50"
    )
    result = forecast_period(config)
    ((time, reason),) = result.failed
    assert (f"{time:%H:%M}", reason) == ("00:40", period_module.DIED)
    assert list(result.times) == list(TIMES[[0, 1, 3]])


def test_two_writers_are_refused(gappy_archive, tmp_path):
    with (
        FileLock(tmp_path / ".p.zarr.lock"),
        pytest.raises(BusyError, match="another process writes forecasts there"),
    ):
        forecast_period(period_config(gappy_archive, tmp_path / "p.zarr"))


def test_folders_of_something_else_are_not_touched(gappy_archive, tmp_path):
    (tmp_path / "p.zarr").mkdir()
    (tmp_path / "p.zarr" / "notes.txt").touch()
    with pytest.raises(ConfigError, match="holds something else than many forecasts"):
        forecast_period(period_config(gappy_archive, tmp_path / "p.zarr", fresh=True))
    with pytest.raises(ConfigError, match=r"must end in \.zarr"):
        forecast_period(period_config(gappy_archive, tmp_path / "p.nc"))
    assert (tmp_path / "p.zarr" / "notes.txt").exists()


def test_a_period_without_any_forecast_is_an_error(gappy_archive, tmp_path):
    out = tmp_path / "p.zarr"
    config = period_config(gappy_archive, out, period="2024-06-01T00:00/2024-06-01T00:10")
    with pytest.raises(DataError, match="2 reference times are left out, the first, 2024-06"):
        forecast_period(config)
    with pytest.raises(DataError, match="has no scan in the period"):
        forecast_period(period_config(gappy_archive, out, period="2023-01-01/2023-01-02"))
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"period": "2024-06-02/2024-06-01"}, "the start is after the end"),
        ({"at": "latest"}, "--at and --max-age are for one forecast"),
        ({"members": 3}, "name the products that the store keeps of each ensemble"),
        ({"products": ("members",)}, "without members, chances is the only product"),
        ({"thresholds_mm_h": (1.0,)}, "without members a method has chances at its own thresholds"),
        ({"percentiles": (50.0,)}, "percentiles: is for ensembles"),
        ({"members": 3, "products": ("members",), "codes": True}, "holds rounded rates, which"),
        ({"scheduler": "cluster"}, "should match pattern"),
    ],
)
def test_what_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        period_config("a.icechunk", "p.zarr", **change)


def test_chances_have_to_be_said_by_the_method(gappy_archive, tmp_path):
    config = period_config(gappy_archive, tmp_path / "p.zarr", products=("chances",))
    with pytest.raises(ConfigError, match="extrapolation says no chances without members; leave"):
        forecast_period(config)


def test_members_and_their_products_are_those_of_single_ensembles(gappy_archive, tmp_path):
    """Stochastic members depend on the reference time and on nothing else."""
    asked = {
        "model": "stochastic",
        "members": 3,
        "products": ("members", "chances", "times"),
        "thresholds_mm_h": (0.5, 2.0),
        "keep_bits": 23,
    }
    end = "2024-06-01T00:30"
    config = period_config(
        gappy_archive, tmp_path / "p.zarr", period=f"2024-06-01T00:20/{end}", **asked
    )
    forecast_period(config)
    single(gappy_archive, tmp_path, pd.Timestamp(end), **asked)
    with xr.open_dataset(tmp_path / "single.nc", decode_timedelta=True) as file:
        alone = file.load()
    store = opened(tmp_path / "p.zarr").sel(reference_time=end)
    dropped = {"observed_rain_rate", "rate_of_code"}
    names = sorted(map(str, set(alone.data_vars) - dropped))
    assert "rain_rate_member" in names
    assert "time_of_first_rain" in names
    for name in names:
        np.testing.assert_array_equal(store[name].values, alone[name].values, err_msg=name)


def test_a_network_says_its_training_and_its_chances(gappy_archive, tmp_path):
    end = "2024-06-01T00:50"
    config = period_config(
        *(gappy_archive, tmp_path / "p.zarr"),
        model="squall-base",
        period=f"2024-06-01T00:40/{end}",
        products=("chances",),
        keep_bits=23,
    )
    forecast_period(config)
    alone = single(gappy_archive, tmp_path, pd.Timestamp(end), model="squall-base")
    store = opened(tmp_path / "p.zarr")
    for name in ("rain_rate", "probability_of_exceedance"):
        of_store = store[name].sel(reference_time=end)
        np.testing.assert_array_equal(of_store.values, alone[name].values, err_msg=name)
    assert json.loads(store.attrs["training"])["archives"]
    without = tmp_path / "rain.zarr"
    forecast_period(config.model_copy(update={"out": without, "products": ()}))
    np.testing.assert_array_equal(opened(without).rain_rate, store.rain_rate)
    assert "probability_of_exceedance" not in opened(without)


def test_the_command_says_what_was_done(gappy_archive, tmp_path, capsys):
    words = ["--archive", str(gappy_archive), "--model", "extrapolation", "--out"]
    words += [str(tmp_path / "p.zarr"), "--lead-times", "2", "--every", "10", "--workers", "1"]
    assert main(["forecast", *words]) == 2
    assert "need --period START/END" in capsys.readouterr().err
    assert main(["forecast", *words, "--period", PERIOD]) == 0
    assert (
        "9 forecasts, 2024-06-01 00:20 to 2024-06-01 02:00 UTC, 9 new; 4 reference times left"
        in (capsys.readouterr().out)
    )


def test_maps_say_that_they_want_one_forecast(made):
    message = (
        "holds 9 forecasts, from 2024-06-01T00:20 to 2024-06-01T02:00 UTC; maps and places are"
    )
    with pytest.raises(DataError, match=message):
        read_forecast(made)


def test_the_store_opens_in_scores_without_renaming(gappy_archive, made):
    """The `scores` library takes any xarray objects whose dimensions agree."""
    with xr.open_zarr(made, chunks=None) as store:
        forecasts = store.rain_rate
        archive = open_archive(gappy_archive)
        first = archive.index_of(TIMES[0])
        observed = archive.read(first, 30).drop_vars("spatial_ref")
        valid = forecasts.reference_time + forecasts.lead_time
        observed = observed.sel(time=valid)
        mae = scores.continuous.mae(forecasts, observed, preserve_dims="lead_time")
        expected = np.nanmean(abs(forecasts.values - observed.values), axis=(0, 2, 3))
        np.testing.assert_allclose(mae, expected, rtol=1e-6)
        assert mae.sizes == {"lead_time": LEADS}


def test_the_store_opens_as_weatherbench_x_opens_it(made):
    """What its `PredictionsFromXarray` does with the option ``rename_dimensions``."""
    opened_store = xr.open_zarr(str(made)).rename({"reference_time": "init_time"})[["rain_rate"]]
    init_times = np.array(TIMES[[1, 4]], "datetime64[ns]")
    lead_times = np.array([5, 15], "timedelta64[m]").astype("timedelta64[ns]")
    chunk = opened_store.sel(init_time=init_times, lead_time=lead_times).compute()
    expected = opened(made).rain_rate.values[[1, 4]][:, [0, 2]]
    np.testing.assert_array_equal(chunk.rain_rate.values, expected)
