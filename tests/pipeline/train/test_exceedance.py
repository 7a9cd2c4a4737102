"""Training of the exceedance head: kept windows, resumption, and what its model forecasts."""

import signal

import numpy as np
import pytest
import torch
import xarray as xr

from squall.datasets.errors import ConfigError
from squall.datasets.training.datamodule import RainDataModule
from squall.pipeline.forecast.config import ForecastConfig
from squall.pipeline.forecast.run import forecast
from squall.pipeline.interrupts import Terminated
from squall.pipeline.train import moving_windows
from squall.pipeline.train.check import check_training
from squall.pipeline.train.moving_windows import keep_windows, moving_frame_of

from .test_resume import BATCHES, assert_same_run, signal_in_step, train

SETTINGS = {
    "network__head": "exceedance",
    "loss": {"kind": "exceedance", "lead_times_per_step": 2},
    "data__kept_windows": 12,
    "data__drop_scan": 0.3,
    "trainer__max_epochs": 3,
}


@pytest.fixture(scope="module")
def exceedance(chain, make_experiment):
    return make_experiment(chain.archive, **SETTINGS)


@pytest.fixture(scope="module")
def whole(exceedance, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    train(exceedance, out)
    return out


@pytest.mark.parametrize("at", [1, BATCHES - 1, 2 * BATCHES + 1])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(
    exceedance, whole, monkeypatch, tmp_path, at
):
    with monkeypatch.context() as patch:
        signal_in_step(patch, at, signal.SIGTERM)
        with pytest.raises(Terminated):
            train(exceedance, tmp_path / "run")
    train(exceedance, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)


def test_windows_are_computed_once_for_all_runs_beside_each_other(
    exceedance, whole, monkeypatch, tmp_path
):
    computed = []
    monkeypatch.setattr(moving_windows, "_compute", lambda *given: computed.append(given))
    train(exceedance, whole.parent / "again")
    assert computed == []
    assert_same_run(whole.parent / "again", whole)


def test_a_model_to_begin_with_that_is_absent_is_refused_before_windows_are_computed(
    chain, make_experiment, tmp_path
):
    absent = make_experiment(chain.archive, **SETTINGS, init=str(tmp_path / "absent.ckpt"))
    with pytest.raises(ConfigError, match=r"init: .*absent\.ckpt"):
        train(absent, tmp_path / "run")
    assert not any(tmp_path.rglob("*.zarr"))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_at_most_as_many_windows_are_kept_as_configured(exceedance, tmp_path):
    data = RainDataModule(
        exceedance.data, seed=1, moving_frame=moving_frame_of(exceedance, tmp_path / "run")
    )
    training, validation = data.kept_windows()
    assert training.shape[0] == 12
    assert validation.shape[0] <= exceedance.data.validation_samples
    assert not set(training.starts) & set(validation.starts)


def test_computing_windows_goes_on_where_it_was_interrupted(exceedance, monkeypatch, tmp_path):
    def data():
        frame = moving_frame_of(exceedance, tmp_path / "run")
        return RainDataModule(exceedance.data, seed=1, moving_frame=frame)

    class Full(Exception):
        pass

    store = data().kept_windows()[0]
    compute, calls = type(store).compute, []

    def fails_at_the_fourth(self, number, function):
        calls.append(number)
        if len(calls) == 4:
            raise Full
        compute(self, number, function)

    with monkeypatch.context() as patch:
        patch.setattr(moving_windows, "cores", lambda: 1)
        patch.setattr(moving_windows, "MARK_EVERY", 1)
        patch.setattr(type(store), "compute", fails_at_the_fourth)
        with pytest.raises(Full):
            keep_windows([store], exceedance.data.context)
        assert store.missing() == calls[3:] + [n for n in range(12) if n not in calls]
        patch.setattr(type(store), "compute", compute)
        keep_windows([store], exceedance.data.context)
    assert store.missing() == []


def test_check_says_how_much_is_kept(exceedance):
    text = check_training(exceedance)
    assert "windows beside the run" in text
    assert "loss        exceedance" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"network__head": "exceedance"},
        {"loss": {"kind": "exceedance"}},
        {"network__head": "direct", "loss": {"kind": "exceedance"}},
        {**SETTINGS, "network__noise_channels": 2},
        {**SETTINGS, "trainer__compile": True},
    ],
)
def test_settings_that_the_head_cannot_have_are_refused(chain, make_experiment, changes):
    with pytest.raises(ValueError, match="exceedance"):
        make_experiment(chain.archive, **changes)


def test_it_learns(whole):
    saved = torch.load(whole / "last.ckpt", weights_only=True)
    assert saved["state_dict"]["network.head.maps.weight"].abs().max() > 0


@pytest.fixture(scope="module")
def nowcast(chain, whole):
    def make(product=None, **changes):
        model = f"{whole / 'best.ckpt'}" + (f":{product}" if product else "")
        out = whole.parent / f"{product}.nc"
        return forecast(ForecastConfig(archive=str(chain.archive), model=model, out=out, **changes))

    return make


def test_the_usual_product_has_the_amounts_of_the_last_scan(chain, nowcast):
    dataset = nowcast(at="2024-06-01T04:30")
    last = dataset.observed_rain_rate[-1].values
    first = dataset.rain_rate[0].values
    assert np.nanmean(first) == pytest.approx(np.nanmean(last), rel=0.35)
    assert dataset.attrs["model"] == "tiny"


def test_the_file_has_the_chances_that_the_rain_comes_from(whole, nowcast):
    returned = nowcast(at="2024-06-01T04:30")
    stored = xr.load_dataset(whole.parent / "None.nc")
    chances = stored.probability_of_exceedance
    assert chances.dims == ("threshold", "lead_time", "y", "x")
    assert stored.threshold.attrs["units"] == "mm h-1"
    assert stored.threshold.values.tolist() == [0.2, 0.5, 2, 5, 10, 20]
    assert (abs(chances - returned.probability_of_exceedance) <= 0.0026).sum() == chances.count()
    assert (chances.isnull() == stored.rain_rate.isnull()).all()
    assert ((chances >= 0) & (chances <= 1)).sum() == chances.count() > 0
    assert (chances.diff("threshold") > 1e-6).sum() == 0
    wet, dry = (chances[1].where(where).mean() for where in (
        stored.rain_rate >= 2, stored.rain_rate == 0
    ))  # fmt: skip
    assert wet > 2 * dry


def test_the_expected_rain_is_smoother_than_the_order(nowcast):
    order, expected = (
        nowcast(product, at="2024-06-01T04:30").rain_rate[-1].values
        for product in (None, "expected")
    )
    assert np.nanmax(expected) < np.nanmax(order)


@pytest.mark.parametrize("product", ["best-csi", "unbiased"])
def test_products_of_cuts_need_a_calibration(nowcast, product):
    with pytest.raises(ConfigError, match="squall calibrate"):
        nowcast(product, at="2024-06-01T04:30")


def test_a_network_of_rain_has_no_products(chain, tmp_path):
    config = ForecastConfig(
        archive=str(chain.archive), model=f"{chain.model}:expected", out=tmp_path / "f.nc"
    )
    with pytest.raises(ConfigError, match="forecasts rain and no chances"):
        forecast(config)
