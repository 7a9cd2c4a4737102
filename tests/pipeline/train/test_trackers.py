"""Trackers keep numbers and pictures at the documented places; resumed runs continue theirs."""

import builtins
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from squall.datasets.errors import ConfigError
from squall.pipeline.train.trackers import (
    MlflowConfig,
    TrackersConfig,
    WandbConfig,
    log_picture,
    trackers,
)

PICTURE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anything but this machine's own processes fails the test."""
    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            raise AssertionError(f"a tracker reached for {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "WANDB_ERROR_REPORTING", "WANDB_MODE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # restored after the test, also if the trackers set it
    monkeypatch.setenv("WANDB_SILENT", "true")


def track(loggers: list[Logger], step: int) -> None:
    """Use loggers as a trainer does."""
    for logger in loggers:
        logger.log_metrics({"val_loss": 0.5 + step}, step)
    log_picture(loggers, "forecast", PICTURE, step)
    for logger in loggers:
        logger.save()
        logger.finalize("success")


def test_files_by_default(tmp_path: Path) -> None:
    track(trackers(TrackersConfig(), tmp_path, "small"), 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "tensorboard"]
    metrics = pd.read_csv(tmp_path / "log" / "version_0" / "metrics.csv")
    assert metrics.to_dict("records") == [{"step": 3, "val_loss": 3.5}]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (loss,) = events.Scalars("val_loss")
    assert (loss.step, loss.value) == (3, 3.5)
    (image,) = events.Images("forecast")
    assert (image.step, image.width, image.height) == (3, 5, 4)


def test_tensorboard_can_be_left_out(tmp_path: Path) -> None:
    track(trackers(TrackersConfig(tensorboard=False), tmp_path, "small"), 3)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_pictures_are_drawn_only_for_trackers_that_show_them() -> None:
    assert not TrackersConfig(tensorboard=False).show_pictures
    for tracker in ({}, {"mlflow": {}}, {"wandb": {}}):
        config = TrackersConfig.model_validate({"tensorboard": not tracker} | tracker)
        assert config.show_pictures


@pytest.mark.slow
def test_mlflow_stores_a_run_and_resumes_it(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    config = TrackersConfig(tensorboard=False, mlflow=MlflowConfig(experiment="radar"))
    for step in (3, 4):
        track(trackers(config, tmp_path, "small"), step)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("radar")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "small"
    history = client.get_metric_history(run.info.run_id, "val_loss")
    assert [(m.step, m.value) for m in history] == [(3, 3.5), (4, 4.5)]
    pictures = sorted((tmp_path / "mlflow-artifacts").rglob("*.png"))
    assert [picture.name for picture in pictures] == ["step_00000003.png", "step_00000004.png"]
    assert np.array_equal(np.asarray(Image.open(pictures[0])), PICTURE)


@pytest.mark.slow
def test_mlflow_in_a_database_of_ones_own_and_a_run_that_it_does_not_hold(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'all.db'}"
    config = TrackersConfig(tensorboard=False, mlflow=MlflowConfig(tracking_uri=uri))
    track(trackers(config, tmp_path / "run", "small"), 3)
    assert len(list((tmp_path / "mlflow-artifacts").rglob("*.png"))) == 1
    (tmp_path / "run" / "tracker_runs.json").write_text('{"mlflow": "0123"}')
    with pytest.raises(ConfigError, match=r"all\.db cannot be used: .*tracker_runs\.json"):
        trackers(config, tmp_path / "run", "small")


@pytest.mark.slow
def test_an_mlflow_address_that_cannot_be_used_is_the_configurations_fault(tmp_path: Path) -> None:
    config = TrackersConfig(mlflow=MlflowConfig(tracking_uri=str(tmp_path / "folder")))
    with pytest.raises(ConfigError, match=r"trackers\.mlflow: .*folder cannot be used"):
        trackers(config, tmp_path, "small")


@pytest.fixture
def wandb_ended() -> Iterator[None]:
    yield
    import wandb

    wandb.teardown()


@pytest.mark.slow
@pytest.mark.usefixtures("wandb_ended")
def test_wandb_offline_stores_a_run_and_resumes_it(tmp_path: Path) -> None:
    import wandb

    config = TrackersConfig(tensorboard=False, wandb=WandbConfig(project="radar"))
    ids = []
    for step in (3, 4):
        loggers = trackers(config, tmp_path, "small")
        track(loggers, step)
        ids.append(loggers[-1].version)
        wandb.finish()
    assert ids == [json.loads((tmp_path / "tracker_runs.json").read_text())["wandb"]] * 2
    runs = list((tmp_path / "wandb").glob("offline-run-*"))
    assert runs
    assert all(list(run.glob(f"run-{ids[0]}.wandb")) for run in runs)
    assert list((tmp_path / "wandb").rglob("forecast_*.png"))


@pytest.mark.parametrize("package", ["mlflow", "wandb"])
def test_a_missing_package_is_named_with_advice(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)
        return real(name, *rest, **more)

    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    config = TrackersConfig.model_validate({package: {}})
    with pytest.raises(ConfigError, match=rf"No module named .*pip install 'squall\[{package}\]'"):
        trackers(config, tmp_path, "small")


def test_other_ranks_begin_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    config = TrackersConfig(mlflow=MlflowConfig(), wandb=WandbConfig())
    loggers = trackers(config, tmp_path, "small")
    track(loggers, 3)
    assert len(loggers) == 2
    assert not list(tmp_path.iterdir())


def test_a_broken_file_of_runs_is_named(tmp_path: Path) -> None:
    (tmp_path / "tracker_runs.json").write_text("{")
    with pytest.raises(ConfigError, match=r"tracker_runs\.json: is not JSON .*; remove it"):
        trackers(TrackersConfig(mlflow=MlflowConfig()), tmp_path, "small")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tensorbord": True}, "tensorbord"),
        ({"wandb": {"mode": "disabled"}}, "'offline' or 'online'"),
        ({"mlflow": {"uri": "x"}}, "uri"),
    ],
)
def test_mistakes_in_the_configuration(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrackersConfig.model_validate(values)
