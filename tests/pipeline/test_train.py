import csv
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from convgru import load_nowcaster
from datasets.archive_writer import ArchiveWriter, StoredScan
from datasets.errors import ConfigError, DataError
from datasets.synthetic import synthetic_grid
from pipeline.train import TrainConfig

stage = sys.modules["pipeline.train"]


def train(experiment, out, resume=False):
    return stage.train(TrainConfig(experiment=experiment, out=out, resume=resume))


def logged(run, column):
    rows = []
    for version in sorted((run / "log").iterdir()):
        rows += csv.DictReader((version / "metrics.csv").read_text().splitlines())
    return [float(row[column]) for row in rows if row.get(column)]


def test_a_run_leaves_checkpoints_log_and_configuration(chain):
    assert (chain.run / "best.ckpt").is_file()
    assert (chain.run / "last.ckpt").is_file()
    assert "max_epochs: 2" in (chain.run / "config.yaml").read_text()
    assert len(logged(chain.run, "val_loss")) == 2
    assert len(logged(chain.run, "val_csi")) == 2


def test_the_checkpoint_rebuilds_by_itself_and_names_its_data(chain):
    nowcaster, provenance = load_nowcaster(chain.model)
    assert not nowcaster.training
    assert provenance["name"] == "tiny"
    (archive,) = provenance["archives"]
    assert archive["name"] == "synthetic"
    assert archive["training_periods"] == [["2024-06-01T00:00:00", "2024-06-01T03:00:00"]]
    assert archive["validation_periods"] == [["2024-06-01T03:00:00", "2024-06-01T04:00:00"]]


def weights(run):
    return torch.load(run / "last.ckpt", weights_only=True)["state_dict"]


def test_the_seed_decides_everything(chain, make_experiment, tmp_path):
    train(make_experiment(chain.archive), tmp_path / "again")
    there, here = weights(chain.run), weights(tmp_path / "again")
    assert there.keys() == here.keys()
    assert all(torch.equal(there[name], here[name]) for name in there)


def test_a_resumed_run_ends_as_one_that_was_never_stopped(chain, make_experiment, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    config = make_experiment(chain.archive, trainer__max_epochs=3)
    train(config, whole)
    assert _interrupted_epochs(config, parts, at=1) == 1
    train(config, parts, resume=True)
    a, b = weights(whole), weights(parts)
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)
    assert len(logged(parts, "val_loss")) == 3


def _interrupted_epochs(config, out, at):
    """Interrupt a run as Ctrl-C does, in epoch ``at``; returns how many epochs were logged."""

    class Interrupt(stage._EpochLines):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == at:
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "_EpochLines", Interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config, out)
    return len(logged(out, "val_loss"))


def test_a_run_is_never_overwritten(chain, make_experiment):
    before = (chain.run / "best.ckpt").read_bytes()
    with pytest.raises(ConfigError, match="holds a run; add --resume"):
        train(make_experiment(chain.archive), chain.run)
    assert (chain.run / "best.ckpt").read_bytes() == before


def test_nothing_to_resume_is_an_error(chain, make_experiment, tmp_path):
    with pytest.raises(ConfigError, match=r"no last\.ckpt to resume from"):
        train(make_experiment(chain.archive), tmp_path / "new", resume=True)


def test_a_resumed_run_remembers_what_it_was_trained_on(chain, make_experiment, tmp_path):
    train(make_experiment(chain.archive, trainer__max_epochs=1), tmp_path / "run")
    later = [{"start": "2024-06-01T01:00", "end": "2024-06-01T02:00"}]
    split = {"validation": later, "test": []}
    experiment = make_experiment(chain.archive, trainer__max_epochs=3, data__split=split)
    train(experiment, tmp_path / "run", resume=True)
    (archive,) = load_nowcaster(tmp_path / "run" / "last.ckpt")[1]["archives"]
    assert ["2024-06-01T00:00:00", "2024-06-01T03:00:00"] in archive["training_periods"]
    assert ["2024-06-01T02:00:00", "2024-06-01T05:00:00"] in archive["training_periods"]


def test_resuming_with_another_network_is_refused_and_changes_nothing(chain, make_experiment):
    before = (chain.run / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match="is of another network"):
        train(make_experiment(chain.archive, network__channels=[4, 4, 4]), chain.run, resume=True)
    assert (chain.run / "config.yaml").read_bytes() == before


def test_a_device_that_is_not_there_is_an_error(chain, make_experiment, tmp_path):
    experiment = make_experiment(chain.archive, trainer__devices=0)
    with pytest.raises(ConfigError, match=r"trainer: .*devices"):
        train(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_archive_is_an_error(make_experiment, tmp_path):
    with pytest.raises(ConfigError, match="no archive to train on"):
        train(make_experiment(), tmp_path / "run")
    with pytest.raises(DataError, match="there is no archive"):
        train(make_experiment(tmp_path / "nowhere"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_few_scans_in_a_row_is_an_error(chain, make_experiment, tmp_path):
    with pytest.raises(DataError, match="no validation window"):
        train(make_experiment(chain.archive, data__lead_times=20), tmp_path / "run")


@pytest.mark.slow
def test_loader_processes_change_nothing(chain, make_experiment, tmp_path):
    train(make_experiment(chain.archive, data__workers=1), tmp_path / "run")
    there, here = weights(chain.run), weights(tmp_path / "run")
    assert all(torch.equal(there[name], here[name]) for name in there)


@pytest.mark.parametrize("code", [0, 255], ids=["all dry", "all missing"])
def test_dry_and_missing_scans_are_ordinary(make_experiment, tmp_path, code):
    grid = synthetic_grid(64)
    times = pd.date_range("2024-06-01", periods=60, freq="5min")
    codes = np.full(grid.shape, code, dtype=np.uint8)
    scans = [StoredScan(time, codes, f"{i}.nc", f"{i:032d}") for i, time in enumerate(times)]
    ArchiveWriter(tmp_path / "a", pd.Timedelta("5min"), {"name": "flat"}).commit(
        grid, scans, [], "flat"
    )
    result = train(make_experiment(tmp_path / "a"), tmp_path / "run")
    assert result.best_val_loss == pytest.approx(0, abs=1e-4)
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run").values())
