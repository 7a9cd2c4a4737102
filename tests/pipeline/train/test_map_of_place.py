"""Training with a map of the place: one archive, resumption, and where its model forecasts."""

import signal

import pytest
import torch

from squall.convgru.checkpoint import load_nowcaster, read_checkpoint
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.open_archive import open_archive
from squall.pipeline.calibrate.config import CalibrateConfig
from squall.pipeline.calibrate.run import calibrate
from squall.pipeline.export.weights import WeightsConfig, export_weights
from squall.pipeline.forecast.network_method import NetworkMethod
from squall.pipeline.forecast.radar_network import network_digest
from squall.pipeline.interrupts import Terminated
from squall.pipeline.train import first_weights
from squall.pipeline.train.check import check_training
from tests.convgru.chances_of import chances_of

from .test_exceedance import SETTINGS
from .test_resume import BATCHES, assert_same_run, checkpoint, signal_in_step, train

PLACE = {
    "network__place_channels": 3,
    "data__augment": False,
    **SETTINGS,
    "trainer__max_epochs": 2,
}


@pytest.fixture(scope="module")
def placed(chain, make_experiment):
    return make_experiment(chain.archive, **PLACE)


@pytest.fixture(scope="module")
def whole(placed, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    train(placed, out)
    return out


@pytest.fixture(scope="module")
def without_map(chain, make_experiment, whole):
    experiment = make_experiment(chain.archive, **PLACE | {"network__place_channels": 0})
    return train(experiment, whole.parent / "without").last


@pytest.mark.parametrize("at", [1, BATCHES])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(
    placed, whole, monkeypatch, tmp_path, at
):
    with monkeypatch.context() as patch:
        signal_in_step(patch, at, signal.SIGTERM)
        with pytest.raises(Terminated):
            train(placed, tmp_path / "run")
    train(placed, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole)
    saved, expected = (checkpoint(run)["optimizer_states"][0] for run in (tmp_path / "run", whole))
    assert saved["param_groups"] == expected["param_groups"]


def test_workers_give_the_same_run(placed, whole, tmp_path):
    two = placed.data.model_copy(update={"workers": 2})
    train(placed.model_copy(update={"data": two}), whole.parent / "workers")
    assert_same_run(whole.parent / "workers", whole)


def test_the_map_learns_faster_and_without_decay_also_after_a_change(placed, whole, tmp_path):
    others, maps = checkpoint(whole)["optimizer_states"][0]["param_groups"]
    assert len(maps["params"]) == 1
    assert maps["initial_lr"] == pytest.approx(3 * others["initial_lr"])
    assert (maps["weight_decay"], others["weight_decay"]) == (0, placed.optimiser.weight_decay)
    state = read_checkpoint(whole / "last.ckpt")[0].network.state_dict()
    assert state["head.place.values"].abs().max() > 0
    run = tmp_path / "run"
    once = placed.trainer.model_copy(update={"max_epochs": 1})
    train(placed.model_copy(update={"trainer": once}), run)
    slower = placed.optimiser.model_copy(update={"learning_rate": 1e-4, "weight_decay": 0.5})
    train(placed.model_copy(update={"optimiser": slower}), run, resume=True)
    others, maps = checkpoint(run)["optimizer_states"][0]["param_groups"]
    assert (others["initial_lr"], others["weight_decay"]) == (1e-4, 0.5)
    assert (maps["initial_lr"], maps["weight_decay"]) == (pytest.approx(3e-4), 0)


def test_a_run_with_a_map_does_not_go_on_without_it(placed, whole):
    without = placed.network.model_copy(update={"place_channels": 0})
    with pytest.raises(ConfigError, match="place_channels 3"):
        train(placed.model_copy(update={"network": without}), whole, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__augment": True}, r"data.augment with network.place_channels 3"),
        ({"data__speeds": [1, 2]}, r"data.speeds \[1, 2\] with .* give one value"),
        ({"data__coarsen": [1, 2]}, r"data.coarsen \[1, 2\] with .* give one value"),
        ({"network__head": "direct", "loss": {"kind": "balanced"}}, "no map of the place"),
        (
            {"network__place_grid": {"rows": 4, "columns": 4, "cell_px": 4}},
            "place_grid is found by the training",
        ),
        (
            {"init": "squall-base", "freeze": ["encoder", "forecaster", "head", "map"]},
            "nothing would be trained",
        ),
    ],
)
def test_settings_without_one_place_are_refused(chain, make_experiment, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_experiment(chain.archive, **PLACE | changes)


def test_two_archives_have_no_common_place(chain, make_experiment):
    with pytest.raises(ConfigError, match=r"2 data.archives with .* give one archive"):
        make_experiment(chain.archive, chain.archive, **PLACE)


def test_check_describes_the_map(placed):
    assert "3 × 16 × 16 of them a map of the place" in check_training(placed)


def test_a_model_forecasts_where_it_was_trained_and_nowhere_else(
    chain, whole, rain_archive, tmp_path
):
    own, other = open_archive(str(chain.archive)), open_archive(str(rain_archive))
    _, provenance = load_nowcaster(whole / "best.ckpt")
    assert provenance["map_of"] == network_digest(own)
    published = tmp_path / "mapped.safetensors"
    export_weights(WeightsConfig(checkpoint=whole / "best.ckpt", out=published))
    calibrated = CalibrateConfig(
        archive=str(chain.archive),
        model=published,
        out=tmp_path / "calibrated.safetensors",
        most_forecasts=2,
        workers=1,
    )
    for model in (whole / "best.ckpt", published, calibrate(calibrated).out):
        method = NetworkMethod.load(model, own)
        scans = own.codes[: method.context].astype("float32") / 20
        assert method.nowcast(scans, 2).shape == (2, *own.grid.shape)
        with pytest.raises(DataError, match=r"map of the place, learnt on synthetic, and .* grid"):
            NetworkMethod.load(model, other)


def test_a_model_without_a_map_is_the_beginning_of_one_with_it(placed, without_map, whole):
    """The new map changes no chance before the first step."""
    config = read_checkpoint(whole / "last.ckpt")[0].network.config
    experiment = placed.model_copy(update={"init": str(without_map)})
    own = first_weights.EncoderForecaster(config).eval()
    first_weights.begin(own, experiment, resumed=False, map_of="here")
    theirs = load_nowcaster(without_map)[0].network
    rain = torch.rand(1, 4, 1, 64, 64)
    resolution = torch.tensor([[5.0, 1.0]])
    pair = [chances_of(n, rain, rain.ceil(), 2, resolution) for n in (own, theirs)]
    for lead, expected in zip(*pair, strict=True):
        assert torch.equal(lead.logits_BKHW, expected.logits_BKHW)
        assert lead.logits_BKHW.std() > 0


def test_only_the_map_learns_if_all_other_parts_are_frozen(placed, without_map, whole):
    parts = {"init": str(without_map), "freeze": ("encoder", "forecaster", "head")}
    result = train(placed.model_copy(update=parts), whole.parent / "frozen")
    before = read_checkpoint(without_map)[0].network.state_dict()
    after = read_checkpoint(result.last)[0].network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert after["head.place.values"].abs().max() > 0


def test_the_map_of_another_place_is_not_taken(placed, whole, caplog):
    caplog.set_level("INFO")
    experiment = placed.model_copy(update={"init": str(whole / "last.ckpt")})
    network, provenance = read_checkpoint(whole / "last.ckpt")
    theirs, here = network.network, provenance["squall"]["provenance"]["map_of"]
    for map_of in ("elsewhere", here):
        own = first_weights.EncoderForecaster(theirs.config)
        first_weights.begin(own, experiment, resumed=False, map_of=map_of)
        taken = torch.equal(own.head.place.values, theirs.head.place.values)
        assert taken == (map_of == here)
        assert torch.equal(own.head.maps.weight, theirs.head.maps.weight)
        assert ("left out, of another place: head.place" in caplog.text) == (not taken)
        caplog.clear()
