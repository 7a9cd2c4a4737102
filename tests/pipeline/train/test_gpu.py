"""Training on a GPU: mixed precision, pinned codes, and the loss that is read a step later."""

import pytest
import torch

from squall.pipeline.train import run as run_module
from squall.pipeline.train.experiment import TrainConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
]


@pytest.mark.parametrize("compiled", [False, True])
def test_runs_on_gpu_and_cpu_learn_the_same(chain, make_experiment, tmp_path, compiled):
    experiment = make_experiment(
        chain.archive, trainer__accelerator="gpu", trainer__compile=compiled, data__workers=2
    )
    on_gpu = run_module.train(TrainConfig(experiment=experiment, out=tmp_path / "gpu"))
    on_cpu = run_module.train(
        TrainConfig(experiment=make_experiment(chain.archive), out=tmp_path / "cpu")
    )
    assert on_gpu.best_val_loss == pytest.approx(on_cpu.best_val_loss, rel=0.02)
