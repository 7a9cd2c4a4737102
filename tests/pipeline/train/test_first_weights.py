"""Runs that begin with the weights of another model, and parts that are frozen."""

import logging
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from squall.convgru import read_checkpoint
from squall.datasets.errors import ConfigError
from squall.datasets.open_archive import open_archive
from squall.pipeline.config import load_config
from squall.pipeline.export.weights import published_provenance
from squall.pipeline.train import first_weights
from squall.pipeline.train import run as run_module
from squall.pipeline.train.experiment import ExperimentConfig
from squall.pipeline.verify.cases import training_times

from .test_resume import train


def weights(path) -> OrderedDict[str, torch.Tensor]:
    return read_checkpoint(path)[0].network.state_dict()


def experiment_with(make_experiment, chain, **changes):
    return make_experiment(chain.archive, trainer__max_epochs=1, trainer__ema_decay=None, **changes)


def test_a_frozen_part_keeps_the_weights_and_the_others_change(chain, make_experiment, tmp_path):
    model = chain.run / "best.ckpt"
    experiment = experiment_with(
        make_experiment, chain, init=str(model), freeze=["encoder", "forecaster"]
    )
    result = train(experiment, tmp_path / "run")
    before, after = weights(model), weights(result.last)
    for name, weight in after.items():
        assert torch.equal(weight, before[name]) == (not name.startswith("head.")), name


def test_a_run_without_steps_has_the_weights_of_its_beginning(
    chain, make_experiment, tmp_path, caplog
):
    """Another number of layers fits in part; the message says what is new."""
    model = chain.run / "best.ckpt"
    experiment = experiment_with(make_experiment, chain, init=str(model))
    network = experiment.network
    other = network.model_copy(update={"channels": (*network.channels[:-1], 6)})
    caplog.set_level(logging.INFO)
    small = experiment.model_copy(update={"network": other})
    own = first_weights.EncoderForecaster(other)
    random = {name: weight.clone() for name, weight in own.state_dict().items()}
    origin = first_weights.begin(own, small, resumed=False)
    assert origin["init"]["name"] == "tiny"
    theirs = weights(model)
    for name, weight in own.state_dict().items():
        fits = name in theirs and theirs[name].shape == weight.shape
        assert torch.equal(weight, theirs[name] if fits else random[name])
    assert f"begins with the weights of {model}" in caplog.text
    assert "encoder 12 of 18, forecaster 11 of 15, head 4 of 4" in caplog.text
    assert "; new: downs.2.0.bias" in caplog.text


def test_the_packaged_model_is_a_beginning():
    path = Path(__file__).parents[3] / "configs" / "experiments" / "squall-base.yaml"
    config = load_config(path, ExperimentConfig, ["init=squall-base", "freeze=[encoder]"])
    network = first_weights.EncoderForecaster(config.network)
    first_weights.begin(network, config, resumed=False)
    expected = first_weights.FirstWeights.load("squall-base").weights
    assert all(torch.equal(w, expected[n]) for n, w in network.state_dict().items())


def test_what_the_first_model_was_trained_on_stays_known(chain, make_experiment, tmp_path):
    """Verification leaves these times out, also after a second run and after export."""
    experiment = experiment_with(make_experiment, chain, init=str(chain.run / "best.ckpt"))
    shorter = experiment.data.model_copy(update={"samples_per_epoch": 4})
    second = train(experiment.model_copy(update={"data": shorter}), tmp_path / "second").last
    third = train(
        experiment.model_copy(update={"data": shorter, "init": str(second)}), tmp_path / "third"
    ).last
    archive = open_archive(str(chain.archive))
    provenance = read_checkpoint(third)[1]["squall"]["provenance"]
    assert len(provenance["init"]["archives"]) == 2
    for known in (provenance, published_provenance(provenance)):
        own_periods_gone = dict(known, archives=[])
        expected = training_times(archive, [dict(known, init={"archives": []})])
        assert (training_times(archive, [own_periods_gone]) == expected).all()
        assert expected.any()
    assert str(tmp_path) not in str(published_provenance(provenance))


def test_a_resumed_run_keeps_the_description_of_its_beginning(chain, make_experiment, tmp_path):
    experiment = experiment_with(make_experiment, chain, init=str(chain.run / "best.ckpt"))
    first = train(experiment, tmp_path / "run").last
    init = read_checkpoint(first)[1]["squall"]["provenance"]["init"]
    longer = experiment.trainer.model_copy(update={"max_epochs": 2})
    train(experiment.model_copy(update={"trainer": longer}), tmp_path / "run", resume=True)
    assert read_checkpoint(first)[1]["squall"]["provenance"]["init"] == init


def test_a_resumed_run_does_not_begin_again(chain, make_experiment, tmp_path, monkeypatch):
    experiment = experiment_with(make_experiment, chain, init=str(chain.run / "best.ckpt"))
    train(experiment, tmp_path / "run")
    monkeypatch.setattr(first_weights.FirstWeights, "load", None)
    longer = experiment.trainer.model_copy(update={"max_epochs": 2})
    changed = experiment.model_copy(update={"trainer": longer})
    result = run_module.train(
        run_module.TrainConfig(experiment=changed, out=tmp_path / "run", resume=True)
    )
    assert result.epochs == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": "no-such-model"}, r"init: no-such-model: neither a file nor a packaged model"),
        ({"freeze": ["head"]}, "freeze without init would keep random weights"),
        (
            {"init": "squall-base", "freeze": ["encoder", "forecaster", "head"]},
            "nothing would be trained",
        ),
        ({"init": "squall-base"}, "init: no layer of squall-base fits this network"),
        ({"freeze": ["place"], "init": "squall-base"}, "freeze.0: Input should be 'encoder'"),
        ({"freeze": ["map"], "init": "squall-base"}, "freeze names the map, and"),
    ],
)
def test_what_cannot_be_a_beginning_is_refused(chain, make_experiment, tmp_path, changes, message):
    network = {"channels": [3, 3, 3], "strides": [1, 1, 2], "kernel_size": 5}

    def run():
        train(experiment_with(make_experiment, chain, network=network, **changes), tmp_path / "run")

    with pytest.raises(ConfigError, match=message):
        run()


def test_a_part_that_fits_only_in_part_is_not_frozen(chain, make_experiment, tmp_path):
    experiment = experiment_with(
        make_experiment, chain, init=str(chain.run / "best.ckpt"), freeze=["forecaster"]
    )
    network = experiment.network
    other = network.model_copy(update={"channels": (*network.channels[:-1], 6)})
    with pytest.raises(ConfigError, match=r"freeze: forecaster is not wholly in .* would stay"):
        train(experiment.model_copy(update={"network": other}), tmp_path / "run")
