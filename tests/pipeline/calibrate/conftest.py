"""A model of chances, trained for seconds."""

import pytest

from squall.pipeline.train.experiment import TrainConfig
from squall.pipeline.train.run import train


@pytest.fixture(scope="session")
def model(chain, make_experiment, tmp_path_factory):
    """A checkpoint of chances."""
    experiment = make_experiment(
        chain.archive,
        network__head="exceedance",
        loss={"kind": "exceedance"},
        data__kept_windows=8,
        trainer__max_epochs=1,
    )
    out = tmp_path_factory.mktemp("chances") / "run"
    train(TrainConfig(experiment=experiment, out=out))
    return out / "best.ckpt"
