"""The experiments of the project are valid; wrong experiments are refused."""

from pathlib import Path

import pytest
import torch

from squall.convgru import EncoderForecaster
from squall.convgru.heads.place import MapGrid
from squall.datasets.errors import ConfigError
from squall.pipeline.config import load_config, validated
from squall.pipeline.train.check import step_memory
from squall.pipeline.train.experiment import ExperimentConfig

EXPERIMENTS = sorted((Path(__file__).parents[3] / "configs" / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_experiments_here_are_valid_and_build(path):
    experiment = load_config(path, ExperimentConfig)
    assert experiment.name == path.stem
    # goes through the network and its loss, without arithmetic
    config = experiment.network
    if config.place_channels:  # the training takes the cells of the map from the archive
        grid = MapGrid.over((479, 617), spacing_km=1.0)
        config = config.model_copy(update={"place_grid": grid})
    network = EncoderForecaster(config)
    memory = step_memory(experiment, network)
    assert memory.weights == 4 * sum(tensor.numel() for tensor in network.state_dict().values())
    assert memory.activations > memory.batch


def test_there_are_three_sizes():
    weights = {}
    for name in ("small", "base", "large"):
        (path,) = (path for path in EXPERIMENTS if path.stem == name)
        with torch.device("meta"):
            network = EncoderForecaster(load_config(path, ExperimentConfig).network)
        weights[name] = sum(parameter.numel() for parameter in network.parameters())
    assert weights["small"] < 2e6 < weights["base"] < 20e6 < weights["large"] < 80e6


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (
            {"name": "persistence"},
            "name 'persistence' belongs to a forecast method",
        ),
        ({"name": "a", "data": {"crop": 100}}, "data.crop 100 must be a multiple of 8"),
        ({"name": "a", "loss": {"kind": "crps"}}, "an ensemble needs loss.kind crps and"),
        ({"name": "a", "network": {"noise_channels": 2}}, "loss.kind balanced with"),
        ({"name": "a", "loss": {"kind": "mse"}}, "loss"),
        ({"name": "a", "data": {"workers": 5}}, "workers 5: give a divisor of 12"),
        ({"name": "a", "trainer": {"ema_decay": 1.0}}, "trainer.ema_decay"),
    ],
)
def test_wrong_experiments_are_refused(values, named):
    with pytest.raises(ConfigError, match=named):
        validated(ExperimentConfig, values, "test")
