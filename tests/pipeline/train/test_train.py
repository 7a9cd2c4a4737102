"""A training run on one process: its outputs, its reproducibility and its errors."""

import csv

import numpy as np
import pandas as pd
import pytest
import torch

from squall import __version__
from squall.convgru import EncoderForecaster, load_nowcaster
from squall.datasets.archive.archive import Archive
from squall.datasets.archive.writer import ArchiveWriter, StoredScan
from squall.datasets.errors import ConfigError, DataError
from squall.datasets.synthetic.radar import synthetic_grid
from squall.pipeline.config import load_config
from squall.pipeline.train import run as run_module
from squall.pipeline.train.check import check_training
from squall.pipeline.train.experiment import ExperimentConfig, TrainConfig


def train(experiment, out, resume=False):
    return run_module.train(TrainConfig(experiment=experiment, out=out, resume=resume))


def logged(run, column):
    rows = []
    for version in sorted((run / "log").iterdir()):
        rows += csv.DictReader((version / "metrics.csv").read_text().splitlines())
    return [float(row[column]) for row in rows if row.get(column)]


def test_a_run_writes_checkpoints_log_and_configuration(chain):
    assert (chain.run / "best.ckpt").is_file()
    assert (chain.run / "last.ckpt").is_file()
    assert "max_epochs: 2" in (chain.run / "config.yaml").read_text()
    assert len(logged(chain.run, "val_loss")) == 2
    assert len(logged(chain.run, "val_csi")) == 2


def test_a_checkpoint_is_enough_to_rebuild_the_model_and_names_its_data(chain):
    nowcaster, provenance = load_nowcaster(chain.model)
    assert not nowcaster.training
    assert provenance["name"] == "tiny"
    assert provenance["squall_version"].startswith(__version__)
    assert provenance["squall_version"] in (chain.run / "config.yaml").read_text()
    (archive,) = provenance["archives"]
    assert archive["name"] == "synthetic"
    assert archive["training_periods"] == [["2024-06-01T00:00:00", "2024-06-01T03:00:00"]]
    assert archive["validation_periods"] == [["2024-06-01T03:00:00", "2024-06-01T04:00:00"]]


def weights(run):
    return torch.load(run / "last.ckpt", weights_only=True)["state_dict"]


def test_runs_with_the_same_seed_have_the_same_weights(chain, make_experiment, tmp_path):
    train(make_experiment(chain.archive), tmp_path / "again")
    expected, repeated = weights(chain.run), weights(tmp_path / "again")
    assert expected.keys() == repeated.keys()
    assert all(torch.equal(expected[name], repeated[name]) for name in expected)


def test_a_run_can_be_repeated_from_its_folder(chain, tmp_path):
    experiment = load_config(chain.run / "config.yaml", ExperimentConfig)
    (share,) = experiment.data.archives
    assert share.snapshot == Archive.open(chain.archive).snapshot
    train(experiment, tmp_path / "again")
    expected, repeated = weights(chain.run), weights(tmp_path / "again")
    assert all(torch.equal(expected[name], repeated[name]) for name in expected)


def test_the_moving_average_is_validated(chain, make_experiment, tmp_path):
    saved = torch.load(chain.run / "last.ckpt", weights_only=True)
    average, trained = saved["state_dict"], saved["current_model_state"]
    assert any(not torch.equal(average[name], trained[name]) for name in average)
    train(make_experiment(chain.archive, trainer__ema_decay=None), tmp_path / "run")
    plain = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert all(torch.equal(plain["state_dict"][name], trained[name]) for name in trained)
    assert logged(tmp_path / "run", "val_loss") != logged(chain.run, "val_loss")


def test_metrics_and_pictures_are_written_to_the_trackers(chain):
    leads = [logged(chain.run, f"val_csi_lead/{lead:02d}") for lead in (1, 4)]
    assert all(len(values) == 2 for values in leads)
    assert len(logged(chain.run, "train_loss")) == 2
    # logged once in ten steps; this run has eight
    assert logged(chain.run, "train_loss_step") == []
    (events,) = (chain.run / "tensorboard").glob("events.*")
    content = events.read_bytes()
    for tag in (b"val_loss", b"val_csi_lead/01", b"forecast"):
        assert tag in content
    assert b"\x89PNG" in content


def test_a_loss_that_is_not_finite_names_its_windows_and_keeps_the_checkpoints(
    chain, make_experiment, tmp_path
):
    run = tmp_path / "run"
    train(make_experiment(chain.archive, trainer__max_epochs=1), run)
    kept = {name: (run / name).read_bytes() for name in ("best.ckpt", "last.ckpt")}
    nan = make_experiment(chain.archive, trainer__max_epochs=2, optimiser={"learning_rate": 1e30})
    with pytest.raises(DataError) as caught:
        train(nan, run, resume=True)
    message = str(caught.value)
    assert "the loss of step" in message
    assert message.count("synthetic 2024-06-01T") == 4
    assert "rows" in message
    assert "is unchanged" in message
    assert {name: (run / name).read_bytes() for name in kept} == kept


