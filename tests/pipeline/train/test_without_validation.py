"""A run without validation: the last weights are the model, and the run can be resumed."""

import os
import signal

import pytest
import torch

from squall.convgru import load_nowcaster
from squall.datasets.errors import DataError
from squall.pipeline.cli import main as cli
from squall.pipeline.interrupts import Terminated
from squall.pipeline.train import run as run_module
from squall.pipeline.train import trainer as trainer_module
from squall.pipeline.train.check import check_training
from squall.pipeline.train.experiment import TrainConfig

BATCHES = 4  # of an epoch
SPLIT = {
    "validation_fraction": 0,
    "test": [{"start": "2024-06-01T04:00", "end": "2024-06-01T05:00"}],
    "guard_minutes": 0,
}


def train(experiment, out, resume=False):
    return run_module.train(TrainConfig(experiment=experiment, out=out, resume=resume))


@pytest.fixture(scope="module")
def experiment(chain, make_experiment):
    """An experiment with the head and the loss of the weights in the package."""
    return make_experiment(
        chain.archive, data__split=SPLIT, network__head="exceedance", loss={"kind": "exceedance"}
    )


@pytest.fixture(scope="module")
def whole(experiment, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    return train(experiment, out)


def assert_same_weights(run, whole):
    saved, expected = (torch.load(r / "last.ckpt", weights_only=True) for r in (run, whole))
    assert saved["global_step"] == expected["global_step"]
    for weights_key in ("state_dict", "current_model_state"):
        assert all(
            torch.equal(value, expected[weights_key][name])
            for name, value in saved[weights_key].items()
        )


def test_the_last_weights_are_the_result(whole):
    assert whole.best == whole.last == whole.out / "last.ckpt"
    assert whole.best_val_loss != whole.best_val_loss  # NaN
    assert whole.epochs == 2
    assert not (whole.out / "best.ckpt").exists()
    metrics = (whole.out / "log" / "version_0" / "metrics.csv").read_text()
    assert "val_loss" not in metrics
    nowcaster, provenance = load_nowcaster(whole.best)
    assert nowcaster.network.config.head == "exceedance"
    assert provenance["archives"][0]["validation_periods"] == []
    assert provenance["archives"][0]["training_periods"] == [
        ["2024-06-01T00:00:00", "2024-06-01T04:00:00"]
    ]
    saved = torch.load(whole.last, weights_only=True)
    assert saved["global_step"] == 2 * BATCHES
    name = "network.head.maps.weight"  # the moving average is saved
    assert not torch.equal(saved["state_dict"][name], saved["current_model_state"][name])


def test_a_run_can_be_resumed_after_an_epoch(experiment, tmp_path):
    one_epoch = experiment.model_copy(
        update={"trainer": experiment.trainer.model_copy(update={"max_epochs": 1})}
    )
    result = train(one_epoch, tmp_path / "run")
    assert result.epochs == 1
    again = train(experiment, tmp_path / "run", resume=True)
    assert again.epochs == 2
    saved = torch.load(again.last, weights_only=True)
    assert saved["global_step"] == 2 * BATCHES


@pytest.mark.parametrize("at", [1, BATCHES - 1])
def test_sigterm_does_not_change_the_weights(experiment, whole, monkeypatch, tmp_path, at):
    class Signals(trainer_module.EpochLines):
        def on_train_batch_start(self, trainer, *_):
            if trainer.fit_loop.epoch_loop.total_batch_idx == at:
                os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "EpochLines", Signals)
        with pytest.raises(Terminated):
            train(experiment, tmp_path / "run")
    train(experiment, tmp_path / "run", resume=True)
    assert_same_weights(tmp_path / "run", whole.out)


def test_a_corrupt_checkpoint_without_best_ckpt_needs_a_new_run(experiment, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(
        DataError, match=r"cannot be read as a .* Start a new run in another folder"
    ):
        train(experiment, tmp_path, resume=True)


def test_check_and_command_line_report_no_validation(
    experiment, whole, monkeypatch, capsys, tmp_path
):
    report = check_training(experiment)
    assert "0 validation, " in report
    assert "; 0 validation samples" in report
    assert "activations" in report
    monkeypatch.setattr(run_module, "train", lambda _: whole)
    assert cli.main(["train", str(whole.out / "config.yaml"), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"2 epochs, no validation: {whole.last}\n"