def test_mixed_precision_has_nearly_the_same_loss(chain, make_experiment, tmp_path):
    train(make_experiment(chain.archive, trainer__precision="bf16-mixed"), tmp_path / "run")
    repeated, expected = logged(tmp_path / "run", "val_loss"), logged(chain.run, "val_loss")
    assert repeated != expected
    assert repeated == pytest.approx(expected, rel=0.02)
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "run").values())


def test_a_run_is_never_overwritten(chain, make_experiment):
    before = (chain.run / "best.ckpt").read_bytes()
    with pytest.raises(ConfigError, match="holds a run; add --resume"):
        train(make_experiment(chain.archive), chain.run)
    assert (chain.run / "best.ckpt").read_bytes() == before


def test_nothing_to_resume_is_an_error(chain, make_experiment, tmp_path):
    with pytest.raises(ConfigError, match=r"no last\.ckpt to resume from"):
        train(make_experiment(chain.archive), tmp_path / "new", resume=True)


def test_a_resumed_run_keeps_its_earlier_training_periods(chain, make_experiment, tmp_path):
    """An earlier version of Squall let a run go on with another split."""
    train(make_experiment(chain.archive, trainer__max_epochs=1), tmp_path / "run")
    last = tmp_path / "run" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
    (archive,) = saved["squall"]["provenance"]["archives"]
    archive["training_periods"].append(["2024-06-01T04:00:00", "2024-06-01T05:00:00"])
    torch.save(saved, last)
    train(make_experiment(chain.archive), tmp_path / "run", resume=True)
    (archive,) = load_nowcaster(last)[1]["archives"]
    assert archive["training_periods"] == [
        ["2024-06-01T00:00:00", "2024-06-01T03:00:00"],
        ["2024-06-01T04:00:00", "2024-06-01T05:00:00"],
    ]


def test_a_missing_device_is_an_error(chain, make_experiment, tmp_path):
    with pytest.raises(ConfigError, match=r"trainer\.devices: must be 1 or more, or auto"):
        make_experiment(chain.archive, trainer__devices=0)
    experiment = make_experiment(chain.archive, trainer__accelerator="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="trainer: "):
            train(experiment, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_run_folder_that_is_a_file_is_an_error(chain, make_experiment, tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(ConfigError, match="is a file; --out names"):
        train(make_experiment(chain.archive), tmp_path / "run")


def test_no_archive_is_an_error(make_experiment, tmp_path):
    with pytest.raises(ConfigError, match="no archive to train on"):
        train(make_experiment(), tmp_path / "run")
    with pytest.raises(DataError, match="there is no archive"):
        train(make_experiment(tmp_path / "nowhere"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_consecutive_scans_are_an_error(chain, make_experiment, tmp_path):
    with pytest.raises(DataError, match="no validation window"):
        train(make_experiment(chain.archive, data__lead_times=20), tmp_path / "run")


@pytest.mark.slow
def test_loader_processes_do_not_change_the_weights(chain, make_experiment, tmp_path):
    train(make_experiment(chain.archive, data__workers=2), tmp_path / "run")
    expected, repeated = weights(chain.run), weights(tmp_path / "run")
    assert all(torch.equal(expected[name], repeated[name]) for name in expected)


def flat_archive(path, code):
    grid = synthetic_grid(64)
    times = pd.date_range("2024-06-01", periods=60, freq="5min")
    codes = np.full(grid.shape, code, dtype=np.uint8)
    scans = [StoredScan(time, codes, f"{i}.nc", f"{i:032d}") for i, time in enumerate(times)]
    ArchiveWriter(path, pd.Timedelta("5min"), {"name": "flat"}).commit(grid, scans, [], "flat")
    return path


@pytest.mark.parametrize("code", [0, 255], ids=["all dry", "all missing"])
def test_dry_and_missing_scans_can_be_used_without_rain_preference(make_experiment, tmp_path, code):
    archive = flat_archive(tmp_path / "a", code)
    result = train(make_experiment(archive, data__rain_preference=0), tmp_path / "run")
    assert result.best_val_loss == pytest.approx(0, abs=1e-4)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())


def test_an_archive_without_rain_is_an_error(make_experiment, tmp_path):
    archive = flat_archive(tmp_path / "a", 0)
    with pytest.raises(DataError, match=r"no training window with rain in .*rain_preference=0"):
        train(make_experiment(archive), tmp_path / "run")


def test_a_crop_larger_than_the_grid_is_an_error(chain, make_experiment, tmp_path):
    with pytest.raises(DataError, match=r"64 × 64 pixels, too few for data\.crop 128"):
        train(make_experiment(chain.archive, data__crop=128), tmp_path / "run")


def test_a_check_reports_the_size_of_a_run_and_writes_nothing(
    chain, make_experiment, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    experiment = make_experiment(chain.archive, network__checkpoint_activations=True)
    report = check_training(experiment)
    assert " scans, 20 min ahead: 30 training, 6 validation, 6 test" in report
    assert "16 samples: 4 batches of 4 on each of 1 device, 4 optimiser steps" in report
    weights = sum(p.numel() for p in EncoderForecaster(experiment.network).parameters())
    assert f"{weights:,} weights" in report
    assert "activations" in report
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="no validation window"):
        check_training(make_experiment(chain.archive, data__lead_times=20))
